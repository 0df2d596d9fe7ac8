import dataclasses
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import compression
from compressae_jax.base import files
from compressae_jax.codes import folder
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.storage import kinds
from compressae_jax.compression import to_folder
from compressae_jax.data import open_source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import BLOCK, Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import BusyError, InputError

D, H, K = 12, 40, 4
N = 2 * BLOCK + 1


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
    codes = compression.encode(weights, x, values)
    norms = codes.norms

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
    for batch in (1000, BLOCK, N):
        to_folder(weights, open_source(x), tmp_path / str(batch), batch=batch, progress=False)
    first = contents(tmp_path / "1000")
    assert set(first) == {"columns.npy", "values.npy", "norms.npy"}
    assert contents(tmp_path / str(BLOCK)) == first
    assert contents(tmp_path / str(N)) == first

    alone = compression.encode(weights, x[-3:])
    codes, all_norms, _, meta = folder.read(tmp_path / "1000")
    assert_array_equal(alone.values, codes.values[-3:])
    assert_array_equal(alone.norms, all_norms[-3:])
    assert codes.made_by == alone.made_by == (weights.fingerprint, "topk")
    assert (meta["n"], meta["fingerprint"]) == (N, weights.fingerprint)


def test_result_says_what_a_vector_costs(tmp_path):
    result = to_folder(make_weights(), open_source(make_vectors(5)), tmp_path / "codes", progress=False)
    assert result == {"rows": 5, "bytes_per_vector": 4 * K + 4, "ratio": 4 * D / (4 * K + 4)}


def test_in_memory_equals_the_folder(tmp_path):
    weights, source = make_weights(), open_source(make_vectors())
    to_folder(weights, source, tmp_path / "codes", progress=False)
    codes, norms, ids, _ = folder.read(tmp_path / "codes")
    here = compression.in_memory(weights, source, batch=100)
    assert ids is None and here.ids is None and here.verified
    assert_array_equal(here.values, codes.values)
    assert_array_equal(here.columns, codes.columns)
    assert_array_equal(here.norms, norms)


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
        ("pursuit", "fast4"),
    ],
)
def test_other_encoders_and_storages_write_the_same_bytes_however_they_are_batched(tmp_path, encoder, storage):
    weights, x = make_weights(), make_vectors()
    x[[0, 77]] = 0
    how = {"encoder": encoder, "storage": storage, "zero_rows": "keep", "progress": False}
    for batch in (1000, N):
        result = to_folder(weights, open_source(x), tmp_path / str(batch), batch=batch, **how)
    assert contents(tmp_path / "1000") == contents(tmp_path / str(N))

    codes, norms, _, meta = folder.read(tmp_path / "1000")
    here = compression.in_memory(weights, open_source(x), encoder=encoder, storage=storage, zero_rows="keep")
    assert meta["encoder"] == encoder and (norms is None) == (here.norms is None) == (storage in kinds.PACKINGS)
    if norms is None:
        assert_array_equal(codes.records, here.records)
        assert result["bytes_per_vector"] == codes.records.shape[1]
        codes = codes.codes()
    else:
        assert_array_equal(codes.values, here.values)
        assert_array_equal(norms, here.norms)
    assert_array_equal(np.flatnonzero(~np.asarray(codes.values).any(axis=1)), [0, 77])


def test_a_model_is_used_as_it_was_made_to_be(tmp_path):
    weights = dataclasses.replace(make_weights(), encoder="pursuit", storage="packed4")
    model_weights.save(weights, tmp_path / "model")
    weights = model_weights.load(tmp_path / "model")
    to_folder(weights, open_source(make_vectors(40)), tmp_path / "codes", progress=False)
    codes, _, _, meta = folder.read(tmp_path / "codes")
    assert (meta["encoder"], codes.packing.bits) == ("pursuit", 4)


