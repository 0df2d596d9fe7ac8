"""The flags that say which index an engine has the rows of, the same for `export` and `check_engine`."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from compressae_jax.retrieval.index import Index


def define() -> None:
    """Index, engine and space."""
    flags.DEFINE_string("index", None, "Index folder, or a codes folder with --model.", required=True)
    flags.DEFINE_string("model", None, "Model folder of a codes folder.")
    engines = "clickhouse, duckdb, elasticsearch, kannolo, opensearch, parquet, postgres, qdrant or sqlite."
    flags.DEFINE_string("engine", None, engines, required=True)
    flags.DEFINE_string(
        "space", None, "sparse, reconstructed or dense_query; default: the index's, of codes dense_query."
    )


def opened(given: flags.FlagValues) -> "Index":
    """The index in the space that is asked for."""
    from compressae_jax.retrieval.index import open_folder

    return open_folder(given.index, given.model, given.space)
