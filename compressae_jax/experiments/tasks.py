"""How much of what dense vectors score is kept? Search, recommending and classes, at few bytes, beside every peer."""

import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.experiments import bench, methods, page, questions
from compressae_jax.experiments.bench import DEEPEST, Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec
from compressae_jax.experiments.methods import DENSE, OURS, Fitting
from compressae_jax.notation import InputError

TASK, UNSEEN = "task", "unseen"
NEIGHBOURS = f"recall@{DEEPEST}"
FINE = 0.0005  # of a share: what rounds to the same three decimals is level


class Verdict(NamedTuple):
    """Ours at a budget on a set against the best peer there."""

    dataset: str
    budget: int
    peer: str
    word: str  # 'ahead', 'level' or 'behind'


def cells(settings: Settings) -> list[Spec]:
    """Dense vectors of every set at hand, and every method at every budget; for some budgets unseen rows, too."""
    found: list[Spec] = []
    missing = bench.absent(settings["datasets"])
    for name in settings["datasets"]:
        if name in missing:
            continue
        own = {"dataset": name, "rows": settings["rows"]}
        for question, asked in ((TASK, settings["budgets"]), (UNSEEN, settings["unseen_budgets"])):
            if question == TASK:
                own["queries"] = settings["queries"]
                found.append({**own, "question": TASK, "method": DENSE, "budget": 0, "seed": settings["seeds"][0]})
            for seed in settings["seeds"]:
                for budget in asked:
                    for method in settings["methods"]:
                        slow = budget > settings["slow"].get(method, budget)
                        if seed in methods.seeds(method, settings["seeds"]) and not slow:
                            found.append(
                                {**own, "question": question, "method": method, "budget": budget, "seed": seed}
                            )
    return found


def measure(here: Bench, spec: Spec) -> Outcome:
    """Fit, store the rows, ask; a budget that a method has no form for is told, not raised."""
    fitting = _fitting(here, *(spec[name] for name in ("dataset", "question", "rows", "queries", "seed")))
    try:
        fitted = fitting.fitted(spec["method"], spec["budget"])
    except InputError as error:
        return Outcome({}, {"refused": str(error)})
    told: dict[str, Any] = {"bytes": fitted.bytes_per_vector, "fitted": len(fitting.rows)}
    if spec["question"] == UNSEEN:
        rows = bench.split(spec["dataset"], spec["rows"], unseen=True)
        _, found = fitted.over(rows.searched)(rows.queries, DEEPEST)
        return Outcome(neighbours.per_query(found, rows.truth), told)
    documents, protocol = questions.question(spec["dataset"], spec["rows"], spec["queries"])
    told |= {"kind": protocol.name, "headline": protocol.headline, "unit": protocol.unit}
    return Outcome(protocol.ask(fitted.over(documents)), told)


@functools.lru_cache(maxsize=1)
def _fitting(here: Bench, name: str, question: str, rows: int, queries: int, seed: int) -> Fitting:
    if question == UNSEEN:
        return Fitting(here, name, bench.split(name, rows, unseen=True).training, seed)
    return Fitting(here, name, questions.question(name, rows, queries).documents, seed)


