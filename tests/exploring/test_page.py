"""The page in a real browser, from a file: the answers of `Index.search`, steering, names, the map."""

import html

import browsing
import numpy as np
import pytest
from browsing import at, complaints, text_of, until
from exploring import pages

from compressae_jax.exploring import door, small

browsing.needed()
from selenium.webdriver.common.keys import Keys  # noqa: E402

DESK, PHONE = (1300, 900), (375, 800)


@pytest.fixture(scope="module")
def browser():
    with browsing.opened() as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("explore") / "page.html"
    return door.explore(pages.index(), path, pages.TEXTS, title="made", total=1000, progress=False)


@pytest.fixture
def shown(browser, page):
    """The page, fresh, at the size of a desk."""
    browser.set_window_size(*DESK)
    return at_hash(browser, page, "")


def at_hash(browser, page, fragment):
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    until(browser, lambda: at(browser, "#main")[0].is_displayed())
    return browser


@pytest.mark.parametrize("space", ["sparse", "reconstructed", "dense_query"])
def test_the_answers_are_those_of_the_index(browser, space, tmp_path):
    index = pages.index(space)
    path = door.explore(index, tmp_path / "page.html", pages.TEXTS, progress=False)
    at_hash(browser, path, "")
    head, _ = pages.unpacked(path.read_bytes())
    asked = [0, 9, 123, 299]
    rounded = small.of(index.codes.codes(), index.weights.params["decoder_w"], head["space"], head["bits"])
    for row, twin in zip(asked, small.scores(rounded, np.array(asked)), strict=True):
        found = browser.execute_script("return codes.nearest(codes.query(arguments[0]), 10)", row)
        exact = index.search(index.codes[[row]], top=pages.N)
        if row == 9:  # all zero
            assert found == [] and (exact.rows == -1).all()
            continue
        rows, scores = [one for one, _ in found], [score for _, score in found]
        by_row = dict(zip(exact.rows[0].tolist(), exact.scores[0].tolist(), strict=True))
        np.testing.assert_allclose(scores, twin[rows], atol=1e-5)
        # Up to what rounding ties: at each rank a row as near as the index has at it.
        tie = 2 * head["off"] + 1e-6
        np.testing.assert_allclose([by_row[one] for one in rows], exact.scores[0, :10], atol=tie)
        np.testing.assert_allclose(scores, exact.scores[0, :10], atol=tie)
        assert rows[0] == row and len(set(rows)) == 10
        added = browser.execute_script(
            "return [...codes.added(codes.query(arguments[0]), arguments[1]).values()]", row, rows[3]
        )
        assert sum(added) == pytest.approx(scores[3], abs=1e-5)
    twins = browser.execute_script("return [100, 200].map((row) => codes.nearest(codes.query(row), 2))")
    assert [[row for row, _ in some] for some in twins] == index.search(index.codes[[100, 200]], top=2).rows.tolist()
    assert complaints(browser) == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_an_item_by_its_name(browser, page, size):
    browser.set_window_size(*size)
    at_hash(browser, page, "")
    assert "300 of 1,000 items, drawn by chance · 5 of 64 latents each" in text_of(browser, "#about")
    (field,) = at(browser, "#name")
    field.send_keys("item 12")
    until(browser, lambda: len(at(browser, "#names li")) == 7)
    field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    until(browser, lambda: text_of(browser, "#item") == "red item 120")
    assert browser.execute_script("return location.hash") == "#item=120"
    assert len(at(browser, "#latents .latent")) == 5 and len(at(browser, "#near li")) == 10
    assert "red item 120" not in text_of(browser, "#near a")
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0  # nothing beyond the edge
    second = at(browser, "#near li a")[1].text
    at(browser, "#near li a")[1].click()
    until(browser, lambda: text_of(browser, "#item") == second)
    browser.back()
    until(browser, lambda: text_of(browser, "#item") == "red item 120")
    field.clear()
    field.send_keys("nobody")
    until(browser, lambda: "nothing has “nobody”" in text_of(browser, "#error"))
    assert complaints(browser) == []


def test_what_each_latent_adds_to_a_similarity(shown, page):
    at_hash(shown, page, "#item=20")
    at(shown, "#near li button")[4].click()
    until(shown, lambda: at(shown, "#near li.compared button")[0].get_attribute("aria-pressed") == "true")
    score = float(at(shown, "#near li.compared .score")[0].text)
    assert at(shown, "#near li")[4].get_attribute("class") == "compared"
    added = [float(one.text.replace("−", "-")) for one in at(shown, "#latents .adds")]
    assert sum(added) == pytest.approx(score, abs=0.003) and f"together {score:.3f}" in text_of(shown, "#sum")


def slide(browser, place, value):
    browser.execute_script(
        "const one = document.querySelectorAll('#latents input')[arguments[0]]; one.value = arguments[1];"
        "one.dispatchEvent(new Event('input'))",
        place,
        value,
    )


def test_steering_ranks_anew_and_goes_back(shown, page):
    at_hash(shown, page, "#item=20")
    before = text_of(shown, "#near li a")
    first = shown.execute_script("return [...steered]")
    slide(shown, 0, -first[0][1])
    assert "as steered" in text_of(shown, "#near-title") and at(shown, "#near .moved")
    wanted = shown.execute_script(
        "const q = new Map(arguments[0]), slider = document.querySelector('#latents input');"
        "q.set(arguments[0][0][0], Number(slider.value));"
        "return codes.nearest(q, 10, 20).map(([row]) => data.texts[row])",
        first,
    )
    assert [one.text for one in at(shown, "#near li a")] == [one.strip() for one in wanted] != before
    at(shown, "#reset")[0].click()
    assert text_of(shown, "#near li a") == before and not at(shown, "#near .moved")
    for place in range(5):
        slide(shown, place, 0)
    assert "no direction" in text_of(shown, "#near")


