"""docs/SOURCES.md: its tables are those of the registry, and its Python runs."""

import pathlib
import re

import numpy as np
import pyarrow
from pyarrow import parquet

from compressae_jax.data import kinds, table

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "SOURCES.md"


def test_the_tables_are_those_of_the_registry():
    text = PAGE.read_text(encoding="utf-8")
    assert table.with_tables(text) == text, f"make them anew: {table.COMMAND}"
    assert all(f"`{ending}`" in text for ending in kinds.ENDINGS)
    assert table.with_tables(text.replace("| `.fbin` `.u8bin` `.i8bin`", "| `.fbin`")) == text  # it does write


def test_no_two_kinds_claim_an_ending():
    endings = [ending for kind in kinds.FILES for ending in kind.endings]
    assert len(set(endings)) == len(endings) == len(kinds.ENDINGS)
    options = {option for kind in (*kinds.FILES, *kinds.HELD) for option in kind.options}
    assert options == set(table.OPTIONS)


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((150, 16)).astype(np.float32)
    np.save("vectors.npy", x)
    np.save("queries.npy", x[:5])
    rows = pyarrow.table({"sku": [f"sku-{i}" for i in range(150)], "vector": list(x)})
    parquet.write_table(rows, "shop.parquet")
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[0]
    names: dict = {}
    exec(code, names)
    assert names["scores"].shape == (5, 3) and names["index"].ids[7] == "sku-7"
