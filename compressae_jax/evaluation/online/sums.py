"""What is kept of users: sums of their totals and of the products of these, of all, of a segment, up to each period."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

Number = float | int


class Sums(NamedTuple):
    """Sums over users, each counted with the totals of its impressions m and clicks c; arrays of one shape."""

    users: Float64[np.ndarray, "*s"]
    m: Float64[np.ndarray, "*s"]
    c: Float64[np.ndarray, "*s"]
    mm: Float64[np.ndarray, "*s"]
    mc: Float64[np.ndarray, "*s"]
    cc: Float64[np.ndarray, "*s"]

    def of(self, *place: int | slice) -> "Sums":
        """The sums at a place of each field."""
        return Sums(*(field[place] for field in self))


def over_time(
    group: Int64[np.ndarray, " n"],
    groups: int,
    user: Int64[np.ndarray, " n"],
    period: Int64[np.ndarray, " n"],
    periods: int,
    m: Int64[np.ndarray, " n"],
    c: Int64[np.ndarray, " n"],
) -> Sums:
    """The sums (groups, periods) of what users of each group had up to the end of each period.

    A user who comes again counts once, with the larger totals. A group is a variant, or a variant in a segment; a user
    who is in several groups is another one in each.
    """
    order = np.lexsort((period, user, group))
    group, user, period = group[order], user[order], period[order]
    new = np.ones(len(order), bool)
    new[1:] = (group[1:] != group[:-1]) | (user[1:] != user[:-1])
    begins = np.flatnonzero(new)
    owner = np.cumsum(new) - 1
    after = []
    for values in (m[order].astype(np.float64), c[order].astype(np.float64)):
        total = np.cumsum(values)
        after.append(total - (total[begins] - values[begins])[owner])
    # What a row adds to each sum: the terms of its user's totals with it, less those without it.
    terms = _terms(*after)
    place = group * periods + period
    added = []
    for term in terms:
        change = term.copy()
        change[1:] -= np.where(new[1:], 0, term[:-1])
        added.append(np.bincount(place, change, groups * periods).reshape(groups, periods).cumsum(axis=1))
    return Sums(*added)


def of_users(m: Int64[np.ndarray, " n"], c: Int64[np.ndarray, " n"]) -> Sums:
    """The sums (1,) of users who are given by their totals."""
    return Sums(*(term.sum(keepdims=True) for term in _terms(m.astype(np.float64), c.astype(np.float64))))


def _terms(m: Float64[np.ndarray, " n"], c: Float64[np.ndarray, " n"]) -> list[Float64[np.ndarray, " n"]]:
    return [np.ones_like(m), m, c, m * m, m * c, c * c]
