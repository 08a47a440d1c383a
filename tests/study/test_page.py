"""The page of a study in a real browser: it renders, fits, says nothing in the console, fetches nothing."""

from pathlib import Path

import pytest

from tests.report import chromium

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page_path(finished) -> Path:
    return finished[0] / "report" / "index.html"


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
def test_it_renders_and_fits(browser, page_path, width, dark):
    browser.problems.clear()
    browser.open(page_path, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    heights = browser.run("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
    assert len(heights) >= 15 + 4 and min(heights) > 50
    assert browser.run("document.querySelectorAll('#fits .curve').length") >= 1
    assert "comparisons with the base" in browser.run("document.querySelector('h1').textContent")
    assert browser.run("JSON.parse(document.getElementById('data').textContent).lines.length") == 15
    assert browser.problems == []
    assert all(url.startswith(("file://", "data:")) for url in browser.requests)
