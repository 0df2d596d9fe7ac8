"""benchmarks.cells at a tiny size: all sides are reported, and grown rows are near those they stem from."""

import argparse
import json

import numpy as np
import pytest

import compressae_jax as cs
from benchmarks import cells
from compressae_jax.baselines.units import unit_rows

pytest.importorskip("faiss")
TINY = ["--data=shop", "--rows=700", "--bytes=8", "--fitted=300", "--repeats=1", "--no_graph"]


def test_report_has_every_side_and_what_it_finds(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["cells", *TINY, f"--out={tmp_path}"])
    cells.main()
    [result] = json.loads((tmp_path / "cells.json").read_text())["results"]
    assert (result["rows"], result["d"], result["synthetic"]) == (630, 128, False)
    assert {one["side"] for one in result["sides"]} == {cells.EXACT, cells.OURS, cells.IVF, cells.REFINED}
    ours = [one for one in result["sides"] if one["side"] == cells.OURS]
    found = [one["recall_of_exact"] for one in sorted(ours, key=lambda one: int(one["setting"]))]
    assert found == sorted(found)
    assert max(found) >= cells.GOAL
    assert all(set(one["ms"]) == {"1", "16", "64"} for one in result["sides"])
    assert "of the exact answer" in (tmp_path / "cells.md").read_text()
    assert (tmp_path / "cells.png").stat().st_size > 10_000
    other = json.dumps({"results": [result | {"data": "another"}]})
    (tmp_path / "cells.json").write_text(other)
    cells.main()
    results = json.loads((tmp_path / "cells.json").read_text())["results"]
    assert [one["data"] for one in results] == ["another", "shop"], "what is not asked for stays"


def test_grown_rows_are_near_those_they_stem_from(monkeypatch, tmp_path):
    monkeypatch.setattr(cells, "BLOCK", 60)
    rows = unit_rows(cs.data.load("shop").vectors.read(0, 400))
    model = cs.fit(rows, budget_bytes=8, progress=False)
    flags = argparse.Namespace(models=str(tmp_path), bytes=8)
    to = cells.Grown("shop", 120)
    made = cells.grown(to, rows, model, flags)
    assert made.shape == (120, 128)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert np.median((made @ rows.T).max(axis=1)) > np.median(np.sort(rows @ rows.T, axis=1)[:, -20])
    assert np.array_equal(cells.grown(to, rows, model, flags), made)  # by the neighbours that were kept
