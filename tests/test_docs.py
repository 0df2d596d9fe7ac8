"""The Python examples of pages run, one after the other, as a reader would type them; and all links lead somewhere."""

import pathlib
import re

import pytest
from evaluation import small

from compressae_jax.model import weights as model_weights

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize(
    ("page", "d"), [("JUDGEMENTS.md", 16), ("ENCODERS.md", 16), ("INDEXES.md", 16), ("SERVING.md", 16), ("HUB.md", 16)]
)
def test_examples_run(page, d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_weights.save(small.weights(d, 64, 4), "model")  # in the place of a training
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})


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
