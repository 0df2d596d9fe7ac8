import dataclasses
import json
import os
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.base import sealed
from compressae_jax.codes.storage import residual
from compressae_jax.model import weights as model_weights
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.weights import META, NAMES, PARAMS, Weights
from compressae_jax.notation import FolderError, InputError

D, H, K = 7, 23, 3


def some_weights(seed=0, **changes):
    rng = np.random.default_rng(seed)
    decoder_w = rng.normal(size=(H, D)).astype(np.float32)
    decoder_w /= np.linalg.norm(decoder_w, axis=1, keepdims=True)
    encoder_w, encoder_b = rng.normal(size=(D, H)).astype(np.float32), rng.normal(size=H).astype(np.float32)
    params = {"encoder_w": encoder_w, "encoder_b": encoder_b, "decoder_w": decoder_w}
    return Weights(params | changes, H, K, "topk", {"seed": seed, "loss": 0.25})


@pytest.fixture
def folder(tmp_path):
    model_weights.save(some_weights(), tmp_path / "model")
    return tmp_path / "model"


def test_load_of_save_is_the_same_model(folder):
    saved, loaded = some_weights(), model_weights.load(folder)
    for name in NAMES:
        assert_array_equal(loaded.params[name], saved.params[name], strict=True)
    assert (loaded.d, loaded.h, loaded.k, loaded.activation) == (D, H, K, "topk")
    assert loaded.summary == saved.summary and loaded.fingerprint == saved.fingerprint
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


def test_a_model_that_is_replaced_while_it_is_read_is_one_of_both(folder, monkeypatch):
    read, reads = model_weights._meta, []

    def replaced(path):
        reads.append(meta := read(path))
        if len(reads) == 1:
            model_weights.save(some_weights(1), folder)
        return meta

    monkeypatch.setattr(model_weights, "_meta", replaced)
    assert model_weights.load(folder).fingerprint == some_weights(1).fingerprint and len(reads) == 2


def test_module_runs_the_parameters():
    weights = some_weights()
    module = weights.module()
    assert isinstance(module, CompresSAE)
    wanted = jax.eval_shape(module.init, jax.random.key(0), np.ones((2, D), np.float32))["params"]
    assert {name: leaf.shape for name, leaf in wanted.items()} == {n: weights.params[n].shape for n in NAMES}


