"""A real browser for the tests of pages: Chromium without a screen, driven by Selenium."""

import contextlib
import shutil

import pytest

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")


def needed():
    """Skip the module that asks where a browser or what drives it is missing."""
    pytest.importorskip("selenium.webdriver")
    if not (DRIVER and BROWSER):
        pytest.skip("no chromium with its driver", allow_module_level=True)


@contextlib.contextmanager
def opened():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield one
    finally:
        one.quit()


def until(browser, holds):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: holds())


def at(browser, selector):
    return browser.find_elements("css selector", selector)


def text_of(browser, selector):
    return " ".join(one.text for one in at(browser, selector))


def complaints(browser):
    return [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
