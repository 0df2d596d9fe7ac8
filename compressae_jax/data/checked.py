"""Sources seen through: every value finite, and which rows are zero; what was seen once is not looked for again.

It is remembered within a process, by the identity of the source.
"""

import collections
import weakref
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, Integer

from compressae_jax.base import progress as bars
from compressae_jax.data import identity
from compressae_jax.data.sources import BadRowsError, Block, InMemory, Source

ZERO_ROWS = ("stop", "keep", "drop")  # what a job may do about rows without a direction
REMEMBERED = 16  # sources

RowNumbers = Int64[np.ndarray, " rows"]

_seen: "collections.OrderedDict[str, tuple[identity.Identity, RowNumbers]]" = collections.OrderedDict()
_of_this: "weakref.WeakKeyDictionary[Source, RowNumbers]" = weakref.WeakKeyDictionary()


def find_zero_rows(source: Source, progress: bool | None = None) -> RowNumbers:
    """Numbers of the all-zero rows, once every value was seen to be finite.

    It takes one pass, unless this process has been here before. `progress` False shows none.

    Raises:
        InputError: NaN or infinity, with the file and the first such row; damage of the file.
    """
    if (found := _remembered(source)) is not None:
        return found
    for _ in seen_through(source, "checking", progress):
        pass
    return _of_this[source]


def seen_through(source: Source, what: str, progress: bool | None = None) -> Iterator[tuple[int, Block]]:
    """`source.batches` of all rows in handy pieces; at the end it is remembered what was seen on the way."""
    found = [np.zeros(0, np.int64)]
    with bars.bar(len(source), what, shown=progress is not False) as bar:
        for first, block in source.batches(source.piece_rows):
            found.append(first + np.flatnonzero(~block.any(axis=1)))
            yield first, block
            bar.update(len(block))
    _remember(source, np.concatenate(found))


def same_rows(source: Source, copy: Source) -> None:
    """Remember that a copy was seen through, as its source was."""
    _remember(copy, _of_this[source])


def in_memory(source: Source, progress: bool | None = None) -> Source:
    """The source itself if its rows can be taken by number, else a copy that is held in memory, once."""
    if source.random_access:
        return source
    rows = np.empty((len(source), source.width), np.float16 if source.dtype == "float16" else np.float32)
    for first, block in seen_through(source, "reading", progress):
        rows[first : first + len(block)] = block
    copy = InMemory(rows, source.name)
    same_rows(source, copy)
    return copy


def zero_rows_met(source: Source, found: Integer[np.ndarray, " rows"]) -> BadRowsError:
    """What to raise about zero rows where the policy is 'stop': how many, and the first ten."""
    first = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
    return BadRowsError(
        f"{source.name} has {len(found)} zero rows, which have no direction (rows {first}); "
        "zero_rows='keep' gives them all-zero codes, 'drop' leaves them out"
    )


def _remembered(source: Source) -> RowNumbers | None:
    if source in _of_this:
        return _of_this[source]
    now = source.identity()
    noted, found = _seen.get(now["sample"], ({}, None))
    return found if identity.surely_same(noted, now) else None


def _remember(source: Source, zero: RowNumbers) -> None:
    noted = source.identity()
    _of_this[source] = zero
    _seen[noted["sample"]] = (noted, zero)
    _seen.move_to_end(noted["sample"])
    while len(_seen) > REMEMBERED:
        _seen.popitem(last=False)
