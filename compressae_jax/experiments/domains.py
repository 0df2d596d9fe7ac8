"""Does a model serve other sets than its own, and from how many vectors on does it beat its peers?"""

import functools
import itertools
from typing import Any

import numpy as np

from compressae_jax.baselines import dense
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.experiments import bench, methods, page, questions
from compressae_jax.experiments.bench import DEEPEST, Bench, Rows
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec
from compressae_jax.experiments.methods import DENSE, OURS, Fitting
from compressae_jax.notation import InputError

CARRIED, CURVE = "carried", "curve"
RECALL = f"recall@{DEEPEST}"
TASK = "task"  # what the set's own question is scored by, as a metric


def cells(settings: Settings) -> list[Spec]:
    """Every pair of sets of one encoder, the others by themselves, and a curve over training rows."""
    found: list[Spec] = []
    missing = bench.absent([*settings["one_encoder"], *settings["alone"], *settings["curves"]])
    group = [name for name in settings["one_encoder"] if name not in missing]
    pairs = {name: group for name in group} | {name: [name] for name in settings["alone"] if name not in missing}
    own = {name: settings[name] for name in ("rows", "queries")}
    for trained, tests in pairs.items():
        carried = {"part": CARRIED, "dataset": trained, **own}
        found.append(carried | {"dataset_tested": trained, "method": DENSE, "budget": 0, "seed": settings["seeds"][0]})
        for seed, budget, method in itertools.product(settings["seeds"], settings["budgets"], settings["methods"]):
            if seed in methods.seeds(method, settings["seeds"]) and budget <= settings["slow"].get(method, budget):
                fitted = {"method": method, "budget": budget, "seed": seed}
                found += [{**carried, "dataset_tested": tested, **fitted} for tested in tests]
    for name, seed, n, budget, method in itertools.product(
        *(settings[axis] for axis in ("curves", "seeds", "ns", "budgets", "methods"))
    ):
        slow = n * budget > settings["slow_curve"].get(method, n * budget)
        if name not in missing and not slow:
            fitted = {"n": n, "method": method, "budget": budget, "seed": seed}
            found.append({"part": CURVE, "dataset": name, "searched": settings["searched"], **fitted})
    return found


def measure(here: Bench, spec: Spec) -> Outcome:
    """Fit to rows of one set, store and ask those of the other, or ones that nothing was fitted to."""
    name, method, budget, seed = (spec[field] for field in ("dataset", "method", "budget", "seed"))
    try:
        if spec["part"] == CURVE:
            rows = _unseen(name, spec["searched"])
            if spec["n"] > len(rows.training):
                return Outcome({}, {"refused": f"there are {len(rows.training):,} rows to train on"})
            fitted = _fitting(here, name, spec["n"], spec["searched"], seed).fitted(method, budget)
        else:
            fitted = _fitted(here, name, spec["rows"], method, budget, seed)
            rows = bench.split(spec["dataset_tested"], spec["rows"])
    except InputError as error:
        return Outcome({}, {"refused": str(error)})
    _, found = fitted.over(rows.searched)(rows.queries, DEEPEST)
    scores = neighbours.per_query(found, rows.truth)
    told: dict[str, Any] = {"bytes": fitted.bytes_per_vector}
    if spec["part"] == CARRIED and spec["queries"]:
        try:
            documents, protocol = questions.question(spec["dataset_tested"], spec["rows"], spec["queries"])
        except InputError as error:
            return Outcome(scores, told | {"no question": str(error)})
        scores[TASK] = protocol.ask(fitted.over(documents))[protocol.headline]
        told |= {"headline": protocol.headline}
    return Outcome(scores, told)


@functools.lru_cache(maxsize=1)
def _fitted(here: Bench, name: str, rows: int, method: str, budget: int, seed: int) -> methods.Fitted:
    return Fitting(here, name, bench.split(name, rows).training, seed).fitted(method, budget)


@functools.lru_cache(maxsize=1)
def _fitting(here: Bench, name: str, n: int, searched: int, seed: int) -> Fitting:
    return Fitting(here, name, _unseen(name, searched).training[:n], seed)


@functools.lru_cache(maxsize=1)
def _unseen(name: str, searched: int) -> Rows:
    """Rows to train on in a drawn order, others to search, of which none is trained on, and queries."""
    rows = bench.split(name)
    order = np.random.default_rng(0).permutation(len(rows.training))
    if len(order) <= searched:
        raise InputError(f"{name}: {len(order)} rows are too few to search {searched} and to train on others")
    others, own = rows.training[order[:searched]], rows.training[order[searched:]]
    _, truth = dense.fit(others).add(others).search(rows.queries, DEEPEST)
    return Rows(own, rows.validation, others, rows.queries, truth)


