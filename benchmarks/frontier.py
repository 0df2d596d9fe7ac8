"""Accuracy against bytes a vector: packed pursuit codes beside every quantiser that a user would pick.

    python -m benchmarks.frontier --workdir=runs/frontier --out=results/frontier
    python -m benchmarks.frontier --size=small --workdir=runs/small --out=runs/small   # seven minutes on two idle cores

Neighbour protocol on each dataset (1,000 rows, at most a tenth, held out by seed 0 as queries; recall of their exact
dense neighbours among the others), and how much of the dense score is kept in what people ask of the rows searched.
Every method is fitted to the same training rows, `seed` draws what is random in it. Models and peers fitted to wordnet
are carried to the judged queries of scifact and vaswani. A dataset's `:unseen` form fits to a random half of the
training rows and searches the other half only: what a method remembers of the rows that it was fitted to does not help
it there. Each measurement is a line of `<out>/measured.jsonl`, with what each query found; the same command continues
where it stopped, and tells and draws what there is (`frontier_page`). Flags choose some datasets, methods, budgets and
seeds first. The small size takes the three sets that come with the package, unseen, at 16, 32 and 64 bytes, without the
quantisers that take minutes each.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import frontier_page, ideal
from benchmarks.frontier_page import (
    DATASETS,
    DEPTH,
    ENCODERS,
    IDEAL,
    METHODS,
    ONE_PASS,
    RECALL,
    SHARE,
    UNSEEN,
    packed,
)
from compressae_jax import compression, data
from compressae_jax.baselines import dense
from compressae_jax.evaluation import intervals, judgements, neighbours, streams
from compressae_jax.evaluation.contenders import BASELINE_ROWS, BASELINES
from compressae_jax.evaluation.protocols import Protocol
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.experiments import questions
from compressae_jax.model import budgets
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.training import loop

BUDGETS = (8, 16, 32, 64, 128, 256)
ASKED = 1000  # queries of a task, at most
PACKED = "packed4"  # ranks: the fewest bytes
CARRIED = {"wordnet": ("scifact", "vaswani")}  # where a model goes that was trained on the first
SLOW = {"rq": 64, "lsq": 64}  # bytes above which they take hours on two cores; PRQ stands in
ONE_PASS_H, ONE_PASS_STEPS, ONE_PASS_BYTES = 2048, 500, 64  # one training for all budgets, at the k of 64 bytes
SIZES = {
    "small": {
        "datasets": tuple(f"{name}{UNSEEN}" for name in ("shop", "scifact", "debian")),
        "methods": tuple(name for name in METHODS if name not in ("opq", "rq", "lsq", "prq", "refit", "shortlist")),
        "budgets": (16, 32, 64),
        "seeds": (0,),
    },
    "full": {"datasets": DATASETS, "methods": METHODS, "budgets": BUDGETS, "seeds": (0, 1, 2)},
}

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Fitted(NamedTuple):
    """A method ready for rows: what it costs, and how it searches an array of them for dense queries.

    `codes` are its names of other ways to ask than by dense queries, with their searches.
    """

    bytes_per_vector: float
    over: Callable[[np.ndarray], dict[str, Search]]
    about: dict[str, Any]


class Task(NamedTuple):
    """What people ask of the rows searched, and what dense vectors score there."""

    protocol: Protocol
    dense: np.ndarray


class Rows(NamedTuple):
    """A dataset split by the neighbour protocol; `task` where it has judgements, purchases or classes."""

    training: np.ndarray
    searched: np.ndarray
    queries: np.ndarray
    truth: np.ndarray
    task: Task | None


def main() -> None:
    """Measure what is missing, then write tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", default="runs/frontier")
    parser.add_argument("--out", default="results/frontier")
    parser.add_argument("--size", default="full", choices=SIZES, help="what is measured where flags choose nothing")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--budgets", nargs="+", type=int)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--lines_only", action="store_true", help="no tables and figures")
    flags = parser.parse_args()
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    chosen = {name: getattr(flags, name) or usual for name, usual in SIZES[flags.size].items()}
    measure(Path(flags.workdir), out, chosen["datasets"], chosen["methods"], chosen["budgets"], chosen["seeds"])
    if flags.lines_only:
        return
    lines = read(out)
    told = frontier_page.page(lines)
    (out / "frontier.md").write_text(told, encoding="utf-8")
    frontier_page.draw(lines, out / "frontier.png")
    print(told)


