"""Arrays and records that other systems keep are those of a codes folder, and come back as its rows."""

import pickle

import numpy as np
import pytest
from compression.test_to_folder import make_vectors, make_weights
from numpy.testing import assert_array_equal

from compressae_jax import compression
from compressae_jax.codes import folder
from compressae_jax.codes.joined import same
from compressae_jax.compression import elsewhere
from compressae_jax.data import open_source
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError


@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
def test_partitions_elsewhere_get_the_arrays_of_the_folder(tmp_path, storage):
    weights, x = make_weights(), make_vectors(200)
    if storage != "float16":
        with pytest.raises(InputError, match="no levels"):
            compression.encode_arrays(weights, x, storage=storage)
    rows = compression.in_memory(weights, open_source(x), storage=storage)
    encoder = pickle.loads(pickle.dumps(Encoder(weights, "topk", storage)))
    parts = [compression.encode_arrays(encoder, some) for some in (x[:3], x[3:].tolist())]
    for name, array in rows.arrays().items():
        assert_array_equal(np.concatenate([part[name] for part in parts]), array, strict=True)
    names = [f"row {i}" for i in range(3)]
    back = compression.rows_of_arrays(encoder, parts[0], names)
    assert back.verified and back.made_by == rows.made_by and back.levels == rows.levels and back.ids == names
    of_bytes = compression.rows_of_arrays(encoder, {name: list(map(bytes, one)) for name, one in parts[0].items()})
    for name, array in rows[:3].arrays().items():
        assert_array_equal(back.arrays()[name], array, strict=True)
        assert_array_equal(of_bytes.arrays()[name], array, strict=True)
    records = [
        {"id": name, **{one: bytes(array[i]) for one, array in parts[0].items()}} for i, name in enumerate(names)
    ]
    assert compression.write_records(encoder, iter(records), tmp_path / "codes") == 3
    there = folder.read(tmp_path / "codes")
    assert there.ids == names and there.rows.made_by == rows.made_by and same(there.rows, back)
    with pytest.raises(InputError, match="there is no row to write"):
        compression.write_records(encoder, [], tmp_path / "none")
    with pytest.raises(InputError, match=r"has the arrays .*, not other"):
        compression.rows_of_arrays(encoder, {"other": x})
    with pytest.raises(InputError, match=r"ids must be 3, one a row"):
        compression.rows_of_arrays(encoder, parts[0], names[:2])
    with pytest.raises(InputError, match=r"vectors must have shape \(n, 12\), not \(3, 4\)"):
        compression.encode_arrays(weights, x[:3, :4])
    with pytest.raises(InputError, match="not finite, first in row 1"):
        compression.encode_arrays(weights, np.array([x[0], x[1] * np.nan]))


@pytest.mark.parametrize("piece", [1, 2, 3])
def test_records_are_written_piece_by_piece(tmp_path, monkeypatch, piece):
    weights, x = make_weights(), make_vectors(3)
    monkeypatch.setattr(elsewhere, "PIECE", piece)
    made = compression.encode_arrays(weights, x)
    records = [{"id": 7 - i, **{name: bytes(array[i]) for name, array in made.items()}} for i in range(3)]
    compression.write_records(weights, records, tmp_path / "codes")
    rows = folder.read(tmp_path / "codes").rows
    assert rows.ids.tolist() == [7, 6, 5] and same(rows.with_ids(None), compression.encode(weights, x))
    with pytest.raises(InputError, match="values must have"):
        compression.write_records(weights, [*records, {**records[0], "values": b""}], tmp_path / "codes")
    assert len(folder.read(tmp_path / "codes").rows) == 3  # as it was


def test_arrays_that_are_not_of_the_model_make_no_rows():
    weights = make_weights()
    some = compression.encode_arrays(weights, make_vectors(3))
    with pytest.raises(InputError, match=r"values must be float32 \(3, \d\), not float16"):
        compression.rows_of_arrays(weights, some, storage="float32")
    with pytest.raises(InputError, match=r"norms must have float32 \(3, 2\), not 16 bytes"):
        compression.rows_of_arrays(weights, {**some, "norms": list(map(bytes, some["norms"][:2]))})
    with pytest.raises(InputError, match=r", not uint16 \(3, 2\)"):
        cut = {name: array[:, :2] for name, array in some.items()}
        compression.rows_of_arrays(weights, cut)
    with pytest.raises(InputError, match="column"):
        compression.rows_of_arrays(weights, {**some, "columns": some["columns"] + np.uint16(weights.h)})
