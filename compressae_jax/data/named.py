"""Datasets by name: three come with the package, others are folders in COMPRESSAE_DATA; `opening` opens any file."""

import functools
import gzip
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from compressae_jax.base import files
from compressae_jax.data import scaled
from compressae_jax.data.npy import NO_HEADER, open_npy
from compressae_jax.data.npz import DAMAGE
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.pairs import once
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError, check_choice

if TYPE_CHECKING:
    import scipy.sparse


class About(NamedTuple):
    """What the table knows of a dataset."""

    licence: str
    shipped: bool = False  # with the package
    exclude_self: bool = False
    no_class: str = ""  # the label of rows that belong to no class


SCIFACT = "SciFact: claims CC BY 4.0, abstracts ODC-By 1.0"
DEBIAN = "descriptions and tags of Debian's packages, free metadata"
VASWANI = "Vaswani (NPL), Glasgow IR group, no licence stated"
ONTOLOGIES = "Gene Ontology 2022-07-01 (CC BY 4.0); Human Phenotype Ontology 2025-01-16 (HPO licence)"
ABOUT = {
    "shop": About("from Online Retail (Chen, Sain, Guo 2012, UCI), CC BY 4.0", shipped=True),
    "scifact": About(SCIFACT, shipped=True),
    "wordnet": About("WordNet 3.0 licence, Copyright 2006 by Princeton University", exclude_self=True),
    "glove": About("GloVe 6B 50d, PDDL 1.0"),
    "clinc150": About("CLINC150, CC BY 3.0", no_class="oos"),
    "citeulike_a": About("CiteULike-a (Wang, Chen, Li 2013), no licence stated"),
    "debian": About(DEBIAN, shipped=True, exclude_self=True),
    "wordnet768": About("WordNet 3.0 licence, Copyright 2006 by Princeton University"),
    "vaswani": About(VASWANI),
    "definitions": About(
        "GCIDE (GPL 3 or later), FOLDOC (GFDL 1.1 or later), The Jargon File and The Devil's Dictionary (public domain)"
    ),
    "ontologies": About(ONTOLOGIES),
    "short768": About("texts of clinc150, citeulike_a and definitions, each under its own licence"),
    "ontologies768": About(f"texts of ontologies: {ONTOLOGIES}"),
    "debian768": About(f"texts of debian: {DEBIAN}", exclude_self=True),
    "vaswani768": About(f"texts of vaswani: {VASWANI}"),
    "scifact768": About(f"titles of scifact: {SCIFACT}"),
    "cifar10": About("CIFAR-10 (Krizhevsky 2009), no licence stated"),
}


WIDE = ("wordnet768", "ontologies768", "short768", "debian768", "vaswani768", "scifact768")  # by `data.make`
MADE = ("wordnet", "definitions", "ontologies", *WIDE)
VECTORS = ("vectors.npy", "doc_vectors.npy")
JUDGED = {"test": ("qrels_test.tsv", "qrels.tsv", "qrels.tsv.gz"), "train": ("qrels_train.tsv",)}
PURCHASES = ("train.npz", "test.npz")
LABELS = ("items.jsonl", "items.jsonl.gz")  # whose objects may have a label, where there is no labels.npy
# Names or texts.
ITEMS = ("items.txt", "items.txt.gz", "titles.txt", "words.txt", "items.jsonl", "items.jsonl.gz", "docs.jsonl.gz")


class Judgements(NamedTuple):
    """Which documents are relevant to which queries: three columns of one length, sorted by query and document."""

    query_rows: Int64[np.ndarray, " judged"]  # into Dataset.queries
    doc_rows: Int64[np.ndarray, " judged"]  # into Dataset.vectors
    scores: Int64[np.ndarray, " judged"]  # at least 1 is relevant


