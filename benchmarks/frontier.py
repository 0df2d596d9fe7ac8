"""Accuracy against bytes a vector: packed pursuit codes beside every quantiser that a user would pick.

    python -m benchmarks.frontier --workdir=runs/frontier --out=results/frontier

Neighbour protocol on each dataset (1,000 rows, at most a tenth, held out by seed 0 as queries; recall of their exact
dense neighbours among the others). Every method is fitted to the same training rows, `seed` draws what is random in
it. Models and peers fitted to wordnet are carried to the judged queries of scifact and vaswani. A dataset's `:unseen`
form fits to a random half of the training rows and searches the other half only: what a method remembers of the rows
that it was fitted to does not help it there. Each measurement is a line of `<out>/measured.jsonl`; the same command
continues where it stopped, and draws what there is. Flags choose some datasets, methods, budgets and seeds first.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import ideal
from compressae_jax import compression, data
from compressae_jax.baselines import dense
from compressae_jax.evaluation import intervals, judgements, neighbours, streams
from compressae_jax.evaluation.contenders import BASELINE_ROWS, BASELINES
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.model import budgets
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.training import loop

SEEN = ("wordnet", "wordnet768", "scifact", "vaswani", "clinc150", "shop", "glove", "cifar10", "debian")
UNSEEN = ":unseen"
DATASETS = (*SEEN, *(f"{dataset}{UNSEEN}" for dataset in SEEN))
BUDGETS = (8, 16, 32, 64, 128)
ENCODERS = ("pursuit", "shortlist", "refit")
PEERS = ("pq", "opq", "rq", "lsq", "prq", "rabitq", "sq", "pca_int8", "pca_int4", "binary")
IDEAL = "ideal"  # no method: see `ideal`
METHODS = (*ENCODERS, *PEERS, IDEAL)
CARRIED = {"wordnet": ("scifact", "vaswani")}  # where a model goes that was trained on the first
SLOW = {"rq": 64, "lsq": 32}  # bytes above which they take hours on two cores; PRQ stands in

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Fitted(NamedTuple):
    """A method ready for rows: what it costs, and how it searches an array of them for dense queries.

    `codes` are its names of other ways to ask than by dense queries, with their searches.
    """

    bytes_per_vector: float
    over: Callable[[np.ndarray], dict[str, Search]]
    about: dict[str, Any]


class Rows(NamedTuple):
    """A dataset split by the neighbour protocol."""

    training: np.ndarray
    searched: np.ndarray
    queries: np.ndarray
    truth: np.ndarray


def main() -> None:
    """Measure what is missing, then write tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", default="runs/frontier")
    parser.add_argument("--out", default="results/frontier")
    parser.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    flags = parser.parse_args()
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    measure(Path(flags.workdir), out, flags.datasets, flags.methods, flags.budgets, flags.seeds)
    lines = read(out)
    (out / "frontier.md").write_text(tables(lines), encoding="utf-8")
    draw(lines, out / "frontier.png")
    print(tables(lines))


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
    training, queries = x[drawn.train], x[drawn.queries]
    searched = np.delete(x, drawn.queries, axis=0)
    if dataset.endswith(UNSEEN):
        shuffled = np.random.default_rng(0).permutation(training)
        training, searched = np.array_split(shuffled, 2)
    _, truth = dense.fit(searched).add(searched).search(queries, 100)
    return Rows(training, searched, queries, truth)


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
        found = neighbours.per_query(search(rows.queries, 100)[1], rows.truth)
        scores |= {f"{metric}{asked}": summary(values) for metric, values in found.items()}
    for other in CARRIED.get(dataset, ()):
        scores |= {f"{other} {name}": value for name, value in carried(fitted, other).items()}
    seconds = {"fit_seconds": round(fit_seconds, 1), "encode_seconds": round(encode_seconds, 1)}
    return {"bytes": fitted.bytes_per_vector, **fitted.about, **seconds, "scores": scores}


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
    return [round(value, 5) for value in intervals.interval(values)]


def fit(workdir: Path, dataset: str, training: np.ndarray, method: str, budget: int, seed: int) -> Fitted:
    """A method of a budget, fitted to training rows.

    Raises:
        InputError: a budget that the method has no form for.
    """
    d = training.shape[1]
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
    k = min(budgets.largest_k(budget, weights.h, "packed4"), weights.d)
    return dataclasses.replace(weights.with_k(k), storage="packed4")


def of_codes(weights: Weights, encoder: str) -> Fitted:
    """Codes of a model by an encoder, asked by dense queries and, in the reconstructed space, by compressed ones."""

    def over(rows: np.ndarray) -> dict[str, Search]:
        codes = compression.encode(weights, rows, weights.storage, encoder=encoder)
        index = Index(codes, weights, encoder=encoder)
        return {"": index.search, " compressed queries": index.in_space("reconstructed").search}

    record = budgets.record_width(weights.storage, weights.h, weights.k)
    return Fitted(record, over, {"h": weights.h, "k": weights.k, "storage": weights.storage})


