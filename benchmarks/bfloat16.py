"""What one-pass codes lose with bfloat16 products: columns, values and recall, beside float32 products.

    python -m benchmarks.bfloat16 --out=results [--data=wordnet --steps=500 | --model=runs/mine/model --source=v.npy]

Without --model, one is trained on the rows that are searched, for --steps; it is kept in the work folder. Held-out rows
are the queries; in the two spaces that compare codes, they are encoded by the same products as the rows. Truth: the
nearest rows by cosine of the vectors. A given model may have seen the queries in training.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.codes import spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.data.sources import InMemory
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.evaluation.intervals import Interval
from compressae_jax.model import on_device
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

PRODUCTS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
BLOCK = 4096  # rows encoded at once
DEPTH = 100


def main() -> None:
    """Encode rows and queries by both products, search in each space, write the table."""
    flags = parse()
    rows, queries = vectors(flags)
    weights = made(rows, flags).weights
    _, truth = neighbours.truth(InMemory(rows), np.empty(0, np.int64), queries)
    encoded = {name: [encode(weights, some, name) for some in (rows, queries)] for name in PRODUCTS}
    columns = [np.sort(encoded[name][0].columns, axis=1) for name in PRODUCTS]
    report = {
        "command": "python -m benchmarks.bfloat16",
        "settings": vars(flags),
        "machine": timing.machine(),
        "model": {"fingerprint": weights.fingerprint, "d": weights.d, "h": weights.h, "k": weights.k},
        "rows": len(rows),
        "queries": len(queries),
        **agreement(*columns),
        "recall": {space: compared(weights, encoded, queries, truth, space) for space in spaces.SPACES},
    }
    if flags.out:
        timing.write(flags.out, "bfloat16", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="wordnet", choices=data.names())
    parser.add_argument("--h", type=int, default=4096)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--steps", type=int, default=500, help="of training, 1,024 rows each")
    parser.add_argument("--model", help="a model folder, in place of one trained here; needs --source")
    parser.add_argument("--source", help="vectors in place of --data")
    parser.add_argument("--queries", type=int, default=1000, help="rows held out")
    parser.add_argument("--workdir", default="runs/bfloat16", help="models are kept here")
    parser.add_argument("--out", default="", help="folder for bfloat16.json and bfloat16.md")
    flags = parser.parse_args()
    if (flags.model is None) != (flags.source is None):
        parser.error("--model and --source go together")
    return flags


def vectors(flags: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows and held-out queries of the source, without zero rows."""
    source = data.open_source(flags.source or flags.data)
    x = source.read(0, len(source))
    drawn = data.split_rows(len(x), flags.queries, 0)
    rows, queries = (x[some][x[some].any(axis=1)] for some in (drawn.train, drawn.queries))
    return rows, queries


def made(rows: np.ndarray, flags: argparse.Namespace) -> cs.Model:
    """The model that is given, or one trained on the rows."""
    if flags.model:
        return cs.load(flags.model)
    workdir = Path(flags.workdir) / f"{flags.data}-{flags.h}-{flags.k}-{flags.steps}"
    return cs.fit(rows, h=flags.h, k=flags.k, steps=flags.steps, batch=1024, workdir=workdir, progress=False)


def encode(weights: Weights, vectors: np.ndarray, product: str) -> Codes:
    """One-pass codes with products of a dtype, stored as float16."""
    params, module = jax.tree.map(jnp.asarray, weights.params), weights.module(dtype=PRODUCTS[product])
    parts = []
    for start in range(0, len(vectors), BLOCK):
        some = vectors[start : start + BLOCK]
        padded = np.pad(some, ((0, BLOCK - len(some)), (0, 0)))
        codes = on_device.encode(params, padded, module)
        parts.append([np.asarray(one)[: len(some)] for one in (codes.values, codes.columns)])
    values, columns = (np.concatenate(some) for some in zip(*parts, strict=True))
    return Codes(values.astype(np.float16), columns, weights.h)


def agreement(whole: np.ndarray, rounded: np.ndarray) -> dict[str, float]:
    """The share of rows whose columns (sorted) are all the same, and of columns that are."""
    shared = [len(np.intersect1d(one, other)) for one, other in zip(whole, rounded, strict=True)]
    return {
        "same_rows": float((whole == rounded).all(axis=1).mean()),
        "same_columns": float(np.mean(shared)) / whole.shape[1],
    }


def compared(
    weights: Weights, encoded: dict[str, list[Codes]], queries: np.ndarray, truth: np.ndarray, space: str
) -> dict[str, Any]:
    """Recall@100 by product, and what bfloat16 changes, paired query by query."""
    recalls = {}
    for name, (rows, asked) in encoded.items():
        index = Index(rows, weights, space)
        _, found = index.search(queries if space == "dense_query" else asked, truth.shape[1])
        recalls[name] = neighbours.overlap(found, truth)
    report = {name: intervals.interval(some)._asdict() for name, some in recalls.items()}
    return {**report, "difference": intervals.difference(recalls["bfloat16"], recalls["float32"])._asdict()}


def table(report: dict[str, Any]) -> str:
    """Spaces down, products across."""
    s, m = report["settings"], report["model"]
    of = s["source"] or s["data"]
    trained = f"model {m['fingerprint']}" if s["model"] else f"{s['steps']} steps of training"
    rows = []
    for space, recall in report["recall"].items():
        difference = shown(Interval(**recall["difference"]), "+.4f")
        rows.append([space, *(shown(Interval(**recall[name])) for name in PRODUCTS), difference])
    lines = [
        f"Recall@{DEPTH} of one-pass codes (float16) with products in float32 and in bfloat16: {of}, "
        f"{report['rows']:,} rows (d={m['d']}, h={m['h']:,}, k={m['k']}; {trained}), {report['queries']:,} held-out "
        "queries. ± half of the 95 % bootstrap interval over queries; the difference is paired. "
        "`python -m benchmarks.bfloat16`.",
        "",
        *timing.markdown("space | float32 | bfloat16 | difference", rows),
        "",
        f"{report['same_rows']:.3f} of the rows keep all of their columns, {report['same_columns']:.4f} of the columns "
        "stay.",
    ]
    return "\n".join(lines) + "\n"


def shown(some: Interval, form: str = ".4f") -> str:
    """A mean and half of its interval."""
    return f"{some.mean:{form}} ± {(some.high - some.low) / 2:.4f}"


if __name__ == "__main__":
    main()
