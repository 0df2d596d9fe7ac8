import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from compressae_jax import data
from compressae_jax.notation import InputError

Q = np.random.default_rng(0).integers(-128, 128, (11, 5)).astype(np.int8)
ROW = np.linspace(0.1, 1.1, 11).astype(np.float32)
COLUMN = np.linspace(0.5, 2, 5).astype(np.float32)
SCALES = {"number": 0.25, "text": "0.25", "one of one": [0.25], "rows": ROW, "rows, as a column": ROW[:, None]}
SCALES |= {"columns": COLUMN, "columns, as a row": COLUMN[None], "bfloat16 is read as float32": 0.5}


def wanted(q, scale):
    scale = np.asarray(float(scale) if isinstance(scale, str) else scale, np.float32)
    return q.astype(np.float32) * (scale[:, None] if scale.shape == (11,) else scale)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes_times_their_scale(scale, dtype, tmp_path):
    q = Q.view(dtype)
    np.save(tmp_path / "x.npy", q)
    for given in (q, tmp_path / "x.npy"):
        source = data.open_source(given, scale=scale)
        assert source.dtype == np.dtype(dtype).name
        x = wanted(q, scale)
        assert_array_equal(source.read(3, 9), x[3:9])
        assert_array_equal(source.take(np.array([10, 0, 10])), x[[10, 0, 10]])
        assert_array_equal(np.concatenate([block for _, block in source.batches(4, start=2)]), x[2:])


def test_the_scale_is_a_part_of_what_a_source_is():
    samples = {
        data.open_source(Q, scale=scale).identity()["sample"] for scale in (0.25, 0.5, ROW, COLUMN, COLUMN[::-1])
    }
    assert len(samples) == 5


def npz(path, scale):
    np.savez(path.with_suffix(".npz"), vectors=Q, scale=scale)
    return path.with_suffix(".npz")


def deflated(path, scale):
    np.savez_compressed(path.with_suffix(".npz"), vectors=Q, scale=scale)
    return path.with_suffix(".npz")


def safetensors(path, scale):
    save_file({"vectors": Q, "scale": np.ascontiguousarray(scale)}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def beside(path, scale):
    np.save(path.with_suffix(".npy"), Q)
    np.save(path.with_suffix(".scale.npy"), scale)
    return path.with_suffix(".npy")


def of_the_folder(path, scale):
    np.save(path.with_suffix(".npy"), Q)
    np.save(path.with_name("scale.npy"), scale)
    return path.with_suffix(".npy")


@pytest.mark.parametrize("write", [npz, deflated, safetensors, beside, of_the_folder])
@pytest.mark.parametrize("scale", [np.float32(0.25), ROW, ROW[:, None], COLUMN.astype(np.float64)])
def test_a_scale_that_the_file_holds(write, scale, tmp_path):
    path = write(tmp_path / "x", scale)
    source = data.open_source(path)
    x = wanted(Q, scale)
    assert_allclose(source.read(0, 11), x, rtol=1e-6)
    assert_allclose(data.open_source(tmp_path).read(0, 11), x, rtol=1e-6)  # and the scale's own file is no vectors
    before = source.identity()["sample"]
    write(tmp_path / "x", np.asarray(scale) * 2)
    assert data.open_source(path).identity()["sample"] != before
    with pytest.raises(InputError, match="has a scale of its own"):
        data.open_source(path, scale=2)
    for bad, message in ((np.float32("nan"), "finite"), (np.ones(3, np.float32), "must be one number or have shape")):
        write(tmp_path / "x", bad)
        with pytest.raises(InputError, match=message):
            data.open_source(path)


def test_without_a_scale_somebody_must_say_what_bytes_mean(tmp_path):
    np.save(tmp_path / "x.npy", Q)
    for source in (Q, tmp_path / "x.npy", tmp_path):
        with pytest.raises(InputError, match="holds int8 without a scale: give scale=1"):
            data.open_source(source)
        plain = data.open_source(source, scale=1)
        assert_array_equal(plain.read(0, 11), Q)
        assert plain.identity()["sample"] == data.open_source(source, scale="1").identity()["sample"]


@pytest.mark.parametrize(("ending", "dtype"), [(".u8bin", np.uint8), (".i8bin", np.int8)])
def test_files_of_whole_numbers_need_none(ending, dtype, tmp_path):
    path = tmp_path / f"x{ending}"
    path.write_bytes(np.array(Q.shape, "<u4").tobytes() + Q.tobytes())
    source = data.open_source(path)
    assert (source.kind, source.dtype) == (ending[1:], np.dtype(dtype).name)
    assert_array_equal(source.read(0, 11), Q.view(dtype))
    assert_array_equal(source.take(np.array([7, 2])), Q.view(dtype)[[7, 2]])
    assert_array_equal(data.open_source(path, scale=COLUMN).read(0, 11), Q.view(dtype) * COLUMN)


@pytest.mark.parametrize(
    "content", [b"", b"abc", bytes(8), np.array([11, 2**31], "<u4").tobytes(), bytes(4) + b"\1000"]
)
def test_files_of_big_ann_that_are_none(content, tmp_path):
    for ending in (".fbin", ".u8bin", ".i8bin"):
        path = tmp_path / f"x{ending}"
        for end in (b"", b"more"):
            path.write_bytes(content + end)
            with pytest.raises(InputError, match=rf"x\{ending}"):
                data.open_source(path)


def test_a_scale_over_several_files(tmp_path):
    np.save(tmp_path / "a.npy", Q[:4])
    np.save(tmp_path / "b.npy", Q[4:])
    np.save(tmp_path / "of-rows.txt", ROW)
    (tmp_path / "of-rows.txt.npy").rename(tmp_path.parent / "of-rows.npy")
    source = data.open_source(tmp_path, scale=tmp_path.parent / "of-rows.npy")
    assert_array_equal(source.read(2, 6), wanted(Q, ROW)[2:6])
    np.save(tmp_path / "b.scale.npy", COLUMN)
    with pytest.raises(InputError, match=r"b\.npy has a scale of its own"):
        data.open_source(tmp_path, scale=1)
    np.save(tmp_path / "a.scale.npy", np.float32(2))
    mixed = data.open_source(tmp_path)
    assert_array_equal(mixed.read(0, 11), np.concatenate([2.0 * Q[:4], Q[4:] * COLUMN]).astype(np.float32))
    assert_array_equal(mixed.take(np.array([5, 1])), [Q[5] * COLUMN, 2.0 * Q[1]])


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0, "must be finite and above 0"),
        (-1, "must be finite and above 0"),
        (np.ones(7), r"must be one number or have shape \(11,\) or \(5,\), not \(7,\)"),
        ("many", "there is no file many"),
        ([["a"]], "must be numbers"),
        (1j, "must be numbers"),
    ],
)
def test_scales_that_are_none(scale, message):
    with pytest.raises(InputError, match=message):
        data.open_source(Q, scale=scale)


