"""The page in a real browser: Chromium without a screen, driven by Selenium; skipped where these are not installed."""

import browsing
import numpy as np
import pyarrow as pa
import pytest
from browsing import at, complaints, text_of, until
from compression.test_to_folder import make_vectors
from service.test_service import NAMES, N, make_folder, serving

from compressae_jax.data import open_source
from compressae_jax.service.catalogue import Catalogue
from compressae_jax.service.payload import Payload

browsing.needed()
from selenium.webdriver.common.keys import Keys  # noqa: E402


@pytest.fixture(scope="module")
def browser():
    with browsing.opened() as one:
        yield one


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    path = make_folder(tmp_path_factory.mktemp("page") / "index")
    texts = [f"<b>{name}</b> the text" for name in NAMES]  # which must not become markup
    payload = Payload(pa.table({"id": NAMES, "text": texts}))
    return Catalogue(path, payload=payload, dense=open_source(make_vectors(N), ids=NAMES))


@pytest.mark.parametrize("size", [(1200, 900), (375, 700)], ids=["desk", "phone"])
def test_search_by_typing_a_name(browser, catalogue, size):
    browser.set_window_size(*size)
    with serving(catalogue) as ask:
        browser.get(f"http://127.0.0.1:{ask.port}/")
        until(browser, lambda: "200 items" in text_of(browser, "#about"))
        (field,) = at(browser, "#name")
        field.send_keys("item/17")
        until(browser, lambda: len(at(browser, "#names li")) == 11)
        field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
        until(browser, lambda: at(browser, "#latents td"))
        assert text_of(browser, "#item") == "<b>item/170 ß</b> the text"
        near = ask("/neighbours?id=item/170%20%C3%9F&top=10")
        shown = [one.text for one in at(browser, ".side li a")]
        assert shown == near["codes"]["texts"] + near["dense"]["texts"]
        told = text_of(browser, ".side .told")
        assert "bytes an item" in told and told.count(" ms") == 2
        latents = ask("/latents?id=item/170%20%C3%9F")
        assert [one.text for one in at(browser, "#latents td:first-child")] == [str(j) for j in latents["columns"]]
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0  # nothing beyond the edge
        at(browser, ".side li a")[0].click()
        until(browser, lambda: text_of(browser, "#item") == near["codes"]["texts"][0])
        browser.back()
        until(browser, lambda: text_of(browser, "#item") == "<b>item/170 ß</b> the text")
        field.clear()
        field.send_keys("nobody")
        until(browser, lambda: "no item has “nobody”" in text_of(browser, "#error"))
        assert complaints(browser) == []


def test_a_token_is_asked_for(browser, catalogue):
    with serving(catalogue, token="sesame") as ask:
        browser.get(f"http://127.0.0.1:{ask.port}/")
        (field,) = at(browser, "#token")
        until(browser, field.is_displayed)
        field.send_keys("wrong", Keys.ENTER)
        until(browser, lambda: "not the token" in text_of(browser, "#error"))
        field.clear()
        field.send_keys("sesame", Keys.ENTER)
        until(browser, lambda: "200 items" in text_of(browser, "#about"))
        assert not field.is_displayed() and not at(browser, "#error")[0].is_displayed()
        browser.execute_script("sessionStorage.clear()")
        browser.get_log("browser")  # of the refusals


def test_an_index_without_more_is_shown_by_its_ids(browser, tmp_path):
    with serving(Catalogue(make_folder(tmp_path / "index", np.arange(N) + 7))) as ask:
        browser.get(f"http://127.0.0.1:{ask.port}/?id=9")
        until(browser, lambda: at(browser, "#latents td"))
        assert text_of(browser, "#item") == "9" and len(at(browser, ".side")) == 1
        assert complaints(browser) == []
