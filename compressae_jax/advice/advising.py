"""The adviser at work: draw a sample, fit and measure what there is, recommend; the parts are neighbours'."""

import time
from collections.abc import Sequence
from pathlib import Path

from compressae_jax.advice import commands, kept, measured, methods, recommendation, sample
from compressae_jax.advice.kept import Kept
from compressae_jax.advice.measured import Measured
from compressae_jax.advice.methods import Method
from compressae_jax.advice.page import Advice
from compressae_jax.advice.recommendation import Recommendation
from compressae_jax.advice.sample import Sample
from compressae_jax.base import progress as bars
from compressae_jax.data.sources import Source
from compressae_jax.evaluation.placed import Placed
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.notation import FolderError, InputError, check_range
from compressae_jax.training import recipes

ROWS = 10_000  # of a sample
MINUTES = 10.0
GROWN = 1024  # rows, of half of those fitted to, from which what more of them bring is measured
BUDGETS = (16, 32, 64, 128)  # bytes, where none is asked for and vectors are wide enough


def check(width: int, rows: int, minutes: float, budget_bytes: int | None, peers: Sequence[str], total: int) -> None:
    """Raise InputError for a value out of range or an unknown peer."""
    check_range("rows", rows, sample.LEAST, 10**7)
    check_range("total_rows", total, 1, 2**63 - 1)
    if not 0 < minutes <= 24 * 60:
        raise InputError(f"minutes must be above 0 and at most {24 * 60}, not {minutes:g}")
    if budget_bytes is not None:
        check_range("budget_bytes", budget_bytes, recipes.LEAST_BYTES, 4 * width)
    methods.check(peers)


def advise(
    source: Source,
    given: commands.Given,
    *,
    budget_bytes: int | None = None,
    judged: tuple[Source, Placed] | None = None,
    judged_given: commands.Given | None = None,
    total_rows: int | None = None,
    rows: int = ROWS,
    minutes: float = MINUTES,
    peers: Sequence[str] = methods.PEERS,
    seed: int = 0,
    keep: Path | None = None,
    progress: bool = True,
) -> Advice:
    """What to do with these vectors, measured on at most `rows` of them; nothing new begins after so many minutes.

    `given` are the flags that name the source, for the command that is advised. `total_rows`: how many there will be,
    where the source is a part of them. `keep`: a folder, whose lock the caller holds, that measurements are kept in
    and taken from (see `kept`).

    Raises:
        InputError: as `check` and `sample.draw`.
        FolderError: a measurement that was kept and is damaged.
    """
    start, total = time.perf_counter(), len(source) if total_rows is None else total_rows
    check(source.width, rows, minutes, budget_bytes, peers, total)
    budgets = [budget_bytes] if budget_bytes is not None else budgets_for(source.width)
    if budget_bytes is None and min(rows, len(source)) < sample.LEAST:
        return _unmeasured(source, given, total, budgets, seed, start)
    drawn = sample.draw(source, rows, seed, judged)
    one_pass = len(drawn.fitted) >= methods.LEAST_ROWS
    wanted, left_out = methods.all_of(source.width, budgets, peers, one_pass)
    if not one_pass:
        left_out.append(
            f"published one-pass codes: {len(drawn.fitted):,} rows are fewer than a batch of their training"
        )
    measurements = kept.of(keep, seed)
    there, late = _all_measured(wanted, drawn, total, measurements, start + 60 * minutes, progress)
    metric = next(name for name in ("recall@100", "recall@10") if name in there[0].scores)
    advised = recommendation.of(there, total, source.width, budgets, metric, budget_bytes is not None, seed)
    grown = _grown(advised, wanted, drawn, total, measurements, metric, start + 60 * minutes)
    command = commands.of(advised.choice, advised.budget, given, judged_given or {})
    sizes = {
        "fitted": len(drawn.fitted),
        "searched": len(drawn.searched),
        "queries": len(drawn.queries),
        "judged": 0 if drawn.judged is None else len(drawn.judged.queries),
        "zero": drawn.zero,
    }
    made = {**_made(start, seed), "earlier": len(measurements.earlier)}
    return Advice(source.summary(), total, sizes, metric, there, [*left_out, *late], advised, command, grown, made)


