"""Experiments by name, and what stands beside the fields of a config."""

import pathlib

import pytest

from compressae_jax.jobs import defaults, experiments
from compressae_jax.jobs.commands import experiment
from compressae_jax.notation import InputError


def test_a_name_is_looked_up_and_a_file_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pathlib.Path(experiments.resolved("paper"))
    assert page.parts[-2:] == ("configs", "paper.py") and page.is_file()
    assert experiments.resolved("default:continue") == f"{page.parent}/default.py:continue"
    (tmp_path / "paper").touch()
    for given in ("paper", str(page), "mine/own.py", f"{page}:x"):
        assert experiments.resolved(given) == given
    with pytest.raises(InputError, match="did you mean 'paper'"):
        experiments.resolved("papre")
    with pytest.raises(InputError, match=r"no file configs/tiny\.py; what comes with the program is --config=tiny"):
        experiments.resolved("configs/tiny.py")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["--workdir=x", "--config=tiny", "--config.seed=1"],
            ["--workdir=x", "--config={}/tiny.py", "--config.seed=1"],
        ),
        (["--config", "shop:a", "--threads=1"], ["--config", "{}/shop.py:a", "--threads=1"]),
        (["--config.seed=1"], ["--config={}/scifact.py", "--config.seed=1"]),
    ],
)
def test_the_config_on_a_command_line(argv, expected):
    given = ["program", *argv]
    experiment.resolve(given, "scifact")
    assert given[1:] == [one.format(experiments.root() / "configs") for one in expected]


def test_every_field_has_its_comment():
    lines = [line for line in experiment.described() if line.startswith("  --config.")]
    assert len(lines) == len(list(experiment.fields(defaults.get_config())))
    assert "  --config.train.b2=0.999  # Adam's decay of the square" in lines
    silent = {line.partition("=")[0].split(".", 1)[1] for line in lines if "  # " not in line}
    assert silent <= {"mesh.model"}, "told with mesh.data"


def test_comments_of_a_table_in_a_file(tmp_path):
    (tmp_path / "x.py").write_text(
        "def f():\n"
        "    return {\n"
        '        "a": 1,  # one\n'
        "        # Above,\n"
        "        # in two lines.\n"
        '        "b": None,\n'
        '        "c": {"d": 1},  # both\n'
        '        "e": {\n'
        '            "f": "#",  # a sign\n'
        "        },\n"
        "        **f(),\n"
        "    }\n"
        'T: dict = {"g": 2}  # two\n'
    )
    assert experiments.comments(tmp_path / "x.py", "f", "T", "absent") == {
        "a": "one",
        "b": "Above, in two lines.",
        "c": "both",
        "e.f": "a sign",
        "g": "two",
    }
