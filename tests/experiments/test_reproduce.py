"""Every experiment at its toy size, from its page in configs/ to results.json, results.md and figures."""

import ast
import importlib
import json
import pathlib
import shutil

import pytest

from compressae_jax.experiments import running
from compressae_jax.jobs.reproduce import reproduce
from compressae_jax.notation import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = sorted(path.stem for path in (ROOT / "configs" / "experiments").glob("*.py"))


def toy(name):
    config = importlib.import_module(f"configs.experiments.{name}").get_config()
    config.size = "toy"
    return config


def about(name):
    path = ROOT / "configs" / "experiments" / f"{name}.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_every_experiment_has_its_page():
    assert sorted(running.NAMES) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_toy_size_writes_everything(name, tmp_path):
    told = reproduce(toy(name), tmp_path / "work", tmp_path / "out", about(name), "command", progress=False)
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    text = (tmp_path / "out" / "results.md").read_text()
    assert report["answer"] == told.answer and told.answer in text
    assert text.startswith(f"# {about(name).splitlines()[0]}")
    assert report["cells"] and report["made"]["seconds"] > 0
    for figure in report["figures"]:
        assert (tmp_path / "out" / f"{figure}.svg").read_text().startswith("<?xml")
        assert (tmp_path / "out" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({figure}.png)" in text
    for cell in report["cells"]:
        for score in cell["scores"].values():
            assert score["low"] <= score["mean"] <= score["high"]


@pytest.mark.parametrize("name", PAGES)
def test_its_page_says_what_to_run_and_what_came_out(name):
    told = about(name)
    assert told.splitlines()[0].endswith("?"), "the question"
    assert f"--config=configs/experiments/{name}.py" in told
    config = importlib.import_module(f"configs.experiments.{name}").get_config()
    assert config.experiment == name and config.size == "small" and {"small", "full", "toy"} <= set(config.sizes)
    path = ROOT / "results" / "experiments" / name / "results.json"
    if not path.exists():
        pytest.skip("not run yet")
    assert "minutes" in told
    answer = json.loads(path.read_text())["answer"]
    assert answer in " ".join(told.split()), "the docstring gives the answer of its results"


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    config = toy("convergence")
    reproduce(config, tmp_path, progress=False)
    first = json.loads((tmp_path / "results.json").read_text())
    shutil.rmtree(tmp_path / "trainings")
    monkeypatch.setattr("compressae_jax.experiments.bench.Bench.trained", None)
    reproduce(config, tmp_path, progress=False)
    assert json.loads((tmp_path / "results.json").read_text()) == first


@pytest.mark.parametrize("field", ["datasets", "seeds", "recipes"])
def test_an_axis_without_values_is_refused(field, tmp_path):
    config = toy("convergence")
    config.sizes.toy[field] = ()
    with pytest.raises(InputError, match=f"{field} must name at least one"):
        reproduce(config, tmp_path / "work", progress=False)
    assert not (tmp_path / "work").exists()


def test_a_set_that_is_not_there_is_said_before_any_work(tmp_path):
    config = toy("convergence")
    config.sizes.toy.datasets = ("shop", str(tmp_path / "absent.npy"))
    with pytest.raises(InputError, match=r"absent\.npy"):
        reproduce(config, tmp_path / "work", progress=False)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiment": "convergense"}, "did you mean 'convergence'"),
        ({"size": "tiny"}, "config.size"),
        ({"sizes": {"toy": {}}, "size": "small"}, "config.size"),
        ({"depth": 3}, "field of config"),
    ],
)
def test_what_a_config_may_not_say(changes, said, tmp_path):
    config = toy("convergence").to_dict()
    config.update(changes)
    import ml_collections

    with pytest.raises(InputError, match=said):
        reproduce(ml_collections.ConfigDict(config), tmp_path / "work", progress=False)
    assert not (tmp_path / "work").exists()
