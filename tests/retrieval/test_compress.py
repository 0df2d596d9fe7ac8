import dataclasses
import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.codes import folder
from compressae_jax.data import open_source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval import compress

D, H, K = 12, 40, 4
N = 2 * compress.BLOCK + 1


def make_weights(seed=0):
    rng = np.random.default_rng(seed)
    decoder = rng.standard_normal((H, D)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    bias = 0.1 * rng.standard_normal(H).astype(np.float32)
    return Weights({"encoder_w": decoder.T.copy(), "encoder_b": bias, "decoder_w": decoder}, H, K)


def make_vectors(n=N, seed=1):
    return np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)


def contents(path):
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.name != "meta.json"}


@pytest.mark.parametrize("values", ["float16", "float32"])
def test_codes_equal_the_float64_oracle(values):
    weights, x = make_weights(), make_vectors(50)
    x[7] = 0
    codes, norms = compress.encode(weights, x, values)

    unit = x.astype(np.float64) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    a = unit @ weights.params["encoder_w"].astype(np.float64) + weights.params["encoder_b"]
    a[7] = 0
    columns = np.argsort(-np.abs(a), axis=1, kind="stable")[:, :K]
    assert codes.values.dtype == values and codes.columns.dtype == np.uint16
    assert_array_equal(codes.columns, columns)
    wanted = np.take_along_axis(a, columns, axis=1)
    np.testing.assert_allclose(codes.values, wanted, rtol=1e-3 if values == "float16" else 1e-5)

    dense = codes.to_dense().astype(np.float64)  # of the values as stored
    np.testing.assert_allclose(norms[:, 0], np.linalg.norm(dense, axis=1), rtol=1e-6)
    np.testing.assert_allclose(norms[:, 1], np.linalg.norm(dense @ weights.params["decoder_w"], axis=1), rtol=1e-5)


def test_bytes_depend_on_neither_batch_size_nor_company(tmp_path):
    weights, x = make_weights(), make_vectors()
    for batch in (1000, compress.BLOCK, N):
        compress.compress(weights, open_source(x), tmp_path / str(batch), batch=batch, progress=False)
    first = contents(tmp_path / "1000")
    assert set(first) == {"columns.npy", "values.npy", "norms.npy"}
    assert contents(tmp_path / str(compress.BLOCK)) == first
    assert contents(tmp_path / str(N)) == first

    alone, norms = compress.encode(weights, x[-3:])
    codes, all_norms, _, meta = folder.read(tmp_path / "1000")
    assert_array_equal(alone.values, codes.values[-3:])
    assert_array_equal(norms, all_norms[-3:])
    assert_array_equal(compress.norms_of(weights, codes), all_norms)
    assert (meta["n"], meta["fingerprint"]) == (N, weights.fingerprint)


def test_result_says_what_a_vector_costs(tmp_path):
    result = compress.compress(make_weights(), open_source(make_vectors(5)), tmp_path / "codes", progress=False)
    assert result == {"rows": 5, "bytes_per_vector": 4 * K + 4, "ratio": 4 * D / (4 * K + 4)}


def test_in_memory_equals_the_folder(tmp_path):
    weights, source = make_weights(), open_source(make_vectors())
    compress.compress(weights, source, tmp_path / "codes", progress=False)
    codes, norms, ids, _ = folder.read(tmp_path / "codes")
    here, norms_here, ids_here = compress.compress_in_memory(weights, source, batch=100)
    assert ids is None and ids_here is None
    assert_array_equal(here.values, codes.values)
    assert_array_equal(here.columns, codes.columns)
    assert_array_equal(norms_here, norms)


