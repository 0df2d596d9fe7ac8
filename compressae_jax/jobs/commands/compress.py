"""Compress a source of vectors with a trained model into a codes folder; an interrupted run continues.

compressae compress --model=runs/mine/model --source=vectors.npy --out=runs/mine/codes
compressae compress --model=… --source=… --out=parts/3 --part=3/8    # on the third of eight machines
"""

from absl import flags

from compressae_jax.jobs.commands import vectors


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("model", None, "Model folder, or minilm or mpnet, which come with the package.", required=True)
    vectors.define("source", "Vectors")
    flags.DEFINE_string("out", None, "Codes folder to write.", required=True)
    flags.DEFINE_string("encoder", None, "topk, refit, shortlist or pursuit; default: the model's.")
    flags.DEFINE_string("storage", None, "float16, float32 or packed3 … packed8 (bits); default: the model's.")
    flags.DEFINE_string(
        "similarity", "cosine", "cosine, or dot: lengths are kept, so that searches give inner products."
    )
    flags.DEFINE_integer("batch", 65_536, "Rows read at once; the bytes written do not depend on it.")
    flags.DEFINE_string("part", None, "i/m: only the i-th of m parts, which `join` makes one folder of.")
    flags.DEFINE_bool("overwrite", False, "Replace a codes folder that other inputs gave.")
    flags.DEFINE_string("zero_rows", "stop", "What zero rows get: stop, keep or drop.")


def main(given: flags.FlagValues) -> None:
    """Open both, stream one through the other."""
    from compressae_jax import compression
    from compressae_jax.notation import InputError

    part = None
    if given.part is not None:
        i, cut, m = given.part.partition("/")
        if not (cut and i.isdecimal() and m.isdecimal()):
            raise InputError(f"part must be like 3/8, the third of eight, not {given.part!r}")
        part = int(i), int(m)
    source = vectors.opened("source", given)
    compression.to_folder(
        given.model,
        source,
        given.out,
        part,
        batch=given.batch,
        encoder=given.encoder,
        storage=given.storage,
        similarity=given.similarity,
        zero_rows=given.zero_rows,
        overwrite=given.overwrite,
    )
