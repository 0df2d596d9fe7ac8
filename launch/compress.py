"""Compress a source of vectors with a trained model into a codes folder; an interrupted run continues.

python launch/compress.py --model=runs/mine/model --source=vectors.npy --out=runs/mine/codes
"""

import door
from absl import flags

MODEL = flags.DEFINE_string("model", None, "Model folder.", required=True)
SOURCE = flags.DEFINE_string("source", None, "File, folder, glob or dataset name.", required=True)
OUT = flags.DEFINE_string("out", None, "Codes folder to write.", required=True)
COLUMN = flags.DEFINE_string("column", None, "Parquet: the column of vectors, where there are several.")
IDS_COLUMN = flags.DEFINE_string("ids_column", None, "Parquet: the column of ids.")
KEY = flags.DEFINE_string("key", None, "Safetensors: the tensor, where there are several.")
ENCODER = flags.DEFINE_string("encoder", None, "topk, refit, shortlist or pursuit; default: the model's.")
STORAGE = flags.DEFINE_string("storage", None, "float16, float32 or packed3 … packed8 (bits); default: the model's.")
BATCH = flags.DEFINE_integer("batch", 65_536, "Rows read at once; the bytes written do not depend on it.")
ZERO_ROWS = flags.DEFINE_string("zero_rows", "stop", "What zero rows get: stop, keep or drop.")


def main(argv: list[str]) -> None:
    """Open both, stream one through the other."""
    del argv
    from compressae_jax import data
    from compressae_jax.model import weights
    from compressae_jax.retrieval import compress

    source = data.open_source(SOURCE.value, column=COLUMN.value, ids_column=IDS_COLUMN.value, key=KEY.value)
    how = {"encoder": ENCODER.value, "storage": STORAGE.value, "zero_rows": ZERO_ROWS.value}
    compress.compress(weights.load(MODEL.value), source, OUT.value, batch=BATCH.value, **how)


if __name__ == "__main__":
    door.run(main)
