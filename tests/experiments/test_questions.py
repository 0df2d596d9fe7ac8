"""What sets are asked, whole and in part, against what is counted by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import data
from compressae_jax.baselines import dense
from compressae_jax.evaluation import protocols
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.experiments import questions
from compressae_jax.notation import InputError


def asked(name, *sizes):
    question = questions.question(name, *sizes)
    return question, question.protocol.ask(dense.fit(question.documents).add(question.documents).search)


def test_whole_sets_score_what_is_known_of_them():
    _, scifact = asked("scifact")
    assert_allclose(scifact["nDCG@10"].mean(), 0.649, atol=1e-3)
    question, shop = asked("shop")
    assert len(question.documents) == 2600 and question.protocol.scored == 1701
    assert_allclose(shop["recall@20"].mean(), 0.107, atol=1e-3)


def test_part_of_a_set_keeps_what_judgements_name():
    question, scores = asked("debian", 3000, 50)
    assert len(question.documents) == 3000 and question.protocol.scored == len(scores["nDCG@10"]) == 50
    judged = data.load("debian").judgements()
    queries = questions._some(np.unique(judged.query_rows), 50)
    named = np.union1d(judged.doc_rows[np.isin(judged.query_rows, queries)], queries)
    kept = questions._some(np.arange(34169), 3000, named)
    assert np.isin(named, kept).all() and (np.diff(kept) > 0).all()
    assert_array_equal(question.documents, data.load("debian").vectors.take(kept))
    assert scores["recall@100"].mean() > 0.3, "fewer rows stand in the way than in the whole set"


def test_rows_look_for_their_class():
    rows = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    labels = np.repeat([0, 1, 1, -1], 3)
    corpus = Corpus(data.open_source(rows), {}, np.empty(0, np.int64))
    protocol = protocols.of_labels(corpus, np.arange(12), labels)
    found = protocol.ask(dense.fit(rows).add(rows).search)[protocols.PRECISION]
    # Of its class 0 has two others; 1 has five, of which two are its copies and three are as far as all else.
    assert_allclose(found[:3], 0.2)
    assert len(found) == protocol.scored == 9
    assert (found[3:] >= 0.2).all() and (found[3:] <= 0.5).all()


def test_a_set_that_nothing_can_be_asked_of(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    (tmp_path / "glove").mkdir()
    np.save(tmp_path / "glove" / "vectors.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="glove has no judgements, no purchases and no labels"):
        questions.question("glove")


@pytest.mark.parametrize("name", ["scifact", "debian", "shop"])
def test_among_some_rows_only_they_are_asked_for_and_found(name):
    dataset = data.load(name)
    only = np.arange(0, len(dataset.vectors), 2)
    question = questions.among(name, only, 100)
    assert_array_equal(question.documents, dataset.vectors.take(only))
    whole = questions.question(name)
    found = question.protocol.ask(dense.fit(question.documents).add(question.documents).search)
    assert 0 < len(found[question.protocol.headline]) <= min(100, whole.protocol.scored)