@pytest.mark.parametrize(
    ("encoder", "storage"),
    [
        ("refit", "float16"),
        ("shortlist", "float16"),
        ("pursuit", "float32"),
        ("topk", "packed4"),
        ("refit", "packed3"),
        ("shortlist", "packed4"),
        ("pursuit", "packed5"),
    ],
)
def test_other_encoders_and_storages_write_the_same_bytes_however_they_are_batched(tmp_path, encoder, storage):
    weights, x = make_weights(), make_vectors()
    x[[0, 77]] = 0
    how = {"encoder": encoder, "storage": storage, "zero_rows": "keep", "progress": False}
    for batch in (1000, N):
        result = compress.compress(weights, open_source(x), tmp_path / str(batch), batch=batch, **how)
    assert contents(tmp_path / "1000") == contents(tmp_path / str(N))

    codes, norms, _, meta = folder.read(tmp_path / "1000")
    here, norms_here, _ = compress.compress_in_memory(
        weights, open_source(x), encoder=encoder, storage=storage, zero_rows="keep"
    )
    assert meta["encoder"] == encoder and (norms is None) == (norms_here is None) == storage.startswith("packed")
    if norms is None:
        assert_array_equal(codes.records, here.records)
        assert result["bytes_per_vector"] == codes.records.shape[1]
        codes = codes.unpack()
    else:
        assert_array_equal(codes.values, here.values)
        assert_array_equal(norms, norms_here)
    assert_array_equal(np.flatnonzero(~np.asarray(codes.values).any(axis=1)), [0, 77])


def test_a_model_is_used_as_it_was_made_to_be(tmp_path):
    weights = dataclasses.replace(make_weights(), encoder="pursuit", storage="packed4")
    model_weights.save(weights, tmp_path / "model")
    weights = model_weights.load(tmp_path / "model")
    compress.compress(weights, open_source(make_vectors(40)), tmp_path / "codes", progress=False)
    codes, _, _, meta = folder.read(tmp_path / "codes")
    assert (meta["encoder"], codes.packing.bits) == ("pursuit", 4)


def test_packed_rows_keep_their_length_where_rounding_alone_does_not():
    """⟨x̂, z⟩ is n^1.5, which ranking needs most; rounding by itself misses it by several times as much."""
    weights, x = make_weights(), make_vectors(400)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    packed, _ = compress.encode(weights, x, "packed4", encoder="pursuit")
    plain, _ = compress.encode(weights, x, "float32", encoder="pursuit")

    def along(values, columns):
        return (np.einsum("nk,nkd->nd", values, weights.params["decoder_w"][columns]) * units).sum(axis=1)

    n = np.sqrt(along(plain.values, plain.columns))
    codes, levels = packed.unpack(), np.array(packed.packing.levels)
    folded = plain.values / np.sqrt(n)[:, None]
    rounded = np.sign(folded) * levels[np.abs(np.abs(folded)[..., None] - levels).argmin(axis=-1)]
    missed = np.abs(along(codes.values, codes.columns) - n**1.5)
    assert missed.mean() < 0.5 * np.abs(along(rounded, plain.columns) - n**1.5).mean()


def test_zero_rows(tmp_path):
    weights, x = make_weights(), make_vectors()
    x[[3, compress.BLOCK, N - 1]] = 0
    source = open_source(x)
    with pytest.raises(InputError, match=f"3 zero rows.*3, {compress.BLOCK}, {N - 1}.*keep.*drop"):
        compress.compress(weights, source, tmp_path / "stop", batch=1000, progress=False)
    assert list(tmp_path.iterdir()) == []

    compress.compress(weights, source, tmp_path / "keep", zero_rows="keep", progress=False)
    codes, norms, ids, _ = folder.read(tmp_path / "keep")
    assert len(codes) == N and ids is None
    assert not codes.values[[3, compress.BLOCK, N - 1]].any() and not norms[3].any() and norms[4].all()

    compress.compress(weights, source, tmp_path / "drop", zero_rows="drop", progress=False)
    codes, _, ids, _ = folder.read(tmp_path / "drop")
    kept = np.flatnonzero(x.any(axis=1))
    assert_array_equal(ids, kept)
    assert_array_equal(codes.values, compress.encode(weights, x[kept])[0].values)