def budgets_for(width: int) -> list[int]:
    """Bytes that are tried where none are asked for: those below int8, which takes one a number."""
    narrow = max(recipes.LEAST_BYTES, int(recipes.NARROW_SHARE * width))
    return [one for one in BUDGETS if one <= width] or [min(narrow, 4 * width)]


def _all_measured(
    wanted: Sequence[Method], drawn: Sample, total: int, measurements: Kept, until: float, progress: bool
) -> tuple[list[Measured], list[str]]:
    """What was measured in time, and a line for all else."""
    there: list[Measured] = []
    told, late = [], []
    truth = measured.truth_of(drawn)
    with bars.bar(len(wanted), "advise", "methods", shown=progress) as bar:
        for method in wanted:
            name = method.name + ("" if method.budget is None else f" at {method.budget} bytes")
            bar.set_postfix_str(name)
            expected = time.perf_counter() + _expected(method, there)
            if there and expected > until and measurements.find(method, drawn, total) is None:
                late.append(name)
            else:
                try:
                    one = measurements.measured(method, drawn, truth, total)
                except FolderError:  # of what was kept
                    raise
                except InputError as error:
                    told.append(f"{name}: {error}")
                else:
                    # Two budgets may buy the same size.
                    known = {(some.label, some.bytes_per_vector) for some in there}
                    there += [one] if (one.label, one.bytes_per_vector) not in known else []
            bar.update()
    told += [f"{', '.join(late)}: not within the minutes (--minutes)"] if late else []
    return there, told


def _expected(method: Method, there: Sequence[Measured]) -> float:
    """The seconds that a slow peer takes, by those of PQ of as many bytes; 0 of the others, which are quick."""
    seconds = [one.fit_seconds for one in there if (one.name, one.budget) == ("pq", method.budget)]
    return methods.TIMES_PQ.get(method.name, 0) * max(seconds, default=0.0)


def _grown(
    advised: Recommendation,
    wanted: Sequence[Method],
    drawn: Sample,
    total: int,
    measurements: Kept,
    metric: str,
    until: float,
) -> list[str]:
    """Whether rows that the sample lacks may turn the answer: both sides again, from half of the rows fitted to."""
    verdict = next((one for one in advised.verdicts if one.budget == advised.budget), None)
    few = len(drawn.fitted) // 2
    if verdict is None or verdict.ours is None or verdict.peer is None or verdict.choice.ours:
        return []
    if total < 4 * len(drawn.fitted) or few < GROWN or time.perf_counter() > until:
        return []
    half, gained = drawn._replace(fitted=drawn.fitted[:few]), []
    truth = measured.truth_of(drawn)
    for side in (verdict.ours, verdict.peer):
        method = next(one for one in wanted if (one.name, one.budget) == (side.name, side.budget))
        before = measurements.measured(method, half, truth, 1)
        gained.append(float(side.scores[metric].mean() - before.scores[metric].mean()))
    return [
        f"From {few:,} to {len(drawn.fitted):,} rows fitted to, ours gained {gained[0]:+.3f} and {verdict.peer.label} "
        f"{gained[1]:+.3f}; of all rows both have {total / len(drawn.fitted):,.0f} times as many. "
        + (
            "Ask again with more --rows before you decide."
            if gained[0] > gained[1]
            else "More rows do not favour ours."
        )
    ]


def _unmeasured(
    source: Source, given: commands.Given, total: int, budgets: Sequence[int], seed: int, start: float
) -> Advice:
    """Of so few rows nothing can be measured."""
    advised = recommendation.of([], total, source.width, budgets, "recall@10", False)
    if advised.answer != recommendation.NOTHING or 4 * total * source.width > recommendation.SMALL:
        raise InputError(f"{source.name}: a sample needs at least {sample.LEAST} rows, not {len(source)}")
    sizes = dict.fromkeys(("fitted", "searched", "queries", "judged", "zero"), 0)
    told = [f"everything: fewer than {sample.LEAST} rows say nothing of recall"]
    made = _made(start, seed)
    command = commands.of(None, None, given, {})
    return Advice(source.summary(), total, sizes, "recall@10", [], told, advised, command, [], made)


def _made(start: float, seed: int) -> dict[str, object]:
    return {**provenance(), "seed": seed, "seconds": round(time.perf_counter() - start, 1)}