def test_fingerprint_tells_parameters_k_and_activation_apart():
    weights = some_weights()
    nudged = some_weights(encoder_b=np.nextafter(weights.params["encoder_b"], np.float32(9)))
    others = [
        nudged,
        Weights(weights.params, H, K + 1),
        Weights(weights.params, H, K, "relu_topk"),
        Weights(weights.params, H, K, "relu2_topk"),
    ]
    assert len({weights.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert weights.fingerprint == Weights(weights.params, H, K, summary={"other": 1}).fingerprint


@pytest.mark.parametrize(
    ("activation", "times", "version"), [("topk", 1, 1), ("topk", 2, 3), ("relu2_topk", 1, 3), ("relu2_topk", 4, 3)]
)
def test_older_programs_refuse_what_they_would_ask_otherwise(activation, times, version, tmp_path):
    made = dataclasses.replace(some_weights(), activation=activation, query_times=times)
    model_weights.save(made, tmp_path / "m")
    assert json.loads((tmp_path / "m" / META).read_text())["format_version"] == version
    read = model_weights.load(tmp_path / "m")
    assert (read.fingerprint, read.query_times) == (made.fingerprint, times)
    with pytest.raises(InputError, match="query_times must be an integer from 1 to"):
        model_weights.save(dataclasses.replace(made, query_times=0), tmp_path / "n")


def test_save_replaces_a_model_folder_and_nothing_else(folder):
    model_weights.save(some_weights(seed=1), folder)
    assert model_weights.load(folder).fingerprint == some_weights(seed=1).fingerprint

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"notes\.txt"):
        model_weights.save(some_weights(seed=2), folder)
    assert model_weights.load(folder).fingerprint == some_weights(seed=1).fingerprint

    file = folder.parent / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="not a folder"):
        model_weights.save(some_weights(), file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_b": np.full(H, np.nan, np.float32)}, "encoder_b .* not finite"),
        ({"encoder_w": np.zeros((D, H + 1), np.float32)}, r"encoder_w .*\(7, 23\), not float32 of shape \(7, 24\)"),
        ({"encoder_b": np.zeros(H)}, "encoder_b must be float32"),
        ({"decoder_w": np.ones((H, D), np.float32)}, "unit length; row 0"),
        ({"decoder_w": np.zeros((H, D), np.float32)}, "unit length; row 0 has length 0"),
        ({"extra": np.zeros(1, np.float32)}, "extra"),
    ],
)
def test_save_refuses_what_load_would(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        model_weights.save(some_weights(**changes), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_k_out_of_range_and_unknown_activation(tmp_path):
    params = some_weights().params
    for k in (0, H + 1):
        with pytest.raises(InputError, match=f"k must be an integer from 1 to {H}, not {k}"):
            model_weights.save(Weights(params, H, k), tmp_path / "model")
    with pytest.raises(InputError, match="did you mean 'topk'"):
        model_weights.save(Weights(params, H, K, "topp"), tmp_path / "model")


@pytest.mark.parametrize("name", [PARAMS, META])
def test_any_flipped_byte_is_caught(folder, name):
    whole = (folder / name).read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(FolderError, match=name):
            model_weights.load(folder)
    (folder / name).write_bytes(whole)
    model_weights.load(folder)


@pytest.mark.parametrize("name", [PARAMS, META])
def test_truncated_longer_and_missing_files_are_caught(folder, name):
    whole = (folder / name).read_bytes()
    for damaged in (b"", whole[:5], whole[:-3], whole + b"more"):
        (folder / name).write_bytes(damaged)
        with pytest.raises(FolderError, match=name):
            model_weights.load(folder)
    (folder / name).unlink()
    with pytest.raises(FolderError, match=f"{name} is missing; train it again"):
        model_weights.load(folder)


def test_levels_are_kept_and_old_folders_have_none(folder):
    weights = model_weights.load(folder)
    levels = tuple(float(np.float32(i + 0.1)) for i in range(4))
    assert weights.levels == {}
    weights.levels["pursuit:packed3"] = levels
    model_weights.keep_levels(weights, folder)
    again = model_weights.load(folder)
    assert again.levels == {"pursuit:packed3": levels} and again.fingerprint == weights.fingerprint

    weights.levels["pursuit:packed3"] = tuple(2 * level for level in levels)  # another process was first
    model_weights.keep_levels(weights, folder)
    assert weights.levels == again.levels == model_weights.load(folder).levels
    with pytest.raises(FolderError, match="not"):
        model_weights.keep_levels(some_weights(seed=3), folder)

    meta = json.loads((folder / META).read_text())
    for name in ("levels", "encoder", "storage", "seal"):
        del meta[name]
    sealed.write(folder / META, meta)
    assert model_weights.load(folder).levels == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"d": 7.0},
        {"h": True},
        {"k": "3"},
        {"k": None},
        {"h": 2**40},
        {"d": 2**32},
        {"activation": []},
        {"fingerprint": 5},
        {"summary": "none"},
        {"encoder": None},
        {"levels": []},
        {"levels": {"pursuit:packed3": [1, 2, 3, 10**400]}},
        {"levels": {"pursuit:packed3": ["1", "2", "3", "4"]}},
        {"levels": {"pursuit:packed3": [True, 2, 3, 4]}},
        {"levels": {"pursuit:packed3": 4}},
        {"levels": {"pursuit": [1, 2, 3, 4]}},
        {"format_version": True},
        {"d": ...},
        {"fingerprint": ...},
        {"summary": ...},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_fields_of_another_kind_are_damage(folder, changes):
    meta = json.loads((folder / META).read_text()) | changes
    del meta["seal"]
    sealed.write(folder / META, {name: value for name, value in meta.items() if value is not ...})
    with pytest.raises(FolderError):
        model_weights.load(folder)


def test_a_folder_of_the_decoder_alone_gives_the_model_back_to_the_bit(tmp_path):
    weights = model_weights.halved(some_weights().params["decoder_w"], K, encoder="pursuit", storage="packed4")
    model_weights.save(weights, tmp_path / "half", decoder_alone=True)
    model_weights.save(weights, tmp_path / "whole")
    half, whole = model_weights.load(tmp_path / "half"), model_weights.load(tmp_path / "whole")
    for name in NAMES:
        assert_array_equal(half.params[name], weights.params[name], strict=True)
    assert half.fingerprint == whole.fingerprint == weights.fingerprint
    assert (half.encoder, half.storage, half.k) == ("pursuit", "packed4", K)
    sizes = [(tmp_path / name / PARAMS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 2 * D * H + 200 < sizes[1] / 2
    assert json.loads((tmp_path / "whole" / META).read_text())["format_version"] == 1, "older programs read it"
    assert json.loads((tmp_path / "half" / META).read_text())["format_version"] == 2, "older programs refuse it"


def test_a_decoder_alone_is_only_written_of_what_follows_from_it(tmp_path):
    tied = model_weights.halved(some_weights().params["decoder_w"], K)
    changed = Weights(tied.params | {"encoder_b": np.full(H, 0.1, np.float32)}, H, K)
    for weights in (some_weights(), changed):
        with pytest.raises(InputError, match="decoder_alone needs weights"):
            model_weights.save(weights, tmp_path / "half", decoder_alone=True)
    assert not (tmp_path / "half").exists()


def test_damage_to_a_folder_of_the_decoder_alone_is_seen(tmp_path):
    model_weights.save(
        model_weights.halved(some_weights().params["decoder_w"], K), tmp_path / "half", decoder_alone=True
    )
    path = tmp_path / "half" / PARAMS
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FolderError, match="is damaged: fingerprint"):
        model_weights.load(tmp_path / "half")
    path.write_bytes(whole[:-2])
    with pytest.raises(FolderError, match="bytes, which are no header and"):
        model_weights.load(tmp_path / "half")
    meta = json.loads((tmp_path / "half" / META).read_text())
    del meta["seal"]
    sealed.write(tmp_path / "half" / META, {**meta, "params": "something new"})
    with pytest.raises(FolderError, match="params must be"):
        model_weights.load(tmp_path / "half")


@pytest.mark.parametrize("decoder_alone", [False, True])
def test_a_basis_and_a_fold_come_back_and_other_folders_are_as_they_were(tmp_path, decoder_alone):
    tied = model_weights.halved(some_weights().params["decoder_w"], K)
    rest = some_rest()
    weights = dataclasses.replace(tied, rest=rest, fold=1.0)
    model_weights.save(weights, tmp_path / "model", decoder_alone=decoder_alone)
    assert json.loads((tmp_path / "model" / META).read_text())["format_version"] == 3, "older programs refuse it"
    again = model_weights.load(tmp_path / "model")
    assert again.rest is not None and again.rest[1:] == rest[1:] and again.fold == 1
    assert_array_equal(again.rest.basis, rest.basis, strict=True)
    for name in NAMES:
        assert_array_equal(again.params[name], weights.params[name], strict=True)
    with pytest.raises(InputError, match="orthonormal"):
        model_weights.save(dataclasses.replace(tied, rest=rest._replace(basis=2 * rest.basis)), tmp_path / "other")
    with pytest.raises(InputError, match="fold must be 0 to"):
        model_weights.save(dataclasses.replace(tied, fold=-1.0), tmp_path / "other")


def some_rest():
    """Of two nonzeros and all coordinates, each of one bit."""
    shared = np.concatenate([0.5 + np.arange(2**bits) for bits in range(8)])
    levels = residual.numbers([0.1 + i for i in range(8)], (0.1, 1.01), [1] + [0] * 7, shared, np.ones(D))
    return model_weights.Rest(np.eye(D, dtype=np.float32), 2 + D, levels)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: {"rest": {**meta["rest"], "fingerprint": "0" * 16}},
        lambda meta: {"rest": {**meta["rest"], "k": 0}},
        lambda meta: {"rest": {**meta["rest"], "levels": meta["rest"]["levels"][:-1]}},
        lambda meta: {"rest": {"k": meta["rest"]["k"]}},
        lambda meta: {"rest": 3},
        lambda meta: {"fold": "much"},
        lambda meta: {"fold": 2.5},
    ],
)
def test_damage_to_a_basis_is_seen(tmp_path, change):
    tied = model_weights.halved(some_weights().params["decoder_w"], K)
    model_weights.save(dataclasses.replace(tied, rest=some_rest()), tmp_path / "model")
    meta = json.loads((tmp_path / "model" / META).read_text())
    del meta["seal"]
    sealed.write(tmp_path / "model" / META, {**meta, **change(meta)})
    with pytest.raises(FolderError, match="damaged"):
        model_weights.load(tmp_path / "model")


