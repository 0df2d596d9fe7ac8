"""The dictionaries that come with the package: small, whole, carded, found by name, never written to."""

import numpy as np
import pytest

import compressae_jax as cs
from compressae_jax.model import shipped
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError


@pytest.mark.parametrize("name", shipped.NAMES)
def test_each_is_small_and_says_what_it_was_made_of(name):
    folder = shipped.folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8 * 10**6
    text = (folder / "README.md").read_text(encoding="utf-8")
    weights = model_weights.load(name)
    assert weights.fingerprint in text and shipped.ENCODERS[name] in text and f'cs.load("{name}")' in text
    assert all(licence in text for licence in weights.summary["sets"].values())
    assert weights.levels, "rows made on any day can be joined"


def test_debian_is_found_by_32_bytes_and_no_training():
    packages = cs.data.load("debian")
    x = packages.vectors.read(0, 2000)
    model = cs.load("minilm")
    index = model.index(x, budget_bytes=32, progress=False)
    assert index.bytes_per_vector <= 32
    exact = np.argsort(-(x @ x[:50].T), axis=0)[:10].T
    found = index.search(x[:50], top=10).rows
    assert np.mean([len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)]) > 7


def test_a_name_wins_over_a_folder_and_a_path_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = model_weights.halved(np.eye(4, dtype=np.float32), 2)
    model_weights.save(other, "minilm")
    assert model_weights.load("minilm").d == cs.load("minilm").d == 384
    assert model_weights.load("./minilm").d == cs.load("./minilm").d == cs.load(tmp_path / "minilm").d == 4
    with pytest.raises(FolderError, match="minilm, mpnet"):
        cs.load("miniml")


def test_levels_are_not_written_into_the_package():
    before = (shipped.folder("minilm") / "model.json").read_bytes()
    weights = model_weights.load("minilm")
    weights.levels["pursuit:packed3"] = (0.1, 0.2, 0.3, 0.4)
    model_weights.keep_levels(weights, "minilm")
    assert (shipped.folder("minilm") / "model.json").read_bytes() == before


def test_a_budget_chooses_and_is_chosen_once():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 32)).astype(np.float32)
    decoder_w = rng.standard_normal((64, 32)).astype(np.float32)
    model = cs.Model(model_weights.halved(decoder_w, 4, encoder="pursuit", storage="packed4"))
    rows = model.compress(x, budget_bytes=8, progress=False)
    assert rows.levels == model.compress(x[:100], budget_bytes=8, progress=False).levels, "they can be joined"
    assert model.with_budget(8).reconstruct(rows).shape == x.shape
    assert len(model.index(rows.codes(), progress=False) if rows.k == model.k else x) == 300
    with pytest.raises(InputError, match="budget_bytes=8 chooses encoder and storage, but storage='packed5'"):
        model.index(x, budget_bytes=8, storage="packed5")
    with pytest.raises(InputError, match="budget_bytes is for vectors"):
        model.index(rows, budget_bytes=8)
