"""From vectors to codes: the encoder in fixed blocks over local devices, into memory or a folder; `index` serves them.

Every block has the same shape, so one compilation encodes everything and the bytes of a row depend neither on the batch
size nor on interruptions.
"""

import collections
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from compressae_jax.base.threads import cores
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import levels, spaces
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.storage.packed import STORAGES, Packed, Packing, pack, storage_bits
from compressae_jax.data.sources import ZERO_ROWS, Source, find_zero_rows, zero_rows_met
from compressae_jax.model import encoders, pursuit_host
from compressae_jax.model.compressae import Params
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, Dense, FolderError, InputError, check_choice, check_range

BLOCK = 4096  # rows; the last block is padded with zeros, whose codes are cut off
AHEAD = 2  # blocks under way on each device
HOST_ROWS = 512  # of a block that one thread takes at a time: bounds its (rows, h) correlations
LEVEL_ROWS = 8192  # of the source, evenly spaced, that levels are learned from

_params: WeakKeyDictionary[Weights, dict[jax.Device, Params]] = WeakKeyDictionary()


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
    decoder_w = jnp.asarray(weights.params["decoder_w"])
    norms = np.empty((len(codes), 2), np.float32)
    for start in range(0, len(codes), BLOCK):
        part = norms[start : start + BLOCK]
        values, columns = (_padded(np.asarray(x[start : start + BLOCK]), BLOCK) for x in (codes.values, codes.columns))
        part[:] = spaces.norms(Codes(values, columns, codes.h), decoder_w)[: len(part)]
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
    writer = codes_folder.Writer(out, weights.d, weights.h, k, how.storage, header, levels=chosen)
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


def params_on(weights: Weights, device: jax.Device) -> Params:
    """The parameters on a device, where they stay as long as `weights` lives."""
    there = _params.setdefault(weights, {})
    if device not in there:
        there[device] = jax.device_put(weights.params, device)
    return there[device]


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
    fitted = encoders.HostEncoder(weights, encoder)
    vectors = np.asarray(sample())
    vectors = vectors[vectors.any(axis=1)]
    parts = [fitted.magnitudes(_padded(some, HOST_ROWS)) for some in _pieces(vectors)]
    learned = levels.learn(np.concatenate(parts) if parts else np.ones(1, np.float32), 2 ** (bits - 1))
    return How(encoder, storage, Packing(weights.h, weights.k, bits, tuple(learned.tolist())))


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
    """Blocks of rows through the encoder, in order; by compiled loops where these are faster or the only way."""
    loops = how.encoder in encoders.AS_LOOPS and weights.activation != "identity" and jax.default_backend() == "cpu"
    if how.packing is not None or loops:
        return _encoded_on_host(weights, blocks, how, block)
    return _encoded_on_devices(weights, blocks, how, block, devices or jax.local_devices())


def _encoded_on_devices(
    weights: Weights,
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
    how: How,
    block: int,
    devices: Sequence[jax.Device],
) -> Iterator[Encoded]:
    """Blocks dealt to devices in turn."""
    module = weights.module()
    under_way: collections.deque[tuple[Codes, jax.Array, np.ndarray]] = collections.deque()
    for device, (rows, vectors) in zip(itertools.cycle(devices), blocks, strict=False):
        params = params_on(weights, device)
        codes = encoders.encode(params, jax.device_put(_padded(vectors, block), device), module, how.encoder)
        codes = _stored(codes, how.storage)
        # A call of its own: in one program XLA may leave out the rounding to float16 before the norms.
        under_way.append((codes, spaces.norms(codes, params["decoder_w"]), rows))
        if len(under_way) > AHEAD * len(devices):
            yield _collected(*under_way.popleft())
    while under_way:
        yield _collected(*under_way.popleft())


def _encoded_on_host(
    weights: Weights, blocks: Iterator[tuple[np.ndarray, np.ndarray]], how: How, block: int
) -> Iterator[Encoded]:
    """Blocks dealt to threads in small pieces."""
    chosen = None if how.packing is None else np.array(how.packing.levels, np.float32)
    encoder = encoders.HostEncoder(weights, how.encoder, chosen)
    decoder_w = params_on(weights, jax.local_devices()[0])["decoder_w"]

    def work(vectors: np.ndarray) -> Codes | Packed:
        codes = encoder(_padded(vectors, min(block, HOST_ROWS)))[: len(vectors)]
        return _stored(codes, how.storage) if how.packing is None else pack(codes, how.packing)

    def finished(rows: np.ndarray, pieces: list[Future[Codes | Packed]]) -> Encoded:
        codes = _together([piece.result() for piece in pieces])
        if isinstance(codes, Packed):
            return Encoded(codes, None, rows)
        whole = Codes(_padded(codes.values, block), _padded(codes.columns, block), codes.h)
        with pursuit_host.ONE_CALL:  # of a whole block: bit for bit what `norms_of` gives
            norms = np.asarray(spaces.norms(whole, decoder_w))
        return _collected(codes, norms, rows)

    with ThreadPoolExecutor(cores()) as pool:
        under_way: collections.deque[tuple[np.ndarray, list[Future[Codes | Packed]]]] = collections.deque()
        for rows, vectors in blocks:
            under_way.append((rows, [pool.submit(work, piece) for piece in _pieces(vectors)]))
            if len(under_way) > AHEAD:
                yield finished(*under_way.popleft())
        while under_way:
            yield finished(*under_way.popleft())


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + HOST_ROWS] for i in range(0, len(rows), HOST_ROWS)]


def _stored(codes: Codes, storage: str) -> Codes:
    return Codes(codes.values.astype(storage), codes.columns, codes.h)


def _collected(codes: Codes, norms: AnyArray, rows: np.ndarray) -> Encoded:
    """The real rows of a block, in NumPy; its padding ends here."""
    b = len(rows)
    codes = Codes(np.asarray(codes.values)[:b], np.asarray(codes.columns)[:b], codes.h)
    finite = np.isfinite(codes.values).all(axis=1)
    if not finite.all():
        raise InputError(
            f"row {rows[finite.argmin()]} has a code value beyond what {codes.values.dtype} holds; "
            "use storage='float32'"
        )
    return Encoded(codes, np.asarray(norms)[:b], rows)


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


def _padded(part: np.ndarray, length: int) -> np.ndarray:
    return part if len(part) == length else np.pad(part, ((0, length - len(part)), (0, 0)))


def _ids(source: Source, rows: np.ndarray, zero_rows: str) -> np.ndarray | list | None:
    """The ids of some source rows; where rows were dropped and there are none, the row numbers."""
    if source.ids is None:
        return rows if zero_rows == "drop" else None
    return source.ids[rows] if isinstance(source.ids, np.ndarray) else [source.ids[row] for row in rows]
