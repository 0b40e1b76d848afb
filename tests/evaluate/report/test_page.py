"""The page in a browser: it sorts, filters and opens by mouse and by keyboard, fits a phone and fetches nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import ENTER, TAB, Browser, browsing, programs
from recorded import a_record
from reported import fill, pictures, put, reported

pytestmark = pytest.mark.skipif(
    programs() is None, reason="chromium or chromedriver is missing: apt install chromium-driver"
)

NAMES = "return [...document.querySelectorAll('#board tbody tr:not([hidden]) th')].map(th => th.textContent.trim())"
HEADS = "return [...document.querySelectorAll('#board thead th:not([hidden])')].map(th => th.textContent.trim())"
FOCUSED = "return document.activeElement.id || document.activeElement.textContent.trim()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    put(fill(out), a_record("B", task="detect", label="micro"), pictures=pictures())
    return reported(out).write(out / "report.html")


@pytest.fixture(autouse=True)
def page(browser: Browser, written: Path) -> Iterator[None]:
    """Open at full width; afterwards nothing was said on the console and nothing but the page was asked for."""
    browser.resize(1280)
    browser.log("browser")
    browser.log("performance")
    browser.prefer(prefers_reduced_motion="reduce")
    browser.open(written)
    yield
    assert browser.log("browser") == []
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    assert set(asked) == {written.resolve().as_uri()}


def sorted_by(browser: Browser, head: str) -> str:
    heads = "[...document.querySelectorAll('#board thead th')]"
    return browser.js(f"return {heads}.find(th => th.textContent.includes(arguments[0])).ariaSort", head)


def test_a_click_on_a_columns_name_sorts_by_it(browser: Browser):
    best_first = ["random-init", "D", "C", "B", "A", "chance"]
    browser.click('#board thead th[data-task="knn"] button')
    assert browser.js(NAMES) == best_first
    assert sorted_by(browser, "k-NN") == "descending"
    browser.click('#board thead th[data-task="knn"] button')
    assert browser.js(NAMES) == best_first[::-1]
    assert sorted_by(browser, "k-NN") == "ascending"
    browser.click("#board thead th:first-child button")
    assert browser.js(NAMES) == ["A", "B", "C", "chance", "D", "random-init"]
    assert sorted_by(browser, "k-NN") == "none"


def test_what_has_no_number_stands_last_either_way(browser: Browser):
    rising = ["A", "B", "C", "D", "random-init"]
    browser.click('#board thead th[data-task="spectrum"] button')
    assert browser.js(NAMES) == [*rising[::-1], "chance"]
    browser.click('#board thead th[data-task="spectrum"] button')
    assert browser.js(NAMES) == [*rising, "chance"]


def test_lower_is_better_sorts_the_other_way(browser: Browser):
    heads = browser.js(HEADS)
    browser.js("document.querySelectorAll('#board thead button')[arguments[0]].click()", heads.index("mean rank"))
    assert browser.js(NAMES)[0] == "D"


def test_words_find_rows(browser: Browser):
    browser.click("#words")
    browser.type("RANDOM resnet")
    assert browser.js(NAMES) == ["random-init"]
    assert browser.js("return document.getElementById('count').textContent") == "1 of 6 rows"


def test_a_task_chooses_columns_and_the_rows_that_have_any(browser: Browser):
    choose = "const e = document.getElementById('task'); e.value = arguments[0]; e.dispatchEvent(new Event('input'))"
    browser.js(choose, "spectrum")
    assert [head for head in browser.js(HEADS) if "digits" in head] == ["digits RankMe"]
    assert "chance" not in browser.js(NAMES)
    browser.js(choose, "")
    assert len(browser.js(NAMES)) == 6


def test_a_row_opens_and_closes_by_mouse(browser: Browser):
    shown = "return !document.getElementById('checkpoint-b').hidden"
    assert not browser.js(shown)
    browser.click('button[aria-controls="checkpoint-b"]')
    assert browser.js(shown)
    assert browser.js("return document.querySelector('button[aria-controls=checkpoint-b]').ariaExpanded") == "true"
    assert browser.js("return document.getElementById('checkpoint-b').getBoundingClientRect().top") < 100
    browser.click("#checkpoint-b .close")
    assert not browser.js(shown)
    assert browser.js("return document.querySelector('button[aria-controls=checkpoint-b]').ariaExpanded") == "false"


def test_a_row_opens_sorts_and_closes_by_keyboard(browser: Browser):
    browser.type(TAB)
    assert browser.js(FOCUSED) == "Skip to the leaderboard"
    browser.type(ENTER + TAB * 5)
    assert browser.js(FOCUSED) == "Model"
    browser.type(" ")
    assert sorted_by(browser, "Model") == "ascending"
    browser.type(TAB * len(browser.js(HEADS)))
    assert browser.js(FOCUSED) == "A"
    outline = browser.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    browser.type(ENTER)
    assert browser.js(FOCUSED) == "checkpoint-a"
    browser.type(TAB + ENTER)
    assert browser.js("return document.getElementById('checkpoint-a').hidden")
    assert browser.js(FOCUSED) == "A"


def test_a_link_to_a_checkpoint_opens_it(browser: Browser, written: Path):
    browser.do("POST", "url", url="data:text/html,")
    browser.do("POST", "url", url=f"{written.resolve().as_uri()}#checkpoint-c")
    assert not browser.js("return document.getElementById('checkpoint-c').hidden")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_sideways(browser: Browser, width: int):
    browser.resize(width)
    browser.js("for (const row of document.querySelectorAll('.open')) row.click()")
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    browser.js("document.querySelector('#board').parentElement.scrollLeft = 300")
    name, box = browser.js(
        "const b = document.querySelector('#board'); return [b.querySelector('tbody th'), b.parentElement]"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert abs(name - box) < 2


def test_every_control_and_figure_has_a_name(browser: Browser):
    unnamed = browser.js(
        "const named = e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby'));"
        "const all = (what, has) => [...document.querySelectorAll(what)].filter(e => !has(e)).map(e => e.outerHTML);"
        "return [...all('button', e => named(e) || e.innerText), ...all('input, select', e => e.labels.length),"
        " ...all('[role=region], [role=img]', named), ...all('img', e => e.alt)].map(text => text.slice(0, 80))"
    )
    assert unnamed == []
    twice = browser.js(
        "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length - new Set(ids).size"
    )
    assert twice == 0
