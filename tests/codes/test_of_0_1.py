"""Folders that version 0.1 wrote (`of_0_1/`): five rows of floats and packed, and three of five in the making."""

import shutil
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.folder import Writer
from compressae_jax.codes.rows import MadeBy

HERE = Path(__file__).parent / "of_0_1"
VALUES = np.array([[2, -1], [1, 0.5], [0, 0], [-0.25, 0.25], [1, 1]], np.float16)
COLUMNS = np.array([[8, 0], [1, 2], [0, 1], [3, 7], [5, 4]], np.uint16)
NORMS = np.repeat(np.linalg.norm(VALUES.astype(np.float32), axis=1)[:, None], 2, axis=1)
HEADER = {"fingerprint": "3f2a", "encoder": "pursuit", "source": {"name": "v.npy"}}


def test_floats():
    rows, norms, ids, meta = codes_folder.read(HERE / "floats")
    assert (meta["format_version"], rows.storage, rows.made_by) == (1, "float16", MadeBy("3f2a", "topk"))
    assert_array_equal(rows.values, VALUES)
    assert_array_equal(rows.columns, COLUMNS)
    assert_array_equal(norms, NORMS)
    assert list(ids) == list(rows.ids) == ["a", "ßß", "", "vier", "5"]


def test_packed():
    rows = codes_folder.read(HERE / "packed").rows
    assert (rows.storage, rows.levels, rows.made_by) == ("packed3", (0.25, 0.5, 1, 2), MadeBy("3f2a", "pursuit"))
    assert_array_equal(rows.to_dense(), Codes(VALUES, COLUMNS, 9).to_dense())
    assert list(rows.ids) == [0, 10, 20, 30, 40]


def test_what_was_begun_continues(tmp_path):
    shutil.copytree(HERE / "begun.partial", tmp_path / "codes.partial")
    with Writer(tmp_path / "codes", 3, 9, 2, header=HEADER) as writer:
        assert writer.rows == 3
        writer.append(Codes(VALUES[3:], COLUMNS[3:], 9, NORMS[3:], np.arange(3, 5)))
        writer.finish()
    rows = codes_folder.read(tmp_path / "codes").rows
    assert_array_equal(rows.values, VALUES)
    assert list(rows.ids) == list(range(5)) and [path.name for path in tmp_path.iterdir()] == ["codes"]
