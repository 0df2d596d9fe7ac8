"""The tables and sentences of README, docs/MEASURED and docs/EVIDENCE, experiments' answers: made anew from results.

python -m benchmarks.readme              # from results/ alone
python -m benchmarks.readme --examples   # and what README's first Python block prints, run on the shipped data
"""

import argparse
import ast
import contextlib
import io
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import frontier_page, timing
from compressae_jax.evaluation.tables import at_own_budget
from compressae_jax.experiments import running
from compressae_jax.experiments.page import ANSWER, JSON
from compressae_jax.jobs.experiments import about

ROOT = Path(__file__).resolve().parent.parent
README, MEASURED_PAGE, EVIDENCE_PAGE = ROOT / "README.md", ROOT / "docs" / "MEASURED.md", ROOT / "docs" / "EVIDENCE.md"
RESULTS = ROOT / "results"
PAGES_OF_EXPERIMENTS = ROOT / "configs" / "experiments"
COMMAND = "python -m benchmarks.readme"
EXAMPLE = "example", f"{COMMAND} --examples"
PACKED = "packed pursuit codes"


def main() -> None:
    """Put tables and sentences between their marks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", action="store_true", help="run the first Python block, too: two minutes")
    flags = parser.parse_args()
    for page in PAGES:
        text = with_results(page, page.read_text(encoding="utf-8"))
        if flags.examples and page == README:
            text = with_example(text)
        page.write_text(text, encoding="utf-8")
    for name in measured():
        path = PAGES_OF_EXPERIMENTS / f"{name}.py"
        path.write_text(with_answer(name, path.read_text(encoding="utf-8")), encoding="utf-8")


def measured() -> list[str]:
    """The experiments that have results."""
    return [name for name in running.NAMES if (RESULTS / "experiments" / name / JSON).exists()]


def with_answer(name: str, text: str) -> str:
    """The config of an experiment with the answer of its results in its docstring."""
    told = _read("experiments", name, JSON)
    how = f"{ANSWER}size {told['size']}, {told['made']['seconds'] / 60:.0f} minutes on two shared cores): "
    said = textwrap.fill(f"{how}{told['answer']}", 120, break_long_words=False, break_on_hyphens=False)
    begin = text.index(ANSWER)
    end = min(place for mark in ("\n\n", '\n"""') if (place := text.find(mark, begin)) >= 0)
    return text[:begin] + said + text[end:]


def with_results(page: Path, text: str) -> str:
    """A page's text with what follows from committed results."""
    for mark, made in PAGES[page].items():
        text = between(text, mark, COMMAND, made())
    return text


def with_example(text: str) -> str:
    """The README with what its first Python block prints, a comment behind each statement that prints."""
    begin, _ = _marks(*EXAMPLE)
    code = text.split(begin)[1].split("```python\n")[1].split("```")[0]
    return between(text, *EXAMPLE, f"```python\n{run(code)}```\n")


def run(code: str) -> str:
    """Code with what each statement printed, as comments in place of those there were."""
    lines = [line for line in code.splitlines() if not line.startswith("# ")]
    shown, scope = [], {"__name__": "example"}
    body = ast.parse("\n".join(lines)).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        end = following.lineno - 1 if following else len(lines)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module([statement], []), "README.md", "exec"), scope)
        own = lines[statement.lineno - 1 : end]
        blank = [line for line in own if not line.strip()]
        shown += [line for line in own if line.strip()] + [f"# {line}" for line in printed.getvalue().splitlines()]
        shown += blank
    return "\n".join(shown) + "\n"


def between(text: str, mark: str, command: str, content: str) -> str:
    """A text with something else between the marks of a name."""
    begin, end = _marks(mark, command)
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + content + end + after


def _marks(mark: str, command: str) -> tuple[str, str]:
    return f"<!-- {mark}: {command} -->\n", f"<!-- /{mark} -->"


def _read(*path: str) -> dict[str, Any]:
    return json.loads(RESULTS.joinpath(*path).read_text(encoding="utf-8"))


