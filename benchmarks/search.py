"""Search: ours beside exact dense, exact sparse and approximate peers, alternating in one run.

    python -m benchmarks.search --out=results [--size=small] [--peers numpy faiss scipy] [--queries 1 64]

Where JAX sees a GPU, the `scan` backend and dense products in JAX are compared instead. The numbers are random, which
changes no scan's time; what does depend on the data is said above the table. Before a side is timed at a number of
queries, its results are compared with a float64 oracle: a side that fails prints no time, and an inexact one prints
its recall. Peers come with the [bench] extra; one that is not installed is skipped.
"""

import argparse
import datetime
import functools
import importlib.metadata
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from benchmarks import timing
from compressae_jax.codes import levels
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.packed import Packing, pack
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval import compress, host, scan
from compressae_jax.retrieval.index import Index

SIZES = {
    "full": {"n": 1_000_000, "queries": [1, 16, 64, 256], "repeats": 9, "seconds": 30.0, "approximate_n": 50_000},
    "small": {"n": 100_000, "queries": [1, 64], "repeats": 5, "seconds": 1.5, "approximate_n": 5_000},
}
BLOCK = 65_536  # rows that a blockwise peer scores at a time
CHECKED = 64  # queries of the oracle, spread over all; a side that answers q of them is checked on those below q
LINKS, BUILD_EFFORT, SEARCH_EFFORT = 16, 100, 200  # of the graphs: M, efConstruction, efSearch
PACKED_BITS = 4
FAISS_BLAS = 8, 4096  # queries from which it multiplies matrices, and rows of one product
PACKAGES = ("faiss-cpu", "kannolo", "scipy", "sparse_dot_topn", "usearch")

Found = tuple[Any, Any]  # scores (q, r) and rows (q, r)


class Side(NamedTuple):
    """One way to search: `call(q)` answers the first q queries of its `truth`."""

    call: Callable[[int], Found]
    truth: "Truth"
    bytes_row: float
    exact: bool = True


class Data:
    """Rows as unit vectors and as codes (two data sets of one length), and queries of each kind."""

    def __init__(self, dense: np.ndarray, codes: Codes, vectors: np.ndarray, u: np.ndarray, few: Codes, top: int):
        self.dense, self.codes, self.vectors, self.u, self.few, self.top = dense, codes, vectors, u, few, top
        norms = np.linalg.norm(codes.values.astype(np.float32), axis=1)
        self.row_scales = (1 / norms).astype(np.float32)
        self.dense_truth = Truth(dense, vectors, top)
        self.code_truth = Truth(self.csr, u, top)
        self.sparse_truth = Truth(self.csr, few.to_dense(), top)

    @staticmethod
    def drawn(flags: argparse.Namespace) -> "Data":
        """Random ones; `few` are queries of k nonzeros, as the space `sparse` compares them."""
        rng, q = np.random.default_rng(0), max(flags.queries)
        few = random_codes(rng, q, flags.h, flags.k, "float32")
        few = Codes(few.values / np.linalg.norm(few.values, axis=1, keepdims=True), few.columns, flags.h)
        u = rng.standard_normal((q, flags.h), np.float32)
        codes = random_codes(rng, flags.n, flags.h, flags.k, flags.values)
        return Data(unit_rows(rng, flags.n, flags.d), codes, unit_rows(rng, q, flags.d), u, few, flags.top)

    def head(self, n: int) -> "Data":
        """The first n rows and all queries."""
        return Data(self.dense[:n], self.codes[:n], self.vectors, self.u, self.few, self.top)

    @functools.cached_property
    def csr(self) -> scipy.sparse.csr_matrix:
        """Codes times their row scales, as the sparse peers take them: float32 values, int32 columns, in order."""
        values = self.codes.values.astype(np.float32) * self.row_scales[:, None]
        matrix = Codes(values, self.codes.columns, self.codes.h).to_csr()
        matrix.sort_indices()
        return matrix

    @functools.cached_property
    def few_csr(self) -> scipy.sparse.csr_matrix:
        """The sparse queries."""
        matrix = self.few.to_csr()
        matrix.sort_indices()
        return matrix


