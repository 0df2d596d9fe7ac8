"""Ways to select the k entries of largest magnitude of each row, on the device that JAX has; all exact.

    python -m benchmarks.selection --out=results [--shapes 100000,4096,32 ...] [--dtype=bfloat16]

Two jobs: `list` (values and columns of the k largest, `topk.largest`) and `masks` (the arrays of `topk.keep` at k and
4k, as training needs them). `topk.cu` is what the product does on NVIDIA GPUs, `lax.top_k` what it does elsewhere where
all is jitted, `compiled loops` what it does on a CPU. The others are candidates for an accelerator:

- buckets: the few largest of each bucket, then `top_k` of these (arXiv 2506.04165). A bucket that gives all its
  candidates may hide more; then `top_k` does the whole batch.
- threshold: the k-th largest magnitude by bisection on its bits, one or several bits a pass (radix selection); the
  winners' columns from the mask packed into words.
- Pallas: the same bisection with the row in registers, for NVIDIA through Triton; it gives the thresholds, or writes
  the masked rows itself. A CPU only interprets it, which is checked and not timed.

The product depends on none of the candidates. Each form is
compared with a stable sort in NumPy before it is timed; one that is wrong, or that the device refuses, has no time and
makes the exit code 1. Memory: about seven arrays of a shape; at h = 65,536 an H100 has room for 20,000 rows.
"""

import argparse
import datetime
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int, Integer

from benchmarks import timing
from compressae_jax.base import cuda
from compressae_jax.model import topk, topk_host
from compressae_jax.retrieval.backends import host

SHAPES = {"cpu": ["2048,2048,16", "4096,4096,32"], "gpu": ["100000,4096,32", "100000,4096,16"]}  # b, h, k
REPEATS, BUDGET, REST = 7, 20.0, 0.03  # calls; seconds after which a side sits out; seconds before a call, on a CPU
CHECKED = 32  # random rows of a batch that are compared with the sort
RISK = 1e-3  # probability that a batch of random rows has to be selected again
CANDIDATE = 8  # what selecting among candidates costs, each, in entries read once (5 on a CPU)
PROGRAM, WARP = 4096, 1024  # entries of a Pallas program and of each of its warps
WIDTHS = (4, 2, 1)  # the slowest on a CPU slows the call after it, which should not be a side that the product has
WORD = 32


class Limits(NamedTuple):
    """What rows keep, by budget: entries whose key is above `key`, or equal to it and not right of column `last`."""

    key: Int[Array, "b n"]
    last: Int[Array, "b n"]


Find = Callable[[Array, tuple[int, ...]], Limits]


class Form(NamedTuple):
    """One way to do one job."""

    name: str
    job: str  # list or masks
    call: Callable[[Any], tuple[Any, ...]]
    on_host: bool  # takes and gives NumPy arrays
    timed: bool


def main() -> None:
    """At each shape check all forms and time the right ones in turn; write the results."""
    flags = parse()
    bandwidth = timing.bandwidth()
    results = []
    for text in flags.shapes:
        b, h, k = map(int, text.split(","))
        floor = b * h * jnp.dtype(flags.dtype).itemsize / bandwidth
        results += [{"shape": [b, h, k], "floor": floor, **one} for one in measured(b, h, k, flags)]
    report = {
        "command": "python -m benchmarks.selection",
        "settings": vars(flags),
        "machine": timing.machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "bytes read a second": bandwidth,
        "results": results,
    }
    text = table(results, flags)
    if flags.out:
        timing.write(flags.out, "selection", report, text)
    print(text)
    if refused := [f"{one['form']} ({one['job']}): {one['wrong']}" for one in results if one["wrong"]]:
        raise SystemExit("no time for " + "; ".join(refused))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = SHAPES["cpu" if jax.default_backend() == "cpu" else "gpu"]
    parser.add_argument("--shapes", nargs="+", default=default, metavar="b,h,k")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--out", default="", help="folder for selection.json and selection.md")
    return parser.parse_args()


