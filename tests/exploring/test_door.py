"""The page as a file: what is in it, what it may do, how large it is, what is refused; a browser is in test_page."""

import base64
import hashlib
import re

import numpy as np
import pytest
from exploring import pages
from numpy.testing import assert_array_equal

import compressae_jax as cs
from compressae_jax.exploring import door, small
from compressae_jax.notation import InputError


def test_the_page_holds_the_rows_of_the_index(tmp_path):
    index = pages.index()
    page = cs.explore(index, tmp_path / "page.html", pages.TEXTS, title="<i>a & b</i>", progress=False)
    head, arrays = pages.unpacked(page.read_bytes())
    codes = index.codes.codes()
    assert (head["space"], head["k"], head["h"], head["d"], head["total"]) == ("reconstructed", 5, 64, 16, 300)
    assert head["texts"][10] == "blue item 10" and head["texts"][7] == "(7)"
    there = arrays["values"] != 0
    assert_array_equal(arrays["latents"][arrays["columns"]][there], np.asarray(codes.columns)[there])
    rounded = small.of(codes, index.weights.params["decoder_w"], "reconstructed", head["bits"])
    for name in ("values", "decoder", "scales", "norms"):
        assert_array_equal(arrays[name], getattr(rounded, name))
    assert head["off"] < 0.02 and b"<i>a" not in page.read_bytes()
    again = cs.explore(index, tmp_path / "again.html", pages.TEXTS, title="<i>a & b</i>", progress=False)
    assert again.read_bytes() == page.read_bytes()


def test_no_text_is_markup_and_only_the_page_s_own_script_may_run(tmp_path):
    page = door.explore(
        pages.index(), tmp_path / "page.html", pages.TEXTS, title="</title>\"'{{script}}", progress=False
    )
    whole = page.read_text(encoding="utf-8")
    assert whole.count("{{script}}") == 2  # of the title, which stands in two places and is no place to fill
    assert "broken" not in whole and "right to left" not in whole and "</title>\"'" not in whole
    assert re.findall(r"<script[^>]*>", whole) == ['<script type="application/octet-stream" id="data">', "<script>"]
    assert not re.findall(r"https?://|src=|@import|url\(", whole)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', whole)
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", whole, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")


def test_more_rows_than_wanted_are_drawn_by_the_seed(tmp_path):
    def told(seed, rows=50):
        path = tmp_path / f"{seed}-{rows}.html"
        return pages.unpacked(door.explore(index, path, pages.TEXTS, rows=rows, seed=seed, progress=False).read_bytes())

    index = pages.index()
    head, arrays = told(0)
    assert len(head["texts"]) == 50 and head["total"] == 300 and arrays["values"].shape == (50, 5)
    assert head["texts"] == told(0)[0]["texts"] != told(1)[0]["texts"]
    rows = [pages.TEXTS.index(text) if text in pages.TEXTS else -1 for text in head["texts"]]
    there = np.array(rows) >= 0
    whole = small.of(index.codes.codes(), index.weights.params["decoder_w"], "sparse", 8)
    assert there.sum() > 40
    assert_array_equal(arrays["values"][there], whole.values[np.array(rows)[there]])
    assert len(arrays["latents"]) == len(arrays["decoder"]) <= 64


def test_ids_removed_rows_and_packed_storage(tmp_path):
    index = pages.index("sparse", 40).stored_as("float32")
    index = cs.Index(index.codes, index.weights, "sparse", ids=[f"id {i}" for i in range(40)])
    index.remove(["id 3"])
    head, arrays = pages.unpacked(door.explore(index, tmp_path / "p.html", progress=False).read_bytes())
    assert head["texts"] == [f"id {i}" for i in range(40) if i != 3]
    assert head["space"] == "sparse" and arrays["decoder"].size == 0 and arrays["norms"].shape == (39,)


def test_the_decoder_is_rounded_until_the_page_fits(tmp_path):
    index, path = pages.index(), tmp_path / "page.html"
    full = pages.unpacked(door.explore(index, path, progress=False).read_bytes())[0]
    less = (path.stat().st_size - 200) / 1e6
    head = pages.unpacked(door.explore(index, path, megabytes=less, progress=False).read_bytes())[0]
    assert full["bits"] == 8 and 4 <= head["bits"] < 8
    assert head["off"] > full["off"] and path.stat().st_size <= less * 1e6


@pytest.mark.parametrize("n", [1, 2])
def test_an_index_of_few_rows(n, tmp_path):
    head, arrays = pages.unpacked(door.explore(pages.index(n=n), tmp_path / "p.html", progress=False).read_bytes())
    assert head["texts"] == [str(i) for i in range(n)] and arrays["at"].shape == (n, 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"out": "page.txt"}, "must end in .html"),
        ({"texts": ["a"]}, "texts must be 300"),
        ({"rows": 0}, "rows must be"),
        ({"megabytes": 0}, "megabytes must be"),
        ({"megabytes": float("nan")}, "megabytes must be"),
    ],
)
def test_what_is_refused_leaves_nothing(given, told, tmp_path):
    given = {"out": "page.html", **given}
    with pytest.raises(InputError, match=told):
        door.explore(pages.index(), tmp_path / given.pop("out"), progress=False, **given)
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_small_enough_leaves_the_older_one(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("older")
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(0x4E00, 0x9FFF, 200))) for _ in range(pages.N)]  # of which gzip makes little
    with pytest.raises(InputError, match=r"the page would have 0\.\d MB, more than megabytes=0.05: take fewer rows"):
        door.explore(pages.index(), tmp_path / "page.html", texts, megabytes=0.05, progress=False)
    assert (tmp_path / "page.html").read_text() == "older"
