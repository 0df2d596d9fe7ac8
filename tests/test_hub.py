"""Models on the Hub, by huggingface_hub itself, against a stand-in of the Hub's API on this machine."""

import importlib
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import safetensors.numpy
from evaluation import small
from hub_stand_in import TOKEN, Repository, serving
from numpy.testing import assert_array_equal

import compressae_jax as cs
from compressae_jax import hub
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError

pytest.importorskip("huggingface_hub")
constants = importlib.import_module("huggingface_hub.constants")
MODEL = cs.Model(small.weights())
MODULES = [("Transformer", ""), ("Pooling", "1_Pooling"), ("SparseAutoEncoder", "3_SparseAutoEncoder")]


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A Hub, and huggingface_hub told of it, with an empty cache and the owner's token."""
    with serving() as server:
        for name, value in {
            "ENDPOINT": server.url,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "no token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # which the stand-in does not speak
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def push(server, name="owner/model", model=MODEL, **told):
    return model.push(name, **told), server.repositories[name.partition("@")[0]]


def test_what_is_pushed_is_loaded_in_a_fresh_process(tmp_path):
    script = (
        "import sys, compressae_jax as cs\n"
        "model = cs.load(sys.argv[1])\n"
        "print(model.push('owner/model', licence='MIT'))\n"
        "print(cs.load('hf://owner/model').weights.fingerprint)\n"
    )
    MODEL.save(tmp_path / "model")
    with serving() as server:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        environment |= {"HF_HUB_DISABLE_XET": "1", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "model"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        address, fingerprint = done.stdout.split()
        assert address.startswith(f"{server.url}/owner/model/commit/") and fingerprint == MODEL.weights.fingerprint
        repository = server.repositories["owner/model"]
    assert set(repository.files) == {".gitattributes", "README.md", "model.json", "params.safetensors"}
    assert repository.uploaded_by_lfs == {"params.safetensors"} and len(repository.commits) == 2
    text = repository.files["README.md"].decode()
    assert "\nlicense: mit\n" in text and 'cs.load("hf://owner/model")' in text


def test_a_model_comes_back_and_is_fetched_once(online, capfd):
    address, repository = push(online)
    again = cs.load("hf://owner/model")
    assert_array_equal(again.weights.params["encoder_w"], MODEL.weights.params["encoder_w"])
    assert address.endswith(repository.tags["main"])
    online.asked.clear()
    cs.load("hf://owner/model")
    assert not [one for one in online.asked if "safetensors" in one]
    assert capfd.readouterr() == ("", "")  # no bars where there is no terminal


def test_revisions_are_branches_tags_and_commits(online):
    _, repository = push(online)
    first = repository.tags["main"]
    repository.tags["v1"] = first
    other = cs.Model(small.weights(seed=1))
    push(online, model=other)
    for revision in ("v1", first):
        assert cs.load(f"hf://owner/model@{revision}").weights.fingerprint == MODEL.weights.fingerprint
    assert cs.load("hf://owner/model").weights.fingerprint == other.weights.fingerprint
    with pytest.raises(InputError, match=r"owner/model has no revision 'v2'"):
        cs.load("hf://owner/model@v2")
    with pytest.raises(InputError, match=r"owner/model has no revision 'v2'"):
        MODEL.push("owner/model@v2")


def test_only_the_model_is_fetched(online):
    _, repository = push(online)
    repository.commit({**repository.files, "huge.bin": b"0" * 100, "code.py": b"raise SystemExit"})
    folder = hub.fetched("hf://owner/model")
    assert {one.name for one in folder.iterdir()} == {"README.md", "model.json", "params.safetensors"}


def test_without_a_network_what_was_fetched_is_used(online, monkeypatch):
    push(online)
    cs.load("hf://owner/model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    assert cs.load("hf://owner/model").weights.fingerprint == MODEL.weights.fingerprint
    with pytest.raises(InputError, match=r"the Hub cannot be reached, and hf://owner/other was not fetched before"):
        cs.load("hf://owner/other")
    with pytest.raises(InputError, match=r"the Hub cannot be reached to write hf://owner/model"):
        MODEL.push("owner/model")


def test_what_may_not_be_read_is_told_from_what_is_not_there(online, monkeypatch):
    push(online, "owner/private", private=True)
    push(online, "owner/another", private=True)
    _, gated = push(online, "owner/gated")
    gated.gated = True
    assert cs.load("hf://owner/private").k == MODEL.k
    with pytest.raises(InputError, match=r"the Hub has no model hf://owner/none, or only for others: give a token"):
        cs.load("hf://owner/none")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"hf://owner/gated is gated: ask for access on its page"):
        cs.load("hf://owner/gated")
    with pytest.raises(InputError, match=r"the Hub has no model hf://owner/another, or only for others"):
        cs.load("hf://owner/another")
    with pytest.raises(InputError, match=r"HF_TOKEN"):
        MODEL.push("owner/new")


def test_a_push_elsewhere_is_refused(online, monkeypatch):
    with pytest.raises(InputError, match=r"the Hub lets nobody write hf://another/model without a right to"):
        MODEL.push("another/model")
    online.repositories["owner/bert"] = Repository({"config.json": b"{}", "README.md": b"# BERT"})
    with pytest.raises(FolderError, match=r"hf://owner/bert holds other files \(config.json\)"):
        MODEL.push("owner/bert")
    assert set(online.repositories["owner/bert"].files) == {"config.json", "README.md"}
    with pytest.raises(FolderError, match=r"hf://owner/bert holds no model of compressae_jax: it has no model.json"):
        cs.load("hf://owner/bert")


def test_private_is_not_promised_of_what_is_public(online):
    _, repository = push(online)
    with pytest.raises(InputError, match=r"hf://owner/model is public, and private=True makes none"):
        push(online, model=cs.Model(small.weights(seed=1)), private=True)
    assert len(repository.commits) == 2
    push(online, "owner/secret", private=True)
    push(online, "owner/secret", private=True)
    assert online.repositories["owner/secret"].private


def test_faults_of_this_machine_are_not_the_hubs(online, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_weights, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        MODEL.push("owner/model")
    assert not isinstance(caught.value, InputError)


def test_jobs_say_that_they_take_folders():
    for read in (model_weights.load, lambda place: cs.fit(small.vectors(20), start=place)):
        with pytest.raises(FolderError, match=r"is no folder: cs\.load\('hf://owner/name'\) reads the Hub"):
            read("hf://owner/model")


def test_an_encoder_of_sentence_transformers_is_read_from_the_hub(online, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "encoder.weight": rng.normal(size=(30, 12)).astype(np.float32),
        "latent_bias": np.zeros(30, np.float32),
        "pre_bias": np.zeros(12, np.float32),
    }
    config = {"input_dim": 12, "hidden_dim": 30, "k": 4, "normalize": False}
    modules = [{"type": f"sentence_transformers.x.{kind}", "path": path} for kind, path in MODULES]
    online.repositories["owner/csr"] = Repository(
        {
            "modules.json": json.dumps(modules).encode(),
            "model.safetensors": b"of the text encoder",
            "3_SparseAutoEncoder/config.json": json.dumps(config).encode(),
            "3_SparseAutoEncoder/model.safetensors": safetensors.numpy.save(arrays),
        }
    )
    model = cs.load("hf://owner/csr")
    assert (model.d, model.h, model.k) == (12, 30, 4)
    assert not [one for one in online.asked if one.endswith("main/model.safetensors")]
    with pytest.raises(FolderError, match=r"hf://owner/csr holds other files \(3_SparseAuto"):
        model.push("owner/csr")


def test_a_damaged_model_is_told(online):
    _, repository = push(online)
    broken = bytearray(repository.files["params.safetensors"])
    broken[-1] ^= 1
    repository.commit({**repository.files, "params.safetensors": bytes(broken)})
    with pytest.raises(FolderError, match=r"is damaged: fingerprint"):
        cs.load("hf://owner/model")
    meta = json.loads(repository.files["model.json"])
    repository.commit({"model.json": json.dumps({**meta, "k": 2}).encode()})
    with pytest.raises(FolderError, match=r"model.json is damaged"):
        cs.load("hf://owner/model")


def test_errors_of_the_server_are_said_in_a_line(online):
    push(online)
    online.failing = 400
    with pytest.raises(InputError, match=r"hf://owner/other") as caught:
        cs.load("hf://owner/other")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"the Hub answers 400 for hf://owner/model") as caught:
        MODEL.push("owner/model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["hf://model", "hf://", "hf://a/b/c", "hf://a/b@", "hf://../b", "hf://a/b--c", "hf://a b/c", "hf://a/b@ "]
)
def test_names_that_are_none(name):
    with pytest.raises(InputError, match="a model on the Hub is named hf://owner/name"):
        cs.load(name)
    with pytest.raises(InputError, match="a model on the Hub is named hf://owner/name"):
        MODEL.push(name)


def test_a_licence_is_an_identifier(online):
    with pytest.raises(InputError, match="licence must be an identifier such as 'mit'"):
        MODEL.push("owner/model", licence="do what\nyou want")
    assert not online.repositories


def test_the_card_on_the_hub_keeps_what_its_owner_wrote(online):
    _, repository = push(online, licence="apache-2.0")
    text = repository.files["README.md"].decode()
    repository.commit({**repository.files, "README.md": (text + "\n## Thanks\n\nto all.\n").encode()})
    other = cs.Model(small.weights(seed=1))
    push(online, model=other)
    newer = repository.files["README.md"].decode()
    assert newer.endswith("\n## Thanks\n\nto all.\n") and other.weights.fingerprint in newer
    assert MODEL.weights.fingerprint not in newer and newer.count("license: apache-2.0") == 1

    edited = newer.replace("# Sparse codes", "# Our own codes")
    repository.commit({**repository.files, "README.md": edited.encode()})
    with pytest.warns(UserWarning, match=r"README.md is left as it is"):
        push(online)
    assert repository.files["README.md"].decode() == edited
    assert cs.load("hf://owner/model").weights.fingerprint == MODEL.weights.fingerprint


def test_a_change_meanwhile_is_not_lost(online):
    _, repository = push(online)
    online.before_commit = lambda: repository.commit({**repository.files, "README.md": b"# Mine"})
    with pytest.raises(InputError, match=r"the Hub answers 412 for hf://owner/model"):
        push(online, model=cs.Model(small.weights(seed=1)))
    assert repository.files["README.md"] == b"# Mine"


def test_the_same_again_is_no_commit(online):
    _, repository = push(online)
    push(online)
    assert repository.files["params.safetensors"] and len(set(map(str, repository.commits.values()))) == 2


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: cs.load("hf://a/b"), lambda: MODEL.push("a/b")):
        with pytest.raises(InputError, match=r"pip install 'compressae_jax\[hub\]'"):
            call()


def test_folders_are_loaded_as_before(tmp_path):
    model_weights.save(MODEL.weights, tmp_path / "bare")
    assert {one.name for one in (tmp_path / "bare").iterdir()} == {"model.json", "params.safetensors"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cs.load(tmp_path / "bare").weights.fingerprint == MODEL.weights.fingerprint
    assert np.isfinite(cs.load(str(tmp_path / "bare")).weights.params["decoder_w"]).all()
