"""README's table, made anew from a committed report.

python benchmarks/readme.py        # results/wordnet/report.json → README.md
"""

import json
from pathlib import Path
from typing import Any

from compressae_jax.evaluation.tables import at_own_budget

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "results" / "wordnet" / "report.json"
BEGIN, END = "<!-- table: python benchmarks/readme.py -->\n", "<!-- /table -->"


def main() -> None:
    """Put the table between its marks."""
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """The README's text with the table of the committed report."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(json.loads(REPORT.read_text(encoding="utf-8"))) + END + after


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


def _head(name: str, asked: dict[str, Any]) -> str:
    return asked["headline"] if name == "neighbours" else f"{name.removeprefix('judgements on ')} {asked['headline']}"


if __name__ == "__main__":
    main()
