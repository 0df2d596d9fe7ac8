"""The way from a source to rows: read, encoded and stored in blocks, each stage one step ahead of the next.

A row's bytes depend neither on how many are read at once, nor on interruptions, nor on how a source is cut into parts.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from compressae_jax.base import progress, threads
from compressae_jax.codes import lengths
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.ids import Ids
from compressae_jax.codes.joined import in_memory
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.convert import stored
from compressae_jax.codes.storage.kinds import PACKINGS, record_width
from compressae_jax.data.checked import ZERO_ROWS, find_zero_rows, zero_rows_met
from compressae_jax.data.sources import BadRowsError, Source
from compressae_jax.model import encoders
from compressae_jax.model.encoders import BLOCK, Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, InputError, check_choice, check_range

BATCH = 65536  # rows read at once
PACKED = 512  # rows that a thread packs at a time
Item = TypeVar("Item")


class Compressed(NamedTuple):
    """Some rows, and the number of the row of the source behind the last of them."""

    rows: Rows
    end: int


def encoder_for(
    weights: Weights, source: Source, encoder: str | None, storage: str | None, similarity: str = "cosine"
) -> Encoder:
    """How to encode a source, by default as the model was made to be used, with levels where values are packed.

    Raises:
        InputError: vectors of another width, an encoder or storage that is unknown or cannot serve this model.
    """
    if source.width != weights.d:
        raise InputError(
            f"{source.name}: vectors have width {source.width}, the model was trained on {weights.d} "
            f"(fingerprint {weights.fingerprint})"
        )
    how = Encoder(weights, encoder or weights.encoder, storage or weights.storage, similarity)
    if how.packed:
        encoders.learn_levels(weights, how.encoder, how.storage, lambda: _sample(source), how.similarity)
    return how


def check(batch: int, zero_rows: str) -> None:
    """Raise InputError for options out of range."""
    check_choice("zero_rows", zero_rows, ZERO_ROWS)
    check_range("batch", batch, 1, 2**31)


def compressed(
    encoder: Encoder,
    source: Source,
    span: range,
    zero_rows: str = "stop",
    batch: int = BATCH,
    first: int | None = None,
    shown: bool = False,
) -> Iterator[Compressed]:
    """The rows of a span of the source from `first` on, about `batch` at a time, always whole blocks.

    Raises:
        BadRowsError: a zero row under 'stop', a value that is not finite, or that the storage does not hold.
    """
    first = span.start if first is None else first
    with progress.bar(len(span), "compress", done=first - span.start, shown=shown) as bar:
        blocks = _ahead(_blocks(source, range(first, span.stop), zero_rows, batch))
        for part in _ahead(_encoded(encoder, source, blocks, zero_rows, batch)):
            bar.update(part.end - span.start - bar.n)
            yield part


def place_of(source: Source, span: range, done: int, zero_rows: str) -> int:
    """The row of the source that follows the first `done` rows of a span that were kept."""
    if zero_rows != "drop" or done == 0:
        return span.start + done
    dropped = find_zero_rows(source)
    dropped = dropped[(dropped >= span.start) & (dropped < span.stop)] - span.start
    return span.start + done + int(np.searchsorted(dropped - np.arange(len(dropped)), done, side="right"))


def bytes_of(encoder: Encoder) -> int:
    """Bytes a vector in memory: a packed record, or values, columns and one scale."""
    h, k = encoder.weights.h, encoder.k
    if encoder.storage in PACKINGS:
        return record_width(encoder.storage, h, k, encoder.levels)
    return k * (np.dtype(encoder.storage).itemsize + column_dtype(h).itemsize) + 4


def as_stored(encoder: Encoder, codes: Codes, first: int = 0) -> Rows:
    """Codes as their storage has them, with norms where it needs them, and seen to be sound.

    Raises:
        BadRowsError: a value or a length beyond what the storage holds; `first` is the number of the first row.
    """
    finite = np.isfinite(codes.values).all(axis=1)
    if not finite.all():
        raise BadRowsError(
            f"row {first + int(finite.argmin())} has a code value beyond what {codes.values.dtype} holds; "
            "use storage='float32'"
        )
    beyond = None if codes.lengths is None else lengths.fault(codes.lengths)
    if beyond is not None:
        raise BadRowsError(f"row {first + beyond[0]} {beyond[1]}")
    if encoder.packed:
        codes = dataclasses.replace(codes, lengths=None)  # which the values have
        parts: dict[int, Rows] = {}
        how = encoder.storage, encoder.levels, encoder.similarity
        threads.deal(
            lambda start: parts.update({start: stored(codes[start : start + PACKED], *how)}),
            range(0, len(codes), PACKED),
        )
        return in_memory([parts[start] for start in sorted(parts)])
    return codes.with_norms(encoder.weights.params["decoder_w"]).check()


def _encoded(
    encoder: Encoder, source: Source, blocks: Iterable[tuple[np.ndarray, np.ndarray]], zero_rows: str, batch: int
) -> Iterator[Compressed]:
    """Blocks through the encoder, with ids, in groups of about `batch` rows."""
    numbers: collections.deque[np.ndarray] = collections.deque()

    def vectors() -> Iterator[np.ndarray]:
        for rows, some in blocks:
            numbers.append(rows)
            yield some

    group: list[Rows] = []
    end = 0
    for codes in encoder.stream(vectors()):
        rows = numbers.popleft()
        part = as_stored(encoder, codes, int(rows[0]))
        group.append(part.like(part.arrays(), _ids(source, rows, zero_rows)))
        end = int(rows[-1]) + 1
        if len(group) * BLOCK >= batch:
            yield Compressed(in_memory(group), end)
            group = []
    if group:
        yield Compressed(in_memory(group), end)


def _blocks(source: Source, span: range, zero_rows: str, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers and vectors of a span, `BLOCK` at a time, the last ones fewer."""
    rows, vectors = np.empty(0, np.int64), np.empty((0, source.width), np.float32)
    for start, some in source.batches(batch, start=span.start) if len(span) else ():
        some = some[: span.stop - start]
        kept = np.ones(len(some), bool) if zero_rows == "keep" else some.any(axis=1)
        if zero_rows == "stop" and not kept.all():
            raise zero_rows_met(source, find_zero_rows(source))
        rows = np.concatenate([rows, start + np.flatnonzero(kept)])
        vectors = np.concatenate([vectors, some if kept.all() else some[kept]])
        whole = len(rows) - len(rows) % BLOCK
        for i in range(0, whole, BLOCK):
            yield rows[i : i + BLOCK], vectors[i : i + BLOCK]
        rows, vectors = rows[whole:], vectors[whole:]
        if start + len(some) == span.stop:
            break
    if len(rows):
        yield rows, vectors


def _sample(source: Source) -> Dense:
    """Evenly spaced rows of the whole, or the first ones of a source that is not read by row number."""
    if source.random_access:
        return source.take(encoders.rows_for_levels(len(source)))
    return source.read(0, min(len(source), encoders.LEVEL_ROWS))


def _ids(source: Source, rows: Int[np.ndarray, " b"], zero_rows: str) -> Ids | None:
    """The ids of some rows of the source; where rows were dropped and there are none, the row numbers."""
    if source.ids is None:
        return rows if zero_rows == "drop" else None
    together = rows[-1] - rows[0] + 1 == len(rows)
    return source.ids[int(rows[0]) : int(rows[-1]) + 1] if together else source.ids[rows]


def _ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, the next one made by a thread while one is in use."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(next, source, end)
        while (item := under_way.result()) is not end:
            under_way = pool.submit(next, source, end)
            yield item  # type: ignore[misc]
