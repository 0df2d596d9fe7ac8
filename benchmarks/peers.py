"""The sides of benchmarks.search: ours and each peer, a function each, registered by the names of its flags.

A function takes the data, builds what its side needs, and raises ImportError where its peer is not installed.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from benchmarks.synthetic import BLOCK, Data, Found, Truth, best, blocks, merged, packed_codes, unit
from compressae_jax import compression
from compressae_jax.codes.storage.convert import stored
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.retrieval.backends import host, scan

LINKS, BUILD_EFFORT, SEARCH_EFFORT = 16, 100, 200  # of the graphs: M, efConstruction, efSearch
PACKED_BITS = 4
FAISS_BLAS = 8, 4096  # queries from which it multiplies matrices, and rows of one product
PACKAGES = ("faiss-cpu", "kannolo", "scipy", "sparse_dot_topn", "usearch")


class Side(NamedTuple):
    """One way to search: `call(q)` answers the first q queries of its `truth`."""

    call: Callable[[int], Found]
    truth: Truth
    bytes_row: float
    exact: bool = True


def our_host(data: Data) -> dict[str, Side]:
    """The host backend on codes as stored; a space differs from another by its row scales and its u."""
    size = data.codes.nbytes / len(data.codes) + 4

    def side(u: np.ndarray, truth: Truth) -> Side:
        return Side(lambda q: host.search(data.codes, "reconstructed", u[:q], data.top), truth, size)

    return {
        "host, dense u": side(data.u, data.code_truth),
        "host, sparse u": side(data.few.to_dense(), data.sparse_truth),
    }


def our_scan(data: Data) -> dict[str, Side]:
    """The scan backend on codes that lie on the devices."""
    placed, size = scan.Placed(data.codes), data.codes.nbytes / len(data.codes) + 4

    def side(u: np.ndarray, truth: Truth) -> Side:
        return Side(lambda q: scan.search(placed, "reconstructed", u[:q], data.top), truth, size)

    return {
        "scan, dense u": side(data.u, data.code_truth),
        "scan, sparse u": side(data.few.to_dense(), data.sparse_truth),
    }


def our_packed(data: Data) -> dict[str, Side]:
    """The host backend on packed rows, whose scales are in their values; their own values are their truth."""
    packed = packed_codes(data.codes, PACKED_BITS)
    truth = Truth(packed.unpack().to_csr(), data.u, data.top)

    def side(rows: Packed) -> Side:
        return Side(lambda q: host.search(rows, "reconstructed", data.u[:q], data.top), truth, rows.packing.width)

    fast = stored(packed, f"fast{PACKED_BITS}", packed.levels)
    return {f"host, {rows.storage}, dense u": side(rows) for rows in (packed, fast)}


def our_index(data: Data) -> dict[str, Side]:
    """`Index.search` from dense queries, their expansion included, with an untrained model of the same shape."""
    few = compression.encode(data.weights, data.vectors, str(data.codes.values.dtype))
    decoder = data.weights.params["decoder_w"].astype(np.float64)
    s = few.to_dense().astype(np.float64)
    expanded = {
        "dense_query": data.vectors @ decoder.T,
        "reconstructed": unit(s @ decoder) @ decoder.T,
        "sparse": unit(s),
    }

    def side(space: str) -> Side:
        index, truth = data.index(space), Truth(data.csr, expanded[space], data.top)
        return Side(lambda q: index.search(data.vectors[:q], data.top), truth, index.bytes_per_vector)

    return {f"Index.search, {space}": side(space) for space in expanded}


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
        placed = [(first, jnp.asarray(rows, dtype)) for first, rows in blocks(data.dense)]

        def call(q: int) -> Found:
            queries = jnp.asarray(data.vectors[:q], dtype)
            with jax.default_matmul_precision("highest"):
                return last([block_best(queries, rows, first) for first, rows in placed])

        return Side(
            call, data.dense_truth, np.dtype(jnp.dtype(dtype)).itemsize * data.dense.shape[1], dtype != "bfloat16"
        )

    return {f"JAX product + top_k, {dtype}": side(dtype) for dtype in ("float32", "bfloat16")}


def numpy_dense(data: Data) -> dict[str, Side]:
    """Product, on all cores, and argpartition, which has one thread, so the queries are dealt out to as many."""
    pool = ThreadPoolExecutor(host.cores())

    def call(q: int) -> Found:
        parts = []
        for first, rows in blocks(data.dense):
            shares = np.array_split(data.vectors[:q] @ rows.T, min(q, host.cores()))
            some = list(pool.map(functools.partial(best, top=data.top, first_row=first), shares))
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
    rows = list(blocks(data.csr, 4))
    turned = [(first, block.T.tocsr()) for first, block in rows]

    def dense(q: int) -> Found:
        u = np.ascontiguousarray(data.u[:q].T)
        parts = pool.map(lambda one: best(np.ascontiguousarray((one[1] @ u).T), data.top, one[0]), rows)
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


def best_of_csr(scores: scipy.sparse.csr_matrix, top: int, first_row: int) -> Found:
    """The best of what a sparse product stored; rows with no common column have no score here."""
    found = np.full((scores.shape[0], top), -np.inf, np.float32), np.full((scores.shape[0], top), -1)
    for i in range(scores.shape[0]):
        here = slice(scores.indptr[i], scores.indptr[i + 1])
        some, at = best(scores.data[here][None], top)
        found[0][i, : some.shape[1]] = some[0]
        found[1][i, : some.shape[1]] = first_row + scores.indices[here][at[0]]
    return found


def csr_arrays(matrix: scipy.sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, values and offsets as kANNolo takes them."""
    return matrix.indices.astype(np.int32), matrix.data.astype(np.float32), matrix.indptr.astype(np.int64)