def measure(workdir: Path, out: Path, datasets: Any, methods: Any, sizes: Any, seeds: Any) -> None:
    """Append a line for every measurement that is not there yet, dataset by dataset, seed by seed."""
    have = {key(line) for line in read(out)}
    made = provenance()
    made = {"commit": made["commit"], "date": made["date"], "hardware": made["hardware"], "versions": made["versions"]}
    for seed in seeds:
        for dataset in datasets:
            wanted = [(m, b) for b in sizes for m in methods if (dataset, m, b, seed) not in have]
            if not wanted:
                continue
            rows = split(dataset)
            for method, budget in tqdm(wanted, desc=f"{dataset}, seed {seed}"):
                line = {"dataset": dataset, "method": method, "budget": budget, "seed": seed}
                line |= measured(workdir, dataset, rows, method, budget, seed)
                with (out / "measured.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**line, **made}) + "\n")


def read(out: Path) -> list[dict[str, Any]]:
    """All lines so far."""
    path = out / "measured.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def key(line: dict[str, Any]) -> tuple[str, str, int, int]:
    """What a line measures."""
    return line["dataset"], line["method"], line["budget"], line["seed"]


@functools.lru_cache(maxsize=1)
def split(dataset: str) -> Rows:
    """Rows to train on and to search, queries, and their exact neighbours."""
    source = data.load(dataset.removesuffix(UNSEEN)).vectors
    drawn = data.split_rows(len(source), 1000, 1000)
    x = source.read(0, len(source))
    training, searched = np.asarray(drawn.train), np.delete(np.arange(len(x)), drawn.queries)
    if dataset.endswith(UNSEEN):
        training, searched = np.array_split(np.random.default_rng(0).permutation(training), 2)
        searched = np.sort(searched)
    queries = x[drawn.queries]
    _, truth = dense.fit(x).add(x[searched]).search(queries, DEPTH)
    return Rows(x[training], x[searched], queries, truth, task(dataset.removesuffix(UNSEEN), searched))


def task(dataset: str, searched: np.ndarray) -> Task | None:
    """What a dataset can be asked of the rows searched; None of one that has nothing to ask."""
    try:
        documents, protocol = questions.among(dataset, searched, ASKED)
    except InputError:
        return None
    return Task(protocol, protocol.ask(dense.fit(documents).add(documents).search)[protocol.headline])


def measured(workdir: Path, dataset: str, rows: Rows, method: str, budget: int, seed: int) -> dict[str, Any]:
    """Scores, bytes and seconds of one method, or why there are none."""
    start = time.perf_counter()
    try:
        fitted = fit(workdir, dataset, rows.training, method, budget, seed)
    except InputError as error:
        return {"refused": str(error)}
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    searches = fitted.over(rows.searched)
    encode_seconds = time.perf_counter() - start
    scores = {}
    for asked, search in searches.items():
        found = neighbours.per_query(search(rows.queries, DEPTH)[1], rows.truth)
        scores |= {f"{metric}{asked}": summary(values) for metric, values in found.items()}
        if not asked:
            hits = packed(found[RECALL])
        if rows.task:
            kept = rows.task.protocol.ask(search)[rows.task.protocol.headline]
            scores[f"{SHARE}{rows.task.protocol.headline}{asked}"] = rounded(intervals.ratio(kept, rows.task.dense))
    for other in CARRIED.get(dataset, ()):
        scores |= {f"{other} {name}": value for name, value in carried(fitted, other).items()}
    seconds = {"fit_seconds": round(fit_seconds, 1), "encode_seconds": round(encode_seconds, 1)}
    return {"bytes": fitted.bytes_per_vector, **fitted.about, **seconds, "scores": scores, "hits": hits}


def carried(fitted: Fitted, dataset: str) -> dict[str, Any]:
    """nDCG@10 of another dataset's judged queries."""
    loaded = data.load(dataset)
    docs, judged = loaded.vectors, loaded.judgements()
    asked, place = np.unique(judged.query_rows, return_inverse=True)
    import scipy.sparse

    wanted = scipy.sparse.csr_matrix((judged.scores, (place, judged.doc_rows)), (len(asked), len(docs)))
    search = fitted.over(docs.read(0, len(docs)))[""]
    scores = judgements.per_query(search, streams.take(loaded.queries, asked), wanted)
    return {"nDCG@10": summary(scores["nDCG@10"])}


def summary(values: np.ndarray) -> list[float]:
    """Mean and the ends of its interval."""
    return rounded(intervals.interval(values))


def rounded(values: Iterable[float]) -> list[float]:
    """As lines keep them."""
    return [round(value, 5) for value in values]


def fit(workdir: Path, dataset: str, training: np.ndarray, method: str, budget: int, seed: int) -> Fitted:
    """A method of a budget, fitted to training rows.

    Raises:
        InputError: a budget that the method has no form for.
    """
    d = training.shape[1]
    if method == ONE_PASS:
        return of_codes(one_pass(workdir, dataset, training, budget, seed), None)
    if method in ENCODERS:
        return of_codes(dictionary(workdir, dataset, training, budget, seed), method)
    if method == IDEAL:

        def decoded(rows: np.ndarray) -> dict[str, Search]:
            return {"": dense.fit(rows).add(ideal.rows(training, budget, seed, rows)).search}

        return Fitted(budget, decoded, {})
    baseline = BASELINES[method]
    if not baseline.smallest <= budget <= baseline.largest(d):
        raise InputError(f"{method} has no form of {budget} bytes for d={d}")
    if budget > SLOW.get(method, budget):
        raise InputError(f"{method} is not run above {SLOW[method]} bytes, where it takes hours; prq is")
    sample = np.sort(np.random.default_rng(seed).permutation(len(training))[:BASELINE_ROWS])
    peer = baseline.fit(training[sample], budget, **({"seed": seed} if "seed" in baseline.options else {}))

    def over(rows: np.ndarray) -> dict[str, Search]:
        stored = [peer.encode(rows)]
        return {"": lambda queries, top: peer.search_stored(queries, stored, top)}

    return Fitted(peer.bytes_per_vector, over, {})


def dictionary(workdir: Path, dataset: str, training: np.ndarray, budget: int, seed: int) -> Weights:
    """The model that `fit(budget_bytes=…)` trains, kept in the work folder; its codes as ranks, the fewest bytes."""
    folder = workdir / "models" / f"{dataset}-{budget}-{seed}"
    # All rows, as peers are fitted to all.
    weights = loop.fit(training, folder, seed=seed, progress=False, budget_bytes=budget, held_out=0)
    if weights.storage != "fast4":
        return weights
    k = min(budgets.largest_k(budget, weights.h, PACKED), weights.d)
    return dataclasses.replace(weights.with_k(k), storage=PACKED)


def one_pass(workdir: Path, dataset: str, training: np.ndarray, budget: int, seed: int) -> Weights:
    """A published one-pass model of the k that 64 bytes hold as ranks, cut to the k of a budget.

    Raises:
        InputError: a budget that holds no nonzero, or one above 64 bytes.
    """
    h = max(64, min(ONE_PASS_H, 1 << max(len(training) // budgets.ROWS_A_LATENT, 1).bit_length() - 1))
    k, most = (min(budgets.largest_k(size, h, PACKED), h // 4) for size in (budget, ONE_PASS_BYTES))
    if k < 1 or budget > ONE_PASS_BYTES:
        raise InputError(f"{ONE_PASS} is run up to {ONE_PASS_BYTES} bytes, and from a nonzero on, not at {budget}")
    folder = workdir / "models" / f"{dataset}-{ONE_PASS}-{seed}"
    own: dict[str, Any] = {"h": h, "k": most, "steps": ONE_PASS_STEPS, "batch": min(1024, len(training))}
    weights = loop.fit(training, folder, seed=seed, progress=False, held_out=0, **own)
    return dataclasses.replace(weights.with_k(k), storage=PACKED)


def of_codes(weights: Weights, encoder: str | None) -> Fitted:
    """Codes of a model by an encoder (None: its own one pass), asked by dense queries and by compressed ones.

    Compressed queries are compared in the reconstructed space, and, of one pass, in the sparse one.

    Raises:
        InputError: an encoder that the model does not serve, as those of `residual4` and `additive8` do but one.
    """
    Encoder(weights, encoder or weights.encoder, weights.storage)
    encoder, spaces = (encoder, {}) if encoder else (weights.encoder, {" sparse": "sparse"})
    spaces = {" compressed queries": "reconstructed", **spaces}

    def over(rows: np.ndarray) -> dict[str, Search]:
        codes = compression.encode(weights, rows, weights.storage, encoder=encoder)
        index = Index(codes, weights, encoder=encoder)
        return {"": index.search, **{name: index.in_space(space).search for name, space in spaces.items()}}

    record = budgets.record_width(weights.storage, weights.h, weights.k, weights.own_levels)
    return Fitted(record, over, {"h": weights.h, "k": weights.k, "storage": weights.storage})


if __name__ == "__main__":
    main()
