"""What measurements advise, and why: a function of them alone; measuring is in `measured`, more words in `page`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from compressae_jax.advice.measured import Measured
from compressae_jax.base.bootstrap import Interval
from compressae_jax.evaluation import intervals

# What an idle Python process with NumPy takes: below it, nobody gains by compressing.
SMALL = 32 * 2**20  # bytes of the whole set
KEPT = 0.99  # of the nearest rows that int8 must find to be as good as the vectors themselves
KNEE = 0.05  # of recall: twice the bytes must gain as much, or they are not worth it

# Of peers that the queries do not tell apart, the first of these: what more engines have.
KNOWN = ("int8", "pq", "sq", "binary", "opq", "rabitq")

NOTHING, INT8, OURS, PEER = "nothing", "int8", "ours", "peer"


class Verdict(NamedTuple):
    """Who is ahead within some bytes: our best codes and the best peer, and their difference, query by query."""

    budget: int
    ours: Measured | None
    peer: Measured | None
    difference: Interval | None  # ours less the peer's; None where one of them is missing

    @property
    def level(self) -> bool:
        """Whether the queries do not tell them apart."""
        return self.difference is not None and self.difference.low <= 0 <= self.difference.high

    @property
    def choice(self) -> Measured:
        """Ours where they are surely ahead; else the peer."""
        ahead = self.peer is None or (self.difference is not None and self.difference.low > 0)
        chosen = self.ours if ahead else self.peer
        assert chosen is not None
        return chosen


class Recommendation(NamedTuple):
    """What to take: `answer` is 'nothing', 'int8', 'ours' or 'peer', `choice` the method, None of 'nothing'."""

    answer: str
    choice: Measured | None
    budget: int | None
    reason: str
    verdicts: list[Verdict]
    knee: int | None  # the bytes after which twice as many gain little, of several that were tried
    notes: list[str]


def of(
    measured: Sequence[Measured], n: int, d: int, budgets: Sequence[int], metric: str, asked: bool, seed: int = 0
) -> Recommendation:
    """Advice for n vectors of width d. `asked`: the one budget is the user's, and the answer keeps to it.

    Else: nothing where all vectors take less than `SMALL`; int8 where that brings them below it and keeps enough; else
    the winner at the knee. Within a budget: the most accurate, ours only where they are surely (95 %, paired) ahead.
    """
    verdicts = [verdict for budget in budgets if (verdict := within(measured, budget, metric, seed)) is not None]
    stake = 4 * n * d
    if not asked and (small := _small(measured, n, stake, metric)) is not None:
        answer, choice, reason = small
        return Recommendation(answer, choice, None, reason, verdicts, knee_of(verdicts, metric), [])
    if not verdicts:
        reason = f"Nothing that was measured takes {min(budgets)} bytes or less"
        return Recommendation(NOTHING, None, None, f"{reason}: keep the vectors.", [], None, [])
    knee = knee_of(verdicts, metric)
    verdict = next(one for one in verdicts if len(verdicts) == 1 or one.budget == knee)
    notes = [note for note in (_judged(verdict), _stake(n, stake) if asked else "") if note]
    answer = OURS if verdict.choice.ours else INT8 if verdict.choice.name == "int8" else PEER
    return Recommendation(answer, verdict.choice, verdict.budget, _reason(verdict, metric), verdicts, knee, notes)


def within(measured: Sequence[Measured], budget: int, metric: str, seed: int = 0) -> Verdict | None:
    """The best of ours and of the peers that take at most so many bytes, compared; None where there is neither."""
    fitting = [one for one in measured if one.bytes_per_vector <= budget and one.kind != "dense"]
    ours = max((one for one in fitting if one.ours), key=lambda one: one.scores[metric].mean(), default=None)
    peer = _best_known([one for one in fitting if not one.ours], metric, seed)
    if ours is None and peer is None:
        return None
    both = ours is not None and peer is not None
    difference = intervals.difference(ours.scores[metric], peer.scores[metric], seed=seed) if both else None  # type: ignore[union-attr]
    return Verdict(budget, ours, peer, difference)


def _best_known(peers: Sequence[Measured], metric: str, seed: int) -> Measured | None:
    """The most accurate, or the best known of those that are not surely behind it."""
    if not peers:
        return None
    best = max(peers, key=lambda one: one.scores[metric].mean())
    level = [one for one in peers if intervals.difference(one.scores[metric], best.scores[metric], seed=seed).high >= 0]
    known = [one for name in KNOWN for one in sorted(level, key=lambda one: -one.bytes_per_vector) if one.name == name]
    return known[0] if known else best


def knee_of(verdicts: Sequence[Verdict], metric: str) -> int | None:
    """The fewest bytes from which the next budget gains less than `KNEE` a doubling; None of fewer than two."""
    if len(verdicts) < 2:
        return None
    best = [float(one.choice.scores[metric].mean()) for one in verdicts]
    for i, one in enumerate(verdicts[:-1]):
        doublings = math.log2(verdicts[i + 1].budget / one.budget)
        if (best[i + 1] - best[i]) / doublings < KNEE:
            return one.budget
    return verdicts[-1].budget


def megabytes(size: int | float) -> str:
    """Bytes as people read them."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def _small(measured: Sequence[Measured], n: int, stake: int, metric: str) -> tuple[str, Measured | None, str] | None:
    """Nothing or int8, where either is enough."""
    idle = f"less than the {megabytes(SMALL)} that an idle Python process takes"
    if stake <= SMALL:
        return (
            NOTHING,
            None,
            f"All {n:,} vectors take {megabytes(stake)} as they are, {idle}: there is nothing to gain.",
        )
    int8 = next((one for one in measured if one.name == "int8"), None)
    if int8 is None or n * int8.bytes_per_vector > SMALL or int8.scores[metric].mean() < KEPT:
        return None
    return (
        INT8,
        int8,
        f"int8 finds {int8.scores[metric].mean():.3f} of what exact search finds ({metric}) and takes "
        f"{megabytes(n * int8.bytes_per_vector)} instead of {megabytes(stake)}, {idle}: fewer bytes would only cost "
        "accuracy.",
    )


