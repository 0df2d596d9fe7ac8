"""An advice that was interrupted goes on; nothing of another sample, seed or program is taken for it."""

import numpy as np
import pytest
from absl import flags
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.advice import advising, measured, methods
from compressae_jax.base import sealed
from compressae_jax.evaluation import provenance
from compressae_jax.jobs.commands import advise
from compressae_jax.notation import FolderError, InputError

PEERS = ("int8", "pca_int8", "pca_int4", "binary")


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Advice without our own codes, which others test; `measured_now` are the names of what a call measured."""
    of, now = measured.of, []

    def noted(method, *rest):
        if method.name == noted.stop:
            raise KeyboardInterrupt
        now.append(method.name)
        return of(method, *rest)

    def all_of(*given):
        some, told = METHODS(*given)
        return [one for one in some if one.kind != "code"], told

    def ask(stop=None, seed=0, vectors=None, **options):
        now.clear()
        noted.stop = stop
        source = data.open_source("shop" if vectors is None else vectors)
        own = {"rows": 500, "budget_bytes": 64, "peers": PEERS, "progress": False, "keep": tmp_path / "measured"}
        return advising.advise(source, {"source": "x"}, seed=seed, **{**own, **options})

    METHODS = methods.all_of
    monkeypatch.setattr(methods, "all_of", all_of)
    monkeypatch.setattr(measured, "of", noted)
    monkeypatch.setattr(measured, "SCANNED", 1000)
    ask.now, ask.folder = now, tmp_path / "measured"
    return ask


def test_an_interrupted_advice_goes_on_and_is_what_it_would_have_been(asked):
    whole = asked(keep=None)
    names = list(asked.now)
    assert not asked.folder.exists() and whole.made["earlier"] == 0
    with pytest.raises(KeyboardInterrupt):
        asked(stop=names[3])
    assert asked.now == names[:3]
    told = asked()
    assert asked.now == names[3:] and told.made["earlier"] == 3
    assert [one.label for one in told.measured] == [one.label for one in whole.measured]
    for ours, theirs in zip(told.measured, whole.measured, strict=True):
        assert ours.scores.keys() == theirs.scores.keys()
        for metric, of in ours.scores.items():
            assert of.dtype == theirs.scores[metric].dtype
            assert_array_equal(of, theirs.scores[metric])
    again = asked()
    assert asked.now == [] and again.advised.reason == told.advised.reason
    assert again.measured[1].speed == told.measured[1].speed


def test_what_there_was_no_time_for_is_measured_by_the_next_call(asked):
    told = asked(minutes=1e-6)
    assert asked.now == ["dense"] and "not within the minutes" in told.left_out[-1]
    whole = asked()
    assert "dense" not in asked.now and len(asked.now) >= len(PEERS) - 1
    told = asked(minutes=1e-6)
    assert asked.now == [] and len(told.measured) == len(whole.measured) > 3


@pytest.mark.parametrize("other", ["seed", "vectors", "program"])
def test_other_vectors_seeds_and_programs_are_measured_anew(asked, other, monkeypatch):
    asked()
    before = list(asked.now)
    if other == "program":
        monkeypatch.setattr(provenance, "commit", lambda: "another")
    vectors = np.array(data.open_source("shop").read(0, 2600))
    vectors[:] *= 1 if other != "vectors" else -1
    asked(seed=int(other == "seed"), vectors=vectors)
    assert asked.now == before
    asked(seed=int(other == "seed"), vectors=vectors)
    assert asked.now == []


def test_a_damaged_measurement_is_told_and_not_taken(asked):
    asked()
    path = sorted(asked.folder.iterdir())[0]
    path.write_bytes(path.read_bytes().replace(b'"label"', b'"lable"'))
    with pytest.raises(FolderError, match="it is measured anew"):
        asked()
    path.unlink()
    asked()
    assert len(asked.now) == 1
    sealed.replace(path, {"format_version": 1})
    with pytest.raises(FolderError, match="not a measurement"):
        asked()


def test_a_file_in_the_place_of_measurements_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "measured").write_text("of another program")
    given = flags.FlagValues()
    flags.DEFINE_string("out", str(tmp_path), "", flag_values=given)
    given.mark_as_parsed()
    with pytest.raises(InputError, match="measured exists and is not a folder"):
        advise.main(given)
