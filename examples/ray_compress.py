"""Compress on a Ray cluster: a task for each part, started anew where its worker dies, and one join at the end.

    python examples/ray_compress.py --model=/shared/model --source=/shared/vectors --out=/shared/codes --parts=64

All machines see these paths. RAY_ADDRESS names the cluster, else Ray starts here. The same command again continues.
"""

import os

import ray
from absl import app, flags

from compressae_jax import compression, data

flags.DEFINE_string("model", None, "Model folder.", required=True)
flags.DEFINE_string("source", None, "File, folder or glob of vectors.", required=True)
flags.DEFINE_string("ids_column", None, "Parquet: the column of ids.")
flags.DEFINE_string("ids", None, "File of ids beside the vectors.")
flags.DEFINE_string("out", None, "Codes folder; its parts lie beside it, in OUT.parts.", required=True)
flags.DEFINE_integer("parts", 8, "Parts: a few for each worker, each of 4,096 rows at least.")
flags.DEFINE_integer("cpus", 1, "Cores of a task.")


def compress(part, out, given):
    """One part, in a worker; what a killed one left is continued."""
    os.environ["COMPRESSAE_THREADS"] = str(given["cpus"])
    rows = data.open_source(given["source"], ids_column=given["ids_column"], ids=given["ids"])
    compression.to_folder(given["model"], rows, out, part, progress=False)


def main(_):
    given = flags.FLAGS.flag_values_dict()
    folders = {(i, given["parts"]): f"{given['out']}.parts/{i}" for i in range(1, given["parts"] + 1)}
    ray.init()
    task = ray.remote(num_cpus=given["cpus"], max_retries=5)(compress)
    ray.get([task.remote(part, out, given) for part, out in folders.items()])
    print(compression.join(list(folders.values()), given["out"]))


app.run(main)