def _reason(verdict: Verdict, metric: str) -> str:
    """The sentence that a recommendation within bytes stands on."""
    ours, peer, difference = verdict.ours, verdict.peer, verdict.difference
    if difference is None or ours is None or peer is None:
        return f"{verdict.choice.label} is the only method that was measured at {verdict.budget} bytes or less."
    both = (
        f"{_found(ours, metric)} and {_found(peer, metric)} of exact search's answers within {verdict.budget} bytes "
        f"({metric}, rows that neither was fitted to; paired difference {signed(difference)})"
    )
    both = both[0].upper() + both[1:]
    if verdict.choice.ours:
        return f"{both}: our codes are surely ahead."
    if verdict.level:
        return f"{both}: the queries do not tell them apart, and {peer.label} is simpler to have."
    return f"{both}: {peer.label} is surely ahead."


def _found(one: Measured, metric: str) -> str:
    return f"{one.label} find{'' if one.ours else 's'} {one.scores[metric].mean():.3f}"


def signed(difference: Interval) -> str:
    """A difference with its interval."""
    return f"{difference.mean:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"


def _judged(verdict: Verdict) -> str:
    """What people's judgements say of the same two."""
    ours, peer = verdict.ours, verdict.peer
    if ours is None or peer is None or "nDCG@10" not in ours.scores or "nDCG@10" not in peer.scores:
        return ""
    difference = intervals.difference(ours.scores["nDCG@10"], peer.scores["nDCG@10"])
    told = f"By the judgements (nDCG@10) ours less {peer.label} is {signed(difference)}: "
    if difference.low > 0 or difference.high < 0:
        return told + ("ours are ahead there." if difference.low > 0 else f"{peer.label} is ahead there.")
    return told + "they do not tell the two apart."


def _stake(n: int, stake: int) -> str:
    if stake > SMALL:
        return ""
    return f"All {n:,} vectors take {megabytes(stake)} as they are; if memory is the only reason, compress nothing."