def told(settings: Settings, results: Results) -> page.Page:
    """What is lost on the way to another set, beside peers, and from how many rows on ours is ahead."""
    sections = []
    for budget in settings["budgets"]:
        for method in settings["methods"]:
            own = results.where(part=CARRIED, budget=budget, method=method)
            if any(one.scores for one in own):
                sections.append(
                    (f"{RECALL}, {method}, {budget} bytes: fitted to (down), tested on (across)", _matrix(own))
                )
    sections.append(("Kept on the way", page.table(*_kept(settings, results))))
    sections.append(("Learning curve", page.table(*_curve(settings, results))))
    sections.append(("What was fitted to what", _notes(settings)))
    figures = [
        page.Figure(
            "domains_matrix",
            f"{RECALL} of models and peers fitted to one set (down) and tested on another (across)",
            functools.partial(_draw_matrix, settings=settings, results=results),
            (4.2 * len(settings["methods"]), 4.2 * len(settings["budgets"])),
        ),
        page.Figure(
            "domains_curve",
            f"{RECALL} among rows that nothing was fitted to, against the rows fitted to",
            functools.partial(_draw_curve, settings=settings, results=results),
            (5.5 * len(settings["budgets"]), 4.2),
        ),
    ]
    return page.Page(_answer(settings, results), sections, figures)


def level(results: Results, metric: str, at_home: bool) -> float | None:
    """The mean over pairs of sets of one method at one budget: of those fitted to themselves, or of the others.

    Sets that are carried nowhere do not count.
    """
    group = {one.spec["dataset"] for one in results if one.spec["dataset"] != one.spec["dataset_tested"]}
    means = [
        one.mean(metric)
        for one in results
        if metric in one.scores
        and one.spec["dataset"] in group
        and (one.spec["dataset"] == one.spec["dataset_tested"]) == at_home
    ]
    return float(np.mean(means)) if means else None


def crossing(settings: Settings, results: Results, budget: int, peer: str) -> int | None:
    """The fewest rows from which on ours is ahead of a peer at every number that both were fitted to; None: never."""
    first = None
    for n in settings["ns"]:
        own = results.where(part=CURVE, budget=budget, n=n)
        ours, theirs = (own.where(method=method).per_query(RECALL) for method in (OURS, peer))
        if ours is not None and theirs is not None:
            ahead = intervals.difference(ours, theirs).low > 0
            first = (n if first is None else first) if ahead else None
    return first


def _answer(settings: Settings, results: Results) -> str:
    parts, curves = [], []
    for budget in settings["budgets"]:
        kept = []
        for method in settings["methods"]:
            own = results.where(part=CARRIED, budget=budget, method=method)
            home, away = level(own, RECALL, True), level(own, RECALL, False)
            if home is not None and away is not None:
                kept.append(f"{method} {away:.3f} of {home:.3f}")
        if kept:
            wins = _wins(settings, results, budget)
            parts.append(f"{', '.join(kept)} at {budget} bytes (ours ahead of every carried peer on {wins} pairs)")
        peers = [name for name in settings["methods"] if name != OURS]
        found = {name: crossing(settings, results, budget, name) for name in peers}
        ran = results.where(part=CURVE, budget=budget)
        said = [
            f"{name} {'at no number of rows tried' if n is None else f'from {n:,} rows on'}"
            for name, n in found.items()
            if ran.where(method=name).means(RECALL)
        ]
        if said:
            curves.append(f"at {budget} bytes {', '.join(said)}")
    carried = f"Mean {RECALL} carried to another set, of that at home: {'; '.join(parts)}." if parts else ""
    names = ", ".join(results.where(part=CURVE).values("dataset"))
    learned = f" On {names} ours beats, beyond the interval, {'; '.join(curves)}." if curves else ""
    return (carried + learned).strip() or "No set was at hand."


def _wins(settings: Settings, results: Results, budget: int) -> str:
    won, pairs = 0, 0
    for trained in results.values("dataset"):
        for tested in results.values("dataset_tested"):
            own = results.where(part=CARRIED, budget=budget, dataset=trained, dataset_tested=tested)
            ours = own.where(method=OURS).per_query(RECALL)
            found = [own.where(method=name).per_query(RECALL) for name in settings["methods"] if name != OURS]
            theirs = [values for values in found if values is not None]
            if trained != tested and ours is not None and theirs:
                pairs += 1
                won += all(intervals.difference(ours, values).low > 0 for values in theirs)
    return f"{won} of {pairs}"


def _matrix(own: Results) -> str:
    across = own.values("dataset_tested")
    rows: list[list[page.Cell]] = []
    for trained in own.values("dataset"):
        found = [own.where(dataset=trained, dataset_tested=tested) for tested in across]
        rows.append([trained, *(page.spread(one, RECALL) if len(one) else None for one in found)])
    return page.table(["", *across], rows)


