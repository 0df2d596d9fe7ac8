"""The log of an experiment: which user saw how much of which variant, and clicked how often; checked before use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.data import tables
from compressae_jax.data.judged.judged import distinct, ids
from compressae_jax.data.tables import Table
from compressae_jax.notation import InputError, check_choice

COLUMNS = {
    "variant": ("variant", "arm", "group"),
    "user": ("user", "user_id"),
    "impressions": ("impressions", "views"),
    "clicks": ("clicks",),
    "segment": ("segment",),
    "period": ("period", "day", "date", "week"),
}
OPTIONAL = ("segment", "period")
CROSSED = ("stop", "drop")
LARGEST = 2**31  # of a count


class Places(NamedTuple):
    """What rows belong to: the names there are, sorted, and the place of each row's own among them."""

    names: list[str]
    of: Int64[np.ndarray, " n"]


class Log(NamedTuple):
    """Rows of a log. `user` numbers the users, all rows of one in one variant; `crossed` users were left out."""

    name: str
    variant: Places
    user: Int64[np.ndarray, " n"]
    impressions: Int64[np.ndarray, " n"]
    clicks: Int64[np.ndarray, " n"]
    segment: Places | None
    period: Places | None
    crossed: int


def read(given: Any, names: Mapping[str, str] | None = None, crossed: str = "stop") -> Log:
    """The log of a .csv, .tsv or .parquet, a data frame or a dict of columns: a row a user, or several.

    `names` says which columns have which role, where they are not called as in `COLUMNS`; segment and period may be
    missing. Periods (days, say) are sorted: numbers and dates by value, other texts by letter. Users seen in two
    variants stop the reading, or are left out of all of them with `crossed="drop"`.

    Raises:
        InputError: a column that is missing or holds something else, negative counts, more clicks than impressions,
            one variant only, users of two variants, no row.
    """
    check_choice("crossed", crossed, CROSSED)
    table, wanted = _table(given), names or {}
    for role in wanted:
        check_choice("names", role, COLUMNS)
    columns = _columns(table, wanted)
    impressions, clicks = (_counts(f"{table.name}: {role}", columns[role]) for role in ("impressions", "clicks"))
    _check_clicks(table.name, clicks, impressions)
    variant = _places(columns["variant"])
    users, user = distinct(ids(f"{table.name}: users", columns["user"]))
    for role, texts in (("variant", variant.names), ("user", users)):
        if isinstance(texts, list | TextIds) and any(not text for text in texts):
            raise InputError(f"{table.name}: column of the {role} has empty values")
    segment, period = (_places(columns[role]) if role in columns else None for role in OPTIONAL)
    log = Log(table.name, variant, user, impressions, clicks, segment, period, 0)
    if crossing := _crossing(log):
        if crossed == "stop":
            first = min(crossing)
            seen = [variant.names[place] for place in np.unique(variant.of[user == first])]
            raise InputError(
                f"{table.name}: {len(crossing):,} users are in two variants ({users[first]} in {' and '.join(seen)}), "
                "so that neither caused what they did; leave them out with crossed=drop, and find out why"
            )
        log = _without(log, crossing)
    there = [name for place, name in enumerate(variant.names) if (log.variant.of == place).any()]
    if len(there) < 2:
        raise InputError(f"{table.name} must hold at least two variants, not {', '.join(there) or 'none'}")
    return log


def _table(given: Any) -> Table:
    if isinstance(given, (str, os.PathLike)):
        return tables.of_file(Path(given).expanduser())
    if (table := tables.in_memory(given, "log")) is None:
        raise InputError(f"log must be a table or the path of one, not {type(given).__name__}")
    return table


def _columns(table: Table, wanted: Mapping[str, str]) -> dict[str, Ids]:
    """The column of each role; those that may be missing and are have none."""
    columns = {}
    for role, accepted in COLUMNS.items():
        if role in wanted or role not in OPTIONAL or set(accepted) & set(table.names):
            columns[role] = table.column(table.pick(role, (wanted[role],) if role in wanted else accepted))
    sizes = {role: len(one) for role, one in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{table.name} must have columns of one length, not {sizes}")
    return columns


def _counts(name: str, column: Ids) -> Int64[np.ndarray, " n"]:
    counts = tables.whole(name, column, "counts")
    if len(outside := np.flatnonzero((counts < 0) | (counts > LARGEST))):
        row = outside[0]
        raise InputError(f"{name} must be from 0 to {LARGEST:,}, row {row} has {counts[row]:,}")
    return counts


def _check_clicks(name: str, clicks: Int64[np.ndarray, " n"], impressions: Int64[np.ndarray, " n"]) -> None:
    if not len(clicks):
        raise InputError(f"{name} has no rows")
    if len(above := np.flatnonzero(clicks > impressions)):
        row = above[0]
        raise InputError(
            f"{name}: {len(above):,} rows have more clicks than impressions, row {row} first ({clicks[row]:,} of "
            f"{impressions[row]:,}); count each clicked impression once, and all impressions"
        )


def _places(values: Ids) -> Places:
    if not isinstance(values, TextIds):
        sorted_values, places = np.unique(values, return_inverse=True)
        return Places([_name(one) for one in sorted_values], places.astype(np.int64))
    found, of = distinct(values)
    texts = list(found)
    order = sorted(range(len(texts)), key=_sorting(texts).__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Places([texts[i] for i in order], rank[of])


def _name(value: Any) -> str:
    """A number or a moment in words; a moment no finer than it is."""
    if isinstance(value, np.datetime64):
        day = value.astype("datetime64[D]")
        return str(day) if day == value else str(value)
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def _sorting(texts: list[str]) -> list[Any]:
    """What texts are sorted by: numbers, where they all are."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return list(texts)


def _crossing(log: Log) -> set[int]:
    """The users who are in two variants."""
    first = np.full(int(log.user.max()) + 1, -1)
    first[log.user[::-1]] = log.variant.of[::-1]
    return set(log.user[first[log.user] != log.variant.of].tolist())


def _without(log: Log, users: set[int]) -> Log:
    keep = ~np.isin(log.user, list(users))

    def kept(one: Places | None) -> Places | None:
        return None if one is None else Places(one.names, one.of[keep])

    return Log(
        log.name,
        Places(log.variant.names, log.variant.of[keep]),
        log.user[keep],
        log.impressions[keep],
        log.clicks[keep],
        kept(log.segment),
        kept(log.period),
        len(users),
    )
