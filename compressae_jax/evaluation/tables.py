"""A report in words: the closing table as aligned text, and the whole as Markdown; measuring is `report`'s matter."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressae_jax.evaluation import significance
from compressae_jax.evaluation.corpus import OWN
from compressae_jax.evaluation.evaluation import Evaluation

Report = Mapping[str, Any]
BEST = "*"
LONGEST = 100  # characters of an item in the closing text
NAME_ENDS = ": "
SMALLEST = 0.0001  # p-value that is written as a number


def format_table(report: Report) -> str:
    """The headline of every protocol for every contender, aligned; `*` marks the best at the bytes of one code."""
    rows = [_headings(report), *_rows(report, lambda text: text + BEST)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_columns(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(
        [*lines, "", f"[ ] 95 % interval; {BEST} highest among those that were given the bytes of one code."]
    )


def of_evaluations(scored: Sequence[Evaluation]) -> str:
    """A line for every evaluation, aligned; the last columns compare its first metric with that of the first one."""
    first, metrics = scored[0], list(scored[0])
    headings = ["run", "queries", *metrics, *([f"{metrics[0]} − first", "p"] if len(scored) > 1 else [])]
    rows = []
    adjusted = significance.holm(np.array([one.p_values(first)[metrics[0]] for one in scored[1:]]))
    for place, one in enumerate(scored):
        row = [one.name, f"{len(one.query_ids):,}", *(interval(one[metric]._asdict()) for metric in metrics)]
        if len(scored) > 1:
            compared = [signed(one.difference(first)[metrics[0]]._asdict()), p_value(adjusted[place - 1])]
            row += compared if place else ["", ""]
        rows.append(row)
    notes = [f"{one.name}: {one.note}" for one in scored if one.note]
    tested = "; p: permutation within queries" + (", Holm over the runs" if len(scored) > 2 else "")
    return "\n".join([aligned(headings, rows), "", *notes, "[ ] 95 % interval" + (tested if len(scored) > 1 else "")])


def p_value(p: float) -> str:
    """A p-value to two digits."""
    return f"{p:.2g}" if p >= SMALLEST else f"<{SMALLEST}"


def format_examples(report: Report) -> str:
    """The example items with their nearest neighbours, a block for each; empty where items have no names."""
    return "\n\n".join(_example(example) for example in report["examples"])


def closing(report: Report) -> str:
    """What a run prints last: table, examples, and where figures and report lie."""
    where = [f"{report['workdir']}/{name}" for name in (*report["figures"], "report.md")]
    examples = format_examples(report)
    shown = {**report, "contenders": at_own_budget(report)}
    return "\n".join([format_table(shown), *(["", examples] if examples else []), "", *where])


def at_own_budget(report: Report) -> list[Mapping[str, Any]]:
    """The contenders without those at the bytes of another k than the model's, but for budgets that were asked for."""
    codes = [one for one in report["contenders"] if one["kind"] == "code"]
    prefixes = [one for one in codes if one.get("of", OWN) == OWN and one["k"] != report["model"]["k"]]
    others = {one["budget"] for one in prefixes} - {one["budget"] for one in codes if one not in prefixes}
    return [one for one in report["contenders"] if one["budget"] not in others]


