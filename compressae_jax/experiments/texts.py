"""Texts that answer each other, split by document: pairs to train on; validation and tests are of other documents."""

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int

from compressae_jax.data.make import found
from compressae_jax.data.named import data_folder
from compressae_jax.experiments import bench
from compressae_jax.notation import InputError, check_choice
from compressae_jax.text import folders, tokens
from compressae_jax.text.bert import TextEncoder
from compressae_jax.text.folders import TextModel

VALIDATION, TEST = 0.15, 0.4  # of debian's judged documents; of scifact's, those that test queries do not want
Rows = Int[np.ndarray, " _"]


class Question(NamedTuple):
    """Queries, what they search, what of it they want, and where they themselves stand in it (-1: nowhere)."""

    queries: Rows  # of `Texts.queries`
    corpus: Rows  # of `Texts.documents`
    wanted: scipy.sparse.csr_matrix  # queries × corpus
    own: Rows | None


class Texts(NamedTuple):
    """A collection."""

    documents: list[str]
    queries: list[str]  # the documents themselves, where they ask for others like them
    pairs: Int[np.ndarray, "m 2"]  # to train on: query, document
    answers: scipy.sparse.csr_matrix  # queries × documents: as far as training may know
    validation: Question
    test: Question


def load(name: str, rows: int, validated: int) -> Texts:
    """A collection of so many documents (0: all), the judged ones first; validation searches `validated` at most.

    Raises:
        InputError: a set that has no texts and pairs, or whose texts are not here.
    """
    check_choice("dataset (with texts and pairs)", name, SETS)
    return SETS[name](rows, validated)


def debian(rows: int, validated: int) -> Texts:
    """Packages with like tags. Judged packages are split in three; a pair counts in the part that has both.

    Tests search packages without judgements and the test's own: those of training and validation are left out.
    """
    dataset = bench.dataset("debian")
    judged, items = dataset.judgements(), dataset.items
    assert judged is not None and items is not None
    one = np.ones(len(judged.query_rows), np.int8)
    like = scipy.sparse.csr_matrix((one, (judged.query_rows, judged.doc_rows)), (len(items),) * 2)
    like = ((like + like.T) > 0).astype(np.int8)  # it is mutual
    rng = np.random.default_rng(0)
    chosen = _groups(like, rng.permutation(np.unique(judged.query_rows)), rows // 2 or len(items))
    others = np.setdiff1d(np.arange(len(items)), np.flatnonzero(like.getnnz(axis=1)))
    kept = np.sort(np.concatenate([chosen, _some(rng, others, rows - len(chosen) if rows else len(items))]))
    like, asked = like[kept][:, kept], np.isin(kept, judged.query_rows)

    group = np.full(len(kept), "others", "<U10")
    places = rng.permutation(np.flatnonzero(np.isin(kept, chosen)))
    first, second = int(TEST * len(places)), int((TEST + VALIDATION) * len(places))
    for name, some in zip(("test", "validation", "training"), np.split(places, [first, second]), strict=True):
        group[some] = name
    unjudged = np.flatnonzero(group == "others")
    training = group == "training"
    pairs = np.argwhere(_within(like, training, training).toarray())

    def question(name: str, most: int) -> Question:
        own = np.flatnonzero(group == name)
        corpus = np.sort(np.concatenate([own, unjudged[: max(0, most - len(own))]]))
        return _question(like, own[asked[own]], corpus, themselves=True)

    texts = [items[row] for row in kept]
    answers = scipy.sparse.csr_matrix(_within(like, training, training) + scipy.sparse.eye(len(kept), dtype=np.int8))
    return Texts(texts, texts, pairs, answers, question("validation", validated), question("test", len(kept)))


def scifact(rows: int, validated: int) -> Texts:
    """Claims and the abstracts that they cite. No abstract that a test claim wants is in a pair; tests search all."""
    dataset = bench.dataset("scifact")
    queries, judged, trained = dataset.query_texts, dataset.judgements("test"), dataset.judgements("train")
    assert queries is not None and judged is not None and trained is not None
    documents = _abstracts(len(dataset.vectors))
    shape = len(queries), len(documents)
    wanted, known = (
        scipy.sparse.csr_matrix((np.ones(len(one.doc_rows), np.int8), (one.query_rows, one.doc_rows)), shape)
        for one in (judged, trained)
    )
    rng = np.random.default_rng(0)
    judged_rows = np.flatnonzero((wanted + known).getnnz(axis=0))
    others = np.setdiff1d(np.arange(len(documents)), judged_rows)
    kept = np.sort(np.concatenate([judged_rows, _some(rng, others, rows - len(judged_rows) if rows else shape[1])]))
    wanted, known = wanted[:, kept], known[:, kept]

    of_test = wanted.getnnz(axis=0) > 0
    free = rng.permutation(np.flatnonzero((known.getnnz(axis=0) > 0) & ~of_test))
    held = np.zeros(len(kept), bool)
    held[free[: int(VALIDATION * len(free))]] = True
    training = ~(held | of_test)
    pure = _within(known, np.asarray(known[:, ~training].sum(axis=1)).reshape(-1) == 0, training)
    validating = _within(known, np.asarray(known[:, ~held].sum(axis=1)).reshape(-1) == 0, held)
    unjudged = np.flatnonzero((wanted + known).getnnz(axis=0) == 0)
    corpus = np.sort(np.concatenate([np.flatnonzero(held), unjudged[: max(0, validated - held.sum())]]))
    return Texts(
        [documents[row] for row in kept],
        queries,
        np.argwhere(pure.toarray()),
        pure,
        _question(validating, np.flatnonzero(validating.getnnz(axis=1)), corpus),
        _question(wanted, np.flatnonzero(wanted.getnnz(axis=1)), np.arange(len(kept))),
    )


SETS: dict[str, Callable[[int, int], Texts]] = {"debian": debian, "scifact": scifact}


class Reader(NamedTuple):
    """A text encoder and how texts are cut into its tokens."""

    model: TextModel
    cut: Callable[[Sequence[str], int], list[list[int]]]


def reader(name: str) -> Reader:
    """'minilm', all-MiniLM-L6-v2 of an installed package; 'random', of no meaning and small, to try things out.

    Raises:
        InputError: another name, or a package that is not installed.
    """
    check_choice("encoder", name, ("minilm", "random"))
    if name == "random":
        return _random()
    folder = found.minilm()
    return Reader(folders.load(folder), lambda texts, longest: tokens.of_texts(folder, texts, longest))


def _random() -> Reader:
    sizes = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": tokens.PADS[-1], "pad_token_id": 0}
    of, rng = folders.architecture({"model_type": "bert", **sizes}, "random"), np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=s, scale=0.1).astype(np.float32) for name, s in folders.published_shapes(of).items()
    }
    arrays |= {name: 1 + array for name, array in arrays.items() if name.endswith("LayerNorm.weight")}

    def cut(texts: Sequence[str], longest: int) -> list[list[int]]:
        words = ([1, *(2 + zlib.crc32(word.encode()) % (of.words - 2) for word in text.split())] for text in texts)
        return [some[:longest] for some in words]

    return Reader(TextModel(TextEncoder(of), folders.to_params(of, arrays)), cut)


