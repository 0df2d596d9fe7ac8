"""Search shards by processes of this machine, one for each, with nothing but Python; the front expands and merges.

    python examples/process_search.py --shards='codes.parts/*' --model=model --queries=queries.npy --out=found.npz

A process that dies is started anew, opens its shard and is asked again. Processes are spawned, since JAX hangs in
forked ones. The cores of the machine are shared out among them.
"""

import functools
import glob
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from absl import app, flags

from compressae_jax import data
from compressae_jax.base import threads
from compressae_jax.retrieval import found, shards

TRIES = 3


@functools.cache
def opened(folder, model, space, cores):
    """In a shard's own process: its index and what it says of itself, opened once."""
    os.environ["COMPRESSAE_THREADS"] = str(cores)
    return shards.open_shard(folder, model, space)


def tell(shard):
    """What a shard says of itself, and what makes u of queries."""
    index, about = opened(*shard)
    return about, index.expander


def search(shard, u, top):
    """The best of a shard."""
    return opened(*shard)[0].search_expanded(u, top)


class Front:
    """The processes of all shards as one index."""

    def __init__(self, folders, model=None, space=None):
        cores = max(1, threads.cores() // max(1, len(folders)))
        self.shards = [(folder, model, space, cores) for folder in folders]
        self.pools = {shard: ProcessPoolExecutor(1, get_context("spawn")) for shard in self.shards}
        told = self.ask(tell)
        self.first_rows = shards.first_rows(folders, [about for about, _ in told])
        self.expander = told[0][1]

    def search(self, queries, top):
        """The same scores, rows and ids as one index of all rows finds."""
        return found.merge(self.ask(search, self.expander.expand(queries), top), self.first_rows, top)

    def ask(self, work, *arguments):
        """The answers of all shards, which work at the same time."""
        with ThreadPoolExecutor(max(1, len(self.shards))) as pool:
            return list(pool.map(lambda shard: self._ask(shard, work, *arguments), self.shards))

    def _ask(self, shard, work, *arguments):
        for _ in range(TRIES - 1):
            try:
                return self.pools[shard].submit(work, shard, *arguments).result()
            except BrokenProcessPool:  # killed, or out of memory
                self.pools[shard] = ProcessPoolExecutor(1, get_context("spawn"))
        return self.pools[shard].submit(work, shard, *arguments).result()


def define():
    """Its flags."""
    flags.DEFINE_string("shards", None, "Glob of codes folders, or of index folders.", required=True)
    flags.DEFINE_string("model", None, "Model folder, where shards are codes folders.")
    flags.DEFINE_string("queries", None, "File of dense queries.", required=True)
    flags.DEFINE_string("space", None, "sparse, reconstructed or dense_query (the default of codes).")
    flags.DEFINE_integer("top", 10, "Rows to find for each query.")
    flags.DEFINE_integer("batch", 1024, "Queries that are asked at once.")
    flags.DEFINE_string("out", "found.npz", "Where scores, rows and ids go: .npz or .parquet.")


def main(_):
    given = flags.FLAGS
    front = Front(sorted(glob.glob(given.shards)), given.model, given.space)
    queries = data.open_source(given.queries)
    best = [front.search(some, given.top) for _, some in queries.batches(given.batch)]
    found.write(given.out, found.stacked(best), queries.ids)


if __name__ == "__main__":
    define()
    app.run(main)
