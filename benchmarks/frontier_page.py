"""What `frontier` measured, told: ours against the best peer, every table, and the figure; from its lines alone."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.evaluation import intervals

UNSEEN = ":unseen"
LARGE = ("debian", "wordnet", "wordnet768", "clinc150", "citeulike_a", "vaswani", "glove", "cifar10")  # 10,000 rows up
SETS = (*LARGE, "scifact", "shop")
DATASETS = (*(f"{name}{UNSEEN}" for name in SETS), *SETS)
ENCODERS = ("pursuit", "shortlist", "refit")  # of one dictionary
ONE_PASS = "one_pass"
OURS = (*ENCODERS, ONE_PASS)
PEERS = ("pq", "opq", "rq", "lsq", "prq", "rabitq", "sq", "pca_int8", "pca_int4", "binary", "transform", "itq")
IDEAL = "ideal"  # no method: see `benchmarks.ideal`
METHODS = (*OURS, *PEERS, IDEAL)
TARGETS = (16, 32, 64, 128)  # bytes
DEPTH = 100  # neighbours
RECALL = f"recall@{DEPTH}"
SHARE = "share of "  # what dense vectors score in a task

PANELS = tuple(f"{name}{UNSEEN}" for name in ("debian", "wordnet", "clinc150", "vaswani"))
FAMILIES = {  # what a curve is the best of, and its colour
    "ours": (("pursuit",), "#0072B2"),
    "additive (RQ, LSQ, PRQ)": (("rq", "lsq", "prq"), "#CC79A7"),
    "product (PQ, OPQ)": (("pq", "opq"), "#D55E00"),
    "linear (transform coding, ITQ, PCA)": (("transform", "itq", "pca_int8", "pca_int4", "sq"), "#E69F00"),
    "binary, RaBitQ": (("binary", "rabitq"), "#009E73"),
    "one pass": ((ONE_PASS,), "#56B4E9"),
    "ideal code of a Gaussian": ((IDEAL,), "#000000"),
}
APART = 0.055  # of a panel's height, between labels

Lines = list[dict[str, Any]]


class Gap(NamedTuple):
    """Our recall at a budget of a set less that of the best peer, with its interval."""

    ours: float
    method: str
    peer: str
    of_peer: float
    mean: float
    low: float
    high: float
    paired: bool  # query by query

    @property
    def word(self) -> str:
        """'ahead', 'level' or 'behind'."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "level"


def packed(recall: np.ndarray) -> str:
    """How many of its neighbours each query found: a byte each, in base64."""
    return base64.b64encode(np.rint(recall * DEPTH).astype(np.uint8)).decode()


def unpacked(hits: str) -> np.ndarray:
    """The recall of each query, of its line's `hits`."""
    return np.frombuffer(base64.b64decode(hits), np.uint8) / DEPTH


def gap(lines: Lines, dataset: str, budget: int) -> Gap | None:
    """Ours against the best peer of at most so many bytes (seed 0); None where one of them was not run."""
    here = {
        line["method"]: line
        for line in lines
        if (line["dataset"], line["budget"], line["seed"]) == (dataset, budget, 0)
    }
    here = {name: line for name, line in here.items() if "scores" in line and line["bytes"] <= budget}

    def recall(name: str) -> float:
        return here[name]["scores"][RECALL][0]

    ours, peers = [name for name in OURS if name in here], [name for name in PEERS if name in here]
    if not ours or not peers:
        return None
    best, peer = max(ours, key=recall), max(peers, key=recall)
    return Gap(recall(best), best, peer, recall(peer), *_difference(here[best], here[peer]))


def _difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float, float, bool]:
    if "hits" in one and "hits" in other:
        return *intervals.difference(unpacked(one["hits"]), unpacked(other["hits"])), True
    (a, a_low, a_high), (b, b_low, b_high) = (line["scores"][RECALL] for line in (one, other))
    half = float(np.hypot(a_high - a_low, b_high - b_low)) / 2
    return a - b, a - b - half, a - b + half, False


