import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.ids import TextIds
from compressae_jax.data import open_source, with_ids
from compressae_jax.data.opened import File
from compressae_jax.data.parquet import Parquet
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"))), st.booleans(), st.booleans()
)
def test_lines_are_ids(tmp_path_factory, texts, windows, ended):
    path = tmp_path_factory.mktemp("ids") / "ids.txt"
    end = "\r\n" if windows else "\n"
    whole = end.join(texts) + (end if texts and (ended or not texts[-1]) else "")
    path.write_bytes(whole.encode())
    assert list(with_ids.read(path)) == texts


@pytest.mark.parametrize("ids", [["a", "b", "ß"], np.array([3, 2**60, -1]), np.array([1, 2, 2**64 - 1], np.uint64)])
def test_a_source_has_the_ids_beside_it(tmp_path, ids):
    np.save(tmp_path / "x.npy", X)
    if isinstance(ids, list):
        path = tmp_path / "ids.txt"
        path.write_text("\n".join(ids), encoding="utf-8")
    else:
        path = tmp_path / "ids.npy"
        np.save(path, ids)
    for given_ids in (ids, path, str(path)):
        source = open_source(tmp_path / "x.npy", ids=given_ids)
        assert list(source.ids) == list(ids)
        assert_array_equal(source.read(0, 3), X)
        assert_array_equal(source.take(np.array([2, 0])), X[[2, 0]])
        assert_array_equal(np.concatenate([block for _, block in source.batches(2)]), X)
    plain = open_source(tmp_path / "x.npy")
    assert source.identity()["sample"] != plain.identity()["sample"]
    other = open_source(tmp_path / "x.npy", ids=list(ids)[::-1])
    assert source.identity()["sample"] != other.identity()["sample"]
    assert open_source(tmp_path / "x.npy", ids="").ids is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\n", "ids.txt must have 3 ids, one for each row of array, not 2"),
        (b"a\nb\n\xff", "ids.txt: the ids are not UTF-8"),
        (None, "there is no file of ids"),
    ],
)
def test_files_that_are_no_ids_of_the_rows(tmp_path, content, message):
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_source(X, ids=tmp_path / "ids.txt")


@pytest.mark.parametrize("array", [X, np.array(["a", "b", "c"]), np.array([{}, 1, 2], object)])
def test_arrays_that_are_no_ids(tmp_path, array):
    np.save(tmp_path / "ids.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"must hold integers|holds objects"):
        open_source(X, ids=tmp_path / "ids.npy")


def test_ids_of_two_kinds_at_once_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"v": pa.array(X.tolist(), pa.list_(pa.float32(), 4)), "id": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "x.parquet")
    assert Parquet(File(tmp_path / "x.parquet"), ids_column="id").ids is not None
    with pytest.raises(InputError, match="has ids of its own"):
        open_source(tmp_path / "x.parquet", ids_column="id", ids=["a", "b", "c"])


def test_lines_that_say_integers():
    assert with_ids.integers(TextIds.of(["3", "-7 ", str(2**60)])).tolist() == [3, -7, 2**60]
    with pytest.raises(InputError, match=r"gone\.txt, line 2: 'x7' is no integer"):
        with_ids.integers(TextIds.of(["3", "x7"]), "gone.txt")
    with pytest.raises(InputError, match="more than 64 bits"):
        with_ids.integers(TextIds.of(["9" * 20]))
