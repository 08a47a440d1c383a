"""The page in a real browser: it renders, searches, follows links, and a puzzle's HTML does nothing."""

from pathlib import Path

import pytest

from t5x_selfprog.report.build import build_report
from tests.report import chromium
from tests.report.synthetic_run import make_run

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return Path(build_report(str(make_run(tmp_path_factory.mktemp("runs") / "run"))))


@pytest.fixture
def page(browser, report):
    browser.problems.clear()
    browser.requests.clear()
    browser.open(report)
    yield browser
    assert browser.problems == []
    assert all(url.startswith(("file://", "data:", "blob:")) for url in browser.requests)


def shown(page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#cards > article')].filter(c => !c.hidden).map(c => c.textContent)"
    )


def test_renders_and_nothing_of_a_puzzle_runs(page):
    assert page.run("document.querySelector('h1').textContent").endswith(".")
    heights = page.run("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
    assert len(heights) >= 10 and min(heights) > 50
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('article img, article script, article svg').length") == 0
    assert any("<img src=x onerror=" in text for text in shown(page))


def test_search_by_keyboard(page):
    everything = page.run("document.querySelectorAll('#cards > article').length")
    page.press("/")
    page.type("REVERSED onerror nothing-like-this")
    assert shown(page) == []
    page.press("Escape")
    assert page.run("document.getElementById('found').value") == f"{everything} puzzles"
    page.press("/")
    page.type("Lantern")
    found = shown(page)
    assert 0 < len(found) < everything and all("lantern" in text for text in found)
    assert page.run("document.getElementById('found').value") == f"{len(found)} puzzle" + "s" * (
        len(found) != 1
    )


def test_filters_combine_and_order_sorts(page):
    page.run("(type.value = 'int', type.dispatchEvent(new Event('input')))")
    page.run("(iteration.value = '1', iteration.dispatchEvent(new Event('input')))")
    assert shown(page) and all(text.startswith("intiteration 1") for text in shown(page))
    page.run("(order.value = 'hard', order.dispatchEvent(new Event('input')))")
    rates = page.run("[...document.querySelectorAll('#cards > article')].map(c => +c.dataset.rate)")
    assert rates == sorted(rates)


def test_the_gallery_has_pages(page):
    """All cards are on one of them, keys go on to the next, a link opens the right one."""
    everything = page.run("document.querySelectorAll('#cards > article').length")
    assert everything > 30 == len(shown(page))
    pages = [shown(page)]
    while page.run("!document.getElementById('later').disabled"):
        page.run("document.getElementById('later').click()")
        pages.append(shown(page))
    assert sum(map(len, pages)) == everything == len({text for texts in pages for text in texts})
    assert page.run("document.getElementById('place').value").endswith(f"{everything} of {everything}")
    page.run("[...document.querySelectorAll('#cards > article')].filter(c => !c.hidden)[0].focus()")
    page.press("k")
    assert shown(page) == pages[-2] and page.run("document.activeElement.textContent") == pages[-2][-1]
    last = page.run("document.querySelector('#cards').lastElementChild.id")
    page.run("document.getElementById('search').value = ''")
    page.run(f"location.hash = '#{last}'")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run(f"!document.getElementById('{last}').hidden")
    page.press("/")
    page.type("lantern")
    assert page.run("document.getElementById('pages').hidden") == (len(shown(page)) <= 30)


def test_a_table_with_more_behind_its_edge_shows_so(page, report):
    page.open(report, width=400)
    wide = page.run(
        "[...document.querySelectorAll('.wide')].filter(w => w.scrollWidth > w.clientWidth).length"
    )
    shaded = "getComputedStyle(document.querySelector('.wide')).backgroundImage.split('linear-gradient').length - 1"
    assert wide > 0 and page.run(shaded) == 4


def test_keys_walk_through_the_cards(page):
    page.press("j")
    page.press("j")
    page.press("k")
    first = "document.querySelector('#cards > article')"
    assert page.run(f"document.activeElement === {first}")


def test_a_link_to_a_hidden_puzzle_shows_it(page):
    page.press("/")
    page.type("nothing-like-this")
    target = page.run("document.querySelector('.lineage a').hash.slice(1)")
    page.run(f"location.hash = '#{target}'")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run(f"!document.getElementById('{target}').hidden")


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_fits_every_screen_in_both_schemes(page, report, width, dark):
    page.open(report, width=width, dark=dark)
    assert page.run("document.documentElement.scrollWidth") <= width
    red, green, blue = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(red, green, blue) < 60) == dark


def test_text_is_readable_in_both_schemes(page, report):
    """WCAG's 4.5 to 1 for all text colours against their background."""
    script = """(() => {
      const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
      const of = (rgb) => {
        const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
        return .2126 * light(r) + .7152 * light(g) + .0722 * light(b);
      };
      const paper = of(getComputedStyle(document.body).backgroundColor);
      const seen = {};
      for (const e of document.querySelectorAll('p, h1, h2, td, th, summary, a, .code i, .word, svg text')) {
        const style = getComputedStyle(e), ink = of(e instanceof SVGElement ? style.fill : style.color);
        seen[e.className.baseVal ?? e.className] = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      }
      return seen;
    })()"""
    for dark in (False, True):
        page.open(report, dark=dark)
        low = {name: round(ratio, 2) for name, ratio in page.run(script).items() if ratio < 4.5}
        assert low == {}


def test_click_through_the_lineage(page):
    """A card leads to a problem of its prompt, folded away until then, and to the weights that wrote it."""
    first = "document.querySelector('#cards .lineage a[href^=\"#p-\"]')"
    target = page.run(f"{first}.hash.slice(1)")
    assert page.run("!document.getElementById('sources').open")
    page.run(f"{first}.click()")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run("document.getElementById('sources').open")
    assert page.run(f"document.getElementById('{target}').getBoundingClientRect().height") > 20
    page.run("document.querySelector('#cards .lineage a[href^=\"#c-\"]').click()")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run("document.querySelector('tr:target').textContent").startswith("base@")


def test_plots_are_files_too(page):
    """SVG that stands alone, a PNG that is drawn, numbers as CSV."""
    page.run("window.made = []; URL.createObjectURL = (blob) => { made.push(blob); return 'blob:x'; }; 1")
    page.run("HTMLAnchorElement.prototype.click = () => {}; 1")
    tools = "document.querySelector('figure .tools')"
    page.run(f"{tools}.children[0].click()")
    text = page.run("made[0].text()")
    assert text.startswith("<svg") and "font:" in text and "var(--" not in text
    page.run(f"{tools}.children[1].click()")
    page.run("new Promise(done => setTimeout(done, 500))")
    assert page.run("made[1].type") == "image/png" and page.run("made[1].size") > 2000
    page.run("document.querySelector('details .tools button').click()")
    assert page.run("made[2].text()").startswith('"arm","Pass@1"')


def test_data_can_be_saved(page):
    assert page.run("JSON.parse(document.getElementById('data').textContent).evaluations.length") == 7
    page.run("document.getElementById('save').click()")
