"""From vectors to codes: the encoder in fixed blocks over local devices, into memory or a folder; `index` serves them.

Every block has the same shape, so one compilation encodes everything and the bytes of a row depend neither on the batch
size nor on interruptions.
"""

import collections
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.storage.packed import STORAGES, Packed, Packing, pack, storage_bits
from compressae_jax.data.checked import ZERO_ROWS, find_zero_rows, zero_rows_met
from compressae_jax.data.sources import Source
from compressae_jax.model import encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, FolderError, InputError, check_choice, check_range

BLOCK = 4096  # rows; the last block is padded with zeros, whose codes are cut off
LEVEL_ROWS = 8192  # of the source, evenly spaced, that levels are learned from


class Encoded(NamedTuple):
    """Codes of some rows, and where these rows stand in their source; packed codes have no norms."""

    codes: Codes | Packed
    norms: Float[np.ndarray, "b 2"] | None
    rows: Int[np.ndarray, " b"]


class How(NamedTuple):
    """By which encoder vectors become codes, and how their nonzeros are stored; `packing` where that is packed."""

    encoder: str
    storage: str
    packing: Packing | None = None


def encode(
    weights: Weights,
    vectors: Dense,
    storage: str = "float16",
    block: int = BLOCK,
    devices: Sequence[jax.Device] | None = None,
    encoder: str = "topk",
) -> tuple[Codes | Packed, Float[np.ndarray, "b 2"] | None]:
    """Codes and norms (‖s‖, ‖z‖) of vectors in memory, as NumPy; norms are those of the values as stored.

    Codes made with the same `block`, the rows of one device's call, do not depend on how many vectors come together;
    packed ones, whose levels are learned from the vectors and which have no norms, do.

    Raises:
        InputError: a value too large for `storage`.
    """
    vectors = np.asarray(vectors, np.float32)
    how = _how(weights, encoder, storage, lambda: vectors[_evenly(len(vectors))])
    rows = np.arange(len(vectors))
    blocks = ((rows[i : i + block], vectors[i : i + block]) for i in range(0, len(vectors), block))
    codes, norms, _ = _joined(list(_encoded(weights, blocks, how, block, devices)))
    return codes, norms


def norms_of(weights: Weights, codes: Codes) -> Float[np.ndarray, "n 2"]:
    """(‖s‖, ‖z‖) of codes that `weights` made, bit for bit as `compress` stores them."""
    if codes.h != weights.h:
        raise InputError(f"codes have width h={codes.h}, the model {weights.h} (fingerprint {weights.fingerprint})")
    norms = dataclasses.replace(codes, norms=None).with_norms(weights.params["decoder_w"]).norms
    assert norms is not None
    return norms


def compress_in_memory(
    weights: Weights,
    source: Source,
    batch: int = 65536,
    encoder: str | None = None,
    storage: str | None = None,
    zero_rows: str = "stop",
    progress: bool = False,
) -> tuple[Codes | Packed, Float[np.ndarray, "n 2"] | None, Any]:
    """Codes, norms (None of packed codes) and ids (None where the source has none) of a source, read piece by piece.

    Raises:
        InputError: as `compress`.
    """
    how = _checked(weights, source, batch, encoder, storage, zero_rows)
    parts = list(_compressed(weights, source, batch, how, zero_rows, progress, done=0))
    if not parts:
        raise InputError(f"{source.name}: there is no row to compress")
    codes, norms, rows = _joined(parts)
    return codes, norms, _ids(source, rows, zero_rows)


