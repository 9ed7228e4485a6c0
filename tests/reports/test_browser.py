"""The page in headless Chromium: no error, no request, sorting and filtering, dark and light, a narrow screen."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--window-size=1280,900",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def size(browser: Any, width: int, height: int = 900) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def scheme(browser: Any, name: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]}
    )


def visit(browser: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script(
            "return document.documentElement.dataset.ready || !document.getElementById('datatables')"
        )
    )


@pytest.fixture
def page(browser: Any, site: Path) -> Any:
    """The page, light and wide; loaded again only where another test has left it."""
    size(browser, 1280)
    scheme(browser, "light")
    if browser.current_url != (site / "scaling.html").as_uri():
        visit(browser, site / "scaling.html")
    return browser


def shown(browser: Any, table: str, column: int) -> list[str]:
    rows = "[...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
    script = f"return {rows}.map(r => r.cells[arguments[1]]?.dataset.text ?? r.cells[arguments[1]]?.textContent)"
    return list(browser.execute_script(script, table, column))


def choose(browser: Any, table: str, column: int, value: str) -> None:
    browser.execute_script(
        "const s = document.querySelector(`.tools[data-for=${arguments[0]}] select[data-column='${arguments[1]}']`);"
        "s.value = arguments[2]; s.dispatchEvent(new Event('change'))",
        table, column, value,
    )  # fmt: skip


def test_no_error_no_request_and_no_dead_link(browser: Any, site: Path, planted_run: Any) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    for page in (site / planted_run.run_id / "scaling.html", site / "index.html"):
        visit(browser, page)
        _links(browser)
    errors = [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert not errors
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert asked, "the log holds the pages themselves"
    # "chrome:" is the browser's own empty tab, before the first page.
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:", "chrome:"))] == []


def _links(browser: Any) -> None:
    """Every link leads to a file, every anchor to an element."""
    links = browser.execute_script("return [...document.querySelectorAll('a[href]')].map(a => a.href)")
    for link in links:
        target, _, anchor = link.removeprefix("file://").partition("#")
        assert Path(target).is_file(), link
        if anchor:
            assert browser.execute_script("return !!document.getElementById(arguments[0])", anchor), anchor


def test_leaderboard_starts_at_the_longest_common_length(browser: Any, site: Path) -> None:
    visit(browser, site / "scaling.html")
    page = browser
    assert set(shown(page, "leaderboard", 3)) == {"2,048"}
    assert len(shown(page, "leaderboard", 0)) == 10


def test_failures_keep_their_rows(page: Any) -> None:
    choose(page, "leaderboard", 3, "8,192")
    steps = dict(zip(shown(page, "leaderboard", 0), shown(page, "leaderboard", 5), strict=True))
    assert steps["attention_naive"] == "✕ out of memory" and steps["gru"] == "✕ time limit"
    assert len(steps) == 10


def test_filtering(page: Any) -> None:
    everything = page.execute_script("return document.querySelector('#cells_info').textContent")
    choose(page, "cells", 0, "attention")
    choose(page, "cells", 3, "time")
    assert set(shown(page, "cells", 0)) == {"attention"} and set(shown(page, "cells", 3)) == {"time"}
    assert page.execute_script("return document.querySelector('#cells_info').textContent") != everything


def test_sorting(page: Any) -> None:
    header = page.find_element("css selector", "#leaderboard thead th:nth-child(6)")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", header)
    script = "return [...document.querySelectorAll('#leaderboard tbody tr')].map(r => Number(r.cells[5].dataset.order))"
    for descending in (False, True):
        header.click()
        deadline = time.monotonic() + 10  # the table redraws after the click, not within it
        while (values := page.execute_script(script)) != sorted(values, reverse=descending):
            assert time.monotonic() < deadline, values
            time.sleep(0.1)
        assert len(set(values)) > 3


def test_search_box(page: Any) -> None:
    box = page.find_element("css selector", "#failures_wrapper input")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    box.send_keys("gru")
    assert set(shown(page, "failures", 0)) == {"gru"}


def test_dark_and_light_differ(browser: Any, site: Path) -> None:
    colors = {}
    shots = {}
    for name in ("light", "dark"):
        scheme(browser, name)
        visit(browser, site / "scaling.html")
        colors[name] = browser.execute_script(
            "const c = e => getComputedStyle(e);"
            "return [c(document.body).backgroundColor, c(document.querySelector('figure svg text')).fill]"
        )
        shots[name] = browser.get_screenshot_as_png()
    assert shots["light"] != shots["dark"]
    assert all(a != b for a, b in zip(colors["light"], colors["dark"], strict=True))
    scheme(browser, "light")


def test_theme_button(page: Any) -> None:
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.find_element("id", "theme").click()
    after = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_script("localStorage.clear()")
    assert before != after


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_sideways_scrolling(page: Any, browser: Any, width: int) -> None:
    size(browser, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    size(browser, 1280)


def test_every_plot_has_an_alternative_text(page: Any) -> None:
    labels = page.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(s => s.getAttribute('aria-label'))"
    )
    assert len(labels) >= 15 and all(label and len(label) > 60 for label in labels)


def test_labels_of_a_plot_do_not_overlap(page: Any) -> None:
    script = """
      const bad = [];
      for (const svg of document.querySelectorAll('figure svg')) {
        const boxes = [...svg.querySelectorAll('text')].map(t => [t.getBoundingClientRect(), t.textContent]);
        for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
          const [a, b] = [boxes[i][0], boxes[j][0]];
          const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          if (w > 2 && h > 4.5) bad.push([svg.getAttribute('aria-label').slice(0, 40), boxes[i][1], boxes[j][1], w, h]);
        }
      }
      return bad;"""
    assert page.execute_script(script) == []


def test_plots_are_not_cut_off(page: Any) -> None:
    script = """
      const bad = [];
      for (const svg of document.querySelectorAll('figure svg')) {
        const box = svg.getBoundingClientRect();
        for (const t of svg.querySelectorAll('text')) {
          const b = t.getBoundingClientRect();
          if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 3 || b.bottom > box.bottom + 3)
            bad.push([svg.getAttribute('aria-label').slice(0, 50), t.textContent]);
        }
      }
      return bad;"""
    assert page.execute_script(script) == []
