import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

import compressae_jax.data
from compressae_jax import data
from compressae_jax.data import named
from compressae_jax.notation import InputError

SHIPPED = ("shop", "scifact", "debian")
X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float16)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function that makes the folder of a dataset in COMPRESSAE_DATA and returns it."""
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))

    def make(name, vectors="vectors.npy"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / vectors, X)
        return tmp_path / name

    return make


def test_shop():
    shop = data.load("shop")
    assert (len(shop.vectors), shop.vectors.width, shop.vectors.name) == (2600, 128, "shop")
    assert len(shop.items) == 2600 and shop.items[0] == "INFLATABLE POLITICAL GLOBE"
    assert shop.train.shape == shop.test.shape == (3365, 2600)
    assert (shop.train.nnz, shop.test.nnz) == (184_456, 45_471)
    assert shop.queries is None and shop.query_texts is None and shop.judgements() is None and not shop.exclude_self


def test_scifact_finds_what_exact_search_finds():
    scifact = data.load("scifact")
    docs, queries = (some.read(0, len(some)) for some in (scifact.vectors, scifact.queries))
    assert len(scifact.items) == len(docs) == 5183 and len(scifact.query_texts) == len(queries) == 1109
    assert scifact.train is None and scifact.test is None
    for split, judged, recall in (("test", 339, 0.925), ("train", 919, 0.932)):
        judgements = scifact.judgements(split)
        assert judgements.scores.sum() == judged
        wanted = np.zeros((len(queries), len(docs)), int)
        wanted[judgements.query_rows, judgements.doc_rows] = judgements.scores
        rows = wanted.any(axis=1)
        found = np.argsort(-(queries[rows] @ docs.T), axis=1)[:, :100]
        hits = np.take_along_axis(wanted[rows], found, axis=1).sum(axis=1)
        assert abs((hits / wanted[rows].sum(axis=1)).mean() - recall) < 0.001  # as published with the data


def test_debian():
    debian = data.load("debian")
    assert (len(debian.vectors), debian.vectors.width, debian.vectors.dtype) == (34_169, 384, "int8")
    assert debian.items[0] == "0ad: Real-time strategy game of ancient warfare" and debian.query_texts is debian.items
    assert debian.exclude_self and debian.queries is debian.vectors
    judged = debian.judgements()
    assert len(judged.scores) == 17_149 and len(np.unique(judged.query_rows)) == 1000
    rows = np.array([debian.items.index("gimp: GNU Image Manipulation Program"), 0, 34_168, 0])
    lengths = np.linalg.norm(debian.vectors.take(rows), axis=1)
    assert_array_equal(debian.vectors.take(rows)[1], debian.vectors.read(0, 1)[0])
    np.testing.assert_allclose(lengths, 1, atol=0.005)


def test_debian_is_what_was_embedded():
    path = named.data_folder() / "debian" / "vectors.npy"
    if not path.is_file() or (embedded := np.load(path)).dtype != np.float16:
        pytest.skip("the vectors that it was rounded from are not in COMPRESSAE_DATA")
    embedded, shipped = embedded.astype(np.float32), data.load("debian").vectors.read(0, len(embedded))
    lengths = np.linalg.norm(embedded, axis=1) * np.linalg.norm(shipped, axis=1)
    assert ((embedded * shipped).sum(axis=1) / lengths).min() > 0.9999


def test_what_is_shipped_is_small_and_attributed():
    shipped = Path(compressae_jax.data.__file__).parent / "shipped"
    sizes = {name: sum(path.stat().st_size for path in (shipped / name).iterdir()) for name in SHIPPED}
    assert sizes["debian"] <= 14_000_000 and sizes["shop"] + sizes["scifact"] < 8_000_000
    for name in SHIPPED:
        text = (shipped / name / "README.md").read_text(encoding="utf-8")
        assert "## Licence and attribution" in text and ("CC BY 4.0" in text or name == "debian")


def test_vectors_of_bytes_with_a_scale(tmp_path):
    bytes_ = np.random.default_rng(0).integers(-127, 128, (9, 4)).astype(np.int8)
    np.save(tmp_path / "vectors.npy", bytes_)
    np.save(tmp_path / "query_vectors.npy", np.ones((2, 4), np.float32))
    (tmp_path / "qrels.tsv").write_text("query_row\tdoc_row\tscore\n1\t8\t1\n")
    with pytest.raises(InputError, match="holds int8 without a scale"):
        named.of_folder(tmp_path)
    np.save(tmp_path / "scale.npy", np.float32(0.25))
    own = named.of_folder(tmp_path).vectors
    assert_array_equal(own.read(2, 5), 0.25 * bytes_[2:5].astype(np.float32))
    assert_array_equal(own.take(np.array([8, 0])), 0.25 * bytes_[[8, 0]])
    np.save(tmp_path / "scale.npy", np.float32(0.5))
    assert own.identity()["sample"] != named.of_folder(tmp_path).vectors.identity()["sample"]


def test_queries_that_are_rows_themselves(folder):
    path = folder("wordnet")
    (path / "qrels.tsv").write_text("query_row\tdoc_row\tscore\n4\t1\t1\n0\t5\t2\n4\t0\t1\n")
    (path / "items.jsonl").write_text("".join(json.dumps({"id": str(i), "text": f"a\x85{i}"}) + "\n" for i in range(6)))
    wordnet = data.load("wordnet")
    assert wordnet.exclude_self and wordnet.queries is wordnet.vectors
    assert wordnet.items == wordnet.query_texts == [f"a\x85{i}" for i in range(6)]
    assert_array_equal(wordnet.judgements(), [[0, 4, 4], [5, 0, 1], [2, 1, 1]])
    assert wordnet.judgements("train") is None
    assert_array_equal(data.open_source("wordnet").read(0, 6), X)


def test_a_folder_as_it_is_stored(folder):
    path = folder("vaswani", "doc_vectors.npy")
    np.save(path / "query_vectors.npy", X[:2])
    (path / "qrels_test.tsv").write_text("query_row\tdoc_row\tscore\n1\t5\t1\n")
    with gzip.open(path / "docs.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"id": i, "text": f"text {i}"}) + "\n" for i in range(6))
    vaswani = data.load("vaswani")
    assert len(vaswani.queries) == 2 and vaswani.items[5] == "text 5" and vaswani.query_texts is None
    assert vaswani.judgements().doc_rows.tolist() == [5]


@pytest.mark.parametrize("name", sorted(set(named.names()) - set(SHIPPED)))
def test_what_is_absent_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    how = f"data.make {name}` makes it" if name in named.MADE else f"nor its repository has it.* {name} into COMPRESS"
    with pytest.raises(InputError, match=f"not in COMPRESSAE_DATA .*{how}"):
        data.open_source(name)


def test_a_folder_of_ones_own_with_judgements(tmp_path):
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", rows)
    np.save(tmp_path / "query_vectors.npy", rows[:3])
    assert named.of_folder(tmp_path) is None and len(data.open_source(tmp_path)) == 12, "two files of vectors"
    (tmp_path / "qrels_test.tsv").write_text("query_row\tdoc_row\tscore\n2\t8\t1\n")
    own = named.of_folder(str(tmp_path))
    assert own.judgements().doc_rows.tolist() == [8] and len(own.queries) == 3
    assert len(data.open_source(tmp_path)) == 9


def test_a_folder_of_ones_own_with_purchases(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((9, 4), np.float32))
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", np.ones((2, 4), np.float32))  # vectors, too
    assert named.of_folder(tmp_path) is None
    for name in ("train", "test"):
        scipy.sparse.save_npz(tmp_path / f"{name}.npz", scipy.sparse.csr_matrix(np.eye(3, 9)))
    assert named.of_folder(tmp_path).test.shape == (3, 9) and len(data.open_source(tmp_path)) == 9


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("words.txt", b"caf\xe9\n", "must be UTF-8, but byte 3 is 0xe9"),
        ("docs.jsonl.gz", b"\x1f\x8b\x08", "is not a whole .gz"),
        ("items.jsonl", b"[1]\n", "must hold an object with a title or text a line"),
        ("items.jsonl", b"{", "must hold an object"),
    ],
)
def test_names_that_are_no_names(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        named.read_texts(tmp_path, (name,))


def test_an_unknown_name():
    with pytest.raises(InputError, match="did you mean 'shop'"):
        data.load("shp")
    with pytest.raises(InputError, match="split must be one of 'test', 'train'"):
        data.load("scifact").judgements("dev")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query_row\tdoc_row\tscore\n6\t1\t1\n", r"query_row 6 lies outside 0\.\.5"),
        ("query_row\tdoc_row\tscore\n1\t-1\t1\n", r"doc_row -1 lies outside 0\.\.5"),
        ("query_row\tdoc_row\tscore\n1\t1\n", "three integers"),
        ("query_row\tdoc_row\tscore\n1\tx\t1\n", "three integers"),
        ("1\t1\t1\n", "must start with query_row"),
    ],
)
def test_judgements_that_lie(text, message, folder):
    (folder("wordnet") / "qrels.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        data.load("wordnet").judgements()


def test_only_a_line_feed_ends_a_name(folder):
    (folder("glove") / "words.txt").write_bytes("a\rb\nc\x85\nd\ne\nf\ng\n".encode())
    assert data.load("glove").items == ["a\rb", "c\x85", "d", "e", "f", "g"]


def test_names_that_are_too_few(folder):
    (folder("glove") / "words.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="6 vectors but 2 names"):
        _ = data.load("glove").items


def test_purchases_that_lie(tmp_path):
    matrix = scipy.sparse.csr_matrix(np.eye(4, dtype=np.int8))
    scipy.sparse.save_npz(tmp_path / "x.npz", matrix)
    assert named.read_purchases(tmp_path / "x.npz", 4).nnz == 4
    with pytest.raises(InputError, match="4 items, there are 5 vectors"):
        named.read_purchases(tmp_path / "x.npz", 5)
    matrix.indices[2] = 9  # SciPy reads this without a word
    scipy.sparse.save_npz(tmp_path / "x.npz", matrix)
    with pytest.raises(InputError, match="not a whole sparse"):
        named.read_purchases(tmp_path / "x.npz", 4)


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b'{"text": "a"}\n' * 6, mtime=0)[:-9],
        gzip.compress(b"[1]\n" * 6, mtime=0),
        gzip.compress(b"\xff", mtime=0),
    ],
    ids=["no gzip", "cut", "a list", "not UTF-8"],
)
def test_texts_that_are_damaged(content, folder):
    (folder("clinc150") / "items.jsonl.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"items\.jsonl\.gz"):
        _ = data.load("clinc150").items


@pytest.mark.parametrize("cut", [0, 9])
def test_judgements_in_gzip(cut, folder):
    text = "query_row\tdoc_row\tscore\n" + "".join(f"4\t{row}\t1\n" for row in range(6))
    whole = gzip.compress(text.encode(), mtime=0)
    (folder("wordnet") / "qrels.tsv.gz").write_bytes(whole[: len(whole) - cut])
    if cut:
        with pytest.raises(InputError, match=r"qrels\.tsv\.gz is not a whole \.gz"):
            data.load("wordnet").judgements()
    else:
        assert data.load("wordnet").judgements().query_rows.tolist() == [4] * 6


@pytest.mark.parametrize("cut", [1, 60, 300])
def test_purchases_cut_short(cut, tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(np.eye(4, dtype=np.int8)))
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[:-cut])
    with pytest.raises(InputError, match="not a whole sparse"):
        named.read_purchases(tmp_path / "x.npz", 4)


def test_purchases_that_cannot_be_read_now(tmp_path, monkeypatch):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(np.eye(4, dtype=np.float32)))
    reads, refused = [], [0]

    class Failing(io.BufferedReader):
        def read(self, size=-1):
            reads.append(size)
            if len(reads) == refused[0]:
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(named.files, "open_regular", lambda path: Failing(io.FileIO(path)))
    named.read_purchases(tmp_path / "x.npz", 4)
    for refused[0] in range(1, len(reads) + 1):
        reads.clear()
        with pytest.raises(OSError, match="Input/output error"):
            named.read_purchases(tmp_path / "x.npz", 4)


def test_labels_of_a_file(folder):
    np.save(folder("cifar10") / "labels.npy", np.array([3, 0, 0, 1, 2, 9], np.uint8))
    assert data.load("cifar10").labels.tolist() == [3, 0, 0, 1, 2, 9]
    assert data.load("shop").labels is None


def test_labels_of_objects(folder):
    path = folder("clinc150") / "items.jsonl"
    names = ["b", "oos", "a", "b", "c", "oos"]
    path.write_text("".join(json.dumps({"text": "t", "label": name}) + "\n" for name in names))
    assert data.load("clinc150").labels.tolist() == [1, -1, 0, 1, 2, -1]
    path.write_text(json.dumps({"text": "t", "label": "a"}) + "\n")
    with pytest.raises(InputError, match="has 1 labels, there are 6 vectors"):
        _ = data.load("clinc150").labels
    path.write_text(6 * (json.dumps({"text": "t"}) + "\n"))
    assert data.load("clinc150").labels is None


@pytest.mark.parametrize("labels", [np.zeros(5, int), np.zeros(6), np.zeros((6, 1), int)], ids=["few", "floats", "2-d"])
def test_labels_that_lie(labels, folder):
    path = folder("cifar10") / "labels.npy"
    np.save(path, labels)
    with pytest.raises(InputError, match="must hold 6 integers, one a vector"):
        _ = data.load("cifar10").labels
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"is not a whole \.npy"):
        _ = data.load("cifar10").labels