def test_dropping_continues_after_the_rows_that_were_written(tmp_path, monkeypatch):
    weights, x = make_weights(), make_vectors()
    x[[0, 1, 50, 5000, 5001]] = 0
    source = open_source(x)
    compress.compress(weights, source, tmp_path / "whole", zero_rows="drop", progress=False)

    append, calls = folder.Writer.append, []

    def fail_at_the_second(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            raise OSError("No space left on device")
        append(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(folder.Writer, "append", fail_at_the_second)
        with pytest.raises(OSError, match="No space"):
            compress.compress(weights, source, tmp_path / "cut", batch=1, zero_rows="drop", progress=False)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(InputError, match="batch"):  # a slip that must not cost what was written
        compress.compress(weights, source, tmp_path / "cut", batch=0, zero_rows="drop", progress=False)
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(folder.Writer, "append", lambda *arguments: (calls.append(None), append(*arguments)))
        compress.compress(weights, source, tmp_path / "cut", batch=1, zero_rows="drop", progress=False)
    assert len(calls) == 1  # of two
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_value_that_is_not_finite_leaves_nothing(tmp_path):
    x = make_vectors()
    x[N - 2, 5] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=rf"x\.npy.*{N - 2}"):
        compress.compress(make_weights(), open_source(tmp_path / "x.npy"), tmp_path / "codes", batch=7, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_values_beyond_float16_are_refused(tmp_path):
    weights, x = make_weights(), make_vectors(9)
    weights.params["encoder_b"][0] = 7e4
    with pytest.raises(InputError, match=r"row 0 .*float16.*storage='float32'"):
        compress.compress(weights, open_source(x), tmp_path / "codes", progress=False)
    assert list(tmp_path.iterdir()) == []
    compress.compress(weights, open_source(x), tmp_path / "codes", storage="float32", progress=False)


@pytest.mark.parametrize("options", [{"storage": "int8"}, {"encoder": "pursuti"}, {"zero_rows": "dorp"}, {"batch": 0}])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(InputError, match=next(iter(options))):
        compress.compress(make_weights(), open_source(make_vectors(9)), tmp_path / "codes", progress=False, **options)


def test_vectors_of_another_width(tmp_path):
    with pytest.raises(InputError, match=f"width 9, the model was trained on {D}"):
        compress.compress(make_weights(), open_source(np.ones((4, 9), np.float32)), tmp_path / "codes", progress=False)


PROGRAM = """
import sys
from compressae_jax.data import open_source
from compressae_jax.model import weights
from compressae_jax.retrieval import compress

def tell(batches):
    for batch in batches:
        print("read", flush=True)
        yield batch

model, path, out, batch = sys.argv[1:]
source = open_source(path)
read = source.batches
source.batches = lambda rows, start=0: tell(read(rows, start=start))
compress.compress(weights.load(model), source, out, batch=int(batch), progress=False)
"""


def test_killed_at_any_moment_it_continues_to_the_same_bytes(tmp_path):
    weights, blocks = make_weights(), 30
    model_weights.save(weights, tmp_path / "model")
    np.save(tmp_path / "x.npy", make_vectors(blocks * compress.BLOCK + 1))
    compress.compress(weights, open_source(tmp_path / "x.npy"), tmp_path / "whole", progress=False)
    environment = {**os.environ, "XLA_FLAGS": ""}  # one device here, eight above
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))

    def start():
        command = [sys.executable, "-c", PROGRAM, "model", "x.npy", "cut", str(compress.BLOCK)]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)

    chance = random.Random(0)
    rows = [0]
    for _ in range(2):
        process = start()
        for _ in range(chance.randint(6, 14)):  # three blocks are under way before the first is written
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        rows.append(json.loads((tmp_path / "cut.partial" / "manifest.json").read_text())["rows"])
    assert rows == sorted(set(rows))  # each took up where the one before had stopped
    process = start()
    process.communicate()
    assert process.returncode == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
