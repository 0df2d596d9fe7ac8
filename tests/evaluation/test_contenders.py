import dataclasses

import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import compression, data
from compressae_jax.baselines import pca
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes import spaces
from compressae_jax.evaluation import contenders
from compressae_jax.evaluation.corpus import OWN, Coded, Corpus
from compressae_jax.notation import InputError

N, D = 61, 12
LEFT_OUT = np.array([0, 7, 8, 60])


@pytest.fixture(scope="module")
def corpus():
    source, weights = data.open_source(small.vectors(N)), small.weights()
    codes = compression.encode(weights, small.vectors(N))
    return Corpus(source, {OWN: Coded(weights, codes)}, LEFT_OUT)


def test_a_corpus_numbers_what_is_left(corpus):
    kept = np.delete(np.arange(N), LEFT_OUT)
    assert len(corpus) == N - 4
    assert_array_equal(corpus.rows, kept)
    assert_array_equal(np.concatenate(list(corpus.pieces())), small.vectors(N)[kept])
    codes = compression.encode(corpus.coded[OWN].weights, small.vectors(N)[kept])
    assert_array_equal(corpus.index(OWN, "sparse", 6).codes.columns, codes.columns)
    scales = corpus.index(OWN, "reconstructed", 6).codes.scales("reconstructed")
    assert_allclose(scales, spaces.row_scales(codes.norms, "reconstructed"), rtol=1e-6)


@pytest.mark.parametrize("space", spaces.SPACES)
@pytest.mark.parametrize("k", [2, 6])
def test_codes_rank_by_the_cosine_of_their_space_and_budget(corpus, space, k):
    queries = small.vectors(5, seed=9)
    one = next(c for c in contenders.codes(corpus, OWN, [space], [k, k], "host") if c.k == k)

    _, rows = one.search(corpus, queries, len(corpus))

    def seen(vectors, in_space):
        dense = compression.encode(corpus.coded[OWN].weights, vectors).prefix(k).to_dense()
        return {
            "sparse": dense,
            "reconstructed": dense @ corpus.coded[OWN].weights.params["decoder_w"],
            "dense_query": vectors,
        }[in_space]

    left = unit_rows(seen(queries, space))
    right = unit_rows(seen(small.vectors(N)[corpus.rows], "sparse" if space == "sparse" else "reconstructed"))
    exact = np.take_along_axis(left @ right.T, rows, axis=1)
    assert (np.diff(exact, axis=1) < 1e-3).all()  # float16 values
    assert (one.bytes_per_vector, one.budget, one.bytes_as_published) == (4 * k + 4, 4 * k + 4, 8 * k)


def test_every_space_at_every_k_once(corpus):
    found = contenders.codes(corpus, OWN, spaces.SPACES, (2, 4, 2), "host")
    assert [(c.space, c.k) for c in found] == [(s, k) for k in (6, 4, 2) for s in spaces.SPACES]
    assert len({c.name for c in found}) == 9


@pytest.mark.parametrize(
    ("encoder", "storage", "kind"),
    [
        ("topk", "float16", "published one-pass codes"),
        ("pursuit", "packed4", "packed pursuit codes"),
        ("pursuit", "fast4", "packed pursuit codes"),
        ("refit", "float16", "refit codes, float16"),
    ],
)
def test_codes_have_the_name_of_what_made_them(encoder, storage, kind):
    made = dataclasses.replace(small.weights(k=3), encoder=encoder, storage=storage)
    source = data.open_source(small.vectors(N))
    rows = compression.encode(made, small.vectors(N), storage, encoder)
    several = Corpus(source, {"small": Coded(made, rows, budget=9)}, LEFT_OUT)
    found = contenders.codes(several, "small", None, (), "host")
    assert [one.space for one in found] == list(spaces.SPACES if encoder == "topk" else ["dense_query"])
    assert {(one.codes, one.of, one.budget) for one in found} == {(kind, "small", 9)}
    assert found[-1].name == f"{kind}, dense_query, k=3"
    assert (found[-1].search(several, small.vectors(4), 1)[1] >= 0).all()


def test_several_models_share_a_corpus():
    source, x = data.open_source(small.vectors(N)), small.vectors(N)
    models = {"one": small.weights(), "two": small.weights(seed=3)}
    coded = {name: Coded(weights, compression.encode(weights, x)) for name, weights in models.items()}
    both = Corpus(source, coded, LEFT_OUT)
    for name, weights in models.items():
        alone = Corpus(source, {OWN: coded[name]}, LEFT_OUT)
        (of_both,) = contenders.codes(both, name, ["sparse"], (), "host")
        (of_one,) = contenders.codes(alone, OWN, ["sparse"], (), "host")
        assert_array_equal(of_both.search(both, x[:3], 5)[1], of_one.search(alone, x[:3], 5)[1])
        assert both.coded[name].weights is weights


