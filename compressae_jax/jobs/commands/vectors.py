"""The flags that say where vectors lie, the same for every command that reads some."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from compressae_jax.data.sources import Source


def define(argument: str, what: str) -> None:
    """`--argument`, which is needed, and the flags that say more about it."""
    flags.DEFINE_string(argument, None, f"{what}: file, folder, glob, url or dataset name.", required=True)
    flags.DEFINE_string("column", None, "Tables (Parquet, Arrow): the column of vectors, where there are several.")
    flags.DEFINE_string("ids_column", None, "Tables: the column of ids.")
    flags.DEFINE_string("key", None, "Files of several arrays (.npz, safetensors, HDF5): the vectors.")
    flags.DEFINE_string("ids_key", None, "Files of several arrays: the ids.")
    flags.DEFINE_string("ids", None, "File of ids beside the vectors: text, one a line, or .npy of integers.")
    flags.DEFINE_string("scale", None, "Of int8 and uint8: a number, or an .npy of one a row or one a column; 1: none.")


def opened(argument: str, given: flags.FlagValues) -> "Source":
    """What these flags name, not read yet."""
    from compressae_jax import data

    return data.open_source(
        given[argument].value,
        column=given.column,
        ids_column=given.ids_column,
        key=given.key,
        ids_key=given.ids_key,
        ids=given.ids,
        scale=given.scale,
    )
