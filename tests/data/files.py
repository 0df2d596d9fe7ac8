"""Every kind of file that holds given rows, for tests."""

import json

import ml_dtypes
import numpy as np
import pyarrow
import pyarrow.parquet


def npy(path, x):
    np.save(path, x)


def npy_fortran(path, x):
    np.save(path, np.asfortranarray(x))


def npz(path, x):
    np.savez(path, vectors=x)


def npz_deflated(path, x):
    np.savez_compressed(path, vectors=x)


def safetensors(path, x):
    from safetensors.numpy import save_file

    save_file({"bias": np.zeros(3, np.float32), "vectors": x, "scale": np.zeros((), np.float32)}, path)


def parquet_lists(path, x, rows=3):
    table = pyarrow.table({"id": [f"row-{i}" for i in range(len(x))], "vector": list(x)})
    pyarrow.parquet.write_table(table, path, row_group_size=rows)


def parquet_fixed(path, x, rows=3):
    kind = pyarrow.list_(pyarrow.from_numpy_dtype(x.dtype), x.shape[1])
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.reshape(-1)), type=kind)
    table = pyarrow.table({"vector": vectors, "id": np.arange(len(x))})
    pyarrow.parquet.write_table(table, path, row_group_size=rows)


def _table(x):
    vectors = [list(row) for row in x]
    kind = pyarrow.list_(pyarrow.from_numpy_dtype(x.dtype))
    return pyarrow.table({"vector": pyarrow.array(vectors, kind), "id": [f"row-{i}" for i in range(len(x))]})


def arrow_stream(path, x, rows=3):
    table = _table(x)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def arrow_file(path, x, rows=3):
    table = _table(x).set_column(1, "id", pyarrow.array([f"row-{i}" for i in range(len(x))]).dictionary_encode())
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def feather(path, x):
    import pyarrow.feather

    pyarrow.feather.write_feather(_table(x), path, compression="zstd", chunksize=3)


def hdf5(path, x):
    import h5py

    with h5py.File(path, "w") as file:
        file["vectors"], file["neighbors"] = x, np.arange(len(x))


def hdf5_chunks(path, x):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("of/vectors", data=x, chunks=(3, x.shape[1]), compression="gzip")


def fvecs(path, x):
    width = np.full((len(x), 1), x.shape[1], np.int32).view(np.float32)
    np.concatenate([width, x.astype(np.float32)], axis=1).tofile(path)


def fbin(path, x):
    path.write_bytes(np.array(x.shape, "<u4").tobytes() + x.astype("<f4").tobytes())


WRITERS = {
    "npy": (npy, ".npy"),
    "npy, Fortran order": (npy_fortran, ".npy"),
    "npz": (npz, ".npz"),
    "npz, deflated": (npz_deflated, ".npz"),
    "safetensors": (safetensors, ".safetensors"),
    "parquet, lists": (parquet_lists, ".parquet"),
    "parquet, fixed-size lists": (parquet_fixed, ".parquet"),
    "arrow, stream": (arrow_stream, ".arrow"),
    "arrow, file": (arrow_file, ".arrow"),
    "feather, compressed": (feather, ".feather"),
    "hdf5": (hdf5, ".hdf5"),
    "hdf5, in chunks": (hdf5_chunks, ".h5"),
    "fvecs": (fvecs, ".fvecs"),
    "fbin": (fbin, ".fbin"),
}

DTYPES = {
    "npy": (np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ">f4"),
    "npz": (np.float16, np.float32, np.float64, ml_dtypes.bfloat16),
    "npz, deflated": (np.float16, np.float32, np.float64, ml_dtypes.bfloat16),
    "safetensors": (np.float16, np.float32, np.float64, ml_dtypes.bfloat16),
    "parquet, lists": (np.float16, np.float32, np.float64),
    "parquet, fixed-size lists": (np.float16, np.float32, np.float64),
    "hdf5": (np.float16, np.float32, np.float64, ">f8"),
    "arrow, stream": (np.float16, np.float32, np.float64),
}


def write(kind, folder, x, name="x"):
    """The path of a file of that kind with the rows of x."""
    writer, ending = WRITERS[kind]
    path = folder / (name + ending)
    writer(path, x)
    return path


def safetensors_bytes(header, data):
    """A safetensors file with any header, right or wrong."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data
