"""The launch scripts as a user runs them: real processes, real files, one line and exit code 2 for bad input."""

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from evaluation import small
from exploring import pages

from compressae_jax import compression, data
from compressae_jax.exploring import texts
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import BLOCK
from compressae_jax.retrieval.index import Index

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def launch(script, *flags, cwd=ROOT):
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "launch" / script), *flags]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """One tiny experiment through all four jobs."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    done = launch("run.py", "--config=configs/tiny.py", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


def test_run_leaves_a_whole_run_folder(run_folder):
    workdir, printed = run_folder
    names = {path.name for path in workdir.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "model", "codes", "report.json", "report.md"} <= names
    assert "recall@100" in printed and "report.md" in printed


def test_compress_then_search_a_users_file(run_folder, tmp_path):
    workdir, _ = run_folder
    vectors = np.random.default_rng(0).normal(size=(70, 128)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    done = launch("compress.py", f"--model={workdir}/model", "--source=vectors.npy", "--out=codes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bytes" in done.stdout

    flags = ("--index=codes", f"--model={workdir}/model", "--queries=vectors.npy", "--top=3", "--space=sparse")
    done = launch("search.py", *flags, "--out=found.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert found["scores"].shape == found["rows"].shape == (70, 3)
        np.testing.assert_array_equal(found["rows"][:, 0], np.arange(70))  # in the sparse space a row finds itself

    (tmp_path / "some.txt").write_text("".join(f"{row}\n" for row in range(0, 70, 2)))
    scipy.sparse.save_npz(tmp_path / "seen.npz", scipy.sparse.eye_array(70, format="csr"))
    done = launch("search.py", *flags, "--allow=some.txt", "--exclude=seen.npz", "--out=left.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "left.npz") as left:
        assert (left["rows"] % 2 == 0).all() and (left["rows"] != np.arange(70)[:, None]).all()

    done = launch("merge.py", "--found=left.npz", "--out=left.run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "own.qrels").write_text("".join(f"{row} 0 {row} 1\n" for row in range(70)))  # each row wants itself
    asked = ("--judgements=own.qrels", "--metrics=MRR@3", "--out=s.npz")
    done = launch("judge.py", "--runs=found.npz,left.run", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole, left = (line for line in done.stdout.splitlines() if line.startswith(("found.npz", "left.run")))
    assert whole.split() == ["found.npz", "70", "1.000", "[1.000,", "1.000]"]
    assert left.split()[:5] == ["left.run", "70", "0.000", "[0.000,", "0.000]"] and "-1.000" in left
    with np.load(tmp_path / "s.npz") as scores:
        assert scores["found.npz/MRR@3"].tolist() == [1] * 70 and len(scores["left.run/query_ids"]) == 70


def test_parts_are_joined_to_the_bytes_of_one_go(run_folder, tmp_path):
    weights = model_weights.load(run_folder[0] / "model")
    rows = np.random.default_rng(0).normal(size=(BLOCK + 70, 128)).astype(np.float32)
    compression.to_folder(weights, data.open_source(rows), tmp_path / "whole", progress=False)
    for i in (1, 2):
        compression.to_folder(weights, data.open_source(rows), tmp_path / f"part-{i}", part=(i, 2), progress=False)
    done = launch("join.py", "--parts=part-*", "--out=part-all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{BLOCK + 70:,} rows of 2 parts" in done.stdout
    whole, joined = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "part-all")
    )
    assert whole == joined

    np.save(tmp_path / "queries.npy", rows[BLOCK - 5 : BLOCK + 5])
    asked = (f"--model={run_folder[0]}/model", "--queries=queries.npy", "--top=4")
    for name in ("whole", "part-1", "part-2"):
        done = launch("search.py", f"--index={name}", *asked, f"--out=found-{name}.npz", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = launch("merge.py", "--found=found-part-*.npz", "--out=found-parts.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"10 queries; the 4 nearest of {BLOCK + 70:,} rows" in done.stdout
    with np.load(tmp_path / "found-whole.npz") as one, np.load(tmp_path / "found-parts.npz") as merged:
        np.testing.assert_array_equal(merged["rows"], one["rows"])
        np.testing.assert_array_equal(merged["scores"], one["scores"])
    done = launch("merge.py", "--found=found-part-*.npz", "--top=5", "--out=other.npz", cwd=tmp_path)
    assert done.returncode == 2 and "top (as many as every shard was asked for) must be" in done.stderr
    np.save(tmp_path / "queries.npy", rows[:10])
    launch("search.py", "--index=part-2", *asked, "--out=found-part-2.npz", cwd=tmp_path)
    for flags, message in (
        (["--found=found-part-1.npz"], "of 2 parts, 2 are missing"),
        (["--found=found-part-*.npz"], "found-part-2.npz answers other queries than found-part-1.npz"),
    ):
        done = launch("merge.py", *flags, "--out=other.npz", cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "other.npz").exists()


def test_encoder_and_storage_are_flags(run_folder, tmp_path):
    workdir, _ = run_folder
    flags = ("--source=shop", "--out=codes", "--encoder=pursuit", "--storage=packed4")
    done = launch("compress.py", f"--model={workdir}/model", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "codes").iterdir()) == ["meta.json", "records.npy"]


def test_a_budget_goes_through_all_four_jobs(tmp_path):
    flags = ("--config.budget_bytes=8", "--config.train.refine_rounds=2", "--config.evaluation.baselines=('pca_int4',)")
    done = launch("run.py", "--config.data.source=shop", f"--workdir={tmp_path}/run", *flags)
    assert done.returncode == 0, done.stderr
    assert "packed" not in done.stderr and "8 bytes a vector" in done.stdout
    assert (tmp_path / "run" / "codes" / "records.npy").exists()


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        ("train.py", ["--config=configs/tiny.py", "--config.model.hh=3", "--workdir=x"], "no field 'hh'"),
        ("train.py", ["--config=configs/tiny.py", "--config.model.k=999", "--workdir=x"], "k must be"),
        ("train.py", ["--config=configs/tiny.py", "--config.data.source=absent.npy", "--workdir=x"], "absent.npy"),
        ("compress.py", ["--model=absent", "--source=shop", "--out=x"], "absent"),
        ("compress.py", ["--model=absent", "--source=shop", "--out=x", "--part=3"], "part must be like 3/8"),
        ("join.py", ["--parts=absent-*", "--out=x"], "no folder is named absent-*"),
        ("merge.py", ["--found=absent-*", "--out=x.npz"], "no file is named absent-*"),
        ("search.py", ["--index=absent", "--queries=shop", "--out=x.csv"], ".npz or .parquet or .run"),
        ("export.py", ["--index=absent", "--engine=duckdbb", "--out=x"], "did you mean 'duckdb'"),
        ("check_engine.py", ["--index=absent", "--engine=sqlite", "--place=x", "--queries=shop"], "is no index folder"),
        ("explore.py", ["--model=absent", "--source=shop", "--out=x.txt"], "out must end in .html"),
        ("explore.py", ["--model=absent", "--source=shop", "--out=x.html"], "absent"),
        ("advise.py", ["--source=shop", "--peers=pqq"], "did you mean 'pq'"),
        ("advise.py", ["--source=shop", "--qrels=x"], "queries and qrels go together"),
        ("diagnose.py", ["--model=absent", "--source=shop"], "model folder absent does not exist"),
        ("evaluate.py", ["shop"], "--workdir"),
        ("compare.py", ["--workdirs=absent-*", "--out=x"], "no folder is named absent-*"),
        ("reproduce.py", ["--config=convergence", "--config.size=toy", "--workdir=/dev/null/x"], "is not a folder"),
        ("reproduce.py", ["--workdir=x"], "--config must name an experiment (ablations, "),
        (
            "reproduce.py",
            ["--config=convergence", "--config.sizes.small.datasets=('absent.npy',)", "--workdir=x"],
            "there is no file absent.npy",
        ),
        ("reproduce.py", ["--config=convergense", "--workdir=x"], "did you mean 'convergence'"),
        ("reproduce.py", ["--config=convergence", "--config.size=huge", "--workdir=x"], "config.size must be one of"),
        ("ab_test.py", ["--log=absent.csv", "--out=x"], "there is no file absent.csv"),
        ("ab_test.py", ["--ctr=0.02"], "give either log="),
        ("ab_test.py", ["--ctr=0.02", "--impressions=20", "--out=x"], "out= is for the analysis of a log"),
        ("train.py", ["--config=tiny", "--config=debian", "--workdir=x"], "--config must be given once, not 2 times"),
        ("reproduce.py", ["--config=convergence", "--config=x", "--workdir=x"], "--config must be given once"),
        ("diagnose.py", ["--model=", "--source=shop"], "model must name the folder of a model"),
        ("ab_test.py", ["--log=absent.csv", "--columns=users=u"], "did you mean 'user'"),
        ("ab_test.py", ["--ctr=0.02", "--impressions=9", "--lift="], "lift must be numbers"),
        ("merge.py", ["--found=", "--out=x.npz"], "found must name at least one file (other than out), not ''"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(script, flags, message, tmp_path):
    flags = [flag.replace("configs/", f"{ROOT}/configs/") for flag in flags]
    done = launch(script, *flags, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


def test_an_index_in_an_engine_and_what_it_finds(tmp_path):
    weights, vectors = small.weights(8, 32, 4), small.vectors(60, 8)
    index = Index(compression.encode(weights, vectors), weights, ids=[f"a{i}" for i in range(60)])
    index.save(tmp_path / "index")
    np.save(tmp_path / "q.npy", vectors[:9])
    (tmp_path / "t.csv").write_text("name,price\n" + "".join(f"a{i},{i}\n" for i in reversed(range(60))))
    flags = ("--index=index", "--engine=sqlite")
    done = launch("export.py", *flags, "--out=t.db", "--payload=t.csv", "--payload_ids=name", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "60 rows (dense_query), with price: t.db, a file that ends in .sqlite or .db\n"
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as there:
        assert there.execute("select id from items where price = 7").fetchall() == [("a7",)]
    asked = ("--place=t.db", "--queries=q.npy", "--timed=2", "--most=5", "--out=check.json")
    done = launch("check_engine.py", *flags, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 queries, the 100 nearest of 60 rows (dense_query)" in done.stdout
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["engine"] == "sqlite" and report["recall"]["10"] == 1 and report["ms"]["ours"]["median"] > 0


def test_a_run_is_compared_with_others(run_folder, tmp_path):
    workdir, _ = run_folder
    shutil.copytree(workdir, tmp_path / "runs" / "other")
    done = launch("compare.py", f"--workdirs={workdir},runs/other", "--out=x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No field of the configs differs." in done.stdout and "+0.000 [+0.000, +0.000]  1" in done.stdout
    assert {path.name for path in (tmp_path / "x").iterdir()} >= {"compare.json", "compare.md"}


def test_an_experiment_is_analysed_and_planned(tmp_path):
    lines = [f"{'ab'[i % 2]},u{i},{2 + i % 3},{int(i % (10 - 3 * (i % 2)) < 2)},{i % 5}" for i in range(2000)]
    (tmp_path / "log.csv").write_text("arm,who,impressions,clicks,day\n" + "\n".join(lines))
    done = launch("ab_test.py", "--log=log.csv", "--columns=user=who", "--level=0.95", "--out=report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Users came as intended: a 1,000 (0.5), b 1,000 (0.5)" in done.stdout and "report/ab_test.md" in done.stdout
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"ab_test.json", "ab_test.md"}
    report = json.loads((tmp_path / "report" / "ab_test.json").read_text())
    assert report["base"] == "a" and report["lifts"][0]["fixed"][0] > 0 and len(report["looks"]["names"]) == 5

    done = launch("ab_test.py", "--ctr=0.02", "--impressions=20", "--lift=0.0152", "--level=0.99", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one_look, any_time = (int(cell.replace(",", "")) for cell in done.stdout.splitlines()[-1].split()[-2:])
    assert 1.4 < any_time / one_look < 1.8  # by the widths that sequence and interval have


def test_a_page_of_what_latents_mean(run_folder, tmp_path):
    workdir, _ = run_folder
    flags = (f"--model={workdir}", "--source=shop")
    done = launch("explore.py", *flags, "--rows=200", "--out=page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, arrays = pages.unpacked((tmp_path / "page.html").read_bytes())
    assert done.stdout.startswith(f"200 of {len(data.load('shop').vectors):,} items, 0.")
    assert (head["title"], len(head["texts"])) == ("shop", 200)
    assert set(head["texts"]) <= set(texts.shown(data.load("shop").items))
    assert arrays["values"].shape == (200, head["k"])

    (tmp_path / "t.txt").write_text("one\n")
    for wrong, told in (
        ("--texts=t.txt", "t.txt has 1 texts, and there are 2,600 rows"),
        ("--texts=debian", "debian has 34,169 names, and there are 2,600 rows"),
    ):
        done = launch("explore.py", *flags, wrong, "--out=other.html", cwd=tmp_path)
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "t.txt"]


def test_a_diagnosis_is_told_and_strict(run_folder, tmp_path):
    model = f"--model={run_folder[0]}/model"
    done = launch("diagnose.py", model, "--source=shop", "--rows=400", "--out=d", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "d" / "diagnosis.json").read_text())
    levels = {one["name"]: one["level"] for one in told["findings"]}
    assert "8 lines with a loss" in done.stdout and levels["drift"] == "ok"  # of the run's metrics
    x = np.random.default_rng(0).normal(size=(100, 128)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.concatenate([x, x]))
    done = launch("diagnose.py", model, "--source=x.npy", "--strict", "--noprogress", cwd=tmp_path)
    assert done.returncode == 3 and "bad     near-duplicates" in done.stdout and not done.stderr


def test_advice_is_written_and_printed(tmp_path):
    flags = ("--source=shop", "--total_rows=1000000", "--budget_bytes=40", "--rows=300", "--peers=pca_int8")
    done = launch("advise.py", *flags, "--noprogress", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "advice" / "advice.md").read_text()
    told = json.loads((tmp_path / "advice" / "advice.json").read_text())
    assert told["headline"] in page and told["headline"] in done.stdout and told["command"] in done.stdout
    assert {one["name"] for one in told["measured"]} == {"dense", "pursuit", "pca_int8"} and told["total_rows"] == 10**6


def test_evaluate_refuses_flags_that_contradict_the_run(run_folder):
    done = launch("evaluate.py", "--config=configs/tiny.py", f"--workdir={run_folder[0]}", "--config.model.h=7")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "config.model.h was" in done.stderr.strip().splitlines()[-1]


def test_an_environment_of_another_python_is_left_alone(tmp_path):
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "environment.sh").write_bytes((ROOT / "launch" / "environment.sh").read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine").write_text("precious")
    (tmp_path / "setup.py").touch()
    wanted = f".venv-{sys.version_info[0]}.{sys.version_info[1]}"
    (tmp_path / wanted / "bin").mkdir(parents=True)  # made before, and its packages are there
    (tmp_path / wanted / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / wanted / "bin" / "activate").write_text(f"export VIRTUAL_ENV={tmp_path / wanted}\n")
    (tmp_path / wanted / ".compressae_jax-test").touch()
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = ["bash", "-euc", '. launch/environment.sh test; echo "$VIRTUAL_ENV"']
    done = subprocess.run(command, cwd=tmp_path, env={**environment, "PYTHON": sys.executable}, capture_output=True)
    assert done.stdout.decode().split() == [str(tmp_path / wanted)], done.stderr
    assert (tmp_path / ".venv" / "mine").read_text() == "precious"


@pytest.mark.parametrize("kind", ["saved dataset", "HDF5", "scaled int8"])
def test_sources_of_every_kind_by_flags(kind, run_folder, tmp_path):
    """Compressed, added to an index and searched: the codes and ids of the same vectors in memory."""
    model = f"--model={run_folder[0]}/model"
    x = np.random.default_rng(0).integers(-127, 128, (40, 128)).astype(np.float32) / 128
    names = [f"row-{i}" for i in range(40)]
    if kind == "saved dataset":
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"v": datasets.List(datasets.Value("float32")), "name": datasets.Value("string")})
        datasets.Dataset.from_dict({"v": x.tolist(), "name": names}, features).save_to_disk(tmp_path / "x")
        flags = ("x", "--ids_column=name")
    elif kind == "HDF5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            file["train"], file["test"], file["names"] = x, x[:3], names
        flags = ("x.hdf5", "--key=train", "--ids_key=names")
    else:
        np.save(tmp_path / "x.npy", (x * 128).astype(np.int8))
        (tmp_path / "names.txt").write_text("\n".join(names))
        flags = ("x.npy", "--scale=0.0078125", "--ids=names.txt")
    source, *more = flags
    done = launch("compress.py", model, f"--source={source}", *more, "--out=codes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    weights = model_weights.load(run_folder[0] / "model")
    compression.to_folder(weights, data.open_source(x, ids=names), tmp_path / "wanted", progress=False)
    for name in ("columns.npy", "values.npy", "records.npy", "ids.utf8", "ids.offsets.npy"):
        if (tmp_path / "wanted" / name).exists():
            assert (tmp_path / "codes" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()

    done = launch("add.py", model, "--index=index", f"--source={source}", *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = ("--index=index", f"--queries={source}", *more, "--top=1", "--out=found.npz")
    done = launch("search.py", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert found["query_ids"].tolist() == names and found["ids"].shape == (40, 1)