def page(lines: Lines) -> str:
    """The verdicts first, then a table a dataset and metric."""
    text = [
        "# Accuracy against bytes a vector",
        "`python -m benchmarks.frontier`; dense queries unless said. All bytes a row needs in memory are counted; a "
        "dictionary (h × d float32) and the codebooks of peers are not. `:unseen`: half of the training rows are "
        "fitted to, the other half is searched, as new rows are; without it rows that were fitted to are searched, "
        "and quantisers of many codebooks remember them.",
        "![1 − recall@100 against bytes](frontier.png)",
        "## Ours against the best peer, rows not fitted to",
        f"{RECALL}, seed 0: ours, the best peer run at as many bytes, and the difference with its 95 % interval over "
        "queries, paired query by query; ~: of two runs that kept no queries, so that the interval is wider. A peer is "
        "the best of those run at that budget: the tables below have all, and what is empty was not run.",
        *(part for dataset in DATASETS if dataset.endswith(UNSEEN) for part in _against(lines, dataset)),
        "## Where ours loses, rows not fitted to",
        verdicts(lines),
        "## Every method",
        "Mean over seeds (± half their spread, where there are several). Half widths of the 95 % bootstrap intervals "
        "over queries are .003 to .007 with 1,000 queries. Empty: no form of that size, or not run. `ideal` is no "
        "method but a mark: what a code at the rate-distortion limit of a Gaussian with the data's second moments "
        "would find (benchmarks.ideal). `one_pass`: one training of 64 bytes' nonzeros, cut to fewer; `compressed "
        "queries` are compared as reconstructions, `sparse` as codes. `share of`: of what dense vectors score in the "
        "set's own task on the rows searched (judgements, later purchases or classes, at most 1,000 queries).",
    ]
    metrics = sorted({metric for line in lines for metric in line.get("scores", {})}, key=_order)
    for dataset in DATASETS:
        for metric in metrics:
            if table := one_table(lines, dataset, metric):
                text += [f"### {dataset}: {metric}", table]
    return "\n\n".join(text) + "\n"


def _order(metric: str) -> tuple[bool, bool, str]:
    return metric != RECALL, not metric.startswith(SHARE), metric


def _against(lines: Lines, dataset: str) -> list[str]:
    rows = ["| bytes | ours | best peer | ours − peer | |", "|---:|---|---|---|---|"]
    for budget in sorted({line["budget"] for line in lines if line["dataset"] == dataset}):
        if found := gap(lines, dataset, budget):
            mark = "" if found.paired else " ~"
            difference = f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}){mark}"
            ours = f"{found.ours:.3f}" + ("" if found.method == "pursuit" else f" ({found.method})")
            rows.append(f"| {budget} | {ours} | {found.of_peer:.3f} ({found.peer}) | {difference} | {found.word} |")
    return [f"### {dataset.removesuffix(UNSEEN)}", "\n".join(rows)] if len(rows) > 2 else []


def verdicts(lines: Lines) -> str:
    """Where ours is ahead, level and behind of the target's cells, and behind of all others; in words."""
    target = {
        (name, budget): found
        for name in LARGE
        for budget in TARGETS
        if (found := gap(lines, f"{name}{UNSEEN}", budget))
    }
    missing = [f"{name} at {budget}" for name in LARGE for budget in TARGETS if (name, budget) not in target]

    def of(word: str) -> list[str]:
        return [
            f"{name} at {b} ({found.peer} {-found.mean:+.3f})"
            for (name, b), found in target.items()
            if found.word == word
        ]

    others = [
        f"{name} at {budget} ({found.peer} {-found.mean:+.3f})"
        for name in SETS
        for budget in sorted({line["budget"] for line in lines})
        if (name, budget) not in target and (found := gap(lines, f"{name}{UNSEEN}", budget)) and found.word == "behind"
    ]
    parts = [
        f"Of sets of at least 10,000 vectors, at {', '.join(map(str, TARGETS))} bytes, {len(target)} cells were run: "
        f"ours is ahead of every peer run in {len(of('ahead'))}, level in {len(of('level'))}"
        + (f" ({', '.join(of('level'))})" if of("level") else "")
        + f", behind in {len(of('behind'))}"
        + (f": {', '.join(of('behind'))}." if of("behind") else ".")
    ]
    if missing:
        parts.append(f"Not run: {', '.join(missing)}.")
    if others:
        parts.append(f"Smaller sets and other budgets where ours is behind: {', '.join(others)}.")
    return " ".join(parts)


