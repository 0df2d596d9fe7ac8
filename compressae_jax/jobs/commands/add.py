"""Add vectors to an index folder, which is begun where --model is given; an interrupted addition continues.

compressae add --index=runs/mine/index --model=runs/mine/model --source=vectors.parquet --ids_column=id
compressae add --index=runs/mine/index --source=new.npy --ids=new-ids.txt
"""

from absl import flags

from compressae_jax.jobs.commands import vectors


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("index", None, "Index folder.", required=True)
    vectors.define("source", "Vectors to add")
    flags.DEFINE_string("model", None, "Model folder, or minilm or mpnet: begins the index where there is none yet.")
    flags.DEFINE_string("space", "dense_query", "Of a new index: sparse, reconstructed or dense_query.")
    flags.DEFINE_string("encoder", None, "Of a new index: topk, refit, shortlist or pursuit; default: the model's.")
    flags.DEFINE_string("storage", None, "Of a new index: float16, float32 or packed3 … packed8; default: the model's.")
    flags.DEFINE_string("similarity", None, "Of a new index: cosine, or dot, where searches give inner products.")
    flags.DEFINE_integer("batch", 65_536, "Rows read at once; the bytes written do not depend on it.")
    flags.DEFINE_string("zero_rows", "stop", "What zero rows get: stop, keep or drop.")


def main(given: flags.FlagValues) -> None:
    """Begin the index, if need be; encode the vectors into a new segment."""
    from compressae_jax.base import files
    from compressae_jax.model import weights as model_weights
    from compressae_jax.notation import FolderError, InputError
    from compressae_jax.retrieval import folder_changes, index_folder

    path = files.check_out(given.index)
    source = vectors.opened("source", given)
    if not index_folder.is_one(path):
        if given.model is None:
            raise FolderError(f"no index stands at {path}; --model=… begins one")
        weights = model_weights.load(given.model)
        folder_changes.begin(
            path, weights, source, given.space, given.encoder, given.storage, given.similarity or "cosine"
        )
    elif given.encoder or given.storage or given.similarity:
        raise InputError("encoder, storage and similarity are those of the index, which stands already; leave them out")
    added, rows = folder_changes.add(path, source, given.batch, given.zero_rows)
    print(f"{added:,} rows added, {rows:,} in all: {path}")