def compress(
    weights: Weights,
    source: Source,
    out: str | os.PathLike,
    batch: int = 65536,
    encoder: str | None = None,
    storage: str | None = None,
    zero_rows: str = "stop",
    progress: bool = True,
) -> dict[str, int | float]:
    """Stream a source into a codes folder; the same call continues what an interruption left.

    `batch` rows are read at once. `encoder` is one of `model.encoders.ENCODERS`, `storage` of `packed.STORAGES`; both
    default to what the model was made for. `zero_rows`: 'stop' refuses them, 'keep' gives them all-zero codes, 'drop'
    leaves them out and records the ids of the others. Returns rows, bytes a vector (all that search needs) and how many
    times smaller than float32 that is.

    Raises:
        InputError: a vector that is not finite, a zero row under 'stop', a value too large for float16; nothing stays.
        FolderError: something else stands at `out`.
    """
    how = _checked(weights, source, batch, encoder, storage, zero_rows)
    header = {
        "fingerprint": weights.fingerprint,
        "source": source.summary(),
        "zero_rows": zero_rows,
        "encoder": how.encoder,
    }
    k = _nonzeros(weights)
    chosen = None if how.packing is None else how.packing.levels
    with codes_folder.Writer(out, weights.d, weights.h, k, how.storage, header, levels=chosen) as writer:
        try:
            for codes, norms, rows in _compressed(weights, source, batch, how, zero_rows, progress, writer.rows):
                writer.append(codes, norms, _ids(source, rows, zero_rows))
            writer.finish()
        except FolderError:
            raise
        except InputError:
            writer.discard()  # the source or the options must change, so these bytes can never be continued
            raise
    cost = bytes_of(weights.h, k, how)
    ratio = 4 * weights.d / cost
    if progress:
        print(f"{writer.rows:,} rows, {cost} bytes a vector, {ratio:.1f} times smaller than float32: {out}")
    return {"rows": writer.rows, "bytes_per_vector": cost, "ratio": ratio}


def bytes_of(h: int, k: int, how: How) -> int:
    """Bytes a vector in memory: a packed record, or values, columns and one scale."""
    if how.packing is not None:
        return how.packing.width
    return k * (np.dtype(how.storage).itemsize + column_dtype(h).itemsize) + 4


def _checked(
    weights: Weights, source: Source, batch: int, encoder: str | None, storage: str | None, zero_rows: str
) -> How:
    """How to encode; raises InputError for what is wrong before all rows are read."""
    check_choice("zero_rows", zero_rows, ZERO_ROWS)
    check_range("batch", batch, 1, 2**31)
    if source.width != weights.d:
        raise InputError(
            f"{source.name}: vectors have width {source.width}, the model was trained on {weights.d} "
            f"(fingerprint {weights.fingerprint})"
        )
    return _how(weights, encoder or weights.encoder, storage or weights.storage, lambda: _sample(source))


def _how(weights: Weights, encoder: str, storage: str, sample: Callable[[], Dense]) -> How:
    """The names checked, and where values go on levels these learned from a sample, always the same one."""
    check_choice("storage", storage, STORAGES)
    bits = storage_bits(storage)
    encoders.check(encoder, weights, rounded=bits is not None)
    if bits is None:
        return How(encoder, storage)
    learned = encoders.learn_levels(weights, encoder, storage, sample)
    return How(encoder, storage, Packing(weights.h, weights.k, bits, learned))


def _sample(source: Source) -> Dense:
    """Evenly spaced rows, or the first ones of a source that is not read by row number."""
    if source.random_access:
        return source.take(_evenly(len(source)))
    return source.read(0, min(len(source), LEVEL_ROWS))


def _evenly(n: int) -> Int[np.ndarray, " rows"]:
    return np.unique(np.linspace(0, n - 1, min(n, LEVEL_ROWS)).astype(np.int64)) if n else np.empty(0, np.int64)


def _nonzeros(weights: Weights) -> int:
    return weights.h if weights.activation == "identity" else weights.k