def headline() -> str:
    """What the quickstart keeps of rows that nothing was fitted to, in a sentence."""
    report = _read("debian", "report.json")
    codes = [one for one in report["contenders"] if one.get("codes") == PACKED]
    ours = min(codes, key=lambda one: one["bytes_per_vector"])
    peer = next(one for one in report["contenders"] if one["kind"] == "baseline" and one["budget"] == ours["budget"])
    kept, of_peer = (one["scores"]["unseen"]["recall@100"]["mean"] for one in (ours, peer))
    width, size = report["model"]["d"], ours["bytes_per_vector"]
    return (
        f"A {width}-number vector in {size:.0f} bytes: {ours['ratio']:.0f} times smaller, and {kept:.3f} of its 100 "
        f"nearest are found, where {peer['name'].split(',')[0]} of as many bytes finds {of_peer:.3f} (rows that "
        "neither was fitted to).\n"
    )


def quickstart() -> str:
    """The quickstart's table: the headline of every protocol for every contender."""
    report = _read("debian", "report.json")
    protocols = report["protocols"]
    asked, unseen, hardware = protocols["neighbours"], protocols["unseen"], report["hardware"]
    lines = [
        *_scores(report, report["contenders"]),
        "",
        f"{report['source']['rows']:,} packages × {report['model']['d']}, queries {asked['scored']:,} packages held "
        f"out; *unseen*: the {unseen['rows']:,} rows that nothing was fitted to, alone; nDCG@10 of packages with like "
        f"tags. ± half of the 95 % bootstrap interval. {hardware['cores']} CPU cores, {report['date'][:10]}, "
        f"`{report['command']}`; more in [results/debian](results/debian/report.md).",
    ]
    return "\n".join(lines) + "\n"


def speed() -> str:
    """Our rows beside the compressed peers, and codes as floats beside the fastest exact dense search."""
    packed, search = _read("packed.json"), _read("search.json")
    smallest = packed["results"][0]
    sides, queries = smallest["sides"], packed["settings"]["queries"]
    peers = [name for name in sides if name.startswith(("faiss", "turbovec"))]
    fastest = min(peers, key=lambda name: sides[name]["ms"][str(queries[-1])]["median_ms"])
    closest = max(peers, key=lambda name: sides[name]["recall"]["mean"])

    def told(what: str, name: str) -> list[str]:
        times = " / ".join(f"{sides[name]['ms'][str(q)]['median_ms']:.0f}" for q in queries)
        return [f"{what}{name}", times, f"{sides[name]['recall']['mean']:.3f}"]

    rows = packed["data"]["searched"] * packed["data"]["copies"]
    asked = " / ".join(map(str, queries))
    what = f"exact scan of {rows / 1e6:.0f} million rows of {smallest['bytes']} bytes"
    lines = [
        *timing.markdown(
            f"{what} | ms at {asked} queries | recall@100",
            [
                told("packed pursuit codes, ", "fast4"),
                told("the fastest compressed peer, ", fastest),
                told("the most accurate one, ", closest),
            ],
        ),
        "",
        f"{packed['threads']} cores, {packed['data']['name']}'s unseen rows repeated ([all peers, 64 and 128 bytes, "
        "intervals](results/packed.md)). Published one-pass codes of d=768 are searched "
        f"{_times_as_fast(search)} times as fast as the fastest exact dense search searches a million rows "
        "([search](results/search.md)).",
        "",
        "![recall and time at 32, 64 and 128 bytes](results/packed.png)",
    ]
    return "\n".join(lines) + "\n"


def _times_as_fast(search: dict[str, Any]) -> str:
    """Of `host` with dense u beside the fastest exact peer on dense vectors, by numbers of queries."""
    found = []
    for q in (1, 16, 64):
        here = [one for one in search["results"] if one["queries"] == q and one["exact"] and not one["wrong"]]
        ours = next(one["median_ms"] for one in here if one["side"] == "host, dense u")
        dense = [one["median_ms"] for one in here if not one["ours"] and one["scores"] == "dense"]
        found.append(f"{min(dense) / ours:.0f}")
    return " / ".join(found)


def one_pass() -> str:
    """Dense search, the three spaces at the model's k, and what has no more bytes; headline of every protocol."""
    report = _read("wordnet", "report.json")
    lines = _scores(report, at_own_budget(report))
    asked, hardware = report["protocols"]["neighbours"], report["hardware"]
    lines += [
        "",
        f"{asked['rows']:,} definitions of WordNet × {report['model']['d']}, h={report['model']['h']:,}; recall@100 of "
        f"the exact neighbours of {asked['scored']:,} held-out rows, and the same model carried to SciFact's "
        "judgements. Baselines get dense queries, as `dense_query` does; `sparse` and `reconstructed` search with "
        "compressed ones. Half widths of 95 % "
        f"bootstrap intervals; {hardware['cores']} CPU cores, {report['date'][:10]}, `{report['command']}`; "
        "all of it in [results/wordnet](../results/wordnet/report.md).",
    ]
    return "\n".join(lines) + "\n"