def test_packed_rows_keep_their_length_where_rounding_alone_does_not():
    """⟨x̂, z⟩ is n^1.5, which ranking needs most; rounding by itself misses it by several times as much."""
    weights, x = make_weights(), make_vectors(400)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    packed = compression.encode(weights, x, "packed4", encoder="pursuit")
    plain = compression.encode(weights, x, "float32", encoder="pursuit")

    def along(values, columns):
        return (np.einsum("nk,nkd->nd", values, weights.params["decoder_w"][columns]) * units).sum(axis=1)

    n = np.sqrt(along(plain.values, plain.columns))
    codes, levels = packed.codes(), np.array(packed.levels)
    folded = plain.values / np.sqrt(n)[:, None]
    rounded = np.sign(folded) * levels[np.abs(np.abs(folded)[..., None] - levels).argmin(axis=-1)]
    missed = np.abs(along(codes.values, codes.columns) - n**1.5)
    assert missed.mean() < 0.5 * np.abs(along(rounded, plain.columns) - n**1.5).mean()


def test_zero_rows(tmp_path):
    weights, x = make_weights(), make_vectors()
    x[[3, BLOCK, N - 1]] = 0
    source = open_source(x)
    with pytest.raises(InputError, match=f"3 zero rows.*3, {BLOCK}, {N - 1}.*keep.*drop"):
        to_folder(weights, source, tmp_path / "stop", batch=1000, progress=False)
    assert list(tmp_path.iterdir()) == []

    to_folder(weights, source, tmp_path / "keep", zero_rows="keep", progress=False)
    codes, norms, ids, _ = folder.read(tmp_path / "keep")
    assert len(codes) == N and ids is None
    assert not codes.values[[3, BLOCK, N - 1]].any() and not norms[3].any() and norms[4].all()

    to_folder(weights, source, tmp_path / "drop", zero_rows="drop", progress=False)
    codes, _, ids, _ = folder.read(tmp_path / "drop")
    kept = np.flatnonzero(x.any(axis=1))
    assert_array_equal(ids, kept)
    assert_array_equal(codes.values, compression.encode(weights, x[kept]).values)


def test_dropping_continues_after_the_rows_that_were_written(tmp_path, monkeypatch):
    weights, x = make_weights(), make_vectors()
    x[[0, 1, 50, 5000, 5001]] = 0
    source = open_source(x)
    to_folder(weights, source, tmp_path / "whole", zero_rows="drop", progress=False)

    append, calls = folder.Writer.append, []

    def fail_at_the_second(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            raise OSError("No space left on device")
        append(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(folder.Writer, "append", fail_at_the_second)
        with pytest.raises(OSError, match="No space"):
            to_folder(weights, source, tmp_path / "cut", batch=1, zero_rows="drop", progress=False)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(InputError, match="batch"):  # a slip that must not cost what was written
        to_folder(weights, source, tmp_path / "cut", batch=0, zero_rows="drop", progress=False)
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(folder.Writer, "append", lambda *arguments: (calls.append(None), append(*arguments)))
        to_folder(weights, source, tmp_path / "cut", batch=1, zero_rows="drop", progress=False)
    assert len(calls) == 1  # of two
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_value_that_is_not_finite_leaves_nothing(tmp_path):
    x = make_vectors()
    x[N - 2, 5] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=rf"x\.npy.*{N - 2}"):
        to_folder(make_weights(), open_source(tmp_path / "x.npy"), tmp_path / "codes", batch=7, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_values_beyond_float16_are_refused(tmp_path):
    weights, x = make_weights(), make_vectors(9)
    weights.params["encoder_b"][0] = 7e4
    with pytest.raises(InputError, match=r"row 0 .*float16.*storage='float32'"):
        to_folder(weights, open_source(x), tmp_path / "codes", progress=False)
    assert list(tmp_path.iterdir()) == []
    to_folder(weights, open_source(x), tmp_path / "codes", storage="float32", progress=False)


@pytest.mark.parametrize("options", [{"storage": "int8"}, {"encoder": "pursuti"}, {"zero_rows": "dorp"}, {"batch": 0}])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(InputError, match=next(iter(options))):
        to_folder(make_weights(), open_source(make_vectors(9)), tmp_path / "codes", progress=False, **options)


def test_vectors_of_another_width(tmp_path):
    with pytest.raises(InputError, match=f"width 9, the model was trained on {D}"):
        to_folder(make_weights(), open_source(np.ones((4, 9), np.float32)), tmp_path / "codes", progress=False)


PROGRAM = """
import sys
from compressae_jax.compression import to_folder
from compressae_jax.data import open_source

def tell(batches):
    for batch in batches:
        print("read", flush=True)
        yield batch

model, path, out, batch = sys.argv[1:]
source = open_source(path)
read = source.batches
source.batches = lambda rows, start=0: tell(read(rows, start=start))
to_folder(model, source, out, batch=int(batch), progress=False)
"""


def test_killed_at_any_moment_it_continues_to_the_same_bytes(tmp_path):
    weights, blocks = make_weights(), 30
    model_weights.save(weights, tmp_path / "model")
    np.save(tmp_path / "x.npy", make_vectors(blocks * BLOCK + 1))
    to_folder(weights, open_source(tmp_path / "x.npy"), tmp_path / "whole", progress=False)
    environment = {**os.environ, "XLA_FLAGS": ""}  # one device here, eight above
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))

    def start():
        command = [sys.executable, "-c", PROGRAM, "model", "x.npy", "cut", str(BLOCK)]
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


