"""README's tables, made anew from committed results.

python -m benchmarks.readme        # results/wordnet/report.json, results/frontier/measured.jsonl → README.md
"""

import json
from pathlib import Path
from typing import Any

from compressae_jax.evaluation.tables import at_own_budget

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "results" / "wordnet" / "report.json"
MEASURED = ROOT / "results" / "frontier" / "measured.jsonl"
BEGIN, END = "<!-- table: python -m benchmarks.readme -->\n", "<!-- /table -->"
BEGIN_FRONTIER, END_FRONTIER = "<!-- frontier: python -m benchmarks.readme -->\n", "<!-- /frontier -->"
BUDGETS = (16, 32, 64)
OURS = ("pursuit", "shortlist", "refit")
NO_PEERS = (*OURS, "ideal")
UNSEEN = ":unseen"


def main() -> None:
    """Put the table between its marks."""
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """The README's text with the tables of the committed results."""
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in MEASURED.read_text(encoding="utf-8").splitlines()]
    text = _between(text, BEGIN, END, table(report))
    return _between(text, BEGIN_FRONTIER, END_FRONTIER, frontier(lines))


def _between(text: str, begin: str, end: str, content: str) -> str:
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + content + end + after


def table(report: dict[str, Any]) -> str:
    """Dense search, the three spaces at the model's k, and what has no more bytes; headline of every protocol."""
    protocols = report["protocols"]
    names = [name if name != "judgements" else report["source"]["name"] for name in protocols]
    heads = ["method", "bytes", "smaller", *map(_head, names, protocols.values())]
    lines = ["| " + " | ".join(heads) + " |", "|---|---:|---:|" + "---|" * len(protocols)]
    for one in at_own_budget(report):
        scores = [one["scores"][name][asked["headline"]] for name, asked in protocols.items()]
        cells = [one["name"].split(", ")[0] if one["kind"] == "baseline" else one["name"]]
        cells += [f"{one['bytes_per_vector']:,.0f}", f"{one['ratio']:.1f}×"]
        cells += [f"{score['mean']:.3f} ± {(score['high'] - score['low']) / 2:.3f}" for score in scores]
        lines.append("| " + " | ".join(cells) + " |")
    asked, hardware = protocols["neighbours"], report["hardware"]
    lines += [
        "",
        f"{asked['rows']:,} definitions of WordNet × {report['model']['d']}, h={report['model']['h']:,}; recall@100 of "
        f"the exact neighbours of {asked['scored']:,} held-out rows, and the same model carried to SciFact's "
        "judgements. Baselines get dense queries, as `dense_query` does; `sparse` and `reconstructed` search with "
        "compressed ones. Half widths of 95 % "
        f"bootstrap intervals; {hardware['cores']} CPU cores, {report['date'][:10]}, `{report['command']}`; "
        "all of it in [results/wordnet](results/wordnet/report.md).",
    ]
    return "\n".join(lines) + "\n"


def frontier(lines: list[dict[str, Any]]) -> str:
    """Packed pursuit codes and the best peer measured at the same budget, on rows not fitted to, and on others."""
    found = {(o["dataset"], o["budget"], o["method"]): o["scores"]["recall@100"] for o in lines if _counts(o)}
    seen, unseen = ({key: v for key, v in found.items() if key[0].endswith(UNSEEN) == kind} for kind in (False, True))
    return (
        "Rows that nothing was fitted to (half of the training rows are fitted to, the other half is searched):\n\n"
        f"{_recalls(unseen)}\nRows that, but for the validation rows, all methods were fitted to:\n\n{_recalls(seen)}"
    )


def _recalls(found: dict[tuple[str, int, str], list[float]]) -> str:
    """Recall@100 by dataset (seed 0)."""
    heads = [head for budget in BUDGETS for head in (f"{budget} bytes", "best peer")]
    rows = ["| dataset | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for dataset in sorted({dataset for dataset, _, _ in found}):
        cells = [cell for budget in BUDGETS for cell in _pair(found, dataset, budget)]
        rows.append(f"| {dataset.removesuffix(UNSEEN)} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _counts(line: dict[str, Any]) -> bool:
    return line["seed"] == 0 and "scores" in line and line["bytes"] <= line["budget"] in BUDGETS


def _pair(found: dict[tuple[str, int, str], list[float]], dataset: str, budget: int) -> tuple[str, str]:
    here = {method: score for (of, size, method), score in found.items() if (of, size) == (dataset, budget)}
    peers = {method: score[0] for method, score in here.items() if method not in NO_PEERS}
    best = max(peers, key=lambda name: peers[name], default=None)
    ours = here.get("pursuit")
    wins = ours is not None and best is not None and ours[0] > peers[best]
    text = "" if ours is None else f"{ours[0]:.3f} ± {(ours[2] - ours[1]) / 2:.3f}"
    return f"**{text}**" if wins else text, "" if best is None else f"{peers[best]:.3f} ({best})"


def _head(name: str, asked: dict[str, Any]) -> str:
    return asked["headline"] if name == "neighbours" else f"{name.removeprefix('judgements on ')} {asked['headline']}"


if __name__ == "__main__":
    main()
