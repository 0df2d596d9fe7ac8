"""README and docs/MEASURED say what committed results say, README is short, and its Python runs."""

import importlib.util
import pathlib
import re
import types

import numpy as np
import pytest

import compressae_jax as cs
from compressae_jax.data.sources import InMemory

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
assert SPEC is not None and SPEC.loader is not None
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_pages_say_what_results_say(page):
    text = page.read_text(encoding="utf-8")
    assert readme.with_results(page, text) == text


def test_readme_is_at_most_150_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_what_a_statement_prints_stands_behind_it():
    shown = readme.run("x = 1\n# old\n\nprint(x)  # twice\nprint(x + 1)\n# old\n")
    assert shown == "x = 1\n\nprint(x)  # twice\n# 1\nprint(x + 1)\n# 2\n"


def test_python_runs(monkeypatch, tmp_path):
    """The blocks as they stand, on one package in twelve, and with one round of training."""
    whole, fit = cs.data.load("debian"), cs.fit
    gimp = whole.items.index("gimp: GNU Image Manipulation Program")
    rows = np.arange(gimp % 12, len(whole.vectors), 12)
    vectors, items = whole.vectors.take(rows), [whole.items[row] for row in rows]
    few = types.SimpleNamespace(vectors=InMemory(vectors), items=items)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cs.data, "load", lambda name: few)
    monkeypatch.setattr(cs, "fit", lambda *given, **named: fit(*given, **named, refine_rounds=1))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    first, carried, second, _ = blocks  # the last is run by test_docs, an engine at a time
    scope = {}
    exec(compile(first, "README.md", "exec"), scope)
    assert scope["found"].ids[0][0] == items[gimp // 12]
    exec(compile(carried, "README.md", "exec"), dict(scope))

    queries = vectors[:20]
    scope |= {"queries": queries, "seen": [[name] for name in items[:20]], "mask_or_ids": items[:50], "new": vectors}
    scope |= {"more": vectors[:3], "more_names": ["one", "two", "three"], "some_names": ["one", "two", "three"]}
    scope |= {"judgements": [(number, name, 1) for number, name in enumerate(items[:20])]}
    np.save("vectors.npy", np.concatenate([vectors, vectors[:3]]))
    exec(compile(second, "README.md", "exec"), scope)