def interrupted(monkeypatch, *arguments, after=1, **options):
    """A compression that the system ends after some pieces were written."""
    append, calls = folder.Writer.append, []

    def fail(self, rows):
        if len(calls) == after:
            raise OSError(errno.EIO, "Input/output error")
        calls.append(len(rows))
        append(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(folder.Writer, "append", fail)
        with pytest.raises(OSError, match="Input/output"):
            to_folder(*arguments, batch=1, progress=False, **options)


def test_work_for_a_source_that_changed_is_neither_continued_nor_removed(tmp_path, monkeypatch):
    """A file made anew, of the same name and shape, was continued: a mixture of two sets of codes."""
    weights = make_weights()
    np.save(tmp_path / "x.npy", make_vectors())
    interrupted(monkeypatch, weights, open_source(tmp_path / "x.npy"), tmp_path / "codes")
    before = contents(tmp_path / "codes.partial")
    np.save(tmp_path / "x.npy", make_vectors(seed=2))
    with pytest.raises(InputError, match=r"codes\.partial was begun with another .*x\.npy: other contents"):
        to_folder(weights, open_source(tmp_path / "x.npy"), tmp_path / "codes", progress=False)
    assert contents(tmp_path / "codes.partial") == before and not (tmp_path / "codes").exists()

    np.save(tmp_path / "x.npy", make_vectors())  # brought back: another time, the same contents
    to_folder(weights, open_source(tmp_path / "x.npy"), tmp_path / "codes", progress=False)
    to_folder(weights, open_source(make_vectors()), tmp_path / "whole", progress=False)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def test_an_error_of_the_system_while_reading_keeps_what_was_written(tmp_path, monkeypatch):
    """One stale handle cost a whole partial compression."""
    weights, source = make_weights(), open_source(make_vectors())
    read, reads = source._read, []

    def stale(start, stop):
        reads.append(start)
        if len(reads) == 2:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(start, stop)

    monkeypatch.setattr(source, "_read", stale)
    with pytest.raises(OSError, match="Stale"):
        to_folder(weights, source, tmp_path / "codes", batch=BLOCK, progress=False)
    assert json.loads((tmp_path / "codes.partial" / "manifest.json").read_text())["rows"] == BLOCK
    to_folder(weights, source, tmp_path / "codes", batch=BLOCK, progress=False)
    assert BLOCK in reads[2:] and 0 not in reads[2:]


def test_complete_work_is_found_and_other_work_is_not_replaced_unasked(tmp_path, monkeypatch):
    """2,600 codes went for 1,000 new ones, exit 0."""
    weights, source, out = make_weights(), open_source(make_vectors(40)), tmp_path / "codes"
    first = to_folder(weights, source, out, progress=False)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(Encoder, "stream", lambda *_: pytest.fail("compressed again"))
    assert to_folder(weights, open_source(make_vectors(40)), out, progress=False) == first
    others = [
        (make_weights(seed=5), source, {}),
        (weights, open_source(make_vectors(40, seed=2)), {}),
        (weights, open_source(make_vectors(30)), {}),
        (weights, source, {"storage": "float32"}),
        (weights, source, {"storage": "packed4"}),
        (weights, source, {"encoder": "refit"}),
        (weights, source, {"zero_rows": "keep"}),
    ]
    for model, some, options in others:
        with pytest.raises(InputError, match=r"is there already.*--overwrite"):
            to_folder(model, some, out, progress=False, **options)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before

    monkeypatch.undo()
    to_folder(weights, open_source(make_vectors(30)), out, overwrite=True, progress=False)
    assert len(folder.read(out).rows) == 30


@pytest.mark.parametrize(
    ("storage", "zero_rows"), [("float16", "keep"), ("packed4", "keep"), ("float32", "drop"), ("packed3", "drop")]
)
def test_parts_joined_are_the_bytes_of_one_go(tmp_path, storage, zero_rows):
    weights, x = make_weights(), make_vectors()
    x[[1, 5000]] = 0
    source, how = open_source(x), {"storage": storage, "zero_rows": zero_rows, "progress": False}
    model_weights.save(weights, tmp_path / "model")
    to_folder(tmp_path / "model", source, tmp_path / "whole", **how)
    parts = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):  # each by a process of its own, which reads the model
        to_folder(tmp_path / "model", source, part, (i, 3), **how)
    assert len(folder.read(parts[0]).rows) == BLOCK - (zero_rows == "drop")
    assert compression.join([parts[2], parts[0], parts[1]], tmp_path / "joined") == {
        "rows": len(folder.read(tmp_path / "whole").rows),
        "parts": 3,
    }
    assert {path.name: path.read_bytes() for path in (tmp_path / "joined").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }

    with pytest.raises(InputError, match="of 3 parts, 2 are missing"):
        compression.join([parts[0], parts[2]], tmp_path / "other")
    with pytest.raises(InputError, match=r"part1 and .*part1 are both part 1 of 3"):
        compression.join([parts[0], parts[0]], tmp_path / "other")
    with pytest.raises(InputError, match="no parts of one"):
        compression.join([parts[0], tmp_path / "whole"], tmp_path / "other")


