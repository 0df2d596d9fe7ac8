"""One check of a whole config before anything runs: whatever any job would refuse, at the start."""

import gzip
import importlib
import sys

import numpy as np
import pytest
from evaluation import small
from jobs.small_run import experiment

from compressae_jax.jobs import check, inputs
from compressae_jax.jobs.train import train
from compressae_jax.notation import InputError
from configs import debian, default


@pytest.fixture
def config(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(200))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.model.h, config.model.k = 64, 4
    return config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.k": 99}, "k must be"),
        ({"seed": -1}, "config.seed must be"),
        ({"data.zero_rows": "kepe"}, "did you mean 'keep'"),
        ({"data.queries": -1}, "queries must be"),
        ({"compress.encoder": "pursuits"}, "did you mean 'pursuit'"),
        ({"compress.storage": "packed9"}, "config.compress.storage must be one of"),
        ({"compress.storage": "fast4", "model.h": 70_000}, "h of rows of storage 'fast4' must be"),
        ({"compress.batch": 0}, "config.compress.batch must be"),
        ({"compress.encoder": "refit", "model.activation": "relu_topk"}, "the model's activation is relu_topk"),
        ({"search.backend": "hots"}, "did you mean 'host'"),
        ({"evaluation.protocols": ("neighbors",)}, "did you mean 'neighbours'"),
        ({"evaluation.spaces": ("dense",)}, "evaluation.spaces must be one of"),
        ({"evaluation.ks": (65,)}, "evaluation.ks must be"),
        ({"evaluation.ks": (2,), "compress.storage": "packed4"}, r"add --config.evaluation.ks='\(\)'"),
        ({"evaluation.baselines": ("pca@x",)}, "bytes after @ must be a number"),
        ({"evaluation.judged": ("shop",)}, "dataset 'shop' has no judgements"),
        ({"evaluation.examples": ("gimp",)}, r"evaluation.examples=\('gimp',\) are names, and .* has none"),
        ({"evaluation.examples": ("gimp",), "data.source": "shop"}, "evaluation.examples: no item is named 'gimp'"),
        ({"evaluation.budgets": (64, 1)}, "budget_bytes must be"),
        ({"data.unseen": -1}, "unseen must be"),
        ({"evaluation.resamples": 0}, "evaluation.resamples must be"),
        ({"budget_bytes": 8}, "budget_bytes=8 chooses h, k, steps, but h=64, k=4, steps=3000 is asked for"),
    ],
)
def test_refused_before_anything_is_written(config, tmp_path, change, message):
    refused(config, tmp_path, change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_bytes": 1}, "budget_bytes must be"),
        ({"evaluation.ks": (2, 3), "budget_bytes": 8}, "prefixes of rows, which packed rows have none of"),
        ({"evaluation.ks": (2, 3)}, "prefixes of rows, which packed rows have none of"),
        ({"train.batch": 9}, "have no batch; leave them out, or name h, k or steps"),
        ({"model.k": 99, "model.h": 64}, "k must be an integer from 1 to 64"),
    ],
)
def test_codes_of_a_budget_are_checked_as_well(config, tmp_path, change, message):
    of_budget = default.get_config()
    of_budget.data.source = config.data.source
    refused(of_budget, tmp_path, change, message)


@pytest.mark.parametrize("name", ["debian", "shop", "scifact", "tiny"])
def test_experiments_on_shipped_data_pass(name, tmp_path):
    one = importlib.import_module(f"configs.{name}").get_config()
    check.whole(one, tmp_path / "run", inputs.source(one))


def test_the_quickstart_s_table_is_short():
    wanted = debian.get_config().evaluation
    own, beside = 1 + len(wanted.budgets), 3 * len(wanted.beside)  # in one space, and in three
    assert 1 + own + beside + len(wanted.baselines) <= 10


def refused(config, tmp_path, change, message):
    config.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["report.json", "found.npz", "config.json"])
def test_a_folder_in_the_place_of_an_output(config, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{name} exists and is not a file"):
        check.whole(config, tmp_path / "run", inputs.source(config))


def test_a_baseline_without_its_package(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    config.evaluation.baselines = ("rq@8",)
    with pytest.raises(InputError, match="needs faiss"):
        check.whole(config, tmp_path / "run", inputs.source(config))


def test_names_that_cannot_be_read(config, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    (tmp_path / "glove").mkdir()
    (tmp_path / "vectors.npy").rename(tmp_path / "glove" / "vectors.npy")
    (tmp_path / "glove" / "words.txt").write_bytes(b"caf\xe9\n" * 200)
    config.data.source = "glove"
    with pytest.raises(InputError, match=r"words.txt must be UTF-8, but byte 3"):
        check.whole(config, tmp_path / "run", inputs.source(config))
    (tmp_path / "glove" / "words.txt").unlink()
    (tmp_path / "glove" / "docs.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 200))
    with pytest.raises(InputError, match="must hold an object with a title or text a line"):
        check.whole(config, tmp_path / "run", inputs.source(config))
