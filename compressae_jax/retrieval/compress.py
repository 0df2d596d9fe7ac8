"""From vectors to codes: the encoder in fixed blocks over local devices, into memory or a folder; `index` serves them.

Every block has the same shape, so one compilation encodes everything and the bytes of a row depend neither on the batch
size nor on interruptions.
"""

import collections
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import spaces
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.layout import VALUES
from compressae_jax.data.sources import ZERO_ROWS, Source, find_zero_rows, zero_rows_met
from compressae_jax.model.compressae import CompresSAE, Params
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, FolderError, InputError, check_choice, check_range

BLOCK = 4096  # rows; the last block is padded with zeros, whose codes are cut off
AHEAD = 2  # blocks under way on each device

_params: WeakKeyDictionary[Weights, dict[jax.Device, Params]] = WeakKeyDictionary()


class Encoded(NamedTuple):
    """Codes and norms of some rows, and where these rows stand in their source."""

    codes: Codes
    norms: Float[np.ndarray, "b 2"]
    rows: Int[np.ndarray, " b"]


def encode(
    weights: Weights,
    vectors: Dense,
    values: str = "float16",
    block: int = BLOCK,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[Codes, Float[np.ndarray, "b 2"]]:
    """Codes and norms (‖s‖, ‖z‖) of vectors in memory, as NumPy; norms are those of the values as stored.

    Codes made with the same `block`, the rows of one device's call, do not depend on how many vectors come together.

    Raises:
        InputError: a value too large for `values`.
    """
    check_choice("values", values, VALUES)
    vectors = np.asarray(vectors, np.float32)
    rows = np.arange(len(vectors))
    blocks = ((rows[i : i + block], vectors[i : i + block]) for i in range(0, len(vectors), block))
    codes, norms, _ = _joined(list(_encoded(weights, blocks, values, block, devices)))
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
    values: str = "float16",
    zero_rows: str = "stop",
    progress: bool = False,
) -> tuple[Codes, Float[np.ndarray, "n 2"], Any]:
    """Codes, norms and ids (None where the source has none) of a source, read piece by piece.

    Raises:
        InputError: as `compress`.
    """
    _check(weights, source, batch, values, zero_rows)
    parts = list(_compressed(weights, source, batch, values, zero_rows, progress, done=0))
    if not parts:
        raise InputError(f"{source.name}: there is no row to compress")
    codes, norms, rows = _joined(parts)
    return codes, norms, _ids(source, rows, zero_rows)


def compress(
    weights: Weights,
    source: Source,
    out: str | os.PathLike,
    batch: int = 65536,
    values: str = "float16",
    zero_rows: str = "stop",
    progress: bool = True,
) -> dict[str, int | float]:
    """Stream a source into a codes folder; the same call continues what an interruption left.

    `batch` rows are read at once; `values` is the stored dtype, float16 or float32. `zero_rows`: 'stop' refuses them,
    'keep' gives them all-zero codes, 'drop' leaves them out and records the ids of the others. Returns rows, bytes a
    vector (values, columns and one scale) and how many times smaller than float32 that is.

    Raises:
        InputError: a vector that is not finite, a zero row under 'stop', a value too large for float16; nothing stays.
        FolderError: something else stands at `out`.
    """
    _check(weights, source, batch, values, zero_rows)
    header = {"fingerprint": weights.fingerprint, "source": source.summary(), "zero_rows": zero_rows}
    k = weights.h if weights.activation == "identity" else weights.k
    writer = codes_folder.Writer(out, weights.d, weights.h, k, values, header)
    try:
        for codes, norms, rows in _compressed(weights, source, batch, values, zero_rows, progress, writer.rows):
            writer.append(codes, norms, _ids(source, rows, zero_rows))
        writer.finish()
    except FolderError:
        raise
    except InputError:
        writer.discard()  # the source or the options must change, so these bytes can never be continued
        raise
    cost = k * (np.dtype(values).itemsize + column_dtype(weights.h).itemsize) + 4
    ratio = 4 * weights.d / cost
    if progress:
        print(f"{writer.rows:,} rows, {cost} bytes a vector, {ratio:.1f} times smaller than float32: {out}")
    return {"rows": writer.rows, "bytes_per_vector": cost, "ratio": ratio}