@pytest.mark.parametrize("ids", [None, "numbers", "texts"])
def test_a_join_that_is_done_already_is_told_from_another(tmp_path, ids):
    """After a kill at its very end the same command found a folder in its place, and was refused."""
    x = make_vectors(120)
    names = {None: None, "numbers": np.arange(120) * 3, "texts": [f"Zeile {i}·" for i in range(120)]}[ids]
    for i, span in enumerate((slice(50), slice(50, 120))):
        own = None if names is None else names[span]
        folder.write(tmp_path / f"{i}", compression.encode(make_weights(), x[span]), ids=own, d=D)
    both = [tmp_path / "0", tmp_path / "1"]
    made = compression.join(both, tmp_path / "out")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    leave_behind(tmp_path / "out")
    assert compression.join(both, tmp_path / "out") == made
    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "out"]
    with pytest.raises(InputError, match="out is there already"):
        compression.join(both[::-1], tmp_path / "out")


def leave_behind(out):
    """As writers that were killed between publishing and tidying."""
    (out / "manifest.json").write_text("{}")
    for name in (out, out.with_name(f"{out.name}.partial")):
        files.aside_of(name).mkdir()
    out.with_name(f"{files.aside_of(out).name[:-8]}lock").touch()
    shutil.copytree(out, out.with_name(f"{out.name}.partial"), ignore=shutil.ignore_patterns("manifest.json"))


def test_what_a_kill_after_the_end_left_goes_with_the_same_call(tmp_path):
    source, out = open_source(make_vectors(120)), tmp_path / "out"
    to_folder(make_weights(), source, out, progress=False)
    there = sorted(os.listdir(out))
    leave_behind(out)
    to_folder(make_weights(), source, out, progress=False)
    assert os.listdir(tmp_path) == ["out"] and sorted(os.listdir(out)) == there

    leave_behind(out)
    with files.locked(out):  # another one is at it
        to_folder(make_weights(), source, out, progress=False)
    assert (tmp_path / "out.partial").is_dir()