def test_dense_search_is_exact(corpus):
    queries = small.vectors(5, seed=9)
    scores, rows = contenders.peer(D).search(corpus, queries, 7)
    exact = unit_rows(queries) @ unit_rows(small.vectors(N)[corpus.rows]).T
    assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :7])
    assert scores.shape == (5, 7)


def test_a_query_without_direction_finds_nothing(corpus):
    queries = small.vectors(3, seed=9)
    queries[1] = 0
    for one in [contenders.peer(D), *contenders.codes(corpus, OWN, spaces.SPACES, (), "host")]:
        scores, rows = one.search(corpus, queries, 4)
        assert_array_equal(rows[1], -1)
        assert np.isneginf(scores[1]).all() and (rows[[0, 2]] >= 0).all()
        assert_array_equal(one.search(corpus, queries * 0, 4)[1], -1)


def test_baselines_get_the_bytes_of_every_code():
    names = ("truncation", "pca", "pca_int8", "int8")
    found = contenders.baselines(names, [20, 12, 20, 48, 7], small.vectors(N))
    assert [(c.name, c.budget) for c in found] == [
        ("truncation, 20 bytes", 20),
        ("truncation, 12 bytes", 12),
        ("truncation, 4 bytes", 7),
        ("PCA, 20 bytes", 20),
        ("PCA, 12 bytes", 12),
        ("PCA, 4 bytes", 7),
        ("PCA int8, 12 bytes", 12),
        ("PCA int8, 7 bytes", 7),
        ("int8, 16 bytes", 16),
    ]


def test_a_baseline_of_its_own_size():
    found = contenders.baselines(["pca_int8@10", "pca_int8"], [10, 8], small.vectors(N))
    assert [c.name for c in found] == ["PCA int8, 10 bytes", "PCA int8, 8 bytes"]


def test_baselines_have_sizes_of_their_own_and_smallest_ones():
    pytest.importorskip("faiss")
    found = contenders.baselines(("sq", "rabitq", "binary", "pca_int4"), [20, 8, 2], small.vectors(N))
    assert [(c.name, c.budget) for c in found] == [
        ("SQ, 12 bytes", 12),
        ("SQ, 9 bytes", 9),
        ("SQ, 6 bytes", 6),
        ("RaBitQ, 10 bytes", 20),
        ("binary, 2 bytes", 2),
        ("PCA int4, 2 bytes", 2),
    ]
    assert contenders.baselines(["rabitq"], [8], small.vectors(N)) == []


def test_a_budget_of_its_own_goes_before_own_sizes():
    pytest.importorskip("faiss")
    assert [c.name for c in contenders.baselines(["sq@10"], [20], small.vectors(N))] == ["SQ, 9 bytes"]
    with pytest.raises(InputError, match="budget must be an integer from 16 to 16, not 14"):
        contenders.baselines(["int8@14"], [20], small.vectors(N))


@pytest.mark.parametrize("name", contenders.BASELINES)
def test_every_baseline_is_fitted_with_the_seed(name, corpus):
    if name in ("sq", "rabitq", "pq", "opq", "rq", "prq", "lsq"):
        pytest.importorskip("faiss")
    training, queries = small.vectors(300, seed=2), small.vectors(2, seed=9)
    baseline = contenders.BASELINES[name]

    found = contenders.baselines([name], [{"binary": 1, "rabitq": 15, "lsq": 2}.get(name, 4)], training, seed=3)[0]

    fitted = baseline.fit(training, found.budget, **({"seed": 3} if "seed" in baseline.options else {}))
    for vectors in corpus.pieces():
        fitted.add(vectors)
    scores, rows = found.search(corpus, queries, 5)
    assert found.bytes_per_vector == fitted.bytes_per_vector <= found.budget
    assert_array_equal(rows, fitted.search(queries, 5)[1])
    assert_array_equal(scores, fitted.search(queries, 5)[0])


def test_directions_are_computed_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        pca, "directions", lambda x, centred=False: calls.append(centred) or np.eye(D, dtype=np.float32)
    )
    contenders.baselines(["pca", "pca_int8", "pca_int4", "binary", "transform", "itq"], [1, 8, 12], small.vectors(N))
    assert sorted(calls) == [False, True]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pcaa"], r"evaluation.baselines must be one of .* \(did you mean 'pca'\?\)"),
        (["pca@ten"], "bytes after @ must be a number, not 'pca@ten'"),
    ],
)
def test_unknown_baselines(names, message):
    with pytest.raises(InputError, match=message):
        contenders.baselines(names, [8], small.vectors(N))


def test_unknown_spaces_and_ks(corpus):
    with pytest.raises(InputError, match=r"evaluation\.spaces must be one of"):
        contenders.codes(corpus, OWN, ["sparce"], (), "host")
    with pytest.raises(InputError, match=r"evaluation\.ks must be an integer from 1 to 6, not 7"):
        contenders.codes(corpus, OWN, ["sparse"], (7,), "host")