def _kept(settings: Settings, results: Results) -> tuple[list[str], list[list[page.Cell]]]:
    heads = ["bytes, method", f"{RECALL} at home", "carried", "kept", "task score, share of dense, at home", "carried"]
    rows: list[list[page.Cell]] = []
    for budget, method in itertools.product(settings["budgets"], settings["methods"]):
        own = results.where(part=CARRIED, budget=budget, method=method)
        home, away = level(own, RECALL, True), level(own, RECALL, False)
        if home is not None and away is not None:
            shares = [_task_share(results, own, at_home) for at_home in (True, False)]
            rows.append([f"{budget}, {method}", home, away, away / home, *shares])
    return heads, rows


def _task_share(results: Results, own: Results, at_home: bool) -> float | None:
    """The mean over pairs of sets; each set's dense score is the one it has itself."""
    shares = []
    for one in own:
        trained, tested = one.spec["dataset"], one.spec["dataset_tested"]
        base = results.where(part=CARRIED, dataset=tested, method=DENSE).means(TASK)
        if TASK in one.scores and base and (trained == tested) == at_home:
            shares.append(one.mean(TASK) / base[0])
    return float(np.mean(shares)) if shares else None


def _curve(settings: Settings, results: Results) -> tuple[list[str], list[list[page.Cell]]]:
    heads = ["set, bytes, method", *(f"{n:,} rows" for n in settings["ns"])]
    rows: list[list[page.Cell]] = []
    curve = results.where(part=CURVE)
    for name, budget, method in itertools.product(curve.values("dataset"), settings["budgets"], settings["methods"]):
        own = curve.where(dataset=name, budget=budget, method=method)
        if own.means(RECALL):
            found = [own.where(n=n) for n in settings["ns"]]
            rows.append(
                [f"{name}, {budget}, {method}", *(page.spread(one, RECALL) if len(one) else None for one in found)]
            )
    return heads, rows


def _notes(settings: Settings) -> str:
    missing = bench.absent([*settings["one_encoder"], *settings["alone"], *settings["curves"]])
    most = f" Of larger sets {settings['rows']:,} rows are used, drawn by seed 0." if settings["rows"] else ""
    slow = ", ".join(f"{method} above {most} rows times bytes" for method, most in settings["slow_curve"].items())
    return (
        f"Sets of one encoder: {', '.join(settings['one_encoder'])}; by themselves: {', '.join(settings['alone'])}. At "
        "home a method is fitted to the rows that are searched, all but the queries, as a user would; carried, to none "
        "of them. `pursuit`: our packed codes of the budget, asked by dense queries. Peers are carried the same way, "
        f"and refitted on the diagonal. The curve searches {settings['searched']:,} rows that nothing was fitted to."
        + most
        + (f" Not run: {slow}." if slow else "")
        + "".join(f"\n\n**{name}** was left out: {reason}" for name, reason in missing.items())
    )


def _draw_matrix(canvas: Any, settings: Settings, results: Results) -> None:
    carried = results.where(part=CARRIED)
    trained, tested = carried.values("dataset"), carried.values("dataset_tested")
    grid = canvas.subplots(len(settings["budgets"]), len(settings["methods"]), squeeze=False)
    for line, budget in zip(grid, settings["budgets"], strict=True):
        for axes, method in zip(line, settings["methods"], strict=True):
            values = np.full((len(trained), len(tested)), np.nan)
            own = carried.where(budget=budget, method=method)
            for i, j in itertools.product(range(len(trained)), range(len(tested))):
                means = own.where(dataset=trained[i], dataset_tested=tested[j]).means(RECALL)
                if means:
                    values[i, j] = np.mean(means)
                    axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8)
            axes.imshow(values, vmin=0, vmax=1.2, cmap="Blues")
            axes.set_xticks(range(len(tested)), tested, rotation=45, ha="right")
            axes.set_yticks(range(len(trained)), trained)
            axes.set(title=f"{method}, {budget} bytes")


def _draw_curve(canvas: Any, settings: Settings, results: Results) -> None:
    curve = results.where(part=CURVE)
    panels = canvas.subplots(1, len(settings["budgets"]), squeeze=False, sharey=True)[0]
    for axes, budget in zip(panels, settings["budgets"], strict=True):
        for name, method in itertools.product(curve.values("dataset"), settings["methods"]):
            own = curve.where(dataset=name, budget=budget, method=method)
            points = [(n, np.mean(means)) for n in settings["ns"] if (means := own.where(n=n).means(RECALL))]
            if points:
                colour, marker = methods.LOOKS[method]
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=4, label=f"{method}, {name}")
        axes.set(title=f"{budget} bytes", xscale="log", xlabel="rows fitted to", ylabel=RECALL)
        axes.set_xticks(settings["ns"], [f"{n:,}" for n in settings["ns"]])
        axes.set_xticks([], minor=True)
        axes.legend(frameon=False, fontsize=8)