def test_a_second_writer_of_other_inputs_is_told_of_the_first(tmp_path):
    """It was told to remove what the first one was writing."""
    x, out = make_vectors(4 * BLOCK, seed=5), tmp_path / "out"
    with folder.Writer(out, D, H, K, "float16", {"source": open_source(x).identity()}) as writer:
        writer.append(compression.encode(make_weights(), x[:BLOCK]))
        with pytest.raises(BusyError, match="is being written by process"):
            to_folder(make_weights(), open_source(make_vectors(120)), out, overwrite=True, progress=False)
    with pytest.raises(InputError, match="was begun with another array"):
        to_folder(make_weights(), open_source(make_vectors(120)), out, overwrite=True, progress=False)


def test_work_that_was_begun_with_other_inputs_stays(tmp_path):
    source, out, x = open_source(make_vectors(120)), tmp_path / "out", make_vectors(4 * BLOCK, seed=5)
    to_folder(make_weights(), source, out, progress=False)
    with folder.Writer(out, D, H, K, "float16", {"source": open_source(x).identity()}) as writer:
        writer.append(compression.encode(make_weights(), x[:BLOCK]))
    leave = tmp_path / f"{files.aside_of(out).name}"
    leave.mkdir()
    to_folder(make_weights(), source, out, progress=False)
    assert not leave.exists() and (tmp_path / "out.partial/manifest.json").is_file()


def test_parts_of_two_models_or_sources_are_not_joined(tmp_path):
    x = make_vectors()
    to_folder(make_weights(), open_source(x), tmp_path / "1", (1, 2), progress=False)
    to_folder(make_weights(seed=3), open_source(x), tmp_path / "2", (2, 2), progress=False)
    to_folder(make_weights(), open_source(make_vectors(seed=9)), tmp_path / "3", (2, 2), progress=False)
    for other, message in (("2", "fingerprint"), ("3", "another source.*other contents")):
        with pytest.raises(InputError, match=message):
            compression.join([tmp_path / "1", tmp_path / other], tmp_path / "out")
    for part in ((0, 2), (3, 2), (1, 4), (1, 0)):
        with pytest.raises(InputError, match="part"):
            to_folder(make_weights(), open_source(x), tmp_path / "out", part, progress=False)


def test_rows_of_different_days_share_the_levels_of_their_model(tmp_path):
    """Each call learned its own levels, so rows could never be added to others."""
    model_weights.save(make_weights(), tmp_path / "model")
    for day in (1, 2):
        out = tmp_path / f"day{day}"
        to_folder(tmp_path / "model", open_source(make_vectors(60, seed=day)), out, storage="packed4", progress=False)
    assert compression.join([tmp_path / "day1", tmp_path / "day2"], tmp_path / "both")["rows"] == 120

    weights = make_weights()
    days = [open_source(make_vectors(60, seed)) for seed in (1, 2)]
    first, second = (compression.in_memory(weights, day, storage="packed3") for day in days)
    assert first.levels == second.levels == weights.levels["topk:packed3"]


def test_a_model_that_cannot_be_written_to_serves_with_a_word(tmp_path, monkeypatch):
    model_weights.save(make_weights(), tmp_path / "model")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(model_weights, "keep_levels", refuse)
    with pytest.warns(UserWarning, match=r"levels .* cannot be kept in .*model .Permission denied"):
        to_folder(
            tmp_path / "model", open_source(make_vectors(9)), tmp_path / "codes", storage="packed4", progress=False
        )
    assert len(folder.read(tmp_path / "codes").rows) == 9


def test_text_ids_come_with_their_rows(tmp_path, monkeypatch):
    x = make_vectors(50)
    x[[3, 7]] = 0
    names = [f"name {i}" for i in range(50)]
    source = open_source(x)
    monkeypatch.setattr(type(source), "ids", TextIds.of(names))
    to_folder(make_weights(), source, tmp_path / "codes", zero_rows="drop", progress=False)
    assert folder.read(tmp_path / "codes").ids == [name for i, name in enumerate(names) if i not in (3, 7)]
