"""The page of a run that trains, in headless Chromium: no error, no request, sorting, dark, and a narrow screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.page import render, render_index
from results.store import Run
from tests.reports.test_browser import (  # noqa: F401 - `browser` is a fixture
    _links,
    browser,
    choose,
    pytestmark,
    scheme,
    shown,
    size,
    visit,
)
from tests.reports.test_browser import test_labels_of_a_plot_do_not_overlap as _no_overlap
from tests.reports.test_browser import test_plots_are_not_cut_off as _not_cut_off
from tests.synthetic_training import make_training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_training(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def trained_site(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    render(trained, folder)
    render_index([trained], folder)
    return folder


@pytest.fixture
def page(browser: Any, trained_site: Path) -> Any:  # noqa: F811
    """The page, light and wide; loaded again only where another test has left it."""
    size(browser, 1280)
    scheme(browser, "light")
    if browser.current_url != (trained_site / "lm.html").as_uri():
        visit(browser, trained_site / "lm.html")
    return browser


def test_no_error_no_request_and_no_dead_link(browser: Any, trained_site: Path, trained: Run) -> None:  # noqa: F811
    browser.get_log("performance")
    browser.get_log("browser")
    for path in (trained_site / trained.run_id / "lm.html", trained_site / "index.html"):
        visit(browser, path)
        _links(browser)
    assert not [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert asked and not [url for url in asked if not url.startswith(("file:", "blob:", "data:", "chrome:"))]


def test_leaderboard_starts_with_the_best(page: Any) -> None:
    assert shown(page, "t0-board", 1)[0] == "attention" and shown(page, "t0-board", 0)[:4] == ["1", "2", "3–4", "3–4"]
    assert shown(page, "t0-board", 0)[-1] == "–"


def test_filtering(page: Any) -> None:
    choose(page, "t0-board", 2, "recurrent")
    assert set(shown(page, "t0-board", 2)) == {"recurrent"}
    choose(page, "t0-board", 2, "")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_sideways_scrolling(page: Any, width: int) -> None:
    size(page, width)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    size(page, 1280)


def test_labels_of_a_plot_do_not_overlap(page: Any) -> None:
    _no_overlap(page)


def test_plots_are_not_cut_off(page: Any) -> None:
    _not_cut_off(page)


def test_dark_and_light_differ(page: Any, trained_site: Path) -> None:
    colors = []
    for name in ("light", "dark"):
        scheme(page, name)
        visit(page, trained_site / "lm.html")
        colors.append(page.execute_script(
            "const c = e => getComputedStyle(e);"
            "return [c(document.body).backgroundColor, c(document.querySelector('figure svg text')).fill]"
        ))  # fmt: skip
    assert all(a != b for a, b in zip(*colors, strict=True))
    scheme(page, "light")


def test_samples_are_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('pre.text *:not(b)').length") == 0
    assert "<script>" in page.execute_script("return document.querySelector('pre.text').textContent")