def best_of_seeds(lines: list[dict[str, Any]], metric: str) -> dict[tuple[str, str, int], list[float]]:
    """All seeds' means by dataset, method and budget."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for line in lines:
        if metric in line.get("scores", {}):
            found.setdefault((line["dataset"], line["method"], line["budget"]), []).append(line["scores"][metric][0])
    return found


def tables(lines: list[dict[str, Any]]) -> str:
    """A table a dataset and metric: methods by budgets, the highest of each budget in bold."""
    text = [
        "# Accuracy against bytes a vector",
        "`python -m benchmarks.frontier`; dense queries unless said; mean over seeds (± half their spread, where there "
        "are several). All bytes a row needs in memory are counted; a dictionary (h × d float32) and the codebooks of "
        "peers are not. Half widths of the 95 % bootstrap intervals over queries are .003 to .007 with 1,000 queries. "
        "Empty: no form of that size, or not run. `ideal` is no method but a mark: what a code at the rate-distortion "
        "limit of a Gaussian with the data's second moments would find (benchmarks.ideal). `:unseen`: fitted to "
        "half of the training rows, the other half is searched.",
    ]
    metrics = sorted({metric for line in lines for metric in line.get("scores", {})}, key=lambda m: (len(m), m))
    for dataset in DATASETS:
        for metric in metrics:
            if table := one_table(lines, dataset, metric):
                text += [f"## {dataset}: {metric}", table]
    return "\n\n".join(text) + "\n"


def one_table(lines: list[dict[str, Any]], dataset: str, metric: str) -> str:
    """Methods down, budgets across."""
    found = {(m, b): values for (of, m, b), values in best_of_seeds(lines, metric).items() if of == dataset}
    if not found:
        return ""
    sizes = sorted({budget for _, budget in found})
    real = [(b, np.mean(v)) for (m, b), v in found.items() if m != IDEAL]
    highest = {b: max((score for other, score in real if other == b), default=np.inf) for b in sizes}
    rows = ["| method | " + " | ".join(f"{b} bytes" for b in sizes) + " |", "|---|" + "---|" * len(sizes)]
    for method in (some for some in METHODS if any(m == some for m, _ in found)):
        cells = [cell(found.get((method, b)), highest[b]) for b in sizes]
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def cell(values: list[float] | None, highest: float) -> str:
    """A mean, its spread, bold if it is the highest."""
    if not values:
        return ""
    text = f"{np.mean(values):.3f}" + (f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else "")
    return f"**{text}**" if np.mean(values) >= highest else text


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """recall@100 against bytes, a panel a dataset."""
    import matplotlib.pyplot as plt

    found = best_of_seeds(lines, "recall@100")
    datasets = [name for name in DATASETS if any(dataset == name for dataset, _, _ in found)]
    wide = -(-(len(datasets) + 1) // 3)  # one panel more than datasets, for the legend
    figure, panels = plt.subplots(3, wide, figsize=(4 * wide, 10), squeeze=False)
    for panel, dataset in zip(panels.flat, datasets, strict=False):
        for method, points in curves(found, dataset):
            ours = method in ENCODERS
            style = {"linewidth": 2.5 if ours else 1, "marker": "o" if ours else ".", "label": method}
            style["color"] = plt.get_cmap("tab20")(METHODS.index(method) * 2 % 20 + METHODS.index(method) // 10)
            if method == IDEAL:
                style |= {"color": "black", "linestyle": ":", "label": "ideal code of a Gaussian"}
            panel.plot(*zip(*points, strict=True), **style)
        panel.set(title=dataset, xscale="log", xlabel="bytes a vector", ylabel="recall@100", ylim=(0, 1.02))
        panel.set_xticks(BUDGETS, list(map(str, BUDGETS)))
        panel.grid(alpha=0.3)
    for panel in list(panels.flat)[len(datasets) :]:
        panel.set_axis_off()
    drawn = {line.get_label(): line for panel in panels.flat for line in panel.get_lines()}
    panels.flat[-1].legend(drawn.values(), drawn.keys(), fontsize=8, loc="center", ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def curves(found: dict[tuple[str, str, int], list[float]], dataset: str) -> Iterator[tuple[str, list]]:
    """Every method's points, by rising bytes."""
    for method in METHODS:  # one colour each, whatever was measured first
        points = [(b, np.mean(v)) for (of, m, b), v in found.items() if (of, m) == (dataset, method)]
        if points:
            yield method, sorted(points)


if __name__ == "__main__":
    main()