def forms(h: int, k: int, dtype: str) -> list[Form]:
    """Every form of both jobs that this device and dtype have."""
    cpu, ks = jax.default_backend() == "cpu", budgets(h, k)
    calls: dict[tuple[str, str], Callable[[Any], Any]] = {
        ("lax.top_k", "list"): functools.partial(topk.by_sorting, k=k),
        ("lax.top_k", "masks"): functools.partial(masked, ks=ks, found=sorted_limits),
        ("buckets", "list"): functools.partial(two_stage, k=k),
        ("buckets", "masks"): functools.partial(masked, ks=ks, found=bucket_limits),
    }
    found = {f"threshold, bits a pass: {width}": functools.partial(threshold, width=width) for width in WIDTHS}
    found["Pallas, thresholds"] = functools.partial(kernel_limits, interpret=cpu)
    if cuda.usable() and dtype == "float32":
        calls["topk.cu", "list"] = functools.partial(topk.largest, k=k)
        calls["topk.cu", "masks"] = functools.partial(topk.keep, ks=ks, dtype=jnp.dtype(dtype))
    for name, one in found.items():
        calls[name, "list"] = functools.partial(listed, k=k, found=one)
        calls[name, "masks"] = functools.partial(masked, ks=ks, found=one)
    calls["Pallas, masked rows", "masks"] = functools.partial(kernel_masked, ks=ks, interpret=cpu)
    some = [Form(*key, jax.jit(call), False, not (cpu and "Pallas" in key[0])) for key, call in calls.items()]
    if cpu and dtype == "float32":
        host_calls = {"list": functools.partial(loops, k=k), "masks": functools.partial(loops_masked, ks=ks)}
        some[2:2] = [Form("compiled loops", job, call, True, True) for job, call in host_calls.items()]
    return some


def budgets(h: int, k: int) -> tuple[int, int]:
    """The numbers of entries that training keeps."""
    return k, min(4 * k, h)


def keys(a: Float[Array, "b h"]) -> Integer[Array, "b h"]:
    """The bits of the magnitudes, which rise as these do."""
    kind = jnp.uint16 if a.dtype.itemsize == 2 else jnp.uint32
    return lax.bitcast_convert_type(a, kind) & kind(jnp.iinfo(kind).max >> 1)


def kept(a: Float[Array, "b h"], limits: Limits) -> list[Bool[Array, "b h"]]:
    """Where the winners of each budget stand."""
    size, column = keys(a), jnp.arange(a.shape[1])
    pairs = zip(limits.key.T.astype(size.dtype)[..., None], limits.last.T[..., None], strict=True)
    return [(size > key) | ((size == key) & (column <= last)) for key, last in pairs]


def masked(a: Float[Array, "b h"], ks: tuple[int, ...], found: Find) -> tuple[Float[Array, "b h"], ...]:
    """As `topk.keep`, from limits."""
    return tuple(jnp.where(mask, a, 0) for mask in kept(a, found(a, ks)))


def listed(a: Float[Array, "b h"], k: int, found: Find) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """As `topk.largest`, from limits."""
    columns = nth(kept(a, found(a, (k,)))[0], jnp.broadcast_to(jnp.arange(k), (len(a), k)))
    values = jnp.take_along_axis(a, columns, axis=1)
    _, order = lax.top_k(keys(values), k)
    return jnp.take_along_axis(values, order, axis=1), jnp.take_along_axis(columns, order, axis=1)


def nth(mask: Bool[Array, "b h"], ranks: Int[Array, "b r"]) -> Int[Array, "b r"]:
    """The columns of the set entries of these ranks, from 0: one pass over the mask, then words of 32 columns."""
    mask = jnp.pad(mask, ((0, 0), (0, -mask.shape[1] % WORD))).reshape(len(mask), -1, WORD)
    words = jnp.sum(mask.astype(jnp.uint32) << jnp.arange(WORD, dtype=jnp.uint32), axis=2, dtype=jnp.uint32)
    counts = lax.population_count(words).astype(jnp.int32)
    ends = jnp.cumsum(counts, axis=1)
    at = jnp.sum(ends[:, None] <= ranks[..., None], axis=2)
    word, before = (jnp.take_along_axis(one, at, axis=1) for one in (words, ends - counts))
    up_to = jnp.uint32(2**WORD - 1) >> jnp.arange(WORD - 1, -1, -1, dtype=jnp.uint32)
    seen = lax.population_count(word[..., None] & up_to).astype(jnp.int32)
    return WORD * at + jnp.sum(seen <= (ranks - before)[..., None], axis=2)


