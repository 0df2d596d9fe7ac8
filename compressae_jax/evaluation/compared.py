"""Runs beside each other in words: tables for a screen and a page; `jobs.compare` measures."""

from collections.abc import Mapping, Sequence
from typing import Any

from compressae_jax.evaluation.tables import aligned, interval, markdown_table, p_value, signed

Report = Mapping[str, Any]
FIGURE = "compare.png"


def on_screen(report: Report) -> str:
    """The tables as text."""
    return "\n\n".join(block if isinstance(block, str) else aligned(*block) for block in _blocks(report))


def markdown(report: Report, figure: str | None = FIGURE) -> str:
    """The tables as a page, with the figure of that name."""
    blocks = [block if isinstance(block, str) else markdown_table(*_escaped(*block)) for block in _blocks(report)]
    title = f"# {', '.join(run['name'] for run in report['runs'])}: runs on {report['source']}"
    return "\n\n".join([title, *blocks, *([f"![curves]({figure})"] if figure else [])]) + "\n"


def _blocks(report: Report) -> list[Any]:
    names = [run["name"] for run in report["runs"]]
    fields = [[name, *(_value(one) for one in values)] for name, values in report["differing"].items()]
    asked = [f"{name}: {p['scored']:,} {p['unit']}, {p['rows']:,} rows searched" for name, p in _protocols(report)]
    family = sum("p_holm" in row for row in report["measures"])
    return [
        (["run", "codes", "h", "k", "bytes", "model", "trained, s"], [_run(run) for run in report["runs"]]),
        *([(["differing field", *names], fields)] if fields else ["No field of the configs differs."]),
        f"Own codes, over the same queries ({'; '.join(asked)}):",
        (
            ["protocol", "metric", "space", "run", "mean", f"− {names[0]}", "p"],
            [_measure(row) for row in report["measures"]],
        ),
        "[ ] 95 % bootstrap interval, differences paired by query; p: permutation within queries, by Holm over "
        f"{family} comparisons.",
        *([f"Not in all runs: {', '.join(report['left_out'])}."] if report["left_out"] else []),
    ]


def _protocols(report: Report) -> Sequence[tuple[str, Report]]:
    return list(report["protocols"].items())


def _run(run: Report) -> list[str]:
    seconds = "–" if run["training_seconds"] is None else f"{run['training_seconds']:,.0f}"
    size = f"{run['bytes_per_vector']:,.0f}"
    return [run["name"], str(run["codes"]), f"{run['h']:,}", str(run["k"]), size, run["fingerprint"], seconds]


def _measure(row: Report) -> list[str]:
    compared = [signed(row["difference"]), p_value(row["p_holm"])] if "difference" in row else ["", ""]
    return [row["protocol"], row["metric"], row["space"], row["run"], interval(row), *compared]


def _value(value: Any) -> str:
    return "–" if value is None or value == "" else str(value)


def _escaped(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in (headings, *rows))
    return head, body