def test_as_many_rows_as_columns():
    q = Q[:5]
    with pytest.raises(InputError, match=r"must be one number or have shape \(5, 1\) or \(1, 5\)"):
        data.open_source(q, scale=COLUMN)
    assert_array_equal(data.open_source(q, scale=COLUMN[:, None]).read(0, 5), q * COLUMN[:, None])
    assert_array_equal(data.open_source(q, scale=COLUMN[None]).read(0, 5), q * COLUMN)


def test_floats_have_none(tmp_path):
    with pytest.raises(InputError, match="scale is for int8 and uint8; array holds float32"):
        data.open_source(Q.astype(np.float32), scale=2)


def test_datasets_have_their_own():
    debian = data.open_source("debian")
    with pytest.raises(InputError, match="debian has a scale of its own"):
        data.open_source("debian", scale=1)
    assert 0.99 < np.linalg.norm(debian.read(7, 8)) < 1.01


def test_a_staged_copy_is_scaled(tmp_path):
    path = deflated(tmp_path / "x", ROW)
    source = data.open_source(path)
    staged = data.stage(source, tmp_path / "staged.npy")
    assert not source.random_access and staged.random_access
    assert_array_equal(staged.read(0, 11), wanted(Q, ROW))
    assert_array_equal(data.checked.in_memory(source).read(0, 11), wanted(Q, ROW))


@pytest.mark.parametrize(
    "ids", [np.arange(11) + 5, np.array([f"é{i}" for i in range(11)]), np.array([b"a%d" % i for i in range(11)])]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ids_in_the_archive(ids, save, tmp_path):
    save(tmp_path / "x.npz", vectors=Q, names=ids, scale=ROW)
    source = data.open_source(tmp_path / "x.npz", ids_key="names")
    assert list(source.ids) == [one.decode() if isinstance(one, bytes) else one for one in ids]
    assert source.identity()["sample"] != data.open_source(tmp_path / "x.npz").identity()["sample"]
    assert data.open_source(tmp_path / "x.npz").ids is None


def test_ids_among_tensors(tmp_path):
    save_file({"vectors": Q.astype(np.float32), "id": np.arange(11, dtype=np.int32)}, tmp_path / "x.safetensors")
    assert_array_equal(data.open_source(tmp_path / "x.safetensors", ids_key="id").ids, np.arange(11))
    with pytest.raises(InputError, match="must hold I8, I16"):
        _ = data.open_source(tmp_path / "x.safetensors", ids_key="vectors").ids


@pytest.mark.parametrize(
    "ids", [np.arange(4), np.ones(11), np.zeros((11, 1), int), np.array(["a", {}] * 5 + [1], object)]
)
def test_arrays_that_are_no_ids(ids, tmp_path):
    np.savez(tmp_path / "x.npz", vectors=Q.astype(np.float32), id=ids)
    with pytest.raises(InputError, match=r"x\.npz \(id\)"):
        _ = data.open_source(tmp_path / "x.npz", key="vectors", ids_key="id").ids
    with pytest.raises(InputError, match="did you mean 'id'"):
        data.open_source(tmp_path / "x.npz", key="vectors", ids_key="ids")