def header_of(folder, change):
    """The parameters' file with another header and the same bytes behind it."""
    whole = (folder / PARAMS).read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    text = change(whole[8:end].decode()).encode()
    (folder / PARAMS).write_bytes(len(text).to_bytes(8, "little") + text + whole[end:])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"encoder_b"', '"encoder_w"'),  # a name twice
        lambda text: text.replace("[23]", "[23.0]"),
        lambda text: text.replace("[23]", "[23, 1]"),
        lambda text: text.replace("F32", "I32"),
        lambda text: text.replace('"data_offsets":[0,', '"data_offsets":[4,'),
        lambda text: text.replace('"data_offsets":[0,', '"data_offsets":[-4,'),
        lambda text: text.replace("data_offsets", "offsets"),
        lambda text: "[" * 5000,
        lambda text: "[1, 2]",
        lambda text: "\x00",
    ],
)
def test_headers_of_another_kind_are_damage(folder, change):
    header_of(folder, change)
    with pytest.raises(FolderError, match=r"params\.safetensors"):
        model_weights.load(folder)


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(folder):
    for name in (PARAMS, META):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(FolderError, match=f"{name} is not a regular file"):
            model_weights.load(folder)
        (folder / name).unlink()
        (folder / name).write_bytes(whole)


def test_neighbours_and_links_stay_and_files_have_one_mode(folder):
    for name in ("model.old", "model.partial", "model.json.new"):
        (folder.parent / name).mkdir()
        (folder.parent / name / "notes").write_text("mine")
    os.symlink(folder, folder.parent / "link")
    model_weights.save(some_weights(seed=1), folder.parent / "link")
    assert model_weights.load(folder).fingerprint == some_weights(seed=1).fingerprint
    assert (folder.parent / "link").is_symlink()
    names = {"link", "model", "model.old", "model.partial", "model.json.new"}
    assert {path.name for path in folder.parent.iterdir()} == names
    assert len({(folder / name).stat().st_mode for name in (PARAMS, META)}) == 1


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_published_weights_of_half_precision_have_unit_rows_again(dtype):
    state = {name: array.astype(dtype) for name, array in model_weights.to_published(some_weights()).items()}
    weights = model_weights.from_published(state, K)
    np.testing.assert_allclose(np.linalg.norm(weights.params["decoder_w"], axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="unit length"):
        model_weights.from_published({**state, "decoder_w": 2 * weights.params["decoder_w"]}, K)


def test_published_tensors_that_want_gradients():
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(array) for name, array in model_weights.to_published(some_weights()).items()}
    wanted = model_weights.from_published({name: array.numpy() for name, array in state.items()}, K)
    state = {name: torch.nn.Parameter(array) for name, array in state.items()}
    assert model_weights.from_published(state, K).fingerprint == wanted.fingerprint
    model_weights.from_published({name: array.bfloat16() for name, array in state.items()}, K)


