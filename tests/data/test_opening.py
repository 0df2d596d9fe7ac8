import os

import numpy as np
import pytest
from data import files
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import sources
from compressae_jax.notation import InputError

ROWS, WIDTH = 11, 5
CASES = [(kind, dtype) for kind in files.WRITERS for dtype in files.DTYPES.get(kind, (np.float32,))]


def rows(n=ROWS, width=WIDTH, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(dtype)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(source, its rows as float32, how they are stored) of every kind and dtype, of folders, and of arrays."""
    folder = tmp_path_factory.mktemp("kinds")
    found = []
    for number, (kind, dtype) in enumerate(CASES):
        x = rows(dtype=dtype)
        path = files.write(kind, folder, x, f"{number}")
        found.append((data.open_source(path), x.astype(np.float32), np.dtype(dtype).name))
    many = folder / "many"
    many.mkdir()
    parts = [rows(n, seed=n) for n in (4, 1, 3, 3)]
    for number, (kind, part) in enumerate(zip(("npy", "npz", "fvecs", "npy"), parts, strict=True)):
        files.write(kind, many, part, f"part-{number + 8}")  # 8, 9, 10, 11: not the order of characters
    found.append((data.open_source(many), np.concatenate(parts), "float32"))
    files.write("parquet, lists", many, parts[0], "part-12")
    found.append((data.open_source(str(many / "part-*")), np.concatenate([*parts, parts[0]]), "float32"))
    found.append((data.open_source(rows(dtype=np.float64)[:, ::-1]), rows(dtype=np.float64)[:, ::-1], "float64"))
    return found


@given(drawn=st.data())
def test_every_source_is_its_array(opened, drawn):
    source, x, dtype = drawn.draw(st.sampled_from(opened))
    n = len(x)
    start = drawn.draw(st.integers(0, n))
    stop = drawn.draw(st.integers(start, n))
    some = drawn.draw(st.lists(st.integers(0, n - 1), max_size=9))
    batch = drawn.draw(st.integers(1, n + 2))

    assert (len(source), source.width, source.dtype) == (n, WIDTH, dtype)
    read = source.read(start, stop)
    assert read.dtype == np.float32 and read.flags.c_contiguous and read.flags.writeable
    assert_array_equal(read, x[start:stop].astype(np.float32))
    batches = list(source.batches(batch, start=start))
    assert [first for first, _ in batches] == list(range(start, n, batch))
    assert all(len(block) == batch for _, block in batches[:-1])
    assert_array_equal(np.concatenate([x[:0], *(block for _, block in batches)]), x[start:].astype(np.float32))
    if source.random_access:
        assert_array_equal(source.take(np.array(some, np.int64)), x[some].astype(np.float32))
    else:
        with pytest.raises(InputError, match=r"stage\(\)"):
            source.take(np.array(some, np.int64))


def test_small_pieces_are_the_same_rows(opened, monkeypatch):
    monkeypatch.setattr(sources, "PIECE_BYTES", 4 * WIDTH * 2)  # two rows
    for source, x, _ in opened:
        assert_array_equal(source.read(3, len(x)), x[3:].astype(np.float32))


def test_a_folder_from_any_row(opened):
    for source, x, _ in opened:
        if "+" in source.kind:
            for start in range(len(x) + 1):
                batches = [block for _, block in source.batches(2, start=start)]
                assert_array_equal(np.concatenate([x[:0], *batches]), x[start:])


def test_only_maps_have_random_access(opened):
    streamed = [source.kind for source, _, _ in opened if not source.random_access]
    assert len(streamed) == 4 + 3 + 3 + 1 + 1 + 1 and set(streamed) == {
        "npz, compressed",
        "parquet",
        "arrow, compressed",
        "hdf5, in chunks",
        "npy + npz + fvecs + parquet",
    }


def test_a_summary_is_plain(tmp_path):
    path = files.write("npy", tmp_path, rows(dtype=np.float16))
    assert data.open_source(path).summary() == {
        "name": str(path),
        "kind": "npy",
        "rows": ROWS,
        "width": WIDTH,
        "dtype": "float16",
        "bytes": path.stat().st_size,
    }


def test_a_jax_array():
    import jax.numpy as jnp

    x = rows().astype(np.float16)
    assert_array_equal(data.open_source(jnp.asarray(x, jnp.bfloat16)).read(0, 2), jnp.asarray(x[:2], jnp.bfloat16))


def test_a_source_is_itself():
    source = data.open_source(rows())
    assert data.open_source(source) is source


def test_a_name_is_the_dataset_and_a_path_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    files.write("npy", tmp_path / "shop", rows())
    assert data.open_source("shop").width == 128
    assert data.open_source("./shop").width == WIDTH


def test_a_folder_passes_over_other_files(tmp_path):
    files.write("npy", tmp_path, rows())
    files.write("npy", tmp_path, rows(), ".hidden")
    (tmp_path / "README.md").write_text("about")
    assert len(data.open_source(tmp_path)) == ROWS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", files.WRITERS)
def test_what_is_not_finite_is_named(kind, value, tmp_path):
    x = rows()
    x[7, 2] = x[9, 0] = value
    path = files.write(kind, tmp_path, x)
    batches = data.open_source(path).batches(4)
    assert [next(batches)[0]] == [0]
    with pytest.raises(InputError, match=rf"{path.name}: row 7 .*NaN or infinity"):
        next(batches)


def test_too_large_for_float32_is_not_finite():
    with pytest.raises(InputError, match="row 1 "):
        list(data.open_source(np.array([[1.0], [1e39]])).batches(5))


def test_what_is_not_finite_in_a_folder_has_its_file(tmp_path):
    x = rows()
    files.write("npy", tmp_path, x, "a")
    x[7, 2] = np.nan
    path = files.write("fvecs", tmp_path, x, "b")
    with pytest.raises(InputError, match=rf"{path}: row 7 \(row 18 of {tmp_path}\)"):
        list(data.open_source(tmp_path).batches(4))


@pytest.mark.parametrize("kind", files.WRITERS)
@pytest.mark.parametrize("cut", [1, 30])
def test_a_truncated_file(kind, cut, tmp_path):
    path = files.write(kind, tmp_path, rows())
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=path.name):
        list(data.open_source(path).batches(4))


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet, lists", "fvecs"])
def test_trailing_bytes(kind, tmp_path):
    path = files.write(kind, tmp_path, rows())
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match=path.name):
        data.open_source(path)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".parquet", ".fvecs"])
@pytest.mark.parametrize("content", [b"", b"abc", b"no such format, whatever the name says" * 9])
def test_another_format(ending, content, tmp_path):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="x"):
        data.open_source(path)


@pytest.mark.parametrize(
    "x", [np.ones((2, 3), int), np.ones((2, 3), bool), np.ones((2, 3), complex), np.array([["a"]])]
)
@pytest.mark.parametrize("kind", ["npy", "npz", "npz, deflated", None])
def test_a_wrong_dtype(kind, x, tmp_path):
    source = files.write(kind, tmp_path, x) if kind else x
    with pytest.raises(
        InputError, match=rf"must hold float16, float32, float64, bfloat16, int8, uint8, not {x.dtype.name}"
    ):
        data.open_source(source)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[print]], object), allow_pickle=True)
    for source in (tmp_path / "x.npy", np.array([[print]], object)):
        with pytest.raises(InputError, match="not object"):
            data.open_source(source)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), ()])
@pytest.mark.parametrize("kind", ["npy", "npz", "npz, deflated", None])
def test_a_wrong_number_of_axes(kind, shape, tmp_path):
    x = np.ones(shape, np.float32)
    with pytest.raises(InputError, match=f"must be 2-d .*not {len(shape)}-d"):
        data.open_source(files.write(kind, tmp_path, x) if kind else x)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
@pytest.mark.parametrize("kind", ["npy", "npz", "npz, deflated", "safetensors", "parquet, lists", "fvecs", None])
def test_empty(kind, shape, tmp_path):
    x = np.ones(shape, np.float32)
    with pytest.raises(InputError, match=r"is empty|first row has width 0|float lists"):
        data.open_source(files.write(kind, tmp_path, x) if kind else x)


def test_files_of_two_widths(tmp_path):
    files.write("npy", tmp_path, rows(), "a")
    files.write("fvecs", tmp_path, rows(width=WIDTH + 1), "b")
    with pytest.raises(InputError, match=r"b\.fvecs has width 6, wanted 5 as in .*a\.npy"):
        data.open_source(tmp_path)


def test_nothing_there(tmp_path):
    (tmp_path / "x.txt").write_text("1 2 3")
    for source, message in (
        (tmp_path / "y.npy", "there is no file"),
        (tmp_path, "holds no .npy"),
        (str(tmp_path / "*.npy"), "no file matches"),
        (tmp_path / "x.txt", "must end in .npy, .npz, .safetensors, .parquet, .*, not '.txt'"),
        ("", "source is empty"),
        ("scifac", "did you mean 'scifact'"),
    ):
        with pytest.raises(InputError, match=message):
            data.open_source(source)


@pytest.mark.parametrize("option", ["column", "ids_column", "key", "ids_key"])
def test_an_option_without_use(option, tmp_path):
    for source in (rows(), "shop", files.write("npy", tmp_path, rows())):
        assert data.open_source(source, **{option: ""}) is not None
        with pytest.raises(InputError, match=f"{option} is for .* only"):
            data.open_source(source, **{option: "x"})


def test_vectors_in_other_hands():
    pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    x = rows()
    for held in (x.tolist(), list(x), tuple(x), pandas.DataFrame(x), torch.tensor(x), np.ma.array(x)):
        assert_array_equal(data.open_source(held).read(0, ROWS), x)
    assert_array_equal(data.open_source([[1, 0], [0, 1]]).read(0, 2), np.eye(2))
    masked = np.ma.masked_greater(x, 1)
    with pytest.raises(InputError, match="vectors hide values under a mask, first in row"):
        data.open_source(masked)


@pytest.mark.parametrize("held", [None, {"a": [1.0]}, object(), [[1.0], [2.0, 3.0]], ["a.npy", "b.npy"], 3])
def test_what_are_no_vectors(held):
    with pytest.raises(InputError, match="must"):
        data.open_source(held)


def test_files_without_rows_add_none(tmp_path):
    for number, n in enumerate((0, 3, 0, 2)):
        files.write("npy", tmp_path, rows(n), f"{number}")
    files.write("parquet, lists", tmp_path, rows(0), "4")
    assert_array_equal(data.open_source(tmp_path).read(0, 5), np.concatenate([rows(3), rows(2)]))
    for number in (1, 3):
        files.write("npy", tmp_path, rows(0), f"{number}")
    with pytest.raises(InputError, match="is empty"):
        data.open_source(tmp_path)


def test_folders_in_a_folder_are_not_passed_over(tmp_path):
    for name in ("more", "more/yet", ".hidden", "_temporary", "other"):
        (tmp_path / name).mkdir()
    files.write("npy", tmp_path, rows(2), "a")
    for name in (".hidden", "_temporary"):
        files.write("npy", tmp_path / name, rows())
    (tmp_path / "other" / "README.md").write_text("about")
    assert len(data.open_source(tmp_path)) == 2
    files.write("npy", tmp_path / "more" / "yet", rows(3))
    with pytest.raises(InputError, match="vectors in its folder more") as raised:
        data.open_source(tmp_path)
    every, own = (each for each in str(raised.value).split("'") if "*" in each)
    assert (len(data.open_source(every)), len(data.open_source(own))) == (5 + ROWS, 2)


def test_digits_that_are_none(tmp_path):
    for name in ("1²2", "10", "9", "٣"):
        files.write("npy", tmp_path, rows(), name)
    assert len(data.open_source(tmp_path)) == 4 * ROWS


def test_a_name_that_is_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    try:
        files.write("npy", tmp_path, rows(), name)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    files.write("npy", tmp_path, rows(), "b")
    for source in (tmp_path, tmp_path / f"{name}.npy", str(tmp_path / "caf*")):
        assert data.open_source(source).identity()["sample"]


def test_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files.write("npy", tmp_path, rows())
    for source in ("~/x.npy", "~", "~/*.npy"):
        assert len(data.open_source(source)) == ROWS


def test_rows_outside():
    source = data.open_source(rows())
    for outside in ([-1], [0, ROWS]):
        with pytest.raises(InputError, match=r"rows must lie in 0\.\.10"):
            source.take(np.array(outside))
    for start, stop in ((-1, 2), (3, 2), (0, ROWS + 1)):
        with pytest.raises(InputError, match="st"):
            source.read(start, stop)
    for batch, start in ((0, 0), (1, ROWS + 1), (1, -1)):
        with pytest.raises(InputError):
            source.batches(batch, start)