def design(b: int, h: int, k: int) -> tuple[int, int]:
    """The cheapest number of buckets and of candidates of each that b random rows outgrow with probability `RISK`."""

    def candidates(buckets: int) -> int:
        # The union bound on some bucket holding c of k winners.
        few = (c for c in range(1, k) if b * buckets * math.comb(k, c) / buckets**c <= RISK)
        return min(next(few, k), h // buckets)

    choices = [2**i for i in range(h.bit_length()) if h % 2**i == 0 and 2**i * candidates(2**i) <= h // 4]
    buckets = min(choices, key=lambda one: candidates(one) * (h + CANDIDATE * one), default=1)
    return buckets, candidates(buckets)


def two_stage(a: Float[Array, "b h"], k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """As `topk.largest`: the candidates of each bucket of adjacent columns, then the best of these, or `top_k`."""
    (b, h), (buckets, each) = a.shape, design(len(a), a.shape[1], k)
    width = h // buckets
    size, at = bucket_largest(a.reshape(b, buckets, width), each)
    # Buckets and candidates stand by column where magnitudes are equal, so top_k's own rule decides ties.
    _, found = lax.top_k(size.reshape(b, -1), k)
    columns = jnp.take_along_axis((at + width * jnp.arange(buckets)[:, None]).reshape(b, -1), found, axis=1)
    values = jnp.take_along_axis(a, columns, axis=1)
    if each in (k, width):
        return values, columns
    exhausted = jnp.any(found % each == each - 1)
    return lax.cond(exhausted, lambda: topk.largest(a, k), lambda: (values, columns))


def bucket_largest(
    a: Float[Array, "b buckets width"], each: int
) -> tuple[Float[Array, "b buckets each"], Int[Array, "b buckets each"]]:
    """The largest magnitudes of each bucket, falling, and their places; a pass each, which writes nothing wide."""
    size, place = jnp.abs(a), lax.broadcasted_iota(jnp.int32, a.shape, 2)
    found = []
    after = jnp.ones(a.shape, bool)
    for _ in range(each):
        at = jnp.argmax(jnp.where(after, size, -1), axis=2, keepdims=True).astype(jnp.int32)
        best = jnp.take_along_axis(size, at, axis=2)
        after = (size < best) | ((size == best) & (place > at))
        found.append((best, at))
    sizes, places = zip(*found, strict=True)
    return jnp.concatenate(sizes, axis=2), jnp.concatenate(places, axis=2)


def sorted_limits(a: Float[Array, "b h"], ks: tuple[int, ...]) -> Limits:
    """The limits, from that list of the largest budget."""
    values, columns = map(lax.optimization_barrier, topk.by_sorting(a, max(ks)))
    ends = jnp.asarray(ks) - 1
    return Limits(keys(values)[:, ends], columns[:, ends])


def bucket_limits(a: Float[Array, "b h"], ks: tuple[int, ...]) -> Limits:
    """The limits, from the list of the largest budget."""
    # The barriers are those of topk._masks.
    values, columns = map(lax.optimization_barrier, two_stage(a, max(ks)))
    ends = jnp.asarray(ks) - 1
    return Limits(keys(values)[:, ends], columns[:, ends])


def threshold(a: Float[Array, "b h"], ks: tuple[int, ...], width: int) -> Limits:
    """The limits, by `width` bits of the k-th largest key a pass over the rows."""
    kind = keys(a).dtype
    passes = -(-(8 * kind.itemsize - 1) // width)

    def look(i: Array, found: Integer[Array, "b n"]) -> Integer[Array, "b n"]:
        shift, size = ((passes - 1 - i) * width).astype(kind), keys(a)
        digits = [jnp.zeros(len(a), kind) for _ in ks]
        for j, k in enumerate(ks):
            for digit in range(1, 2**width):
                tried = found[:, j, None] | (kind.type(digit) << shift)
                digits[j] += (jnp.sum(size >= tried, axis=1, dtype=jnp.int32) >= k).astype(kind)
        return found | (jnp.stack(digits, axis=1) << shift)

    key = lax.fori_loop(0, passes, look, jnp.zeros((len(a), len(ks)), kind))
    size, last = keys(a), []
    for one, k in zip(key.T[..., None], ks, strict=True):
        above = jnp.sum(size > one, axis=1, dtype=jnp.int32)
        last.append(nth(size == one, (k - 1 - above)[:, None]))  # the last that wins of those equal to the k-th largest
    return Limits(key, jnp.concatenate(last, axis=1))


def kernel_limits(a: Float[Array, "b h"], ks: tuple[int, ...], interpret: bool) -> Limits:
    """The limits, by a Pallas kernel that reads each row once."""
    out = called(a, ks, [jax.ShapeDtypeStruct((len(a),), jnp.int32)] * (2 * len(ks)), interpret)
    return Limits(jnp.stack(out[::2], axis=1), jnp.stack(out[1::2], axis=1))


def kernel_masked(a: Float[Array, "b h"], ks: tuple[int, ...], interpret: bool) -> tuple[Float[Array, "b h"], ...]:
    """As `topk.keep`, by a Pallas kernel that reads each row once and writes it masked."""
    return tuple(called(a, ks, [jax.ShapeDtypeStruct(a.shape, a.dtype)] * len(ks), interpret))


def called(a: Array, ks: tuple[int, ...], out: list[jax.ShapeDtypeStruct], interpret: bool) -> list[Array]:
    """The kernel's results: a program for a block of whole rows, which Triton wants padded to a power of two."""
    (b, h), padded = a.shape, pl.next_power_of_2(a.shape[1])
    rows = math.gcd(b, max(1, PROGRAM // padded))
    narrow, wide = pl.BlockSpec((rows,), lambda i: (i,)), pl.BlockSpec((rows, padded), lambda i: (i, 0))
    return pl.pallas_call(
        functools.partial(kernel, ks=ks, h=h),
        out_shape=out,
        grid=(b // rows,),
        in_specs=[wide],
        out_specs=[wide if len(one.shape) == 2 else narrow for one in out],
        compiler_params=triton.CompilerParams(num_warps=min(max(rows * padded // WARP, 1), 32), num_stages=1),
        interpret=interpret,
    )(a)


def kernel(a_ref: Any, *out: Any, ks: tuple[int, ...], h: int) -> None:
    """Write the limits of a block of rows (a key and a column for each k), or the masked rows (one for each k)."""
    column = lax.broadcasted_iota(jnp.int32, a_ref.shape, 1)
    a = triton.load(a_ref, mask=column < h, other=0.0)
    bits = jnp.int16 if a.dtype.itemsize == 2 else jnp.int32
    size = lax.bitcast_convert_type(a, bits).astype(jnp.int32) & jnp.iinfo(bits).max
    for j, k in enumerate(ks):
        key, last = kernel_limit(size, column, k, 8 * a.dtype.itemsize - 2)
        if len(out) == 2 * len(ks):
            out[2 * j][...], out[2 * j + 1][...] = key, last
        else:
            mask = (size > key[:, None]) | ((size == key[:, None]) & (column <= last[:, None]))
            triton.store(out[j], jnp.where(mask, a, jnp.zeros_like(a)), mask=column < h)


def kernel_limit(size: Int[Array, "r p"], column: Int[Array, "r p"], k: int, top: int) -> tuple[Array, Array]:
    """Key and last column of a budget: bisection of the bits from `top` down, until exactly k entries reach the key.

    Where more still reach it after the last bit, they are equal, and the last column is found by bisection too.
    """

    def count(mask: Bool[Array, "r p"]) -> Int[Array, " r"]:
        return jnp.sum(mask.astype(jnp.int32), axis=1)

    def narrow(state: Any) -> Any:
        shift, key, reached = state
        tried = key | (1 << shift)
        found = count(size >= tried[:, None])
        return shift - 1, jnp.where(found >= k, tried, key), jnp.where(found >= k, found, reached)

    def move(state: Any) -> Any:
        shift, last = state
        tried = last | (1 << shift)
        return shift - 1, jnp.where(count(tied & (column < tried[:, None])) < wanted, tried, last)

    (rows, padded), zero = size.shape, jnp.zeros(len(size), jnp.int32)
    start = jnp.int32(top), zero, jnp.full(rows, padded, jnp.int32)
    _, key, reached = lax.while_loop(lambda one: (one[0] >= 0) & (jnp.max(one[2]) > k), narrow, start)
    tied, wanted = size == key[:, None], k - count(size > key[:, None])
    shift = jnp.where(jnp.max(reached) > k, jnp.int32(padded.bit_length() - 2), jnp.int32(-1))
    _, last = lax.while_loop(lambda one: one[0] >= 0, move, (shift, zero))
    return key, jnp.where(reached > k, last, padded - 1)


def loops(a: Float[np.ndarray, "b h"], k: int) -> tuple[np.ndarray, ...]:
    """As `topk.largest`, by the product's loops, a share of the rows a core as its callers do."""
    parts = np.array_split(a, host.cores())
    with ThreadPoolExecutor(len(parts)) as pool:
        found = pool.map(functools.partial(topk_host.largest, k=k), parts)
    return tuple(np.concatenate(some) for some in zip(*found, strict=True))


def loops_masked(a: Float[np.ndarray, "b h"], ks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """As `topk.keep`, from the list; the product's own training on a CPU stops at the list."""
    (values, columns), out = loops(a, max(ks)), tuple(np.zeros_like(a) for _ in ks)
    for one, k in zip(out, ks, strict=True):
        np.put_along_axis(one, columns[:, :k], values[:, :k], axis=1)
    return out


def awkward(h: int) -> Float[np.ndarray, "8 h"]:
    """Rows of ties, zeros of both signs, equal magnitudes, a single nonzero, all winners side by side."""
    rng = np.random.default_rng(1)
    sign = np.where(rng.random((8, h)) < 0.5, -1, 1).astype(np.float32)
    rows = rng.integers(0, 4, (8, h)).astype(np.float32)
    rows[0], rows[1], rows[2, : h // 2], rows[3] = 0, 1, 0, np.arange(h) == h - 1
    rows[4], rows[5] = np.arange(h, 0, -1), np.arange(h) // 2
    return rows * sign


def rightly(job: str, a: Float[np.ndarray, "b h"], k: int) -> list[np.ndarray]:
    """What a job gives, by a stable sort in float64."""
    order = np.argsort(-np.abs(a.astype(np.float64)), axis=1, kind="stable")
    if job == "list":
        return [np.take_along_axis(a, order[:, :k], axis=1), order[:, :k]]
    ranks = np.argsort(order, axis=1)
    return [np.where(ranks < one, a, 0) for one in budgets(a.shape[1], k)]


def measured(b: int, h: int, k: int, flags: argparse.Namespace) -> list[dict[str, Any]]:
    """For each form: what is wrong with it, or its milliseconds, or neither (untimed)."""
    a = jax.random.normal(jax.random.key(0), (b, h), jnp.dtype(flags.dtype))
    results: dict[str, dict[str, Any]] = {}
    sides = {}
    for form in forms(h, k, flags.dtype):
        key = f"{form.name}: {form.job}"
        results[key] = {"form": form.name, "job": form.job, "wrong": wrong(form, a, k)}
        if form.timed and not results[key]["wrong"]:
            sides[key] = functools.partial(form.call, np.asarray(a) if form.on_host else a)
    rest = REST if jax.default_backend() == "cpu" else 0
    for key, all_ in timing.alternate(sides, flags.repeats, BUDGET, rest=rest).items():
        results[key] |= timing.milliseconds(all_)
    return list(results.values())


def wrong(form: Form, a: Float[Array, "b h"], k: int) -> str:
    """What is wrong with a form's answers for random rows and for awkward ones; empty if nothing is."""
    special = jnp.asarray(awkward(a.shape[1])[: len(a)], a.dtype)
    some, last = np.unique(np.linspace(0, len(a) - 1, CHECKED, dtype=int)), np.arange(len(a))[-len(special) :]
    try:
        if not form.timed:  # interpreted, so the checked rows only
            few = jnp.concatenate([a[some], special])
            right = agrees(form, few, np.arange(len(few)), k)
        else:
            right = agrees(form, a, some, k) and agrees(form, a.at[last].set(special), last, k)
    except Exception as error:  # a form that the device refuses must not hide the others
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return "" if right else "not the stable sort's"


def agrees(form: Form, a: Float[Array, "b h"], rows: Int[np.ndarray, " r"], k: int) -> bool:
    """Whether a form gives for some rows of a batch what the sort gives."""
    given = form.call(np.asarray(a) if form.on_host else a)
    pairs = zip(given, rightly(form.job, np.asarray(a[rows]), k), strict=True)
    return all(np.array_equal(np.asarray(one[rows], np.float64), np.asarray(other, np.float64)) for one, other in pairs)


def table(results: list[dict[str, Any]], flags: argparse.Namespace) -> str:
    """Forms down, shape and job across."""
    cells = {(one["form"], *one["shape"], one["job"]): cell(one) for one in results}
    floors = {(*one["shape"], one["job"]): one["floor"] for one in results}
    names = dict.fromkeys(one["form"] for one in results)
    lines = [
        f"Milliseconds, {flags.dtype}: median (least to greatest) of at most {flags.repeats} alternating calls, and",
        "the median over the floor, which is reading the rows once; `masks` also writes twice as many bytes.",
        "",
        *timing.markdown(
            "form | " + " | ".join(f"{b:,} × {h:,}, k={k}, {job}" for b, h, k, job in floors),
            [[name, *(cells.get((name, *column), "") for column in floors)] for name in names],
        ),
        f"| floor | {' | '.join(f'{1e3 * floor:.2f}' for floor in floors.values())} |",
    ]
    return "\n".join(lines) + "\n"


def cell(one: dict[str, Any]) -> str:
    """A result in a table."""
    if "median_ms" not in one:
        return one["wrong"] or "right; not timed on a CPU"
    return timing.shown(one, 2, "_ms") + f", {one['median_ms'] / 1e3 / one['floor']:.1f}×"


if __name__ == "__main__":
    main()
