"""The model card: what it says, whose words it keeps, and that it never stands in the way of a save."""

import os
import warnings

import pytest
import yaml
from evaluation import small

import compressae_jax as cs
from compressae_jax.model import card
from compressae_jax.model import weights as model_weights
from compressae_jax.model.card import CARD, Told
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import continued

WEIGHTS, OTHER = small.weights(), small.weights(seed=1)


@pytest.fixture
def folder(tmp_path):
    """A model folder with a card."""
    model_weights.save(WEIGHTS, tmp_path / "model", Told())
    return tmp_path / "model"


def read(folder):
    return (folder / CARD).read_text(encoding="utf-8")


def save(folder, weights=WEIGHTS, **told):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_weights.save(weights, folder, Told(**told))


def test_it_says_what_the_model_is(folder):
    text = read(folder)
    assert f"| fingerprint | `{WEIGHTS.fingerprint}` |" in text and "k=6 signed nonzeros of h=40, by `topk`" in text
    stored = cs.Model(WEIGHTS).index(small.vectors(50)).bytes_per_vector
    assert f"| bytes a vector in an index, without ids | {stored:g}, {48 / stored:.1f} times fewer |" in text
    assert "None is stated" in text and "cs.evaluate(" in text and 'cs.load("this/folder")' in text
    assert card.HEAD.search(text) is not None and "license" not in yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("budget", [3, 8])
def test_bytes_are_those_of_an_index(budget):
    model = cs.Model(WEIGHTS).with_budget(budget)
    assert card.row_bytes(model.weights) == model.index(small.vectors(50), progress=False).bytes_per_vector


def test_a_start_is_told():
    weights = model_weights.Weights(WEIGHTS.params, WEIGHTS.h, WEIGHTS.k, summary={"start": continued.note(OTHER)})
    assert f"It went on from the model `{OTHER.fingerprint}`, trained on `?`" in card.renewed(None, weights, Told())


def test_strange_summaries_break_nothing(tmp_path):
    for summary in ({}, {"source": 3}, {"source": {"name": "`a|<!-- b\n"}}, {"start": None, "held_out": {"rows": "x"}}):
        weights = model_weights.Weights(WEIGHTS.params, WEIGHTS.h, WEIGHTS.k, summary=summary)
        text = card.renewed(None, weights, Told())
        assert text.count("<!--") == 2 and card.renewed(text, weights, Told()) == text


def test_it_is_renewed_with_what_was_said_of_the_same_model(folder):
    save(folder, found="| nDCG@10 | 0.5 | [0.4, 0.6] |", licence="MIT", place="hf://a/b")
    first = read(folder)
    assert "| nDCG@10 | 0.5 |" in first and yaml.safe_load(first.split("---\n")[1])["license"] == "mit"
    assert "## Licence\n\n`mit`" in first
    save(folder)
    assert read(folder) == first
    model_weights.save(WEIGHTS, folder)  # a job's, which says nothing
    assert read(folder) == first
    save(folder, OTHER)
    assert OTHER.fingerprint in read(folder) and "nDCG@10" not in read(folder) and "hf://a/b" not in read(folder)
    assert "license: mit" in read(folder)
    save(folder, OTHER, licence="cc-by-4.0")
    assert read(folder).count("license: cc-by-4.0") == 1 and "`mit`" not in read(folder)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_words_above_and_below_stay(folder, end):
    text = read(folder)
    head, own = text[: card.HEAD.search(text).end()], text[card.HEAD.search(text).end() :]
    mine = f"{head}# Of the museum\n{own}\nAsk us: ä@b.c.\n".replace("\n", end)
    (folder / CARD).write_bytes(mine.encode())
    save(folder, OTHER, licence="mit")
    there = (folder / CARD).read_bytes().decode()
    assert f"# Of the museum{end}" in there and there.endswith(f"{end}Ask us: ä@b.c.{end}")
    assert OTHER.fingerprint in there and WEIGHTS.fingerprint not in there and there.startswith(f"---{end}license: mit")


def test_a_head_of_the_users_own_stays(folder):
    text = read(folder)
    _, head, body = text.split("---\n", 2)
    (folder / CARD).write_text(f"---\nlanguage: de\nlicense: gpl-3.0  # ours\n{head}---\n{body}", encoding="utf-8")
    save(folder, OTHER)
    assert read(folder).startswith("---\nlanguage: de\nlicense: gpl-3.0  # ours\n")
    (folder / CARD).write_text(body, encoding="utf-8")
    save(folder, OTHER)
    assert not read(folder).startswith("---")
    save(folder, OTHER, licence="mit")
    assert yaml.safe_load(read(folder).split("---\n")[1])["license"] == "mit"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("## Limits", "## Grenzen"),
        lambda text: text.replace(card.END, ""),
        lambda text: "# All mine\n",
        lambda text: "",
        lambda text: text.replace("compressae_jax: written", "written"),
    ],
)
def test_a_card_whose_own_lines_were_changed_stays_as_it_is(folder, change):
    mine = change(read(folder))
    (folder / CARD).write_text(mine, encoding="utf-8")
    for told in (None, Told(found="x", licence="mit")):
        with pytest.warns(UserWarning, match=f"left as it is.*true of the model {OTHER.fingerprint}"):
            model_weights.save(OTHER, folder, told)
        assert read(folder) == mine and model_weights.load(folder).fingerprint == OTHER.fingerprint


def test_other_things_of_its_name_are_refused(folder):
    for make in (lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe")):
        (folder / CARD).unlink()
        make(folder / CARD)
        with pytest.raises(FolderError, match=r"README\.md is n"):
            model_weights.save(OTHER, folder)
        assert model_weights.load(folder).fingerprint == WEIGHTS.fingerprint
        if (folder / CARD).is_dir():
            (folder / CARD).rmdir()
            (folder / CARD).touch()


@pytest.mark.parametrize("target", ["../mine.md", "nowhere.md"])
def test_a_link_stays_a_link(folder, target):
    (folder.parent / "mine.md").write_text("# Mine\n")
    (folder / CARD).unlink()
    (folder / CARD).symlink_to(target)
    save(folder, OTHER)
    assert os.readlink(folder / CARD) == target and (folder.parent / "mine.md").read_text() == "# Mine\n"
    assert model_weights.load(folder).fingerprint == OTHER.fingerprint and not (folder / "nowhere.md").exists()


def test_a_readme_alone_is_no_model_folder(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / CARD).write_text("# Notes\n")
    with pytest.raises(FolderError, match=r"holds README\.md but no model\.json of this program"):
        model_weights.save(WEIGHTS, tmp_path / "notes", Told())
    assert read(tmp_path / "notes") == "# Notes\n"


def test_without_one_none_is_made(tmp_path):
    model_weights.save(WEIGHTS, tmp_path / "model")
    model_weights.save(OTHER, tmp_path / "model")
    assert not (tmp_path / "model" / CARD).exists()


@pytest.mark.parametrize("licence", ["", "my own", "mit\nevil: 1", "-"])
def test_a_licence_that_is_none(licence, tmp_path):
    with pytest.raises(InputError, match="licence must be an identifier"):
        cs.Model(WEIGHTS).save(tmp_path / "model", licence=licence)
    assert not (tmp_path / "model").exists()
