"""What is special to kANNolo: it is built at once, ends the process over input it does not expect, keeps no payload."""

import json

import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights
from serving.test_engines import make_index, needed

from compressae_jax import compression
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing, kannolo, parquet


@pytest.fixture(autouse=True)
def installed():
    needed("kannolo")


def rows_of(vectors, **options):
    weights = make_weights()
    return Index(compression.encode(weights, vectors, **options), weights)


@pytest.fixture
def built(monkeypatch):
    """What was built, by form."""
    times = []
    write = kannolo._write

    def counted(package, aside, fields, *rest):
        times.append(fields["form"])
        return write(package, aside, fields, *rest)

    monkeypatch.setattr(kannolo, "_write", counted)
    return times


def test_what_did_not_change_builds_nothing(built, tmp_path):
    index, folder = make_index(), tmp_path / "t"
    for batch in (64, 1000):
        kannolo.upload(index, folder, batch=batch)
    assert built == ["flat"]
    kannolo.upload(index, folder, form="hnsw")
    kannolo.upload(index, folder, form="hnsw", links=8)
    kannolo.upload(index, folder, form="hnsw", links=8)
    assert built == ["flat", "hnsw", "hnsw"]
    other = Index(index.codes.with_ids(None), index.weights)
    kannolo.upload(other, folder, form="hnsw", links=8)  # other ids
    assert len(built) == 4
    (folder / kannolo.BUILT).write_bytes(b"damaged")
    kannolo.upload(other, folder, form="hnsw", links=8)
    assert len(built) == 5


def test_a_killed_build_leaves_what_was_there(tmp_path, monkeypatch):
    index, folder, queries = make_index(), tmp_path / "t", make_vectors(3, seed=2)
    kannolo.upload(index, folder)
    before = index.search(queries, 5)
    index.remove(list(before.ids[:, 0]))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kannolo.sealed, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            kannolo.upload(index, folder)
    opened = kannolo.Engine(folder, index.expander)
    assert_array_equal(opened.search(queries, 5).ids, before.ids)
    kannolo.upload(index, folder)
    assert_array_equal(opened.search(queries, 5).ids, index.search(queries, 5).ids)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("n", [1, 2, kannolo.FEWEST - 1, kannolo.FEWEST, kannolo.FEWEST + 1])
def test_any_number_of_rows(n, built, tmp_path):
    index, queries = rows_of(make_vectors(n)), make_vectors(2, seed=2)
    kannolo.upload(index, tmp_path / "t", form="hnsw")
    assert built == ["hnsw" if n >= kannolo.FEWEST else "flat"]
    found, ours = kannolo.Engine(tmp_path / "t", index.expander).search(queries, n + 3), index.search(queries, n + 3)
    assert_allclose(found.scores, ours.scores, atol=1e-6)
    assert all(one is None for one in found.ids[:, n:].ravel())


def test_columns_that_no_row_has(tmp_path):
    """A query with a column beyond the last of all rows would end the process."""
    index, queries = rows_of(make_vectors(2)), make_vectors(8, seed=2)
    kannolo.upload(index, tmp_path / "t")
    opened = kannolo.Engine(tmp_path / "t", index.expander)
    assert opened._table.width < index.codes.h
    assert_allclose(opened.search(queries, 2).scores, index.search(queries, 2).scores, atol=1e-6)


@pytest.mark.parametrize("length", [1e-15, 1e15])
@pytest.mark.parametrize("form", kannolo.FORMS)
def test_lengths_that_float16_does_not_hold(form, length, tmp_path):
    index = rows_of(make_vectors(100) * np.float32(length), similarity="dot", storage="float32")
    queries = make_vectors(3, seed=2)
    kannolo.upload(index, tmp_path / "t", form=form)
    found = kannolo.Engine(tmp_path / "t", index.expander).search(queries, 10)
    judged = comparing.compare(index, found, queries)
    assert judged.recall == {10: 1} and judged.with_ties == {10: 1}
    assert_allclose(found.scores, index.search(queries, 10).scores, rtol=1e-5)


def test_rescoring_makes_flat_exact(tmp_path):
    """Rows that differ by less than float16 tells."""
    x = make_vectors(1)
    near = np.repeat(x, 40, axis=0) + np.random.default_rng(3).normal(0, 1e-4, (40, x.shape[1])).astype(np.float32)
    index = rows_of(near, storage="float32")
    kannolo.upload(index, tmp_path / "t")
    opened = kannolo.Engine(tmp_path / "t", index.expander)
    alone = comparing.compare(index, opened.search(x, 10, rescored=10), x).recall[10]
    assert comparing.compare(index, opened.search(x, 10), x).recall[10] == 1 > alone