class Truth:
    """The float64 oracle of rows (n, w), dense or CSR, and queries (q, w)."""

    def __init__(self, matrix: np.ndarray | scipy.sparse.csr_matrix, queries: np.ndarray, top: int):
        self.matrix, self.top = matrix, top
        self.sample = np.unique(np.linspace(0, len(queries) - 1, CHECKED).astype(int))
        self.queries = queries[self.sample].astype(np.float64)

    @functools.cached_property
    def wanted(self) -> np.ndarray:
        """The best scores of each query of the sample, best first."""
        parts = []
        for start in range(0, self.matrix.shape[0], BLOCK):
            parts.append(best((self.matrix[start : start + BLOCK].astype(np.float64) @ self.queries.T).T, self.top))
        return merged(parts, self.top)[0]

    def judged(self, found: Found, q: int) -> tuple[bool, float]:
        """Whether the results of q queries are the oracle's, and their recall; equal scores are equally good."""
        scores, rows = (np.asarray(each) for each in found)
        here = self.sample[self.sample < q]
        if scores.shape != (q, self.top) or rows.shape != scores.shape:
            return False, 0.0
        scores, rows, wanted = scores[here], rows[here], self.wanted[: len(here)]
        if not all(some.min() >= 0 and some.max() < self.matrix.shape[0] for some in rows):
            return False, 0.0
        distinct = all(len(set(some)) == self.top for some in rows.tolist())
        exact = np.stack([self.matrix[some] @ one for some, one in zip(rows, self.queries, strict=False)])
        recall = float((exact >= wanted[:, -1:] - 1e-5).mean()) if distinct else 0.0
        right = distinct and all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores, exact))
        return right, recall


def main() -> None:
    """Make the rows, compare all sides, then the approximate ones on fewer rows; write the results."""
    flags = parse()
    load = os.getloadavg()[0]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a peer's idle threads would spin into the next side's time
    data, before = Data.drawn(flags), rates()
    results, skipped = compare(data, [flags.backend, *exact_peers(flags)], flags)
    approximate = [name for name in APPROXIMATE if flags.backend == "host" and name in (flags.peers or APPROXIMATE)]
    few = ([], [])
    if approximate:
        few = compare(data.head(flags.approximate_n), ["host", *approximate], flags)
    best_rates = {name: max(rate, before[name]) for name, rate in rates().items()}
    report = {
        "claim": "CPU: 8 times as fast as the fastest exact dense peer at q=1, 5 times at q=64; never slower than "
        "an exact sparse peer; within twice the memory floor at q=1",
        "data": "synthetic (random codes and unit vectors); used for times, never for quality",
        "checked": f"up to {CHECKED} queries of every side against a float64 oracle before it is timed",
        "settings": vars(flags),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "threads": host.cores(),
        "load_before": load,
        "versions": versions(),
        "machine": timing.machine(),
        "rates": best_rates,
        "load_s": load_seconds(data),
        "skipped": skipped + few[1],
        "results": [{**row, **floor(row, flags, best_rates)} for row in results],
        "approximate": few[0],
    }
    if flags.out:
        timing.write(flags.out, "search", report, table(report))
    print(table(report))
    if wrong := sorted({row["side"] for row in results if row["wrong"] and row["ours"]}):
        raise SystemExit(f"not the oracle's: {', '.join(wrong)}")


