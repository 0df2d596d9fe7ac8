"""The Python examples of pages in docs/ run, one after the other, as a reader would type them; a model is there."""

import pathlib
import re

import pytest
from evaluation import small

from compressae_jax.model import weights as model_weights

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize(("page", "d"), [("JUDGEMENTS.md", 16), ("ENCODERS.md", 16)])
def test_examples_run(page, d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_weights.save(small.weights(d, 64, 4), "model")  # in the place of a training
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})