@dataclass(frozen=True)
class Dataset:
    """A folder of vectors and what is known about them; everything but the vectors is read when first asked for.

    With `exclude_self` the queries are rows of the vectors, and a query's own row is no answer.
    """

    name: str
    folder: Path
    vectors: Source
    licence: str
    exclude_self: bool = False

    @functools.cached_property
    def queries(self) -> Source | None:
        """The vectors that judgements number their queries by."""
        if self.exclude_self:
            return self.vectors
        path = self.folder / "query_vectors.npy"
        return _named(path, f"{self.name} (queries)") if path.exists() else None

    @functools.cached_property
    def items(self) -> list[str] | None:
        """A name or text for every row, or None."""
        texts = read_texts(self.folder, ITEMS)
        if texts is not None and len(texts) != len(self.vectors):
            raise InputError(f"{self.folder} has {len(self.vectors)} vectors but {len(texts)} names")
        return texts

    @functools.cached_property
    def query_texts(self) -> list[str] | None:
        """The text of every query, or None."""
        if self.exclude_self:
            return self.items
        return read_texts(self.folder, ("queries.txt", "queries.jsonl.gz"))

    def judgements(self, split: str = "test") -> Judgements | None:
        """The judgements of a split, 'test' or 'train', or None where there are none."""
        check_choice("split", split, ("test", "train"))
        for path in (self.folder / name for name in JUDGED[split]):
            if path.exists() and self.queries is not None:
                return read_judgements(path, len(self.queries), len(self.vectors))
        return None

    @functools.cached_property
    def train(self) -> "scipy.sparse.csr_matrix | None":
        """Purchases before the test period, users × items, or None."""
        return self._purchases("train.npz")

    @functools.cached_property
    def test(self) -> "scipy.sparse.csr_matrix | None":
        """Purchases to foretell, users × items; a user with an empty row is not tested. Or None."""
        return self._purchases("test.npz")

    @functools.cached_property
    def interactions(self) -> "scipy.sparse.csr_matrix | None":
        """What users took of all rows, users × items, where no time is known; or None."""
        return self._purchases("interactions.npz")

    @functools.cached_property
    def labels(self) -> Int64[np.ndarray, " n"] | None:
        """The number of every row's class, -1 of a row that is in none; or None."""
        no_class = ABOUT[self.name].no_class if self.name in ABOUT else ""
        return read_labels(self.folder, len(self.vectors), no_class)

    def _purchases(self, name: str) -> "scipy.sparse.csr_matrix | None":
        path = self.folder / name
        return read_purchases(path, len(self.vectors)) if path.exists() else None


def names() -> tuple[str, ...]:
    """All names that `load` knows, here or not."""
    return tuple(ABOUT)


def load(name: str) -> Dataset:
    """A dataset by name.

    Raises:
        InputError: an unknown name, or a folder that is not in COMPRESSAE_DATA; the message says how to get it.
    """
    check_choice("name (of a dataset)", name, names())
    about = ABOUT[name]
    folder = Path(__file__).parent / "shipped" / name if about.shipped else data_folder() / name
    path = _vectors(folder)
    if path is None:
        raise InputError(_how_to_get(name, about, folder))
    return Dataset(name, folder, _named(path, name), about.licence, about.exclude_self)


def of_folder(folder: str | os.PathLike) -> Dataset | None:
    """A dataset of one's own: a folder laid out as the shipped ones are. None of any other folder, and of no folder.

    It has `vectors.npy` (or `doc_vectors.npy`; int8 or uint8 with `scale.npy`), and judgements
    (`query_vectors.npy` with `qrels_test.tsv` or `qrels.tsv`) or purchases (`train.npz` and `test.npz`, users × items).
    """
    folder = Path(os.path.expanduser(folder))
    path = _vectors(folder)
    judged = (folder / "query_vectors.npy").is_file() and any((folder / n).is_file() for n in JUDGED["test"])
    if path is None or not (judged or all(_is_sparse(folder / name) for name in PURCHASES)):
        return None
    return Dataset(str(folder), folder, _named(path, str(folder)), "of its owner")


def _vectors(folder: Path) -> Path | None:
    return next((path for path in (folder / name for name in VECTORS) if path.is_file()), None)


def _is_sparse(path: Path) -> bool:
    """Whether a file is an .npz of SciPy's, which an .npz of vectors is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "indptr.npy" in archive.namelist()
    except (FileNotFoundError, IsADirectoryError, zipfile.BadZipFile):
        return False


def data_folder() -> Path:
    """Where datasets lie that do not come with the package: COMPRESSAE_DATA, or a folder in the user's cache."""
    return Path(os.environ.get("COMPRESSAE_DATA") or Path.home() / ".cache/compressae_jax/data").expanduser()


def read_texts(folder: Path, files: tuple[str, ...]) -> list[str] | None:
    """One text a row from the first of the files that is there, or None.

    Raises:
        InputError: a file that is not UTF-8, not whole, or not JSON where its name says so.
    """
    path = next((folder / name for name in files if (folder / name).exists()), None)
    if path is None:
        return None
    if ".jsonl" in path.suffixes:
        return _of_objects(path, "a title or text", lambda one: str(one.get("title") or one["text"]))
    return [line.rpartition("\t")[2] for line in _lines(path)]