def parse() -> argparse.Namespace:
    """The flags; `--size` gives the defaults of those that are not given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--n", type=int, help="rows")
    parser.add_argument("--d", type=int, default=768, help="width of the dense vectors")
    parser.add_argument("--h", type=int, default=4096, help="width of the codes")
    parser.add_argument("--k", type=int, default=32, help="nonzeros a row")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--values", default="float16", choices=["float16", "float32"])
    parser.add_argument("--queries", type=int, nargs="+")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds", type=float, help="after which a side sits out, once it was timed twice")
    parser.add_argument("--approximate_n", type=int, help="rows of the approximate peers, whose graphs take long")
    parser.add_argument("--peers", nargs="*", choices=[*EXACT, *APPROXIMATE], help="all of the device by default")
    parser.add_argument("--backend", choices=["host", "scan"], help="ours; by default the device's")
    parser.add_argument("--out", default="", help="folder for search.json and search.md")
    flags = parser.parse_args()
    for name, default in SIZES[flags.size].items():
        if getattr(flags, name) is None:
            setattr(flags, name, default)
    flags.backend = flags.backend or ("host" if jax.default_backend() == "cpu" else "scan")
    flags.approximate_n = min(flags.approximate_n, flags.n)
    return flags


def exact_peers(flags: argparse.Namespace) -> list[str]:
    """Of an accelerator, those that run there."""
    there = EXACT if flags.backend == "host" else {"jax": EXACT["jax"]}
    return [name for name in there if flags.peers is None or name in flags.peers]


def random_codes(rng: np.random.Generator, n: int, h: int, k: int, values: str) -> Codes:
    """Normal values, sorted by falling magnitude, in columns that are distinct within a row."""
    numbers = rng.standard_normal((n, k), np.float32)
    # No value may round to zero: a packed row has all k.
    numbers = (numbers + np.copysign(np.float32(1e-4), numbers)).astype(values)
    columns = np.empty((n, k), column_dtype(h))
    for j, last in enumerate(range(h - k, h)):  # Floyd's sample, all rows at once
        drawn = rng.integers(0, last + 1, n, columns.dtype)
        columns[:, j] = np.where((columns[:, :j] == drawn[:, None]).any(axis=1), last, drawn)
    order = np.argsort(-np.abs(numbers), axis=1)
    return Codes(np.take_along_axis(numbers, order, axis=1), np.take_along_axis(columns, order, axis=1), h)


def unit_rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Random directions, float32."""
    x = rng.standard_normal((n, d), np.float32)
    for start in range(0, n, BLOCK):
        x[start : start + BLOCK] /= np.linalg.norm(x[start : start + BLOCK], axis=1, keepdims=True)
    return x


