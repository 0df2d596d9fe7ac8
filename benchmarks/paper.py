"""The open run of the paper's setting beside the paper's own Figure 1: one table, one figure.

    python launch/run.py --config=configs/paper.py --workdir=runs/paper
    python -m benchmarks.paper --report=runs/paper/report.json --out=results/paper

The paper's values (arXiv 2505.11388, Figure 1; read off its vector graphic, ± .003) are of 768-d Nomic embeddings of
O(10⁸) private items; ours are of 32,000 WordNet definitions. So the levels are not comparable, the shapes are.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# recall@100 by k, bytes 8 k
FIGURE_1 = {
    "reconstructed": {256: 0.930, 128: 0.857, 64: 0.778, 32: 0.712, 16: 0.658, 8: 0.590},
    "sparse": {256: 0.846, 128: 0.795, 64: 0.715, 32: 0.656, 16: 0.602, 8: 0.568},
}
MATRYOSHKA = {2048: 0.877, 1024: 0.789, 512: 0.682, 256: 0.581}  # by bytes
OURS = ("sparse", "reconstructed", "dense_query")
BASELINES = ("truncation", "PCA", "PCA int8", "PQ")
BYTES = 8  # a nonzero, as the paper counts: float32 value, int32 column
COLOURS = {"sparse": "#d55e00", "reconstructed": "#009e73", "dense_query": "#0072b2"}
GREYS = {"truncation": "#666666", "PCA": "#9467bd", "PCA int8": "#c49a00", "PQ": "#a0522d"}


def main() -> None:
    """Read the report, write both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", default="runs/paper/report.json")
    parser.add_argument("--out", default="results/paper")
    flags = parser.parse_args()
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    measured = curves(json.loads(Path(flags.report).read_text(encoding="utf-8")))
    (out / "figure1.md").write_text(table(measured), encoding="utf-8")
    draw(measured, out / "figure1.png")
    print(table(measured))


def curves(report: Mapping[str, Any]) -> dict[str, dict[int, Mapping[str, float]]]:
    """recall@100 by name of the method and bytes as the paper counts them."""
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for one in report["contenders"]:
        score = one["scores"]["neighbours"]["recall@100"]
        if one["kind"] == "code":
            found.setdefault(one["space"], {})[one["bytes_as_published"]] = score
        elif one["budget"] is not None:
            found.setdefault(one["name"].split(",")[0], {})[one["budget"]] = score
    return found


def table(measured: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """One row a budget: the paper's two spaces and Matryoshka, then ours and the plain methods."""
    budgets = sorted(measured["reconstructed"])
    heads = ["bytes (k)", "paper sparse", "paper reconstructed", "paper Matryoshka", *OURS, *BASELINES]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for budget in budgets:
        k = budget // BYTES
        paper = [FIGURE_1["sparse"].get(k), FIGURE_1["reconstructed"].get(k), MATRYOSHKA.get(budget)]
        cells = [f"{budget} ({k})", *("–" if value is None else f"{value:.3f}" for value in paper)]
        cells += [_cell(measured.get(name, {}).get(budget)) for name in (*OURS, *BASELINES)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(measured: Mapping[str, Mapping[int, Mapping[str, float]]], path: Path) -> None:
    """Left the paper's Figure 1, right the open run, on the same axes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for name, values in FIGURE_1.items():
        budgets = sorted(values)
        left.plot([BYTES * k for k in budgets], [values[k] for k in budgets], "o-", color=COLOURS[name], label=name)
    left.plot(list(MATRYOSHKA), list(MATRYOSHKA.values()), "D--", color=GREYS["truncation"], label="Matryoshka")
    left.set_title("the paper (private items, 768-d Nomic)")
    for name in (*OURS, *BASELINES):
        points = sorted(measured.get(name, {}).items())
        means = [score["mean"] for _, score in points]
        spread = [[s["mean"] - s["low"] for _, s in points], [s["high"] - s["mean"] for _, s in points]]
        style = {"fmt": "o-", "color": COLOURS[name]} if name in OURS else {"fmt": "D--", "color": GREYS[name], "lw": 1}
        right.errorbar([budget for budget, _ in points], means, spread, capsize=2, label=name, **style)
    right.set_title("this run (WordNet definitions, 768-d MPNet)")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("bytes per vector, 8 a nonzero")
        axes.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    left.set_ylabel("recall@100 of the dense neighbours")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _cell(score: Mapping[str, float] | None) -> str:
    return "–" if score is None else f"{score['mean']:.3f} ± {(score['high'] - score['low']) / 2:.3f}"


if __name__ == "__main__":
    main()
