"""Search shards that lie on many machines: a Ray actor for each; the front expands queries and merges what they find.

    python examples/ray_search.py --shards='/shared/codes.parts/*' --model=/shared/model --queries=q.npy --out=found.npz

RAY_ADDRESS names the cluster, else Ray starts here. An actor that dies is started anew, opens its shard and is asked
again. All actors need their cores at once, so a cluster that has fewer is refused after a while, not waited for.
"""

import glob
import os

import ray
from absl import app, flags

from compressae_jax import data
from compressae_jax.retrieval import found, shards


class Shard:
    """One shard, opened when its actor starts, and again when it comes back."""

    def __init__(self, folder, model, space, cpus):
        os.environ["COMPRESSAE_THREADS"] = str(max(1, int(cpus)))
        self.index, self.about = shards.open_shard(folder, model, space)

    def tell(self):
        """What the shard says of itself."""
        return self.about

    def expander(self):
        """What makes u of queries, as all shards of one model want it."""
        return self.index.expander

    def search(self, u, top):
        """The best of this shard."""
        return self.index.search_expanded(u, top)


class Front:
    """The actors of all shards as one index."""

    def __init__(self, folders, model=None, space=None, cpus=1.0, patience=300):
        actor = ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=5)(Shard)
        self.actors = [actor.remote(folder, model, space, cpus) for folder in folders]
        try:
            told = ray.get([one.tell.remote() for one in self.actors], timeout=patience)
        except ray.exceptions.GetTimeoutError:
            there = f"they need {cpus * len(folders):g} CPUs, the cluster has {ray.cluster_resources().get('CPU', 0):g}"
            raise TimeoutError(f"not all {len(folders)} actors were there after {patience} s: {there}") from None
        self.first_rows = shards.first_rows(folders, told)
        self.expander = ray.get(self.actors[0].expander.remote())

    def search(self, queries, top):
        """The same scores, rows and ids as one index of all rows finds."""
        u = ray.put(self.expander.expand(queries))
        parts = ray.get([one.search.remote(u, top) for one in self.actors])
        return found.merge(parts, self.first_rows, top)


def define():
    """Its flags."""
    flags.DEFINE_string("shards", None, "Glob of codes folders, or of index folders.", required=True)
    flags.DEFINE_string("model", None, "Model folder, where shards are codes folders.")
    flags.DEFINE_string("queries", None, "File of dense queries.", required=True)
    flags.DEFINE_string("space", None, "sparse, reconstructed or dense_query (the default of codes).")
    flags.DEFINE_integer("top", 10, "Rows to find for each query.")
    flags.DEFINE_integer("batch", 1024, "Queries that are asked at once.")
    flags.DEFINE_string("out", "found.npz", "Where scores, rows and ids go: .npz or .parquet.")
    flags.DEFINE_float("cpus", 1, "Cores of an actor.")
    flags.DEFINE_integer("patience", 300, "Seconds until all actors must have opened their shards.")


def main(_):
    given = flags.FLAGS
    ray.init()
    front = Front(sorted(glob.glob(given.shards)), given.model, given.space, given.cpus, given.patience)
    queries = data.open_source(given.queries)
    best = [front.search(some, given.top) for _, some in queries.batches(given.batch)]
    found.write(given.out, found.stacked(best), queries.ids)


if __name__ == "__main__":
    define()
    app.run(main)