def test_a_latent_is_added_to_an_item(shown, page):
    at_hash(shown, page, "#item=20")
    own = shown.execute_script("return [...steered.keys()]")
    other = shown.execute_script("return [...data.latents.keys()].find((one) => !steered.has(one))")
    number = shown.execute_script("return data.latents[arguments[0]]", other)
    (field,) = at(shown, "#add")
    field.send_keys(str(number), Keys.ENTER)
    until(shown, lambda: len(at(shown, "#latents .latent")) == 6)
    assert shown.execute_script("return [...steered.keys()]") == [*own, other]
    assert "as steered" in text_of(shown, "#near-title")
    shown.execute_script("location.hash = '#latent=' + arguments[0]", number)
    until(shown, lambda: at(shown, "#latent-view")[0].is_displayed())
    assert "Add it to “red item 20”" in text_of(shown, "#steer")
    at(shown, "#steer")[0].click()
    until(shown, lambda: len(at(shown, "#latents .latent")) == 6)


def test_a_latent_has_two_sides_and_a_share(shown, page):
    codes = pages.index().codes.codes()
    values, columns = np.asarray(codes.values, np.float32), np.asarray(codes.columns)
    latent = int(np.bincount(columns[values != 0]).argmax())
    at_hash(shown, page, f"#latent={latent}")
    used = ((columns == latent) & (values != 0)).any(axis=1)
    assert f"{used.sum()} of 300 items use it" in text_of(shown, "#share")
    weights = np.where(columns == latent, values, 0).sum(axis=1) / np.maximum(np.linalg.norm(values, axis=1), 1e-9)
    for name, sign in (("plus", 1), ("minus", -1)):
        told = [float(one.text.replace("−", "-")) for one in at(shown, f"#{name} .score")]
        expected = sign * np.sort(-sign * weights[sign * weights > 0])[:10] * -1
        np.testing.assert_allclose(told, expected, atol=0.01)
    assert len(at(shown, "#like a")) == 12
    cosines = [float(one.text.replace("−", "-")) for one in at(shown, "#like .score")]
    decoder = pages.WEIGHTS.params["decoder_w"]
    alike = np.delete(decoder @ decoder[latent], latent)
    np.testing.assert_allclose(sorted(map(abs, cosines)), np.sort(np.abs(alike))[-12:], atol=0.02)


def test_latents_by_how_often_they_are_used(shown):
    counts = [int(one.text or 0) for one in at(shown, "#bars .count")]
    total = shown.execute_script("return data.latents.length")
    assert sum(counts) == total and f"{64 - total} of 64" in text_of(shown, "#dead")
    fullest = int(np.argmax(counts))
    at(shown, "#bars button")[fullest].click()
    assert len(at(shown, "#browse a")) == counts[fullest]
    at(shown, "#browse a")[0].click()
    until(shown, lambda: at(shown, "#latent-view")[0].is_displayed())
    assert at(shown, "#bars button.here")


def test_a_point_of_the_map_opens_its_item(shown):
    row = shown.execute_script(
        "const [x, y] = sheet.place(33), box = sheet.canvas.getBoundingClientRect();"
        "const px = sheet.across(x), py = sheet.along(y), row = sheet.under(px, py);"
        "for (const kind of ['pointerdown', 'pointerup']) sheet.canvas.dispatchEvent(new PointerEvent(kind,"
        "  { clientX: box.x + px, clientY: box.y + py, pointerId: 1, bubbles: true })); return row"
    )
    until(shown, lambda: shown.execute_script("return location.hash") == f"#item={row}")
    painted = shown.execute_script(
        "const { canvas } = sheet, pen = canvas.getContext('2d');"
        "return pen.getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one)"
    )
    assert painted


def test_awkward_names_are_shown_as_they_are_and_run_nothing(shown, page):
    for row, text in pages.AWKWARD.items():
        at_hash(shown, page, f"#item={row}")
        told = at(shown, "#item")[0].get_property("textContent")
        assert told == {5: text[:239] + "…", 7: "(7)", 8: "[2J ?"}.get(row, " ".join(text.split()))
        assert at(shown, "#item bdi")[0].get_attribute("dir") == "auto"  # so that none turns what stands beside it
        assert shown.title != "broken" and not at(shown, "main script")
        wide = shown.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
    assert complaints(shown) == []


def test_links_stay_in_the_frame_of_a_notebook(browser, page, tmp_path):
    frame = tmp_path / "notebook.html"
    frame.write_text(f'<iframe width="900" height="700" srcdoc="{html.escape(page.read_text())}"></iframe>')
    browser.get(frame.as_uri())
    browser.switch_to.frame(0)
    until(browser, lambda: at(browser, "#browse a"))
    at(browser, "#browse a")[3].click()
    until(browser, lambda: at(browser, "#plus a, #minus a") and at(browser, "#latent-view")[0].is_displayed())
    second = at(browser, "#plus a, #minus a")[1].text
    at(browser, "#plus a, #minus a")[1].click()
    until(browser, lambda: text_of(browser, "#item") == second)
    browser.switch_to.default_content()
    assert browser.current_url == frame.as_uri() and complaints(browser) == []


@pytest.mark.parametrize(
    ("fragment", "told"),
    [("#item=300", "there is no item 300"), ("#latent=999", "no item of this page uses a latent 999")],
)
def test_an_address_of_nothing_is_said_to_be_one(shown, page, fragment, told):
    at_hash(shown, page, fragment)
    assert told in text_of(shown, "#error")