def told(settings: Settings, results: Results) -> page.Page:
    """Shares of dense scores by budget and method, and where peers are ahead."""
    sets = results.values("dataset")
    ran = [name for name in settings["methods"] if any(one.scores for one in results.where(method=name))]
    verdicts = [one for name in sets for budget in settings["budgets"] for one in verdict(results, name, budget)]
    heads = ["bytes, method", f"mean of {len(sets)}", *(f"{name}, {_headline(results, name)}" for name in sets)]
    unseen = settings["unseen_budgets"]
    sections = [
        (
            "Share of what dense vectors score",
            page.table([*heads, *([f"unseen {NEIGHBOURS}"] if unseen else [])], _rows(settings, results, ran, True)),
        ),
        ("The same of the other metric", page.table(*_others(settings, results, ran))),
        ("Dense vectors", page.table(*_dense(results))),
        ("Ours against the best peer", page.table(*_verdicts(settings, verdicts))),
        ("What was fitted to what", _notes(settings)),
        ("Left out", _left_out(settings, results)),
    ]
    figure = page.Figure(
        "tasks",
        "Share of the dense score against bytes a vector: the mean over sets, and each set by its first metric",
        functools.partial(_drawn, settings=settings, results=results, ran=ran),
        (12, 3.4 * -(-(len(sets) + 1) // 3)),
    )
    return page.Page(_answer(settings, results, ran, verdicts), sections, [figure])


def _answer(settings: Settings, results: Results, ran: list[str], verdicts: list[Verdict]) -> str:
    sets, parts = results.values("dataset"), []
    for budget in settings["budgets"]:
        means = {name: macro(results, name, budget) for name in ran}
        ours = means.pop(OURS, None)
        peers = {name: mean for name, mean in means.items() if mean is not None and name not in methods.ENCODERS}
        if ours is None:
            continue
        best = max(peers, key=lambda name: peers[name].mean, default=None)
        against = "no peer has all" if best is None else f"{best} {peers[best].mean:.3f}"
        parts.append(f"{budget} bytes {ours.mean:.3f} ({ours.low:.3f} to {ours.high:.3f}; best peer run: {against})")
    words = {word: [one for one in verdicts if one.word == word] for word in ("ahead", "level", "behind")}
    behind = ", ".join(f"{one.dataset} at {one.budget} ({one.peer})" for one in words["behind"])
    return (
        f"Of what dense vectors score, mean of {len(sets)} sets ({', '.join(sets)}), our codes keep at "
        f"{'; '.join(parts)}. Against the best peer run on each set and budget ours are ahead "
        f"{len(words['ahead'])} times, level within the interval "
        f"{len(words['level'])} times, and behind {len(words['behind'])} times" + (f": {behind}." if behind else ".")
    )


def share(results: Results, dataset: str, method: str, budget: int, metric: str) -> intervals.Interval | None:
    """Of the dense score, by a method on a set; None where there is no such form."""
    pair = _pair(results, dataset, method, budget, metric)
    return None if pair is None else intervals.ratio(*pair)


def macro(results: Results, method: str, budget: int, place: int = 0) -> intervals.Interval | None:
    """The mean share over all sets, each by its metric of that place; None where one lacks it."""
    pairs = [
        _pair(results, name, method, budget, _metrics(results, name)[min(place, len(_metrics(results, name)) - 1)])
        for name in results.values("dataset")
    ]
    whole = [pair for pair in pairs if pair is not None]
    return intervals.mean_ratio(whole) if whole and len(whole) == len(pairs) else None


def verdict(results: Results, dataset: str, budget: int) -> list[Verdict]:
    """One of ours against the peer that scores best there, by the interval of their paired difference; [] of none."""
    metric = _headline(results, dataset)
    own = results.where(dataset=dataset, question=TASK, budget=budget)
    ours = own.where(method=OURS).per_query(metric)
    peers = {
        name: values
        for name in own.values("method")
        if name not in (*methods.ENCODERS, DENSE) and (values := own.where(method=name).per_query(metric)) is not None
    }
    if ours is None or not peers:
        return []
    best = max(peers, key=lambda name: peers[name].mean())
    gap = intervals.difference(ours, peers[best])
    return [
        Verdict(dataset, budget, best, "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"),
    ]


def _pair(
    results: Results, dataset: str, method: str, budget: int, metric: str
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, " q"]] | None:
    own = results.where(dataset=dataset, question=TASK)
    values = own.where(method=method, budget=budget).per_query(metric)
    base = own.where(method=DENSE).per_query(metric)
    return None if values is None or base is None else (values, base)


def _headline(results: Results, dataset: str) -> str:
    headline: str = next(iter(results.where(dataset=dataset, method=DENSE))).told["headline"]
    return headline


def _metrics(results: Results, dataset: str) -> list[str]:
    """The headline, and the other metric, if there is one; MRR is not asked for."""
    first = _headline(results, dataset)
    names = next(iter(results.where(dataset=dataset, method=DENSE))).scores
    return [first, *(name for name in names if name != first and not name.startswith("MRR"))][:2]


def _rows(settings: Settings, results: Results, ran: list[str], with_unseen: bool) -> list[list[page.Cell]]:
    rows: list[list[page.Cell]] = []
    for budget in settings["budgets"]:
        for method in ran:
            shares = [
                share(results, name, method, budget, _headline(results, name)) for name in results.values("dataset")
            ]
            if not any(shares):
                continue
            row: list[page.Cell] = [f"{budget}, {_bold(method)}", _shown(macro(results, method, budget))]
            row += [_shown(one) for one in shares]
            if with_unseen and settings["unseen_budgets"]:
                row.append(_unseen(results, method, budget))
            rows.append(row)
    return rows


def _unseen(results: Results, method: str, budget: int) -> page.Cell:
    """The mean over sets."""
    own = results.where(question=UNSEEN, method=method, budget=budget)
    found = [own.where(dataset=name).per_query(NEIGHBOURS) for name in results.values("dataset")]
    if not found or any(one is None for one in found):
        return None
    return float(np.mean([one.mean() for one in found if one is not None]))


def _others(settings: Settings, results: Results, ran: list[str]) -> tuple[list[str], list[list[page.Cell]]]:
    sets = [name for name in results.values("dataset") if len(_metrics(results, name)) > 1]
    heads = ["bytes, method", *(f"{name}, {_metrics(results, name)[1]}" for name in sets)]
    rows: list[list[page.Cell]] = []
    for budget in settings["budgets"]:
        for method in ran:
            shares = [share(results, name, method, budget, _metrics(results, name)[1]) for name in sets]
            if any(shares):
                rows.append([f"{budget}, {_bold(method)}", *map(_shown, shares)])
    return heads, rows


def _dense(results: Results) -> tuple[list[str], list[list[page.Cell]]]:
    rows: list[list[page.Cell]] = []
    for name in results.values("dataset"):
        own = results.where(dataset=name, method=DENSE, question=TASK)
        one = next(iter(own))
        told = ", ".join(f"{metric} {page.spread(own, metric)}" for metric in _metrics(results, name))
        asked = f"{len(one.scores[one.told['headline']]):,} {one.told['unit']}"
        rows.append([name, one.told["kind"], asked, int(one.told["fitted"]), int(one.told["bytes"]), told])
    return ["set", "question", "of", "rows searched", "bytes a vector", "score"], rows


def _verdicts(settings: Settings, verdicts: list[Verdict]) -> tuple[list[str], list[list[page.Cell]]]:
    by = {(one.dataset, one.budget): f"{one.word} ({one.peer})" for one in verdicts}
    budgets = settings["budgets"]
    names = list(dict.fromkeys(one.dataset for one in verdicts))
    return ["set", *(f"{budget} bytes" for budget in budgets)], [
        [name, *(by.get((name, budget)) for budget in budgets)] for name in names
    ]


def _notes(settings: Settings) -> str:
    most = f" Of larger sets {settings['rows']:,} rows are searched, drawn by seed 0." if settings["rows"] else ""
    unseen = ", ".join(map(str, settings["unseen_budgets"]))
    return (
        "Ours and peers alike are fitted to the documents themselves, as a user would, and to no query; queries stay "
        "dense. `pursuit`: our codes of the budget, values on 16 levels or more, columns as ranks, asked in the space "
        "`dense_query`. All bytes that a row needs in memory are counted; dictionary and codebooks are not. Residual "
        "quantisers of many stages can learn small sets by heart, which their scores here do not show. "
        + (
            f"The last column does: recall of the {DEEPEST} exact dense neighbours, at {unseen} bytes, where a random "
            "half of the rows was fitted to and the other half is searched."
            if unseen
            else ""
        )
        + most
        + " Judgements, purchases and classes: a query's own row is no answer, nor are items that a user has; rows in "
        "no class (clinc150's `oos`) are searched and do not ask; of citeulike_a a fifth of every library is held out. "
        "The best peer of a set and budget is chosen after the fact, which favours peers; intervals are not corrected "
        "for how many are compared."
    )


def _left_out(settings: Settings, results: Results) -> str:
    lines = [f"- **{name}** (a set): {reason}" for name, reason in bench.absent(settings["datasets"]).items()]
    lines += [
        f"- **{method}** above {most} bytes: not run at this size, it would take longest of all"
        for method, most in settings["slow"].items()
        if any(budget > most for budget in settings["budgets"])
    ]
    left = [name for name in methods.NAMES if name not in (*settings["methods"], DENSE)]
    lines += [f"- Not run at this size: {', '.join(left)}"] if left else []
    refused: dict[str, list[str]] = {}
    for one in results.where(question=TASK):
        if "refused" in one.told and one.spec["seed"] == settings["seeds"][0]:
            refused.setdefault(one.spec["method"], []).append(f"{one.spec['dataset']} at {one.spec['budget']}")
    lines += [f"- **{method}** has no form for {', '.join(where)} bytes" for method, where in refused.items()]
    return "\n".join(lines) or "Nothing."


def _drawn(canvas: Any, settings: Settings, results: Results, ran: list[str]) -> None:
    names: list[str | None] = [None, *results.values("dataset")]
    panels = list(canvas.subplots(-(-len(names) // 3), 3, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        for method in ran:
            points = []
            for budget in settings["budgets"]:
                one = (
                    macro(results, method, budget)
                    if name is None
                    else share(results, name, method, budget, _headline(results, name))
                )
                if one is not None:
                    points.append((budget, one.mean))
            if points:
                colour, marker = methods.LOOKS[method]
                width = 2.4 if method == OURS else 1.0
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, lw=width, ms=4, label=method)
        axes.axhline(1, color="black", lw=0.8, ls=":")
        title = "mean over sets" if name is None else f"{name}: {_headline(results, name)}"
        axes.set(title=title, xscale="log", xlabel="bytes a vector", ylabel="share of dense")
        axes.set_xticks(settings["budgets"], list(map(str, settings["budgets"])), minor=False)
        axes.set_xticks([], minor=True)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    handles = {
        line.get_label(): line for axes in canvas.axes for line in axes.get_lines() if line.get_label()[0] != "_"
    }
    canvas.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7, frameon=False)


def _bold(method: str) -> str:
    return f"**{method}**" if method == OURS else method


def _shown(one: intervals.Interval | None) -> str | None:
    return None if one is None else f"{one.mean:.3f} ± {(one.high - one.low) / 2:.3f}"