def _compressed(
    weights: Weights, source: Source, batch: int, how: How, zero_rows: str, progress: bool, done: int
) -> Iterator[Encoded]:
    """What follows the first `done` codes of a source, about `batch` rows at a time, always whole blocks."""
    first = _place_of(source, done, zero_rows)
    group: list[Encoded] = []
    with tqdm(total=len(source), initial=first, unit=" rows", desc="compress", delay=1, disable=not progress) as bar:
        for part in _encoded(weights, _blocks(source, first, batch, zero_rows), how, BLOCK):
            bar.update(int(part.rows[-1]) + 1 - bar.n)
            group.append(part)
            if len(group) * BLOCK >= batch:
                yield _joined(group)
                group = []
    if group:
        yield _joined(group)


def _place_of(source: Source, done: int, zero_rows: str) -> int:
    """The source row that follows the first `done` rows that were kept."""
    if zero_rows != "drop" or done == 0:
        return done
    dropped = find_zero_rows(source)
    return done + int(np.searchsorted(dropped - np.arange(len(dropped)), done, side="right"))


def _blocks(source: Source, first: int, batch: int, zero_rows: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers and vectors, `BLOCK` at a time, the last ones fewer."""
    rows, vectors = np.empty(0, np.int64), np.empty((0, source.width), np.float32)
    for start, some in source.batches(batch, start=first) if first < len(source) else ():
        kept = np.ones(len(some), bool) if zero_rows == "keep" else some.any(axis=1)
        if zero_rows == "stop" and not kept.all():
            raise zero_rows_met(source, find_zero_rows(source))
        rows = np.concatenate([rows, start + np.flatnonzero(kept)])
        vectors = np.concatenate([vectors, some if kept.all() else some[kept]])
        whole = len(rows) - len(rows) % BLOCK
        for i in range(0, whole, BLOCK):
            yield rows[i : i + BLOCK], vectors[i : i + BLOCK]
        rows, vectors = rows[whole:], vectors[whole:]
    if len(rows):
        yield rows, vectors


def _encoded(
    weights: Weights,
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
    how: How,
    block: int,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[Encoded]:
    """Blocks of rows through the encoder, in order."""
    numbers: collections.deque[np.ndarray] = collections.deque()

    def noted() -> Iterator[np.ndarray]:
        for rows, vectors in blocks:
            numbers.append(rows)
            yield vectors

    encoder = encoders.Encoder(weights, how.encoder, how.storage)
    for codes in encoder.stream(noted(), block, devices):
        rows = numbers.popleft()
        if how.packing is not None:
            yield Encoded(pack(codes, how.packing), None, rows)
        else:
            yield _seen_to_fit(codes, norms_of(weights, codes), rows)


def _seen_to_fit(codes: Codes, norms: Float[np.ndarray, "b 2"], rows: np.ndarray) -> Encoded:
    finite = np.isfinite(codes.values).all(axis=1)
    if not finite.all():
        raise InputError(
            f"row {rows[finite.argmin()]} has a code value beyond what {codes.values.dtype} holds; "
            "use storage='float32'"
        )
    return Encoded(codes, norms, rows)


def _joined(parts: list[Encoded]) -> Encoded:
    norms = [part.norms for part in parts if part.norms is not None]
    rows = np.concatenate([part.rows for part in parts])
    return Encoded(_together([part.codes for part in parts]), np.concatenate(norms) if norms else None, rows)


def _together(parts: Sequence[Codes | Packed]) -> Codes | Packed:
    packed = [one for one in parts if isinstance(one, Packed)]
    if packed:
        return Packed(np.concatenate([one.records for one in packed]), packed[0].packing)
    codes = [one for one in parts if isinstance(one, Codes)]
    values, columns = (np.concatenate([getattr(one, name) for one in codes]) for name in ("values", "columns"))
    return Codes(values, columns, codes[0].h)


def _ids(source: Source, rows: np.ndarray, zero_rows: str) -> np.ndarray | TextIds | None:
    """The ids of some source rows; where rows were dropped and there are none, the row numbers."""
    if source.ids is None:
        return rows if zero_rows == "drop" else None
    return source.ids[rows]
