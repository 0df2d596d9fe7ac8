"""What a notebook does: fit, compress, index, search, save, load; and what bad input gets."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import compressae_jax as cs
from compressae_jax import compression
from compressae_jax.data import open_source
from compressae_jax.model import encoders

D, H, K = 16, 64, 4
FIELDS = {"h": H, "k": K, "steps": 20, "batch": 32, "progress": False}


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(300, D)).astype(np.float32)


@pytest.fixture(scope="module")
def model(vectors):
    return cs.fit(vectors, **FIELDS)


def test_a_file_trains_the_same_model_as_its_array(vectors, model, tmp_path):
    np.save(tmp_path / "vectors.npy", vectors)
    again = cs.fit(tmp_path / "vectors.npy", **FIELDS)
    assert again.weights.fingerprint == model.weights.fingerprint
    assert cs.fit(vectors, seed=1, **FIELDS).weights.fingerprint != model.weights.fingerprint


def test_training_helps(vectors, model):
    def cosine(of):
        z = of.reconstruct(of.compress(vectors))
        return np.mean((z * vectors).sum(1) / np.linalg.norm(z, axis=1) / np.linalg.norm(vectors, axis=1))

    assert (model.d, model.h, model.k) == (D, H, K)
    assert cosine(cs.fit(vectors, **{**FIELDS, "steps": 200})) > cosine(model) + 0.02


def test_codes_convert(vectors, model):
    codes = model.compress(vectors)
    assert codes.shape == (300, H) and codes.k == K
    assert codes.nbytes == 300 * K * (2 + 2)
    assert codes.to_csr().shape == (300, H)
    np.testing.assert_allclose(codes.to_bcoo().todense(), codes.to_dense())


@pytest.mark.parametrize("space", cs.SPACES)
def test_an_index_of_vectors_is_the_index_of_their_codes(vectors, model, space, tmp_path):
    index = model.index(vectors, space=space)
    scores, rows = index.search(vectors[:7], top=5)
    assert scores.shape == rows.shape == (7, 5) and scores.dtype == np.float32 and rows.dtype == np.int64
    assert len(index) == 300 and index.nbytes == index.bytes_per_vector * 300 == 300 * (4 * K + 4)

    of_codes = model.index(model.compress(vectors), space=space)
    assert_array_equal(of_codes.search(vectors[:7], top=5)[1], rows)
    index.save(tmp_path / "index")
    opened = cs.load_index(tmp_path / "index")
    assert_array_equal(opened.search(vectors[:7], top=5)[1], rows)
    assert_array_equal(opened.search(model.compress(vectors[:7]), top=5)[1].shape, (7, 5))


def test_a_saved_model_is_the_model(vectors, model, tmp_path):
    model.save(tmp_path / "model")
    again = cs.load(tmp_path / "model")
    assert again.weights.fingerprint == model.weights.fingerprint
    assert_array_equal(again.compress(vectors).values, model.compress(vectors).values)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "Trained on `array`: 300 rows × 16. Of 15 rows that were held out, vectors and their rec" in card


def test_the_published_recipe_has_a_name(vectors):
    model = cs.fit(vectors, recipe="paper", **{**FIELDS, "microbatch": 0})
    assert model.weights.summary["model"]["init_encoder"] == "kaiming"


@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (3, 384), (5, 3), (300, 16)])
def test_the_default_is_packed_pursuit_codes_whatever_the_shape(shape):
    few = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    model = cs.fit(few, refine_rounds=2, progress=False)
    index = model.index(few, progress=False)
    assert model.weights.encoder == "pursuit" and model.weights.storage.startswith(("fast", "packed"))
    assert index.space == "dense_query" and index.bytes_per_vector <= max(3, min(64, shape[1] / 2))
    assert index.search(few[:1], top=1).rows[0, 0] == 0


@pytest.mark.parametrize("space", cs.SPACES)
def test_a_budget_of_bytes_is_kept(vectors, space, tmp_path):
    model = cs.fit(vectors, budget_bytes=8, progress=False)
    assert (model.weights.encoder, model.weights.storage) == ("pursuit", "fast4")
    index = model.index(vectors, space=space)
    assert index.bytes_per_vector <= 8 and index.nbytes == index.codes.records.nbytes
    scores, rows = index.search(vectors[:50], top=1)
    assert (rows[:, 0] == np.arange(50)).mean() > 0.6

    index.save(tmp_path / "index")
    opened = cs.load_index(tmp_path / "index")
    assert_array_equal(opened.search(vectors[:50], top=1)[0], scores)
    assert opened.encoder == "pursuit" and opened.bytes_per_vector == index.bytes_per_vector


def test_a_dictionary_makes_codes_of_other_budgets(vectors):
    model = cs.fit(vectors, budget_bytes=8, refine_rounds=2, progress=False)
    smaller, larger = model.with_budget(4), model.with_budget(12)
    assert smaller.k < model.k <= larger.k and smaller.h == model.h
    sizes = [one.index(vectors, progress=False).bytes_per_vector for one in (smaller, model, larger)]
    assert sizes[0] <= 4 < sizes[1] <= 8 <= sizes[2] <= 12
    with pytest.raises(cs.InputError, match="budget_bytes must be"):
        model.with_budget(10**6)


def test_each_shows_itself_in_a_line_or_two(vectors, model):
    index, of_budget = model.index(vectors), cs.fit(vectors, budget_bytes=8, refine_rounds=1, progress=False)
    named = of_budget.index(vectors, ids=[f"n{i}" for i in range(300)], progress=False)
    fingerprint = model.weights.fingerprint
    made = f"k=4 of h=64, float16, fingerprint {fingerprint}"
    assert repr(model) == f"<Model of width 16: published one-pass codes, {made}>"
    assert repr(of_budget).startswith("<Model of width 16: packed pursuit codes, k=")
    assert repr(index) == "<Index of 300 rows, 20 bytes each: k=4 of h=64, float16 by topk, dense_query>"
    assert "by pursuit, dense_query, with ids>" in repr(named)
    codes = model.compress(vectors)
    assert repr(codes).startswith("<Codes: 300 rows of 4 nonzeros out of 64 columns, float16, made by topk of model")
    assert "with ids" in repr(named.codes) and "\n" not in repr(named.codes)
    found = named.search(vectors[[3, 5]], top=7)
    first, second = repr(found).split("\n")
    assert first == "<Found: the 7 nearest of each of 2 queries, with ids"
    assert second.startswith(f" of the first: n3 {found.scores[0, 0]:.3f}, ") and second.endswith(", …>")
    assert repr(index.search(vectors[:0], top=3)) == "<Found: the 3 nearest of each of 0 queries>"
    assert f" of the first: 0 {index.search(vectors[:1], top=1).scores[0, 0]:.3f}>" in repr(
        index.search(vectors[:1], 1)
    )
    within = index.within(vectors[:2], at_least=0.5)
    assert repr(within) == f"<Within: {len(within.rows):,} rows of 2 queries>"


def test_encoder_and_storage_by_name(vectors, model):
    def cosine(codes):
        z = model.reconstruct(codes)
        return np.mean((z * vectors).sum(1) / np.linalg.norm(z, axis=1) / np.linalg.norm(vectors, axis=1))

    by_encoder = [cosine(model.compress(vectors, encoder=encoder)) for encoder in encoders.ENCODERS]
    # Four looks for one column each are pursuit.
    assert by_encoder == sorted(by_encoder) and len(set(by_encoder[:3])) == 3
    packed = model.compress(vectors, encoder="pursuit", storage="packed6")
    assert cosine(packed) > by_encoder[1]
    assert_array_equal(model.index(packed, encoder="pursuit").search(vectors[:5], top=1)[1][:, 0], np.arange(5))


HOLDERS = {
    "lists": lambda x: x.tolist(),
    "torch": lambda x: pytest.importorskip("torch").tensor(x),
    "frame": lambda x: pytest.importorskip("pandas").DataFrame(x),
    "float64": lambda x: x.astype(np.float64),
}


@pytest.mark.parametrize("form", HOLDERS)
def test_vectors_in_whatever_holds_them(vectors, model, form):
    few = vectors[:40]
    given = HOLDERS[form](few)
    trained = cs.fit(given, **{**FIELDS, "steps": 1, "batch": 8})
    assert trained.weights.fingerprint == cs.fit(few, **{**FIELDS, "steps": 1, "batch": 8}).weights.fingerprint
    assert_array_equal(model.compress(given, progress=False).columns, model.compress(few, progress=False).columns)
    assert_array_equal(model.index(given, progress=False).search(given, 3).rows, model.index(few).search(few, 3).rows)


def test_dropped_rows_are_told_by_ids(vectors, model):
    x = vectors[:9].copy()
    x[[0, 4]] = 0
    kept, names = [1, 2, 3, 5, 6, 7, 8], [f"item {i}" for i in range(9)]
    assert model.compress(x, zero_rows="drop").ids.tolist() == kept
    index = model.index(x, zero_rows="drop", ids=names)
    assert (
        list(index.ids) == [names[i] for i in kept] and list(model.index(x, zero_rows="keep", ids=names).ids) == names
    )
    best = index.search(x[[8, 1]], top=1)
    assert best.ids.tolist() == [["item 8"], ["item 1"]] and best.rows.tolist() == [[6], [0]]
    with pytest.raises(cs.InputError, match="ids must be 9, one a row, not 2"):
        model.index(x, ids=["a", "b"])


def test_an_id_that_comes_twice_is_refused_before_anything_is_encoded(vectors, model, monkeypatch):
    monkeypatch.setattr(compression, "in_memory", lambda *_, **__: pytest.fail("vectors were encoded"))
    names = ["a", "b", "b"]
    for source, ids in ((vectors[:3], names), (open_source(vectors[:3], ids=names), None)):
        with pytest.raises(cs.InputError, match="rows 1 and 2 are both 'b'"):
            model.index(source, ids=ids)


def test_codes_of_another_model_are_refused(vectors, model):
    other = cs.fit(vectors, seed=1, **FIELDS)
    codes = other.compress(vectors)
    for meet in (model.index, model.reconstruct, model.index(vectors).search):
        with pytest.raises(cs.InputError, match=f"{other.weights.fingerprint}.*{model.weights.fingerprint}"):
            meet(codes)


def test_the_default_space_is_the_one_of_the_figures(vectors, model):
    index = model.index(vectors)
    assert index.space == model.index(model.compress(vectors)).space == "dense_query"


def test_silence_and_short_lines(vectors, model, capfd):
    index = model.index(vectors, progress=False)
    model.compress(vectors, progress=False)
    assert capfd.readouterr() == ("", "")
    assert len(repr(model)) < 120 and model.weights.fingerprint in repr(model) and len(repr(index)) < 120


def test_the_home_folder_has_a_short_name(vectors, model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    model.save("~/m")
    model.index(vectors).save("~/i")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["i", "m"]
    assert cs.load("~/m").k == K and len(cs.load_index("~/i")) == 300


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, x: cs.fit(x, k=H + 1, h=H), "k must be"),
        (lambda model, x: cs.fit(x, stepps=3), "did you mean 'steps'"),
        (lambda model, x: cs.fit(x, recipe="papper"), "did you mean 'paper'"),
        (lambda model, x: cs.fit("absent.npy"), "absent.npy"),
        (lambda model, x: cs.fit(x[0]), "2-d|2-dimensional|(rows, width)"),
        (lambda model, x: model.compress(x[:, 1:]), f"{D}"),
        (lambda model, x: model.compress(np.where(x > 2, np.nan, x)), "row"),
        (lambda model, x: model.compress(np.zeros_like(x)), "zero_rows"),
        (lambda model, x: model.index(x, space="spares"), "did you mean 'sparse'"),
        (lambda model, x: model.index(x).search(x, top=0), "top must be"),
        (lambda model, x: model.index(cs.Codes(np.ones((2, 1), np.float32), np.zeros((2, 1), np.uint16), 9)), "h=9"),
        (lambda model, x: cs.load("absent"), "absent"),
        (lambda model, x: model.compress(x, encoder="persuit"), "did you mean 'pursuit'"),
        (lambda model, x: model.compress(x, storage="packed7"), "storage must be one of"),
        (lambda model, x: cs.fit(x, budget_bytes=8, k=3), "budget_bytes=8 chooses k, but k=3"),
        (lambda model, x: cs.fit(x, budget_bytes=10**6), "budget_bytes must be"),
        (lambda model, x: cs.fit(x, budget_bytes=8, recipe="paper"), "budget_bytes=8 chooses h, k, steps"),
        (lambda model, x: cs.fit(x, batch=8), "have no batch; leave them out, or name h, k or steps"),
        (lambda model, x: cs.fit(x, steps=0), "steps must be at least 1"),
    ],
)
def test_bad_input_is_refused_by_name(model, vectors, call, message):
    with pytest.raises(cs.InputError, match=message):
        call(model, vectors)


def test_importing_starts_nothing():
    lazy = ("orbax", "numba", "pyarrow", "matplotlib", "faiss", "ml_collections", "tensorboardX")
    code = (
        "import sys, compressae_jax; from jax._src import xla_bridge;"
        f"print([m for m in {lazy} if m in sys.modules], xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] False"