def params_on(weights: Weights, device: jax.Device) -> Params:
    """The parameters on a device, where they stay as long as `weights` lives."""
    there = _params.setdefault(weights, {})
    if device not in there:
        there[device] = jax.device_put(weights.params, device)
    return there[device]


def _check(weights: Weights, source: Source, batch: int, values: str, zero_rows: str) -> None:
    """Raise InputError for what is wrong before a row is read."""
    check_choice("values", values, VALUES)
    check_choice("zero_rows", zero_rows, ZERO_ROWS)
    check_range("batch", batch, 1, 2**31)
    if source.width != weights.d:
        raise InputError(
            f"{source.name}: vectors have width {source.width}, the model was trained on {weights.d} "
            f"(fingerprint {weights.fingerprint})"
        )


def _compressed(
    weights: Weights, source: Source, batch: int, values: str, zero_rows: str, progress: bool, done: int
) -> Iterator[Encoded]:
    """What follows the first `done` codes of a source, about `batch` rows at a time, always whole blocks."""
    first = _place_of(source, done, zero_rows)
    group: list[Encoded] = []
    with tqdm(total=len(source), initial=first, unit=" rows", desc="compress", delay=1, disable=not progress) as bar:
        for part in _encoded(weights, _blocks(source, first, batch, zero_rows), values, BLOCK):
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
    values: str,
    block: int,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[Encoded]:
    """Blocks of rows through the encoder, dealt to devices (all local ones) in turn, collected in order."""
    devices = devices or jax.local_devices()
    module = weights.module()
    under_way: collections.deque[tuple[Codes, jax.Array, np.ndarray]] = collections.deque()
    for device, (rows, vectors) in zip(itertools.cycle(devices), blocks, strict=False):
        params = params_on(weights, device)
        codes = _encode_block(params, jax.device_put(_padded(vectors, block), device), module, values)
        # A call of its own: in one program XLA may leave out the rounding to float16 before the norms.
        under_way.append((codes, spaces.norms(codes, params["decoder_w"]), rows))
        if len(under_way) > AHEAD * len(devices):
            yield _collected(*under_way.popleft())
    while under_way:
        yield _collected(*under_way.popleft())


@functools.partial(jax.jit, static_argnames=("module", "values"))
def _encode_block(params: Params, x: Float[jax.Array, "b d"], module: CompresSAE, values: str) -> Codes:
    with jax.default_matmul_precision("highest"):  # a GPU's default product would choose other supports
        codes: Any = module.apply({"params": params}, x, method="encode")
    return Codes(codes.values.astype(values), codes.columns, codes.h)


def _collected(codes: Codes, norms: jax.Array, rows: np.ndarray) -> Encoded:
    """The real rows of a block, in NumPy; its padding ends here."""
    b = len(rows)
    codes = Codes(np.asarray(codes.values)[:b], np.asarray(codes.columns)[:b], codes.h)
    finite = np.isfinite(codes.values).all(axis=1)
    if not finite.all():
        raise InputError(
            f"row {rows[finite.argmin()]} has a code value beyond what {codes.values.dtype} holds; use values='float32'"
        )
    return Encoded(codes, np.asarray(norms)[:b], rows)


def _joined(parts: list[Encoded]) -> Encoded:
    values, columns = (np.concatenate([getattr(p.codes, name) for p in parts]) for name in ("values", "columns"))
    norms, rows = np.concatenate([p.norms for p in parts]), np.concatenate([p.rows for p in parts])
    return Encoded(Codes(values, columns, parts[0].codes.h), norms, rows)


def _padded(part: np.ndarray, length: int) -> np.ndarray:
    return part if len(part) == length else np.pad(part, ((0, length - len(part)), (0, 0)))


def _ids(source: Source, rows: np.ndarray, zero_rows: str) -> np.ndarray | list | None:
    """The ids of some source rows; where rows were dropped and there are none, the row numbers."""
    if source.ids is None:
        return rows if zero_rows == "drop" else None
    return source.ids[rows] if isinstance(source.ids, np.ndarray) else [source.ids[row] for row in rows]
