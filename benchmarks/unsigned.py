"""Engines that take no signed rows, for `benchmarks.engines`: Seismic and Milvus, which have no exporter, and Lucene.

Rows are split into 2h columns (`serving.signs`). Seismic takes signed queries; the others the positive side alone, and
their best rows are scored again. Lucene ranks for Elasticsearch and OpenSearch, behind a stand-in of their servers.
Each is left out where `pyseismic-lsr`, `pymilvus` and `milvus-lite`, or Lucene's jar and javac are not there.
"""

import atexit
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import lucene as stand_in
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import elasticsearch, rescoring, signs, terms
from compressae_jax.serving.stored import stored

CUT, HEAP = (
    40,
    0.8,
)  # of Seismic's queries: lists that are opened, and how much of the worst answer a block must promise
MILVUS_BATCH = 4096


def seismic(index: Index, folder: Path, top: int) -> dict[str, tuple[Callable[[np.ndarray], Any], Path]]:
    """Searches by name, and where the rows lie; raises ImportError."""
    import seismic as package

    text = package.get_seismic_string()
    rows = package.SeismicDataset()
    for some in stored(index):
        columns, values = signs.split(some.columns, some.values)
        for i, one in enumerate(some.ids.tolist()):
            here = slice(some.starts[i], some.starts[i + 1])
            rows.add_document(str(one), columns[here].astype(text), values[here].astype(np.float32))
    built = package.SeismicIndex.build_from_dataset(rows)
    built.save(str(folder / "seismic"))

    def found(u: np.ndarray, signed: bool, most: int | None, wanted: int) -> list[list[int]]:
        answers = []
        for part in terms.largest(u, most):
            columns, weights = signs.split_query(part.columns, part.weights, signed)
            best = built.search("0", columns.astype(text), weights.astype(np.float32), wanted, len(part.columns), HEAP)
            answers.append([int(one) for _, _, one in best])
        return answers

    def whole(queries: np.ndarray) -> np.ndarray:
        return _filled(found(index.expander.expand(queries), True, None, top), top)

    def part(queries: np.ndarray) -> Any:
        u = index.expander.expand(queries)
        few = min(terms.TERMS, u.shape[1])
        return rescoring.rescored(index, u, found(u, False, few, terms.RESCORED), top)

    place = folder / "seismic.index.seismic"
    return {"Seismic, split": (whole, place), "Seismic, positive side, 500 rescored": (part, place)}


def milvus(index: Index, folder: Path, top: int) -> dict[str, tuple[Callable[[np.ndarray], Any], Path]]:
    """As `seismic`; milvus-lite is an engine in Python, whose times say nothing of a server."""
    import milvus_lite  # noqa: F401, what a file is opened by
    import pymilvus

    path = folder / "milvus.db"
    client = pymilvus.MilvusClient(str(path))
    schema, how = client.create_schema(auto_id=False), client.prepare_index_params()
    schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
    schema.add_field("code", pymilvus.DataType.SPARSE_FLOAT_VECTOR)
    how.add_index("code", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("items", schema=schema, index_params=how)
    for some in stored(index, size=MILVUS_BATCH):
        columns, values = (each.tolist() for each in signs.split(some.columns, some.values))
        edges = zip(some.starts[:-1].tolist(), some.starts[1:].tolist(), strict=True)
        codes = [dict(zip(columns[start:stop], values[start:stop], strict=True)) for start, stop in edges]
        rows = [{"id": one, "code": code} for one, code in zip(some.ids.tolist(), codes, strict=True)]
        client.insert("items", rows)

    def search(queries: np.ndarray, most: int | None, rescored: int) -> Any:
        u = index.expander.expand(queries)
        asked = []
        for part in terms.largest(u, None if most is None else min(most, u.shape[1])):
            columns, weights = signs.split_query(part.columns, part.weights, signed=False)
            asked.append(dict(zip(columns.tolist(), weights.tolist(), strict=True)))
        params = {"metric_type": "IP", "params": {"drop_ratio_search": 0.0}}
        answers = client.search("items", data=asked, limit=rescored, anns_field="code", search_params=params)
        return rescoring.rescored(index, u, [[hit["id"] for hit in some] for some in answers], top)

    alone = functools.partial(search, most=terms.TERMS, rescored=top)
    helped = functools.partial(search, most=terms.TERMS, rescored=terms.RESCORED)
    return {
        "Milvus Lite, positive side alone": (alone, path),
        "Milvus Lite, positive side, 500 rescored": (helped, path),
    }


def lucene(index: Index, folder: Path, top: int) -> dict[str, tuple[Callable[[np.ndarray], Any], Path]]:
    """As `seismic`; ImportError where Lucene's jar or a compiler is not there."""
    if stand_in.jar() is None:
        raise ImportError("Lucene's jar and javac are needed: `. launch/lucene.sh` finds or downloads the one")
    (folder / "lucene").mkdir()
    server = stand_in.Server(folder / "lucene")
    atexit.register(server.close)
    elasticsearch.upload(index, folder / "bulk", progress=False, url=f"{server.url}/items")
    opened = elasticsearch.Engine(f"{server.url}/items", index)
    place = folder / "lucene" / "index"
    return {
        "Lucene for Elasticsearch, 256 terms": (functools.partial(opened.search, top=top), place),
        "Lucene for Elasticsearch, 64 terms, 1,000 rescored": (
            functools.partial(opened.search, top=top, terms=64, rescored=1000),
            place,
        ),
    }


def _filled(ids: list[list[int]], top: int) -> np.ndarray:
    out = np.full((len(ids), top), None, object)
    for row, some in zip(out, ids, strict=True):
        row[: len(some)] = some
    return out
