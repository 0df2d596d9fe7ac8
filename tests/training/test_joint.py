import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal
from text import made

from compressae_jax.notation import InputError
from compressae_jax.text import embedding, tokens
from compressae_jax.training import joint

H, K, PAIRS, MORE = 32, 4, 6, 3
TEXT = made.model(num_hidden_layers=2)
WEIGHTS = small.weights(made.WIDTH, H, K)
RNG = np.random.default_rng(0)
TEXTS = [[0, *RNG.integers(3, 30, RNG.integers(1, 6)).tolist(), 2] for _ in range(40)]
ANSWERS = scipy.sparse.csr_matrix(np.eye(40, k=1) + np.eye(40, k=2))  # the next two texts answer one
PARTS = np.argwhere(ANSWERS.toarray())
NEAR = (np.arange(40)[:, None] + [0, 1, 5]) % 40  # itself, an answer and another


def feed_of(arm, vectors=None):
    def feed(step):
        drawn = joint.draw(PARTS, ANSWERS, NEAR, PAIRS, MORE, seed=0, step=step)
        if not arm.layers:
            return joint.Batch(vectors[drawn.queries], vectors[drawn.documents], drawn.others)
        padded = (tokens.padded([TEXTS[i] for i in rows], made.PAD, length=8) for rows in drawn[:2])
        return joint.Batch(*padded, drawn.others)

    return feed


ARMS = {
    "autoencoder": joint.Arm(),
    "last": joint.Arm(layers=1),
    "encoder": joint.Arm(layers=2, autoencoder=False),
}


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_moves_what_it_trains_and_nothing_else(name):
    arm = ARMS[name]._replace(rate=1e-2, text_rate=1e-2)
    values = iter([0.5, 0.1, 0.9])
    vectors = embedding.of_tokens(TEXT, TEXTS)
    fitted = joint.fit(arm, TEXT, WEIGHTS, feed_of(arm, vectors), lambda *_: next(values), steps=2, every=1)
    assert fitted.step == 2 and fitted.curve == [(0, 0.5), (1, 0.1), (2, 0.9)] and fitted.seconds > 0
    both = TEXT.params, fitted.text.params
    assert [_differ(*(one[part] for one in both)) for part in ("words", "places", "norm")] == [arm.layers == 2] * 3
    for i in range(2):
        layers = (jax.tree.map(lambda one, i=i: one[i], each["layers"]) for each in both)
        assert _differ(*layers) == (i >= 2 - arm.layers)
    assert _differ(WEIGHTS.params, fitted.weights.params) == arm.autoencoder
    assert_allclose(np.linalg.norm(fitted.weights.params["decoder_w"], axis=1), 1, atol=1e-6)


def _differ(one, other):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_start_is_kept_where_nothing_is_better():
    vectors = embedding.of_tokens(TEXT, TEXTS)
    arm = joint.Arm()
    fitted = joint.fit(arm, TEXT, WEIGHTS, feed_of(arm, vectors), lambda *_: 0.5, steps=3, every=2)
    assert fitted.weights is WEIGHTS and fitted.text is TEXT and fitted.step == 0
    assert [step for step, _ in fitted.curve] == [0, 2, 3]


def test_pairs_find_each_other_by_their_codes():
    vectors = RNG.normal(size=(40, made.WIDTH)).astype(np.float32)
    arm = joint.Arm(rate=2e-2)

    losses = jax.jit(lambda parts, batch: joint.loss(arm, TEXT.module, WEIGHTS.module(), parts, batch)[1])

    def validate(_, weights):
        parts = {joint.TEXT: {}, joint.AUTOENCODER: {name: jnp.asarray(one) for name, one in weights.params.items()}}
        return -float(np.mean([losses(parts, feed_of(arm, vectors)(i))["loss_ranking"] for i in range(5)]))

    fitted = joint.fit(arm, TEXT, WEIGHTS, feed_of(arm, vectors), validate, steps=60, every=60)
    assert fitted.step == 60 and fitted.curve[1][1] > fitted.curve[0][1] + 0.5


def test_draws():
    drawn = joint.draw(PARTS, ANSWERS, NEAR, PAIRS, MORE, seed=3, step=5)
    for query, document, others in zip(drawn.queries, drawn.documents, drawn.others, strict=False):
        assert ANSWERS[query, document] == 1
        assert not others[list(drawn.documents).index(document)] or (drawn.documents == document).sum() > 1
        theirs = ANSWERS[query].toarray()[0, drawn.documents] != 0
        assert others.sum() == theirs.sum() - 1, "all but the one that is asked for"
    assert drawn.documents.shape == (PAIRS + MORE,)
    assert all(drawn.documents[PAIRS + i] in NEAR[drawn.queries[i]] for i in range(MORE))
    again = joint.draw(PARTS, ANSWERS, NEAR, PAIRS, MORE, seed=3, step=5)
    jax.tree.map(assert_array_equal, drawn, again)
    assert any(
        (a != b).any() for a, b in zip(drawn[:2], joint.draw(PARTS, ANSWERS, NEAR, PAIRS, MORE, 3, 6)[:2], strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layers": 3}, "layers must be an integer from 0 to 2"),
        ({"autoencoder": False}, "an arm must train"),
        ({"rate": -1.0}, "rate must be a number from 0 up"),
        ({"ranking": 0.0, "reconstruction": 0.0}, "leave no loss"),
    ],
)
def test_arms_that_train_nothing(changes, told):
    with pytest.raises(InputError, match=told):
        joint.check(joint.Arm(**changes), depth=2)


def test_levels_of_other_parameters_are_not_kept():
    weights = dataclasses.replace(WEIGHTS, levels={"pursuit:packed4": (0.1,) * 8})
    arm, values = joint.Arm(), iter([0, 1])
    vectors = embedding.of_tokens(TEXT, TEXTS)
    fitted = joint.fit(arm, TEXT, weights, feed_of(arm, vectors), lambda *_: next(values), steps=1, every=1)
    assert not fitted.weights.levels