def _abstracts(n: int) -> list[str]:
    """Titles with abstracts, which do not ship with the package."""
    path = data_folder() / "scifact" / "docs.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts = [f"{one['title']} {one['text']}" for one in map(json.loads, file)]
    except FileNotFoundError:
        raise InputError(
            f"the abstracts of scifact do not come with the package, and there is no {path}: put BEIR's corpus there "
            "(an object with title and text a line, gzipped), in the order of the vectors, or ask for debian alone"
        ) from None
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must hold an object with title and text a line, gzipped: {error}") from None
    if len(texts) != n:
        raise InputError(f"{path} has {len(texts)} texts, scifact {n} vectors")
    return texts


def _groups(like: scipy.sparse.csr_matrix, queries: Rows, most: int) -> Rows:
    """Queries with all that is like them, one after the other, until there are `most`."""
    chosen: set[int] = set()
    for query in queries.tolist():
        if len(chosen) >= most:
            break
        chosen |= {query, *like.indices[like.indptr[query] : like.indptr[query + 1]].tolist()}
    return np.array(sorted(chosen))


def _some(rng: np.random.Generator, rows: Rows, count: int) -> Rows:
    return rng.permutation(rows)[: max(0, count)]


def _within(
    matrix: scipy.sparse.csr_matrix, rows: Bool[np.ndarray, " q"], columns: Bool[np.ndarray, " n"]
) -> scipy.sparse.csr_matrix:
    """The entries in some rows and columns, the others zero."""
    entries = matrix.tocoo()
    kept = rows[entries.row] & columns[entries.col]
    parts = entries.data[kept], (entries.row[kept], entries.col[kept])
    return scipy.sparse.csr_matrix(parts, matrix.shape, dtype=np.int8)


def _question(matrix: scipy.sparse.csr_matrix, queries: Rows, corpus: Rows, themselves: bool = False) -> Question:
    """Of the queries that want something of the corpus."""
    wanted = scipy.sparse.csr_matrix(matrix[queries][:, corpus])
    some = wanted.getnnz(axis=1) > 0
    own = np.searchsorted(corpus, queries[some]) if themselves else None
    return Question(queries[some], corpus, wanted[some], own)
