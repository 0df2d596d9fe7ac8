"""Rows of the data as atoms: a row is described by the landmarks that are nearest to it.

Rows that are near to each other are near to the same landmarks, so the inner product of two codes ranks neighbours by
itself (as permutation-based indexes do: Chávez, Figueroa & Navarro 2008). It ranks the better, the more landmarks there
are: a code is k of them whatever h, and what they cost is the product with them and their memory.

Pre-activations are inner products with c = (l − μ) / ‖l − μ‖ of the landmarks l, less ⟨c, μ⟩, where μ is the mean of
unit rows: what all rows have in common tells nothing. Decoder rows are the landmarks themselves. `tuned` moves c for
the sake of neighbours (`neighbours`), which is all that is trained.
"""

import numpy as np
import xxhash
from jaxtyping import Float, Int64

from compressae_jax.base import progress
from compressae_jax.codes import on_host
from compressae_jax.data.sampling import START, Rest, drawn_rows, sample
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError
from compressae_jax.training import neighbours

MOST = 2**15  # landmarks unless more are asked for; 50 MB of float32 at d=384, for the encoder alone
ROWS_EACH = 2  # rows for each of them, at least
GROUP = 16  # columns, of which the selection takes maxima
MEAN_ROWS = 2**15  # that the mean is taken of
QUERY_TIMES = 2  # nonzeros of a query for each of a row: best of 1 to 4 (docs/research-log.md)
ROWS, NUMBERS = 2**17, 2**26  # that `tuned` looks at, at most: in all about a gigabyte and a half


def suited(rows: int, k: int) -> int:
    """How many landmarks serve so many rows: a half of them, at most `MOST` and at least k, in whole groups."""
    return max(k, min(MOST, rows // ROWS_EACH // GROUP * GROUP))


def params(h: int, source: Source, rows: Rest, seed: int = 0) -> dict[str, np.ndarray]:
    """The parameters of a model whose atoms are h of the rows, drawn by seed.

    Raises:
        InputError: fewer rows than landmarks.
    """
    if h > len(rows):
        raise InputError(f"h={h:,} landmarks are rows of the data, of which there are {len(rows):,}; name a smaller h")
    drawn = np.sort(rows[drawn_rows(len(rows), seed, h, START)])
    landmarks = on_host.unit_rows(np.asarray(source.take(drawn), np.float32))
    landmarks[~landmarks.any(axis=1), 0] = 1  # a zero row has no direction: any serves
    mean = common(source, rows, seed)
    return {**_encoder(on_host.unit_rows(landmarks - mean), mean), "decoder_w": landmarks}


def tuned(
    params: dict[str, np.ndarray],
    k: int,
    source: Source,
    rows: Rest,
    seed: int,
    steps: int,
    shown: bool = False,
    check: neighbours.Check = neighbours.nothing,
) -> dict[str, np.ndarray]:
    """The parameters of landmarks after so many steps of `neighbours`, the decoder as it was.

    Of rows that are equal one is looked at. `check` is called many times a step, by any thread, and may raise.
    """
    numbers = max(source.width, neighbours.CANDIDATES * k)  # of a row
    looked_at = sample(rows, max(1, min(ROWS, NUMBERS // numbers)), seed)
    x = on_host.unit_rows(np.asarray(source.take(looked_at), np.float32))
    x, mean = x[_once(x)], common(source, rows, seed)
    atoms = params["encoder_w"].T
    with progress.bar(steps, "neighbours", "steps", 0, shown) as bar:
        for moved in neighbours.moved(atoms, k, x, mean, steps, check) if len(x) else ():
            atoms = moved
            bar.update()
    return {**params, **_encoder(atoms, mean)}


def _once(x: Float[np.ndarray, "n d"]) -> Int64[np.ndarray, " rows"]:
    """The rows that are not zero, and of equal ones the first: `neighbours` takes the square of their number."""
    hashes = np.array([xxhash.xxh3_64_intdigest(row.tobytes()) for row in x], np.uint64)
    first = np.zeros(len(x), bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return np.flatnonzero(first & x.any(axis=1))


def common(source: Source, rows: Rest, seed: int) -> Float[np.ndarray, " d"]:
    """The mean of unit rows."""
    return on_host.unit_rows(np.asarray(source.take(sample(rows, MEAN_ROWS, seed)), np.float32)).mean(axis=0)


def _encoder(w: Float[np.ndarray, "h d"], mean: Float[np.ndarray, " d"]) -> dict[str, np.ndarray]:
    """Of atoms that see rows less their mean."""
    return {"encoder_w": np.ascontiguousarray(w.T), "encoder_b": -(w @ mean)}