def test_what_kannolo_cannot_do_is_refused(tmp_path):
    index, queries = make_index(), make_vectors(2)
    for form in kannolo.UNSIGNED:
        with pytest.raises(InputError, match="lose the sign of values without a word"):
            kannolo.upload(index, tmp_path / "t", form=form)
    with pytest.raises(InputError, match="form must be"):
        kannolo.upload(index, tmp_path / "t", form="tree")
    with pytest.raises(InputError, match="payload: kANNolo holds rows and nothing beside them"):
        kannolo.upload(index, tmp_path / "t", payload={"price": np.arange(150)})
    with pytest.raises(InputError, match="links must be an integer from 2"):
        kannolo.upload(index, tmp_path / "t", form="hnsw", links=0)
    assert not (tmp_path / "t").exists()
    kannolo.upload(index, tmp_path / "t")
    opened = kannolo.Engine(tmp_path / "t", index.expander)
    with pytest.raises(InputError, match=r"no filter, .*index\.search\(allow"):
        opened.search(queries, where="price < 3")
    with pytest.raises(InputError, match="leave terms out"):
        opened.search(queries, terms=64)
    with pytest.raises(InputError, match="rescored must be an integer of at least top=10"):
        opened.search(queries, rescored=9)
    wide = small.weights(8, 2**16 + 1, 3)
    with pytest.raises(InputError, match="columns of 16 bits, h up to 65,536"):
        kannolo.upload(Index(compression.encode(wide, small.vectors(5, 8)), wide), tmp_path / "wide")


def test_the_widest_codes(tmp_path):
    weights = small.weights(8, 2**16, 3)
    index = Index(compression.encode(weights, small.vectors(5, 8)), weights)
    kannolo.upload(index, tmp_path / "t")
    queries = small.vectors(2, 8, seed=3)
    found = kannolo.Engine(tmp_path / "t", index.expander).search(queries, 5)
    assert_allclose(found.scores, index.search(queries, 5).scores, atol=1e-5)


def test_damaged_and_foreign_folders(built, tmp_path, monkeypatch):
    index, folder = make_index(), tmp_path / "t"
    kannolo.upload(index, folder)
    for name in (kannolo.BUILT, kannolo.VALUES, kannolo.UTF8):
        whole = (folder / name).read_bytes()
        for wrong in (whole[:-3], whole[:200] + b"\xff" + whole[201:]):
            (folder / name).write_bytes(wrong)
            with pytest.raises(FolderError, match=rf"{name} is damaged; upload the index again"):
                kannolo.Engine(folder, index.expander)
        (folder / name).unlink()
        with pytest.raises((FolderError, FileNotFoundError), match=name):
            kannolo.Engine(folder, index.expander)
        (folder / name).write_bytes(whole)
    with monkeypatch.context() as patched:
        patched.setattr(kannolo, "_version", lambda: "9.9")
        with pytest.raises(FolderError, match=r"was built by kANNolo .*, this is 9.9"):
            kannolo.Engine(folder, index.expander)
        kannolo.upload(index, folder)
        assert len(built) == 2
        kannolo.Engine(folder, index.expander)
    meta = json.loads((folder / kannolo.META).read_text())
    (folder / kannolo.META).write_text(json.dumps({**meta, "rows": 7}))
    with pytest.raises(FolderError, match="upload the index again"):
        kannolo.Engine(folder, index.expander)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    for folder in (tmp_path / "other", tmp_path / "files"):
        if folder.name == "files":
            parquet.upload(index, folder)
        with pytest.raises(FolderError, match="holds other files"):
            kannolo.upload(index, folder)


def test_a_file_that_shrinks_under_a_search(tmp_path):
    index, queries = make_index(), make_vectors(2)
    kannolo.upload(index, tmp_path / "t")
    opened = kannolo.Engine(tmp_path / "t", index.expander)
    with open(tmp_path / "t" / kannolo.VALUES, "r+b") as file:
        file.truncate(100)
    with pytest.raises(FolderError, match=r"values\.npy shrank from"):
        opened.search(queries)
