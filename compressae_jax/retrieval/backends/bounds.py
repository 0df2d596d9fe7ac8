"""What bounds the scores of `residual` rows from above, cheaply: `host` scores only rows whose bound is high enough.

A level is a sum over products of its bits, as +1 and -1 (Walsh 1923); the largest terms of it go into the bound, and
what they leave out is bounded by its greatest, coordinate by coordinate. A query's share of eight coordinates is then
looked up by the two halves of a byte. `bound_kernels` has the loops.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.codes.rows import Beside

GROUP = 8  # coordinates of a byte
SINGLE = 3  # bits of a level up to which each alone is close enough
LEAST_ROWS = 2**16  # fewer are all scored in milliseconds, and these loops take long to compile, once on a machine
OFTEN = 8  # where bounds keep less than all but one of so many pairs out, all are scored without
LANES = 16  # queries of a block, at least
WORD = 64  # bits, of a bitmap that is read at once
MOST_EXACT = 1024  # rows that are scored without bounds before these are tried again
LINES = 2**14  # of more, sums of 16 bits would be coarse, and of twice as many too large
STEPS = 40  # of the fit of a sum to levels


class Form(NamedTuple):
    """What all queries share: how lines are made of a row's bytes, and what each of them stands for.

    The first lines are the bytes of coordinates. `mixed` (t, 3) makes others of them: which one, of which, and whether
    that is its first. `coordinates` and `weights` (lines,): the first of eight, and the weight of its term; `errors`
    and `reach` (m,): the most that a level is above its terms, and the greatest one.
    """

    mixed: Int[np.ndarray, "t 3"]
    coordinates: Int[np.ndarray, " lines"]
    weights: Float[np.ndarray, " lines"]
    errors: Float[np.ndarray, " m"]
    reach: Float[np.ndarray, " m"]


def form(beside: Beside) -> Form | None:
    """The form of these rows; None of rows of too many lines, and on machines without what the loops need."""
    own = _form(beside.widths.tobytes(), beside.tables.tobytes()) if runs() else None
    return own if own is not None and len(own.weights) <= LINES else None


@functools.cache
def runs() -> bool:
    """Whether this machine has what the loops need."""
    from numba.core.registry import cpu_target

    from compressae_jax.base.llvm_kernels import has
    from compressae_jax.retrieval.backends import bound_vector_kernels

    return has(cpu_target.target_context, *bound_vector_kernels.FEATURES)


@functools.lru_cache(maxsize=64)
def _form(widths: bytes, tables: bytes) -> Form:
    bits = np.frombuffer(widths, np.int64)
    levels = np.frombuffer(tables, np.float32).reshape(-1, 256)
    own = {b: terms(levels[b, : 2**b].astype(np.float64)) for b in range(1, len(levels)) if (bits == b).any()}
    planes = bits[::GROUP]
    count = int(planes.sum())
    coordinates, weights, mixed = [], [], []
    further: list[tuple[int, float]] = []
    at, line = 0, -(-count // 16) * 16
    for group, b in enumerate(planes.tolist()):
        masks, sizes, _ = own[b]
        for plane in range(b):  # the highest bit first
            coordinates.append(GROUP * group)
            weights.append(sizes[masks.index(1 << (b - 1 - plane))])
        for mask, size in zip(masks, sizes, strict=True):
            some = [at + plane for plane in range(b) if mask >> (b - 1 - plane) & 1]
            if len(some) > 1:
                mixed += [(count + len(further), other, int(other == some[0])) for other in some]
                further.append((GROUP * group, size))
        at += b
    lines = max(line, count + len(further))
    pad = lines - count - len(further)
    coordinates += [first for first, _ in further] + [0] * pad
    weights += [size for _, size in further] + [0.0] * pad
    errors, reach = (np.array([own[b][2] if one else levels[b, 2**b - 1] for b in bits.tolist()]) for one in (1, 0))
    return Form(
        np.array(mixed, np.int64).reshape(-1, 3),
        np.array(coordinates, np.int64),
        np.array(weights, np.float64),
        errors.astype(np.float64),
        reach.astype(np.float64),
    )


def terms(levels: Float[np.ndarray, " l"]) -> tuple[list[int], list[float], float]:
    """Products of bits, as masks, and their weights, of which levels (2^b,) about zero are nearly the sum; the most
    that a level is away from it.

    Each bit by itself, and of more than `SINGLE` two products for each further one. The least greatest distance is
    approached by weighted squares (Lawson 1961).
    """
    count = len(levels)
    b = count.bit_length() - 1
    # Of an odd function, as levels are, only odd numbers of bits have weights.
    masks = [mask for mask in range(1, count) if mask.bit_count() % 2]
    signs = {mask: np.array([(-1) ** ((~i & mask).bit_count()) for i in range(count)], np.float64) for mask in masks}
    single = [1 << bit for bit in range(b)]
    others = sorted((mask for mask in masks if mask not in single), key=lambda mask: -abs(signs[mask] @ levels))
    chosen = single + others[: 2 * max(0, b - SINGLE)]
    design, weight, best = np.stack([signs[mask] for mask in chosen], axis=1), np.full(count, 1 / count), None
    for _ in range(STEPS):
        root = np.sqrt(weight)
        sizes = np.linalg.lstsq(design * root[:, None], levels * root, rcond=None)[0]
        away = np.abs(levels - design @ sizes)
        if best is None or away.max() < best[1]:
            best = sizes, float(away.max())
        weight = weight * away
        if not weight.sum() > 1e-30:
            break
        weight /= weight.sum()
    assert best is not None
    return chosen, best[0].tolist(), best[1]


def scan(records, how, row_scales, first_row, allowed, asked, indptr, without, scores, rows):  # type: ignore[no-untyped-def]
    """Absorb a chunk's rows into the heaps (q, r) of queries, or (r,) of one, as `kernels.scan_beside` does.

    `how` and `asked` are `made_of` and `asked_of`. Where bounds keep few rows out, as before the heaps are full, some
    are scored without.
    """
    from compressae_jax.retrieval.backends import bound_kernels, kernels

    n, start, exact, heaps = len(records), 0, bound_kernels.STRIP, (scores, rows)
    whole = asked[0] if scores.ndim == 2 else asked[1][0]
    scores, rows = np.atleast_2d(scores, rows)

    def part(start: int, stop: int) -> tuple:
        some = allowed[start:stop] if len(allowed) else allowed
        return row_scales[start:stop], first_row + start, some

    while start < n:
        done = bound_kernels.scan(records[start:], how, *part(start, n), asked, indptr, without, scores, rows)
        exact = bound_kernels.STRIP if done else min(2 * exact, MOST_EXACT)
        start += done
        if start < n:
            stop = min(start + exact, n)
            kernels.scan_beside(records[start:stop], how[0], *part(start, stop), whole, indptr, without, *heaps)
            start = stop


def made_of(own: Form, how: tuple) -> tuple:
    """What the loops take of rows, of what `kernels.scan_beside` takes."""
    return how, own.mixed, len(own.weights), OFTEN


def asked_of(own: Form, beside: Beside, u: Float[np.ndarray, "*q h"], block: Float[np.ndarray, "h *w"]) -> tuple:
    """What the loops take of queries, or of one: `block`, as other loops take them, each by itself, tables, numbers."""
    from compressae_jax.retrieval.backends import bound_kernels, bound_vector_kernels

    first, u = beside.first, np.atleast_2d(u)
    q, alone = len(u), np.empty(0, np.float32)
    together = 1 if q == 1 else bound_vector_kernels.TOGETHER
    tables = np.zeros((-(-q // together) * together, len(own.weights), 32), np.uint8)
    numbers = np.zeros((q, 3), np.float32)
    few = float(first.k), float(np.abs(first.signed).max()), float(beside.scales.max())
    deviations = beside.deviations.astype(np.float64)
    how: Any = own.coordinates, own.weights, deviations, own.errors, own.reach, few
    bound_kernels.tables_of(u, first.h, *how, tables, numbers)
    if block.ndim == 1:
        block = np.zeros((0, LANES), np.float32)
        if first.k + ((first.h - 1) >> first.low) <= WORD:
            # Damaged rows have columns behind the last, zero rows nothing but those: no number, so they have no bound.
            alone = np.full((WORD + 2) << first.low, np.nan, np.float32)
            alone[: first.h] = u[0, : first.h]
        else:
            block = np.pad(u, ((0, LANES - 1), (0, 0))).T
    block = np.ascontiguousarray(block).view()
    block.flags.writeable = False
    return block, u, alone, tables, numbers
