"""Search an index, or a codes folder and its model, for the nearest rows of every query.

python launch/search.py --index=runs/mine/codes --model=runs/mine/model --queries=queries.npy --out=found.npz
"""

import door
from absl import flags

INDEX = flags.DEFINE_string("index", None, "Index folder, or a codes folder with --model.", required=True)
MODEL = flags.DEFINE_string("model", None, "Model folder of a codes folder.")
QUERIES = flags.DEFINE_string("queries", None, "File, folder, glob or dataset name of dense queries.", required=True)
TOP = flags.DEFINE_integer("top", 10, "Rows to find for each query.")
OUT = flags.DEFINE_string("out", "found.npz", "Where scores, rows and ids go: .npz or .parquet.")
SPACE = flags.DEFINE_string("space", None, "sparse, reconstructed (the default of codes) or dense_query.")
BACKEND = flags.DEFINE_string("backend", "auto", "host, scan, bcoo, or auto: host on a CPU, scan on a GPU.")
BATCH = flags.DEFINE_integer("batch", 1024, "Queries searched at once.")


def main(argv: list[str]) -> None:
    """Open the index, stream the queries through it, write what was found."""
    del argv
    from compressae_jax import data
    from compressae_jax.retrieval import found, index

    found.check_path(OUT.value)
    rows = index.open_folder(INDEX.value, model=MODEL.value, space=SPACE.value)
    scores, numbers = index.search_source(
        rows, data.open_source(QUERIES.value), TOP.value, backend=BACKEND.value, batch=BATCH.value
    )
    found.write(OUT.value, scores, numbers, rows.ids)
    print(f"{len(scores):,} queries, the {TOP.value} nearest of {len(rows):,} rows ({rows.space}): {OUT.value}")


if __name__ == "__main__":
    door.run(main)