def means(lines: Lines, metric: str) -> dict[tuple[str, str, int], list[float]]:
    """All seeds' means by dataset, method and budget."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for line in lines:
        if metric in line.get("scores", {}):
            found.setdefault((line["dataset"], line["method"], line["budget"]), []).append(line["scores"][metric][0])
    return found


def one_table(lines: Lines, dataset: str, metric: str) -> str:
    """Methods down, budgets across."""
    found = {(m, b): values for (of, m, b), values in means(lines, metric).items() if of == dataset}
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


def curve(lines: Lines, dataset: str, family: tuple[str, ...]) -> list[tuple[int, float]]:
    """1 − recall of the best of a family at each budget, by rising bytes."""
    best: dict[int, float] = {}
    for (of, method, budget), values in means(lines, RECALL).items():
        if of == dataset and method in family:
            best[budget] = min(best.get(budget, 1.0), 1 - float(np.mean(values)))
    return sorted(best.items())


def draw(lines: Lines, path: Path) -> None:
    """What is missed against bytes, both axes logarithmic: ours and the best of each family, labelled at their ends."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, NullLocator

    measured = {line["dataset"] for line in lines}
    datasets = [name for name in PANELS if name in measured] or [name for name in DATASETS if name in measured][:4]
    rows = -(-len(datasets) // 2)
    figure, panels = plt.subplots(rows, min(2, len(datasets)), figsize=(11, 4.6 * rows), squeeze=False)
    for panel, dataset in zip(panels.flat, datasets, strict=False):
        ends = []
        for name, (family, colour) in FAMILIES.items():
            points = curve(lines, dataset, family)
            if not points:
                continue
            style = {"color": colour, "linewidth": 2.8 if name == "ours" else 1.4, "marker": "o", "markersize": 4}
            style |= {"linestyle": ":", "marker": ""} if family == (IDEAL,) else {}
            panel.plot(*zip(*points, strict=True), **style)
            ends.append((points[-1], name, colour))
        panel.set(title=f"{dataset.removesuffix(UNSEEN)}, rows not fitted to" if UNSEEN in dataset else dataset)
        panel.set(xscale="log", yscale="log", xlabel="bytes a vector", ylabel=f"1 − {RECALL}")
        sizes = sorted({line["budget"] for line in lines if line["dataset"] == dataset})
        panel.set_xticks(sizes, list(map(str, sizes)))
        panel.set_xlim(sizes[0] * 0.9, sizes[-1] * 1.1)
        ticks = [
            t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7) if panel.get_ylim()[0] <= t <= panel.get_ylim()[1]
        ]
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        _label(panel, ends)
    for panel in list(panels.flat)[len(datasets) :]:
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _label(panel: Any, ends: list[tuple[tuple[int, float], str, str]]) -> None:
    """Names beside the panel, as high as their curves end but for what keeps them apart; a thin line leads to each."""
    to_axes = panel.transData + panel.transAxes.inverted()
    placed = sorted((to_axes.transform(point)[1], point, name, colour) for point, name, colour in ends)
    above = -np.inf
    for height, point, name, colour in placed:
        above = max(height, above + APART)
        panel.annotate(
            name,
            point,
            (1.03, above),
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            va="center",
            weight="bold" if name == "ours" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