def test_missing_folder_and_newer_version(folder):
    meta = json.loads((folder / META).read_text()) | {"format_version": 4}
    (folder / META).write_text(json.dumps(meta))
    with pytest.raises(FolderError, match="format version 4, this program reads up to 3"):
        model_weights.load(folder)
    shutil.rmtree(folder)
    with pytest.raises(FolderError, match="does not exist"):
        model_weights.load(folder)


def test_published_layout_moves_both_ways():
    weights = some_weights()
    state = model_weights.to_published(weights)
    assert {name: array.shape for name, array in state.items()} == {
        "encoder_w": (D, H),
        "encoder_b": (H,),
        "decoder_w": (H, D),
    }
    again = model_weights.from_published(state, k=K)
    assert again.fingerprint == weights.fingerprint
    state["encoder_b"] += 1  # copies, not views
    for one in (again, weights):
        assert_array_equal(one.params["encoder_b"], some_weights().params["encoder_b"])

    with pytest.raises(InputError, match=r"state must hold encoder_w, encoder_b, decoder_w, not encoder_w"):
        model_weights.from_published({"encoder_w": state["encoder_w"]}, k=K)
    with pytest.raises(InputError, match="unit length"):
        model_weights.from_published(state | {"decoder_w": 2 * state["decoder_w"]}, k=K)
    with pytest.raises(InputError, match="k must be"):
        model_weights.from_published(state, k=H + 1)


def test_params_file_loads_into_torch(folder):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    published = torch.nn.Module()
    for name, array in some_weights(seed=5).params.items():
        published.register_parameter(name, torch.nn.Parameter(torch.from_numpy(array)))
    published.load_state_dict(load_file(folder / PARAMS))
    again = model_weights.from_published(published.state_dict(), k=K)
    assert again.fingerprint == some_weights().fingerprint