def read_labels(folder: Path, rows: int, no_class: str = "") -> Int64[np.ndarray, " n"] | None:
    """The classes in labels.npy, numbers, or those that the objects of `LABELS` call label, by their order as texts.

    None where there are none. Rows whose label is the text `no_class` get -1.

    Raises:
        InputError: a file that is damaged, or does not have one label a row.
    """
    path = folder / "labels.npy"
    if path.exists():
        try:
            labels = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} is not a whole .npy: {error}") from None
        if labels.dtype.kind not in "iu" or labels.shape != (rows,):
            raise InputError(f"{path} must hold {rows} integers, one a vector, not {labels.dtype} of {labels.shape}")
        return labels.astype(np.int64)
    path = next((folder / name for name in LABELS if (folder / name).exists()), path)
    if not path.exists():
        return None
    found = _of_objects(path, "its fields", lambda one: one.get("label"))
    if None in found:
        return None
    if len(found) != rows:
        raise InputError(f"{path} has {len(found)} labels, there are {rows} vectors")
    names, labels = np.unique(np.array(found, np.str_), return_inverse=True)
    return np.where(names[labels] == no_class, -1, labels).astype(np.int64)


def _of_objects(path: Path, what: str, take: Callable[[Any], Any]) -> list[Any]:
    try:
        return [take(json.loads(line)) for line in _lines(path)]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} must hold an object with {what} a line: {error}") from None


def _lines(path: Path) -> list[str]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8").removesuffix("\n").split("\n")  # texts may hold what else can end a line
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8, but byte {error.start} is {error.object[error.start]:#x}") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is not a whole .gz: {error}") from None


def read_judgements(path: Path, queries: int, docs: int) -> Judgements:
    """A .tsv or .tsv.gz with the heading query_row, doc_row, score; rows are seen to lie below `queries` and `docs`."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as file:
            heading = file.readline().split()
            if heading != ["query_row", "doc_row", "score"]:
                raise InputError(f"{path} must start with query_row, doc_row, score, not {heading}")
            table = np.loadtxt(file, np.int64, delimiter="\t", ndmin=2).reshape(-1, 3)
    except InputError:
        raise
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is not a whole .gz: {error}") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} must hold three integers a line: {error}") from None
    for column, name, limit in ((0, "query_row", queries), (1, "doc_row", docs)):
        outside = (table[:, column] < 0) | (table[:, column] >= limit)
        if outside.any():
            raise InputError(f"{path}: {name} {table[outside][0, column]} lies outside 0..{limit - 1}")
    query, doc, scores = table.T
    kept = once(str(path), query, doc, scores, lambda one: f"query_row {query[one]} and doc_row {doc[one]}")
    return Judgements(*np.ascontiguousarray(table[kept].T))


def read_purchases(path: Path, items: int) -> "scipy.sparse.csr_matrix":
    """A CSR matrix, users × items, as scipy.sparse.save_npz writes it; its columns are seen to lie in 0..items-1."""
    matrix = read_sparse(path)
    if matrix.shape[1] != items:
        raise InputError(f"{path} has {matrix.shape[1]} items, there are {items} vectors")
    return matrix


def read_sparse(path: Path) -> "scipy.sparse.csr_matrix":
    """A matrix as scipy.sparse.save_npz writes it, seen to be sound."""
    import scipy.sparse

    with files.open_regular(path) as file:
        watched = Watched(file)
        try:
            matrix = scipy.sparse.csr_matrix(scipy.sparse.load_npz(watched))  # never unpickles
            matrix.check_format(full_check=True)
        except (*DAMAGE, *NO_HEADER) as error:
            if watched.error is not None:
                raise watched.error from None
            raise InputError(f"{path} is not a whole sparse .npz: {error}") from error
    return matrix


def _named(path: Path, name: str) -> Source:
    source = open_npy(File(path))
    source.name = name
    return scaled.with_own(source)


def _how_to_get(name: str, about: About, folder: Path) -> str:
    if about.shipped:
        return f"dataset {name!r} is missing from the package at {folder}; install the package anew"
    if name in MADE:
        return (
            f"dataset {name!r} is not in COMPRESSAE_DATA (there is no vectors.npy in {folder}): "
            f"`python -m compressae_jax.data.make {name}` makes it (--help says of what)"
        )
    return (
        f"dataset {name!r} is not in COMPRESSAE_DATA (there is no vectors.npy in {folder}), and neither the package "
        f"nor its repository has it or what makes it: copy a finished folder {name} into COMPRESSAE_DATA; vectors of "
        "your own need no dataset, give their file or folder"
    )