def frontier() -> str:
    """Packed pursuit codes and the best peer measured at the same budget, on rows not fitted to, and on others."""
    measured = RESULTS / "frontier" / "measured.jsonl"
    lines = [json.loads(line) for line in measured.read_text(encoding="utf-8").splitlines()]
    unseen = [name for name in frontier_page.DATASETS if name.endswith(frontier_page.UNSEEN)]
    seen = [name for name in frontier_page.DATASETS if name not in unseen]
    return (
        "![1 − recall@100 against bytes](../results/frontier/frontier.png)\n\n"
        "Rows that nothing was fitted to (half of the training rows are fitted to, the other half is searched):\n\n"
        f"{_recalls(lines, unseen)}\n{frontier_page.verdicts(lines)}\n\n"
        "Rows that, but for the validation rows, all methods were fitted to:\n\n"
        f"{_recalls(lines, seen)}"
    )


def _recalls(lines: frontier_page.Lines, datasets: Iterable[str]) -> str:
    """Recall@100 by dataset (seed 0)."""
    heads = [head for budget in frontier_page.TARGETS for head in (f"{budget} bytes", "best peer")]
    rows = ["| dataset | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for dataset in datasets:
        cells = [cell for budget in frontier_page.TARGETS for cell in _pair(lines, dataset, budget)]
        if any(cells):
            rows.append(f"| {dataset.removesuffix(frontier_page.UNSEEN)} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _pair(lines: frontier_page.Lines, dataset: str, budget: int) -> tuple[str, str]:
    found = frontier_page.gap(lines, dataset, budget)
    if found is None:
        return "", ""
    text = f"{found.ours:.3f}"
    return f"**{text}**" if found.word == "ahead" else text, f"{found.of_peer:.3f} ({found.peer})"


def _scores(report: dict[str, Any], contenders: Iterable[Mapping[str, Any]]) -> list[str]:
    """A table: methods down; bytes and the headline of every protocol across."""
    protocols = report["protocols"]
    names = [name if name != "judgements" else report["source"]["name"] for name in protocols]
    heads = ["method", "bytes", "smaller", *map(_head, names, protocols.values())]
    lines = ["| " + " | ".join(heads) + " |", "|---|---:|---:|" + "---|" * len(protocols)]
    for one in contenders:
        scores = [one["scores"][name][asked["headline"]] for name, asked in protocols.items()]
        cells = [one["name"].split(", ")[0] if one["kind"] == "baseline" else one["name"]]
        cells += [f"{one['bytes_per_vector']:,.0f}", f"{one['ratio']:.1f}×"]
        cells += [f"{score['mean']:.3f} ± {(score['high'] - score['low']) / 2:.3f}" for score in scores]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _head(name: str, asked: dict[str, Any]) -> str:
    return asked["headline"] if name == "neighbours" else f"{name.removeprefix('judgements on ')} {asked['headline']}"


def experiments() -> str:
    """Every experiment that has results: question, answer, figure, what makes it again."""
    parts = []
    for name in measured():
        told, path = _read("experiments", name, JSON), f"../results/experiments/{name}"
        question = about(PAGES_OF_EXPERIMENTS / f"{name}.py")
        figure = f"![{question}]({path}/{told['figures'][0]}.png)" if told["figures"] else ""
        made = (
            f"[Page with all tables]({path}/results.md) · `python launch/reproduce.py --config=configs/experiments/"
            f"{name}.py --config.size={told['size']} --workdir=runs/{name}` · {len(told['cells'])} cells, "
            f"{told['made']['seconds'] / 60:.0f} minutes on {_cores(told['made']['hardware'])}, "
            f"{' and '.join(told['made']['days'])}"
        )
        parts += [f"### {question}", told["answer"], *([figure] if figure else []), made]
    return "\n\n".join(parts) + "\n"


def _cores(hardware: list[Mapping[str, Any]]) -> str:
    return " and ".join(sorted({f"{one['cores']} cores ({one['cpu']}), which other work shared" for one in hardware}))


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"headline": headline, "table": quickstart, "speed": speed},
    MEASURED_PAGE: {"frontier": frontier, "wordnet": one_pass},
    EVIDENCE_PAGE: {"experiments": experiments},
}

if __name__ == "__main__":
    main()
