"""Texts that are split by document; those of scifact only where its abstracts lie."""

import gzip
import json

import numpy as np
import pytest

from compressae_jax import data
from compressae_jax.experiments import texts
from compressae_jax.notation import InputError


def abstracts(folder, n):
    (folder / "scifact").mkdir(parents=True)
    lines = "".join(json.dumps({"title": f"title {i}", "text": f"text {i}"}) + "\n" for i in range(n))
    (folder / "scifact" / "docs.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


@pytest.fixture(params=["debian", "scifact"])
def loaded(request, tmp_path, monkeypatch):
    abstracts(tmp_path, len(data.load("scifact").vectors))
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    return request.param, texts.load(request.param, 1000, 150)


def judged_documents(question):
    return set(question.corpus[np.unique(question.wanted.indices)].tolist())


def test_no_document_that_is_judged_stands_in_two_parts(loaded):
    name, found = loaded
    assert len(found.documents) <= 1000 and len(found.pairs) > 100
    parts = [set(found.pairs[:, 1].tolist()), *(judged_documents(one) for one in (found.validation, found.test))]
    asking = [set(found.pairs[:, 0].tolist()), *(set(one.queries.tolist()) for one in (found.validation, found.test))]
    for i in range(3):
        for j in range(i):
            assert parts[i] and parts[j] and not parts[i] & parts[j] and not asking[i] & asking[j]
            if name == "debian":  # where queries are documents
                assert not parts[i] & asking[j] and not asking[i] & parts[j]
    if name == "debian":
        assert not set(found.test.corpus.tolist()) & (parts[0] | asking[0] | parts[1] | asking[1])
    else:
        assert len(found.test.corpus) == len(found.documents), "scifact's tests search all, as others do"


def test_pairs_and_questions_say_what_the_judgements_say(loaded):
    name, found = loaded
    dataset = data.load(name)
    items = dataset.items if name == "debian" else [f"title {i} text {i}" for i in range(len(dataset.vectors))]
    place = {text: row for row, text in enumerate(items)}
    known = set()
    for split in ("train", "test") if name == "scifact" else ("test",):
        judged = dataset.judgements(split)
        known |= set(zip(judged.query_rows.tolist(), judged.doc_rows.tolist(), strict=True))
    known |= {(document, query) for query, document in known} if name == "debian" else set()

    def query_row(row):
        return place[found.queries[row]] if name == "debian" else row

    told = [(query_row(query), place[found.documents[document]]) for query, document in found.pairs]
    for question in (found.validation, found.test):
        rows, columns = question.wanted.nonzero()
        told += [
            (query_row(query), place[found.documents[document]])
            for query, document in zip(question.queries[rows], question.corpus[columns], strict=True)
        ]
        assert (question.wanted.getnnz(axis=1) > 0).all()
        if name == "debian":
            assert [found.documents[question.corpus[own]] for own in question.own] == [
                found.queries[query] for query in question.queries
            ]
    assert set(told) <= known
    assert (np.asarray(found.answers[found.pairs[:, 0], found.pairs[:, 1]]) == 1).all()
    answered = found.answers.nnz - (len(found.documents) if name == "debian" else 0)
    assert answered == len(found.pairs), "and no other, but that a package is no negative of itself"


def test_texts_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    with pytest.raises(InputError, match="the abstracts of scifact do not come with the package"):
        texts.load("scifact", 0, 100)
    abstracts(tmp_path, 3)
    with pytest.raises(InputError, match="has 3 texts, scifact 5183 vectors"):
        texts.load("scifact", 0, 100)
    (tmp_path / "scifact" / "docs.jsonl.gz").write_bytes(gzip.compress(b"[1]"))
    with pytest.raises(InputError, match="must hold an object with title and text a line"):
        texts.load("scifact", 0, 100)


def test_sets_and_encoders_without_texts():
    with pytest.raises(InputError, match=r"dataset \(with texts and pairs\) must be one of 'debian', 'scifact'"):
        texts.load("shop", 0, 100)
    with pytest.raises(InputError, match="did you mean 'minilm'"):
        texts.reader("minlm")


def test_the_encoder_without_meaning_tells_texts_apart():
    reader = texts.reader("random")
    cut = reader.cut(["one two three", "one two three", "one two", ""], 3)
    assert [len(one) for one in cut] == [3, 3, 3, 1] and cut[0] == cut[1] == cut[2]
