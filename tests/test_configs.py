"""Every experiment loads, names only fields that exist, and each field is read by the job that it configures."""

import importlib
import pathlib

import ml_collections
import pytest
from absl import flags

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py"))


def load(name):
    return importlib.import_module(f"configs.{name}").get_config()


def leaves(config):
    return {
        (*path, field)
        for path, part in [((), config), *(((name,), part) for name, part in config.items())]
        if isinstance(part, ml_collections.ConfigDict)
        for field, value in part.items()
        if not isinstance(value, ml_collections.ConfigDict)
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_the_default_fields_and_no_other(name):
    assert leaves(load(name)) == leaves(load("default"))
    docstring = importlib.import_module(f"configs.{name}").__doc__ or ""
    assert f"--config=configs/{name}.py" in docstring, "the command that runs it"


def test_each_field_is_read_by_a_job(tmp_path, monkeypatch):
    from compressae_jax.jobs.compress import compress
    from compressae_jax.jobs.evaluate import evaluate
    from compressae_jax.jobs.search import search
    from compressae_jax.jobs.train import train

    flags.FLAGS.mark_as_parsed()
    config = load("tiny")
    read, places = set(), {id(part): (name,) for name, part in config.items()} | {id(config): ()}
    ask = ml_collections.ConfigDict.__getattr__

    def recorded(self, name):
        if id(self) in places:
            read.add((*places[id(self)], name))
        return ask(self, name)

    class Plain(dict):  # what training takes
        def __getitem__(self, name):
            read.add((*self.path, name))
            return super().__getitem__(name)

    def plain(self, path=()):
        fields = Plain(
            {name: plain(value, (name,)) if hasattr(value, "to_dict") else value for name, value in self.items()}
        )
        fields.path = path
        return fields

    monkeypatch.setattr(ml_collections.ConfigDict, "__getattr__", recorded)
    monkeypatch.setattr(ml_collections.ConfigDict, "to_dict", plain)
    weights = train(config, str(tmp_path / "run"))
    compress(config, tmp_path / "run", weights)
    search(config, tmp_path / "run")
    evaluate(config, str(tmp_path / "run"))
    assert leaves(config) - read == set()