def markdown(report: Report) -> str:
    """The report as a page."""
    source, model = report["source"], report["model"]
    paragraphs = [
        f"# Evaluation on {source['name']}",
        f"{source['rows']:,} vectors of width {source['width']}; {_model(model)}.",
        *(["Beside them, on the same rows:"] if report.get("beside") else []),
        *[f"- {name}: {_model(one)}" for name, one in report.get("beside", {}).items()],
        "Asked:",
        *[f"- {_asked(name, protocol)}" for name, protocol in report["protocols"].items()],
        markdown_table(_headings(report), _rows(report, lambda text: f"**{text}**")),
        *_cut(report),
        "Mean and 95 % bootstrap interval. Bytes count all that a row needs to be searched: values, columns and scale. "
        "Baselines are searched with dense queries and fitted to "
        f"{report['baseline_rows']:,} of the rows that the model was trained on. "
        "Bold is the highest among those that were given the bytes of one code.",
        *_verdicts(report),
    ]
    for name in report["protocols"]:
        paragraphs += [f"## {name.capitalize()}", _details(report, name)]
    if report["examples"]:
        paragraphs += ["## Examples", *[_markdown_example(example) for example in report["examples"]]]
    paragraphs += ["## Figures", *([f"![{name}]({name})" for name in report["figures"]] or [report["figures_note"]])]
    return "\n\n".join([*_joined_lists(paragraphs), *_made(report)]) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table of Markdown, bytes to the right."""
    rule = ["---", *["---:" if heading in ("bytes", "smaller", "as published") else "---" for heading in headings[1:]]]
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, rule, *rows))


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, each column as wide as its widest cell, with a rule below the headings."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def best(report: Report, protocol: str) -> set[str]:
    """Names of the contenders with the highest mean of the headline among those of one budget, where there are two."""
    metric = report["protocols"][protocol]["headline"]
    budgets: dict[int, list[tuple[float, str]]] = {}
    for one in report["contenders"]:
        if one["budget"] is not None:
            budgets.setdefault(one["budget"], []).append((one["scores"][protocol][metric]["mean"], one["name"]))
    return {name for group in budgets.values() if len(group) > 1 for mean, name in group if mean == max(group)[0]}


def _headings(report: Report) -> list[str]:
    asked = [_metric(name, protocol["headline"]) for name, protocol in report["protocols"].items()]
    return ["method", "bytes", "smaller", *asked]


def _metric(protocol: str, metric: str) -> str:
    if protocol in ("neighbours", "unseen"):
        return metric if protocol == "neighbours" else f"unseen {metric}"
    of = "purchase" if protocol == "purchases" else protocol.removeprefix("judgements").removeprefix(" on ")
    return f"{of} {metric}".strip()


def _rows(report: Report, mark: Any) -> list[list[str]]:
    winners = {name: best(report, name) for name in report["protocols"]}
    rows = []
    for one in report["contenders"]:
        row = [one["name"], f"{one['bytes_per_vector']:,.0f}", f"{one['ratio']:.1f}×"]
        for name, protocol in report["protocols"].items():
            text = interval(one["scores"][name][protocol["headline"]])
            row.append(mark(text) if one["name"] in winners[name] else text)
        rows.append(row)
    return rows


def interval(score: Mapping[str, Any]) -> str:
    """A mean with its ends."""
    return f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _columns(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Text to the left, the two columns of plain numbers to the right."""
    return [
        cell.rjust(width) if place in (1, 2) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _verdicts(report: Report) -> list[str]:
    """A sentence for every budget and protocol: who is best, and where the best code stands."""
    sentences = []
    for name, protocol in report["protocols"].items():
        metric = protocol["headline"]
        winners = [one for one in report["contenders"] if one["name"] in best(report, name)]
        for winner in winners:
            method = winner["name"].partition(", ")[0] if winner["kind"] == "baseline" else winner["name"]
            text = f"- {_metric(name, metric)} at {winner['budget']:,} bytes: highest is {method}, "
            text += f"{winner['scores'][name][metric]['mean']:.3f}"
            if winner["kind"] != "code":
                codes = [o for o in report["contenders"] if o["kind"] == "code" and o["budget"] == winner["budget"]]
                code = max(codes, key=lambda one: one["scores"][name][metric]["mean"], default=None)
                text += f"; {code['name']} reaches {code['scores'][name][metric]['mean']:.3f}" if code else ""
            sentences.append(text + ".")
    return sentences


def _model(one: Mapping[str, Any]) -> str:
    return f"{one.get('codes', 'codes')} of h={one['h']:,} and k={one['k']}, model {one['fingerprint']}"


def _asked(name: str, protocol: Mapping[str, Any]) -> str:
    new = ", to none of which anything was fitted" if name == "unseen" else ""
    return f"{name}: {protocol['scored']:,} {protocol['unit']}, {protocol['rows']:,} rows searched{new}"


def _cut(report: Report) -> list[str]:
    """What is said of metrics that find all rows."""
    return [
        f"{name} has no {metric} here: {protocol['rows']:,} rows are searched, too few for that depth; every row would "
        "be found by every method."
        for name, protocol in report["protocols"].items()
        for metric in protocol["cut"]
    ]


def _details(report: Report, protocol: str) -> str:
    """All metrics of a protocol, and the paired difference of its headline to dense search."""
    asked = report["protocols"][protocol]
    headline, metrics = asked["headline"], [metric for metric in asked["metrics"] if metric not in asked["cut"]]
    rows = []
    for one in report["contenders"]:
        scores = one["scores"][protocol]
        published = "" if one["bytes_as_published"] is None else f"{one['bytes_as_published']:,}"
        difference = "" if one["kind"] == "dense" else signed(scores[headline]["difference"])
        cells = [interval(scores[metric]) for metric in metrics]
        rows.append([one["name"], f"{one['bytes_per_vector']:,.0f}", published, *cells, difference])
    return markdown_table(["method", "bytes", "as published", *metrics, f"{headline} − dense"], rows)


def signed(score: Mapping[str, float]) -> str:
    """A difference with its ends."""
    return f"{score['mean']:+.3f} [{score['low']:+.3f}, {score['high']:+.3f}]"


def _example(example: Mapping[str, Any]) -> str:
    lines, neighbours = [textwrap.shorten(example["item"], LONGEST)], example["neighbours"]
    if all(NAME_ENDS in item for found in neighbours.values() for item in found):
        width = max(map(len, neighbours))
        return "\n".join(lines + [f"  {name.ljust(width)}  {_short(found)}" for name, found in neighbours.items()])
    for name, found in example["neighbours"].items():
        lines += [
            f"  {name}",
            *[f"    {place}. {textwrap.shorten(item, LONGEST)}" for place, item in enumerate(found, 1)],
        ]
    return "\n".join(lines)


def _short(items: Sequence[str]) -> str:
    """Items that are a name and more by their names alone."""
    return ", ".join(item.partition(NAME_ENDS)[0] for item in items)


def _markdown_example(example: Mapping[str, Any]) -> str:
    lists = [f"- {name}: {'; '.join(found)}" for name, found in example["neighbours"].items()]
    return "\n".join([f"**{example['item']}**", "", *lists])


def _joined_lists(paragraphs: Sequence[str]) -> list[str]:
    """List items that follow each other stand without blank lines between them."""
    joined: list[str] = []
    for text in paragraphs:
        if text.startswith("- ") and joined and joined[-1].startswith("- "):
            joined[-1] += "\n" + text
        else:
            joined.append(text)
    return joined


def _made(report: Report) -> list[str]:
    hardware, made = report["hardware"], report["versions"]
    usage = report["usage"]
    facts = [
        f"latents: {usage['latents']:,}, of which {usage['dead']:,} fire in no row",
        f"hardware: {hardware['cpu']}, {hardware['cores']} cores; JAX on {', '.join(sorted(set(hardware['devices'])))}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in made.items()),
        f"commit: {report['commit'] or 'none (not a git checkout)'}; seed {report['seed']}",
        f"command: `{report['command']}`",
        f"date: {report['date']}; {report['seconds']:.0f} s",
    ]
    config = json.dumps(report["config"], indent=1)
    return ["## How it was made", "\n".join(f"- {fact}" for fact in facts), f"```json\n{config}\n```"]
