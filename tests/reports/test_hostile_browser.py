"""Markup in every text and name of a run, in headless Chromium: it is shown, not run, and makes no element."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.page import render, render_index, render_translation
from results.store import Run
from tests.reports.test_browser import browser, pytestmark, visit  # noqa: F401 - `browser` is a fixture
from tests.synthetic_run import make_run
from tests.synthetic_training import LANGUAGE, make_training

RUN = "window.pwned=1"
MARKUP = f'"\'><img src=x onerror="{RUN}"></title></style></script><script>{RUN}</script><svg onload="{RUN}">'
# What the program itself sets from a few words; everything else is somebody's text.
CODES = {
    "status", "kind", "regime", "mode", "better", "trial_id", "trial_ids", "protocol", "dtype", "phase", "split", "splits",
    "metric", "suite", "match", "family", "path", "run_id", "created", "failed_phase", "unstable", "spec", "started_at",
    "layouts", "modes",
}  # fmt: skip


def marked(value: Any, key: str = "") -> Any:
    """The same data, with markup at the end of every text. Names stay the same in plan and records."""
    if isinstance(value, dict):
        return {k: v if k in CODES else marked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [marked(v, key) for v in value]
    return f"{value}{MARKUP}" if isinstance(value, str) and value else value


def poison(run: Run) -> Run:
    for name in ("plan.json", "environment.json", "summary.json"):
        run.write_json(name, marked(run.read_json(name)))
    lines = run.records_path.read_text().splitlines()
    run.records_path.write_text("".join(json.dumps(marked(json.loads(line))) + "\n" for line in lines) + f"{MARKUP}\n")
    found, skipped = run.read()
    assert len(found) == len(lines) and len(skipped) == 1
    return run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs, folder = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("site")
    poisoned = [
        poison(make_run(runs, lengths=(64, 128, 256), samples=2, seeds=(0, 1))),
        poison(make_training(runs, tasks=(LANGUAGE,))),
    ]
    for run in poisoned:
        render(run, folder)
    (runs / "broken").mkdir()
    (runs / "broken" / "plan.json").write_text(json.dumps({"suite": MARKUP, "preset": MARKUP, "created": MARKUP}))
    render_index([*poisoned, Run(runs / "broken")], folder)
    layers = [[[[0.5, 0.5], [0.5, 0.5]]]]
    found = {"competitor": MARKUP, "text": MARKUP, "source": [MARKUP, "b"], "target": ["a", MARKUP], "layers": layers}
    render_translation(MARKUP, MARKUP, [found], folder)
    return folder


@pytest.mark.parametrize("name", ["scaling", "lm", "index", "translate"])
def test_markup_is_text(browser: Any, site: Path, name: str) -> None:  # noqa: F811
    visit(browser, site / f"{name}.html")
    assert browser.execute_script("return window.pwned") is None
    assert browser.execute_script("return document.querySelectorAll('[onerror], [onload], img').length") == 0
    scripts = browser.execute_script("return [...document.scripts].map(s => s.type)")
    assert scripts in (["text/plain", "module"], ["module"])
    assert "window.pwned=1" in browser.execute_script("return document.body.textContent")


def test_a_script_that_got_in_would_not_run(browser: Any, site: Path) -> None:  # noqa: F811
    """Were a template to forget its escaping: the page's own policy is the second wall."""
    page = (site / "translate.html").read_text(encoding="utf-8")
    forgotten = site / "forgotten.html"
    forgotten.write_text(
        page.replace("<main>", f"<main>{MARKUP}<script>document.title='ran'</script>"), encoding="utf-8"
    )
    browser.get(forgotten.as_uri())
    assert browser.execute_script("return document.querySelectorAll('[onerror]').length") == 1, "the markup is there"
    assert browser.execute_script("return window.pwned") is None
    assert browser.title != "ran"