def compare(data: Data, families: Iterable[str], flags: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """What was measured of each side at each number of queries, and a line for each family that is not installed."""
    sides: dict[str, Side] = {}
    built, skipped, results = {}, [], []
    for family in families:
        start = time.perf_counter()
        try:
            some = {**OURS, **EXACT, **APPROXIMATE}[family](data)
        except ImportError as error:
            skipped.append(f"{family} is skipped: {error}")
            print(skipped[-1], flush=True)
            continue
        sides |= some
        built |= dict.fromkeys(some, time.perf_counter() - start)
    for q in flags.queries:
        verdicts = {name: side.truth.judged(side.call(q), q) for name, side in sides.items()}
        wrong = {name: sides[name].exact and not right for name, (right, _) in verdicts.items()}
        calls = {name: functools.partial(side.call, q) for name, side in sides.items() if not wrong[name]}
        seconds = timing.alternate(calls, flags.repeats, flags.seconds, warm=True)
        for name, side in sides.items():
            row = {
                "queries": q,
                "side": name,
                "rows": len(data.codes),
                "ours": name.startswith(tuple(OURS)) or name.startswith("Index"),
                "scores": "dense" if side.truth is data.dense_truth else "sparse" if _sparse(name) else "codes",
                "exact": side.exact,
                "bytes_row": side.bytes_row,
                "built_s": built[name],
                "wrong": wrong[name],
                "recall": verdicts[name][1],
                **(spread(seconds[name]) if name in seconds else {}),
            }
            results.append(row)
            print(f"q={q} {name}: {cell(row)}", flush=True)
    return results, skipped


def _sparse(name: str) -> bool:
    return "sparse" in name.rpartition(",")[2]


def rates() -> dict[str, float]:
    """What the machine reads and multiplies a second, in bytes and operations."""
    return {"read_bytes": timing.bandwidth(), "float32_product": timing.product_rate()}


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and greatest in milliseconds, and of how many calls."""
    median, least, greatest = (1e3 * float(f(seconds)) for f in (np.median, min, max))
    return {"median_ms": median, "min_ms": least, "max_ms": greatest, "calls": len(seconds)}


def floor(row: dict, flags: argparse.Namespace, best_rates: dict[str, float]) -> dict[str, float]:
    """Of ours: the least milliseconds in which this machine reads the rows, and does the arithmetic of their scores."""
    if not row["ours"]:
        return {}
    return {
        "read_floor_ms": 1e3 * row["bytes_row"] * row["rows"] / best_rates["read_bytes"],
        "product_floor_ms": 1e3 * 2 * flags.k * row["queries"] * row["rows"] / best_rates["float32_product"],
    }


def our_host(data: Data) -> dict[str, Side]:
    """The host backend on codes as stored; a space differs from another by its row scales and its u."""
    size = data.codes.nbytes / len(data.codes) + 4

    def side(u: np.ndarray, truth: Truth) -> Side:
        return Side(lambda q: host.search(data.codes, data.row_scales, u[:q], data.top), truth, size)

    return {
        "host, dense u": side(data.u, data.code_truth),
        "host, sparse u": side(data.few.to_dense(), data.sparse_truth),
    }


def our_scan(data: Data) -> dict[str, Side]:
    """The scan backend on codes that lie on the devices."""
    codes, row_scales = scan.place(data.codes, data.row_scales)
    n, size = len(data.codes), data.codes.nbytes / len(data.codes) + 4

    def side(u: np.ndarray, truth: Truth) -> Side:
        return Side(lambda q: scan.search(codes, row_scales, u[:q], data.top, n=n), truth, size)

    return {
        "scan, dense u": side(data.u, data.code_truth),
        "scan, sparse u": side(data.few.to_dense(), data.sparse_truth),
    }


def our_packed(data: Data) -> dict[str, Side]:
    """The host backend on packed rows, whose scales are in their values; their own values are their truth."""
    size = 2 ** (PACKED_BITS - 1)
    chosen = levels.learn(np.abs(data.codes.values[:5000].astype(np.float32)).reshape(-1), size).astype(np.float16)
    codes = Codes(data.codes.values.astype(np.float32), data.codes.columns, data.codes.h)
    packed = pack(codes, Packing(codes.h, codes.k, PACKED_BITS, tuple(chosen.astype(float).tolist())))
    ones = np.broadcast_to(np.float32(1), len(packed))
    truth = Truth(packed.unpack().to_csr(), data.u, data.top)
    call = lambda q: host.search(packed, ones, data.u[:q], data.top)  # noqa: E731
    return {"host, packed4, dense u": Side(call, truth, packed.packing.width)}


def our_index(data: Data) -> dict[str, Side]:
    """`Index.search` from dense queries, their expansion included, with an untrained model of the same shape."""
    weights, codes = untrained(data), data.codes
    norms = np.repeat(1 / data.row_scales[:, None], 2, axis=1)  # of z too: for times only
    few, _ = compress.encode(weights, data.vectors, str(codes.values.dtype))
    decoder = weights.params["decoder_w"].astype(np.float64)
    s = few.to_dense().astype(np.float64)
    expanded = {
        "dense_query": data.vectors @ decoder.T,
        "reconstructed": unit(s @ decoder) @ decoder.T,
        "sparse": unit(s),
    }

    def side(space: str) -> Side:
        index = Index(codes, norms, space, weights)
        truth = Truth(data.csr, expanded[space], data.top)
        return Side(lambda q: index.search(data.vectors[:q], data.top), truth, index.bytes_per_vector)

    return {f"Index.search, {space}": side(space) for space in expanded}


def untrained(data: Data) -> Weights:
    """Random atoms: no time depends on what a model learnt."""
    d, h = data.dense.shape[1], data.codes.h
    decoder_w = unit_rows(np.random.default_rng(1), h, d)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder_w}
    return Weights(params, h, data.codes.k)


def unit(x: np.ndarray) -> np.ndarray:
    """Each row divided by its length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def jax_dense(data: Data) -> dict[str, Side]:
    """Product and top_k in JAX, block by block; bfloat16 rounds rows and queries."""

    @jax.jit
    def block_best(queries, rows, first):
        scores = jax.lax.dot_general(queries, rows, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        scores, at = jax.lax.top_k(scores, min(data.top, len(rows)))
        return scores, first + at

    @jax.jit
    def last(parts):
        scores, rows = (jnp.concatenate(each, axis=1) for each in zip(*parts, strict=True))
        scores, at = jax.lax.top_k(scores, data.top)
        return scores, jnp.take_along_axis(rows, at, axis=1)

    def side(dtype: str) -> Side:
        blocks = {start: jnp.asarray(data.dense[start : start + BLOCK], dtype) for start in _starts(data)}

        def call(q: int) -> Found:
            queries = jnp.asarray(data.vectors[:q], dtype)
            with jax.default_matmul_precision("highest"):
                return last([block_best(queries, rows, first) for first, rows in blocks.items()])

        return Side(
            call, data.dense_truth, np.dtype(jnp.dtype(dtype)).itemsize * data.dense.shape[1], dtype != "bfloat16"
        )

    return {f"JAX product + top_k, {dtype}": side(dtype) for dtype in ("float32", "bfloat16")}


def numpy_dense(data: Data) -> dict[str, Side]:
    """Product, on all cores, and argpartition, which has one thread, so the queries are dealt out to as many."""
    pool = ThreadPoolExecutor(host.cores())

    def call(q: int) -> Found:
        parts = []
        for start in _starts(data):
            scores = data.vectors[:q] @ data.dense[start : start + BLOCK].T
            shares = np.array_split(scores, min(q, host.cores()))
            some = list(pool.map(functools.partial(best, top=data.top, first_row=start), shares))
            parts.append(tuple(np.concatenate(each) for each in zip(*some, strict=True)))
        return merged(parts, data.top)

    return {"NumPy product + argpartition": Side(call, data.dense_truth, 4 * data.dense.shape[1])}


def faiss_dense(data: Data) -> dict[str, Side]:
    """The flat index, and the flat ones of 8-bit integers and of float16, which round the rows.

    By default the wheel multiplies matrices for more than 128,000 queries only; the flat index is there once more with
    that from 8 queries on, many times as fast at 64.
    """
    import faiss

    d = data.dense.shape[1]
    flat = faiss.IndexFlatIP(d)

    faiss.omp_set_num_threads(host.cores())
    settings = faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs

    def side(index, size: float, exact: bool, blas: tuple[int, int] = settings) -> Side:
        if not index.ntotal:
            index.train(data.dense[:BLOCK])
            index.add(data.dense)

        def call(q: int) -> Found:
            faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = blas
            return index.search(data.vectors[:q], data.top)

        return Side(call, data.dense_truth, size, exact)

    def rounding(kind: int):
        return faiss.IndexScalarQuantizer(d, kind, faiss.METRIC_INNER_PRODUCT)

    return {
        "faiss IndexFlatIP": side(flat, 4 * d, True),
        "faiss IndexFlatIP, BLAS": side(flat, 4 * d, True, FAISS_BLAS),
        "faiss SQ fp16": side(rounding(faiss.ScalarQuantizer.QT_fp16), 2 * d, False),
        "faiss SQ 8bit": side(rounding(faiss.ScalarQuantizer.QT_8bit), d, False),
    }


def usearch_dense(data: Data) -> dict[str, Side]:
    """usearch's exact search, which needs no index, with float32 and float16 vectors."""
    from usearch.index import MetricKind, search

    def side(dtype: str) -> Side:
        rows, queries = data.dense.astype(dtype, copy=False), data.vectors.astype(dtype)

        def call(q: int) -> Found:
            found = search(rows, queries[:q], data.top, MetricKind.IP, exact=True, threads=host.cores())
            return 1 - found.distances.reshape(q, -1), found.keys.reshape(q, -1).astype(np.int64)

        return Side(call, data.dense_truth, rows.itemsize * rows.shape[1], dtype == "float32")

    return {f"usearch exact, {dtype}": side(dtype) for dtype in ("float32", "float16")}


def scipy_sparse(data: Data) -> dict[str, Side]:
    """CSR times dense, or sparse queries times the transposed CSR, with argpartition, blocks of rows to all threads."""
    pool = ThreadPoolExecutor(host.cores())
    blocks = [(start, data.csr[start : start + BLOCK // 4]) for start in range(0, len(data.codes), BLOCK // 4)]
    turned = [(first, block.T.tocsr()) for first, block in blocks]

    def dense(q: int) -> Found:
        u = np.ascontiguousarray(data.u[:q].T)
        parts = pool.map(lambda one: best(np.ascontiguousarray((one[1] @ u).T), data.top, one[0]), blocks)
        return merged(list(parts), data.top)

    def sparse(q: int) -> Found:
        queries = data.few_csr[:q]
        parts = pool.map(lambda one: best_of_csr(queries @ one[1], data.top, one[0]), turned)
        return merged(list(parts), data.top)

    size = 8 * data.codes.k + 4
    return {
        "scipy CSR, dense u": Side(dense, data.code_truth, size),
        "scipy CSR, sparse u": Side(sparse, data.sparse_truth, size),
    }


def sparse_dot_topn_sparse(data: Data) -> dict[str, Side]:
    """sp_matmul_topn of queries as CSR and the transposed rows, a query a thread."""
    from sparse_dot_topn import sp_matmul_topn

    turned = data.csr.T.tocsr()

    def side(queries: scipy.sparse.csr_matrix, truth: Truth) -> Side:
        def call(q: int) -> Found:
            found = sp_matmul_topn(queries[:q], turned, data.top, sort=True, n_threads=host.cores())
            return found.data.reshape(q, -1), found.indices.reshape(q, -1)

        return Side(call, truth, 8 * data.codes.k)

    return {
        "sparse_dot_topn, dense u": side(scipy.sparse.csr_matrix(data.u), data.code_truth),
        "sparse_dot_topn, sparse u": side(data.few_csr, data.sparse_truth),
    }


def kannolo_flat(data: Data) -> dict[str, Side]:
    """kANNolo's exhaustive index, which rounds values to float16."""
    import kannolo

    index = kannolo.SparseFlatIndex.build_from_arrays(*csr_arrays(data.csr))

    def side(queries: scipy.sparse.csr_matrix, truth: Truth) -> Side:
        def call(q: int) -> Found:
            scores, rows = index.batch_search(*csr_arrays(queries[:q]), data.top, num_threads=host.cores())
            return scores.reshape(q, -1), rows.reshape(q, -1)

        return Side(call, truth, 6 * data.codes.k + 8, exact=False)

    return {
        "kannolo flat, dense u": side(scipy.sparse.csr_matrix(data.u), data.code_truth),
        "kannolo flat, sparse u": side(data.few_csr, data.sparse_truth),
    }


def kannolo_graph(data: Data) -> dict[str, Side]:
    """kANNolo's plain HNSW over codes, for sparse queries."""
    import kannolo

    index = kannolo.SparsePlainHNSW.build_from_arrays(*csr_arrays(data.csr), m=LINKS, ef_construction=BUILD_EFFORT)

    def call(q: int) -> Found:
        queries = csr_arrays(data.few_csr[:q])
        found = index.batch_search(*queries, data.top, ef_search=SEARCH_EFFORT, num_threads=host.cores())
        return tuple(each.reshape(q, -1) for each in found)

    size = index.space_usage_bytes() / len(data.codes)
    return {"kannolo HNSW, sparse u": Side(call, data.sparse_truth, size, exact=False)}


def faiss_graph(data: Data) -> dict[str, Side]:
    """faiss's HNSW over dense vectors."""
    import faiss

    faiss.omp_set_num_threads(host.cores())
    index = faiss.IndexHNSWFlat(data.dense.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_EFFORT, SEARCH_EFFORT
    index.add(data.dense)
    size = 4 * data.dense.shape[1] + 8 * LINKS
    return {"faiss HNSW": Side(lambda q: index.search(data.vectors[:q], data.top), data.dense_truth, size, exact=False)}


OURS = {"host": our_host, "scan": our_scan}
EXACT = {
    "packed": our_packed,
    "index": our_index,
    "jax": jax_dense,
    "numpy": numpy_dense,
    "faiss": faiss_dense,
    "usearch": usearch_dense,
    "scipy": scipy_sparse,
    "sparse_dot_topn": sparse_dot_topn_sparse,
    "kannolo": kannolo_flat,
}
APPROXIMATE = {"kannolo_hnsw": kannolo_graph, "faiss_hnsw": faiss_graph}


def _starts(data: Data) -> range:
    return range(0, len(data.dense), BLOCK)


def best(scores: np.ndarray, top: int, first_row: int = 0) -> Found:
    """The best of scores (q, c), in no order, and their rows, numbered from `first_row`."""
    if scores.shape[1] <= top:
        return scores, np.broadcast_to(first_row + np.arange(scores.shape[1]), scores.shape)
    rows = np.argpartition(scores, scores.shape[1] - top, axis=1)[:, -top:]
    return np.take_along_axis(scores, rows, axis=1), first_row + rows


def best_of_csr(scores: scipy.sparse.csr_matrix, top: int, first_row: int) -> Found:
    """The best of what a sparse product stored; rows with no common column have no score here."""
    found = np.full((scores.shape[0], top), -np.inf, np.float32), np.full((scores.shape[0], top), -1)
    for i in range(scores.shape[0]):
        here = slice(scores.indptr[i], scores.indptr[i + 1])
        some, at = best(scores.data[here][None], top)
        found[0][i, : some.shape[1]] = some[0]
        found[1][i, : some.shape[1]] = first_row + scores.indices[here][at[0]]
    return found


def merged(parts: list[Found], top: int) -> Found:
    """The best of several blocks, best first."""
    scores, rows = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1)[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def csr_arrays(matrix: scipy.sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, values and offsets as kANNolo takes them."""
    return matrix.indices.astype(np.int32), matrix.data.astype(np.float32), matrix.indptr.astype(np.int64)


def load_seconds(data: Data, repeats: int = 3) -> dict[str, float]:
    """Medians of opening a saved index by memory map, its files in the system's cache."""
    norms = np.repeat(1 / data.row_scales[:, None], 2, axis=1)
    index = Index(data.codes, norms, "reconstructed", untrained(data))
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        load = functools.partial(Index.load, Path(folder) / "index")
        calls = {"checksums verified": load, "not verified": functools.partial(load, verify=False)}
        return {name: float(np.median(some)) for name, some in timing.alternate(calls, repeats).items()}


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cell(row: dict) -> str:
    """A time in words, or why there is none."""
    if row["wrong"]:
        return "not the oracle's"
    return "{median_ms:.1f} ({min_ms:.1f} to {max_ms:.1f})".format(**row) + (
        f", {row['calls']} calls" * (row["calls"] < 3)
    )


def ours_of(rows: list[dict], row: dict) -> dict | None:
    """The row of ours that another is compared with: the same number of queries, the same kind of u."""
    kind = "sparse u" if row["scores"] == "sparse" else "dense u"
    names = [f"{name}, {kind}" for name in OURS]
    same = [one for one in rows if one["queries"] == row["queries"] and one["side"] in names and not one["wrong"]]
    return same[0] if same else None


def table(report: dict) -> str:
    """The results in Markdown: what is claimed, then every side, then the approximate ones."""
    s, measured = report["settings"], report["rates"]
    lines = [
        f"Search of {s['n']:,} rows, top {s['top']}: codes (h={s['h']}, k={s['k']}, {s['values']} values) and dense "
        f"vectors (d={s['d']}), {report['threads']} threads each, {report['machine']['processor']}, {report['date']}. "
        f"Median of {s['repeats']} alternating calls (least to greatest; a side sits out after {s['seconds']:g} s and "
        "two calls). Synthetic rows, for times only. Every exact side gave a float64 oracle's results first; those "
        "that round rows have their recall beside. `dense u`: spaces reconstructed and dense_query; `sparse u`: space "
        "sparse, k nonzeros a query. Here columns are used evenly, so a sparse query meets k²/h of a row's "
        "nonzeros, the best case for peers that look up a query's columns. `Index.search` includes the expansion of "
        "dense queries.",
        "",
        f"This machine reads {measured['read_bytes'] / 1e9:.1f} GB/s and multiplies float32 matrices at "
        f"{measured['float32_product'] / 1e9:.0f} GFLOP/s: the floors. Load before the run: "
        f"{report['load_before']:.1f}. A saved index opens in "
        + ", ".join(f"{1e3 * some:.0f} ms ({name})" for name, some in report["load_s"].items())
        + ".",
        *(["", *report["skipped"]] if report["skipped"] else []),
        "",
        *claims(report["results"]),
        "",
        *sides_table(report["results"], s["queries"]),
    ]
    if report["approximate"]:
        lines += [
            "",
            f"Approximate peers on {s['approximate_n']:,} of the rows (M={LINKS}, efConstruction={BUILD_EFFORT}, "
            f"efSearch={SEARCH_EFFORT}), since graphs take long to build; random directions are a hard case for them.",
            "",
            *sides_table(report["approximate"], s["queries"], built=True),
        ]
    return "\n".join(lines) + "\n"


def claims(rows: list[dict]) -> list[str]:
    """Ours against its floor and against the fastest peers: exact ones, and faster ones that round rows."""
    lines = ["| queries | ours | ms | over the floor | fastest peer | ms | times as fast |", "|---" * 7 + "|"]
    for ours in (row for row in rows if row is ours_of(rows, row)):
        over = ours["median_ms"] / max(ours["read_floor_ms"], ours["product_floor_ms"])
        for scores in ("dense", ours["scores"]):
            peers = [row for row in rows if row["queries"] == ours["queries"] and row["scores"] == scores]
            peers = [row for row in peers if not row["ours"] and not row["wrong"]]
            peers.sort(key=lambda row: row["median_ms"])
            exact = next((i for i, row in enumerate(peers) if row["exact"]), len(peers) - 1)
            for peer in [peers[exact], *peers[: min(exact, 1)]] if peers else []:
                lines.append(
                    f"| {ours['queries']} | {ours['side']} | {ours['median_ms']:.1f} | {over:.1f} | {peer['side']}"
                    f"{'' if peer['exact'] else ' (rounds rows)'} | {peer['median_ms']:.1f} | "
                    f"{peer['median_ms'] / ours['median_ms']:.1f} |"
                )
    return lines


def sides_table(rows: list[dict], queries: list[int], built: bool = False) -> list[str]:
    """Sides down, numbers of queries across: milliseconds, and how many times as long as ours."""
    names = list(dict.fromkeys(row["side"] for row in rows))
    head = [
        "side",
        "bytes a row",
        *(["built, s"] if built else []),
        "recall",
        *(f"q={q}, ms | × ours" for q in queries),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * (len(head) + len(queries)) + "|"]
    for name in names:
        mine = [row for row in rows if row["side"] == name]
        recall = "exact" if mine[-1]["exact"] else f"{mine[-1]['recall']:.3f}"
        cells = [name, f"{mine[0]['bytes_row']:.0f}", *([f"{mine[0]['built_s']:.0f}"] if built else []), recall]
        for row in mine:
            ours = ours_of(rows, row)
            timed = ours is not None and not row["wrong"]
            cells += [cell(row), f"{row['median_ms'] / ours['median_ms']:.2f}" if timed else "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
