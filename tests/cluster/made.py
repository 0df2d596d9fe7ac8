"""A source of several files with ids, models, and what one process makes of them: what clusters are compared with."""

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.testing import assert_array_equal
from pyarrow import parquet

from compressae_jax import compression, data
from compressae_jax.codes import folder as codes_folder
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import BLOCK
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval import index as one_index

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
D, H, K, N, Q, TOP = 24, 96, 6, 4 * BLOCK + 77, 40, 10


class Made:
    """`vectors` (Parquet, a column of text ids), `queries.npy`, `model`, `packed` (a model with levels), `codes`.

    Some rows stand in several parts, so that scores tie.
    """

    def __init__(self, path: Path) -> None:
        self.path, rng = path, np.random.default_rng(0)
        centres = rng.normal(size=(9, D))
        self.vectors = (centres[rng.integers(9, size=N)] + 0.4 * rng.normal(size=(N, D))).astype(np.float32)
        self.vectors[[3, BLOCK, 3 * BLOCK + 9, N - 1]] = self.vectors[2]
        self.ids = [f"item {number}" for number in rng.permutation(N)]
        (path / "vectors").mkdir()
        cuts = [0, 100, 2 * BLOCK + 5, 2 * BLOCK + 6, N]  # files of other lengths than parts
        for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
            lists = pa.FixedSizeListArray.from_arrays(self.vectors[start:stop].ravel(), D)
            parquet.write_table(
                pa.table({"id": self.ids[start:stop], "vector": lists}), path / "vectors" / f"{i}.parquet"
            )
        np.save(path / "queries.npy", self.vectors[:Q])
        model_weights.save(weights(), path / "model")
        compression.to_folder(path / "model", self.source(), path / "codes", progress=False)
        packed = weights("packed4")
        compression.in_memory(packed, self.source())  # learns the levels
        model_weights.save(packed, path / "packed")

    def source(self) -> data.Source:
        """The vectors, with their ids."""
        return data.open_source(self.path / "vectors", ids_column="id")

    def found(self, space: str) -> one_index.Found:
        """What one index of all rows finds."""
        index = one_index.open_folder(self.path / "codes", self.path / "model", space)
        return index.search(self.vectors[:Q], TOP)


def weights(storage: str = "float16") -> Weights:
    """A model that nothing was trained for: unit decoder rows, the encoder their transpose."""
    decoder = np.random.default_rng(1).normal(size=(H, D)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    params = {"encoder_w": decoder.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder}
    return Weights(params, H, K, storage=storage)


def check_same_bytes(folder: Path, wanted: Path) -> None:
    """Every file of two codes folders is the same, but for the name under which the source was opened."""
    mine, others = ({path.name: path.read_bytes() for path in one.iterdir()} for one in (folder, wanted))
    metas = [json.loads(files.pop("meta.json")) for files in (mine, others)]
    for meta in metas:
        del meta["seal"], meta["source"]["name"]
    assert mine == others and metas[0] == metas[1]
    codes_folder.read(folder)


def check_same_found(mine, wanted) -> None:
    """Scores, rows and ids, bit for bit."""
    assert_array_equal(mine.scores, wanted.scores, strict=True)
    assert_array_equal(mine.rows, wanted.rows, strict=True)
    assert mine.ids.tolist() == wanted.ids.tolist()
