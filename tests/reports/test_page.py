"""Whole pages from synthetic runs: what they say, what they escape, and that odd runs still render."""

from __future__ import annotations

import csv
import io
import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import scaling_files
from reports.canvas import spread
from reports.csv_text import csv_cells
from reports.data import load
from reports.fits import P_HIGH, P_LOW
from reports.headline import headline
from reports.page import ReportError, render, render_index
from reports.plots import groups
from reports.scaling_files import fits_frame
from reports.statistics import Analysis, analyse
from reports.tables import exponent, leaderboard
from results.store import Run
from tests.synthetic_run import ARCHITECTURES, CROSSING, make_run

BY_NAME = {p.name: p for p in ARCHITECTURES}


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_planted_exponents_are_found(analysis: Analysis) -> None:
    frame = fits_frame(analysis)
    for planted in ARCHITECTURES:
        rows = frame[(frame.architecture == planted.name) & (frame.regime == "batch1")]
        row = rows[(rows.phase == "forward") & (rows.quantity == "time")].iloc[0]
        assert row.verdict == "agrees" and row.low <= planted.exponent <= row.high, planted.name
        span = frame[(frame.architecture == planted.name) & (frame.quantity == "span")].iloc[0]
        assert span.exponent == pytest.approx(0 if planted.parallel else 1, abs=0.02)
    assert not (frame.verdict == "disagrees").any()


def test_a_wrong_claim_is_contradicted(tmp_path: Path) -> None:
    def lie(plan: dict[str, Any]) -> None:
        plan["architectures"][0]["traits"] |= {"time_exponent": 2.0, "parallel_in_time": True, "path": "constant"}

    run = make_run(tmp_path, architectures=ARCHITECTURES[:1], change_plan=lie)
    frame = fits_frame(analyse(load(run)))
    wrong = set(frame[frame.verdict == "disagrees"].quantity)
    assert {"time", "span", "flops", "path_length"} <= wrong


def test_planted_crossing(analysis: Analysis) -> None:
    pairs = analysis.crossovers["batch1", "forward", "time"]
    found = next(c for c in pairs if {c.a, c.b} == {"attention", "windowed"})
    assert found.winner == "windowed" and found.low <= CROSSING * 1.03 and found.high >= CROSSING * 0.97


def test_failed_cells_never_enter(analysis: Analysis) -> None:
    fit = analysis.fit("attention_naive", "cell", "batch1", "forward", "time")
    assert fit is not None and fit.fit.last_length == 2048
    stops = {(s.architecture, s.regime): (s.length, s.status) for s in analysis.data.stops("forward_backward")}
    assert stops["attention_naive", "batch1"] == (4096, "oom")
    assert stops["gru", "tokens"] == (8192, "timeout")


def test_what_was_measured_of_a_failed_cell_stays_on_the_leaderboard(analysis: Analysis) -> None:
    table = leaderboard(analysis)
    title = analysis.data.regime_title("batch1")
    rows = [r for r in table.rows if (r[0].order, r[2].text, r[3].text) == ("attention_naive", title, "4,096")]
    (row,) = rows
    cell = dict(zip(table.columns, row, strict=True))
    assert cell["rank"].text == "–" and cell["training step"].text.startswith("✕")
    assert cell["FLOPs a sequence"].text != "–"


@pytest.mark.parametrize(("threads", "drawn"), [(2, True), (1, False)])
def test_no_speed_up_from_one_thread_to_one(analysis: Analysis, threads: int, drawn: bool) -> None:
    data = replace(analysis.data, environment=analysis.data.environment | {"threads": threads})
    titles = [plot.title for group in groups(replace(analysis, data=data)) for plot in group.plots]
    assert any(title.startswith("Speed-up from 1 thread to") for title in titles) == drawn


def test_a_file_that_cannot_be_made(planted_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, analysis: Analysis) -> str:
        raise ValueError(f"planted in {name}")

    monkeypatch.setattr(scaling_files, "text", fail)
    with pytest.raises(ReportError, match="planted in cells"):
        render(planted_run, tmp_path)


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4), st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_a_row_in_two_parts(first: list[str], second: list[str]) -> None:
    """Whatever names and reasons hold, a file's row is one row."""
    text = f"{csv_cells(first)},{csv_cells(second)}\n"
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [first + second]


def test_csv_files(site: Path, planted_run: Run) -> None:
    cells = pd.read_csv(site / "scaling_cells.csv")
    records, _ = planted_run.read()
    assert len(cells) == sum(max(1, len(r.measurements)) for r in records)
    timed = cells[cells.metric == "time"].iloc[0]
    samples = [float(v) for v in timed.samples.split(";")]
    assert len(samples) == 9 and timed.low <= timed["median"] <= timed.high
    assert (cells.status != "ok").sum() > 0
    fits = pd.read_csv(site / "scaling_fits.csv")
    assert {"architecture", "regime", "phase", "quantity", "exponent", "low", "high", "verdict", "theory", "offset",
            "coefficient", "n_lengths", "local_slope_long_end", "method"} <= set(fits.columns)  # fmt: skip
    assert (site / planted_run.run_id / "scaling_fits.csv").read_bytes() == (site / "scaling_fits.csv").read_bytes()
    assert len(pd.read_csv(site / "scaling_crossovers.csv")) == 6 * 45


def test_hostile_names_stay_text(site: Path) -> None:
    page = text(site / "scaling.html")
    assert "<img src=x" not in page and "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert" in page
    assert page.count("</script>") == 2  # the bundle's and the page's own


def test_page_is_self_contained_and_small(site: Path) -> None:
    page = text(site / "scaling.html")
    assert len(page) < 4_000_000
    without_bundle = re.sub(r'<script type="text/plain".*?</script>', "", page, flags=re.S)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', without_bundle)
    assert page.count('id="datatables"') == 1


def test_every_plot_has_words(site: Path) -> None:
    page = text(site / "scaling.html")
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.S)
    assert len(figures) >= 15
    for figure in figures:
        assert 'role="img"' in figure
        label = re.search(r'aria-label="([^"]+)"', figure)
        caption = re.search(r"<figcaption>(.+?)</figcaption>", figure, flags=re.S)
        assert label and len(label[1]) > 60 and caption and len(caption[1]) > 30
    assert re.search(r"#fe[0-9a-f]{2}01|#fd000\d", page) is None  # every stand-in colour became a variable


def test_ids_are_unique(site: Path) -> None:
    ids = re.findall(r'\sid="([^"]+)"', text(site / "scaling.html"))
    assert len(ids) == len(set(ids))


def test_a_plug_in_appears_everywhere(tmp_path: Path) -> None:
    stranger = replace(BY_NAME["conv"], name="my_plugin", family="unheard of")
    page = text(render(make_run(tmp_path / "runs", architectures=(*ARCHITECTURES[:3], stranger)), tmp_path / "site"))
    for part in ('id="ways"', 'id="leaderboard"', 'id="crossings"', 'id="fits"', 'id="cells"'):
        start = page.index(part)
        assert "my_plugin" in page[start : page.index("</section>", start)], part
    assert page.count("my_plugin") > 50


def strip(plan: dict[str, Any]) -> None:
    plan["architectures"] = []
    del plan["lengths"], plan["created"], plan["command"]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("all-fail", {"all_fail": True}, "Nothing was measured"),
        ("one-architecture", {"architectures": ARCHITECTURES[:1]}, "fastest at"),
        ("one-seed", {"seeds": (0,)}, "1 round"),
        ("one-sample", {"seeds": (0,), "samples": 1}, "1 round"),
        ("no-decode-no-roof", {"kinds": ("cell", "graph", "path")}, "Leaderboard"),
        ("cells-only", {"kinds": ("cell",)}, "not measured"),
        ("graph-only", {"kinds": ("graph",)}, "Nothing was measured"),
        ("nothing", {"kinds": ()}, "Nothing was measured"),
        ("two-lengths", {"lengths": (64, 128)}, "at least 4"),
        ("one-length", {"lengths": (64,)}, "at least 4"),
        ("poor-plan", {"change_plan": strip}, "Leaderboard"),
    ],
)
def test_odd_runs_render(tmp_path: Path, name: str, options: dict[str, Any], says: str) -> None:
    options.setdefault("architectures", (BY_NAME["lstm"], BY_NAME["attention_naive"]))
    run = make_run(tmp_path / "runs", run_id=name, **options)
    page = text(render(run, tmp_path / "site"))
    assert says in page
    anchors = re.findall(r'href="#([^"]+)"', re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    assert all(f'id="{a}"' in page for a in anchors)


def test_missing_side_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", architectures=ARCHITECTURES[:2], lengths=(64, 128, 256, 512))
    (run.folder / "summary.json").unlink()
    (run.folder / "environment.json").unlink()
    with open(run.records_path, "a") as file:
        file.write('{"torn')
    page = text(render(run, tmp_path / "site"))
    assert "incomplete run" in page and "unreadable line" in page


def test_rendering_twice_gives_the_same_page(planted_run: Run, site: Path, tmp_path: Path) -> None:
    """But for the time that drawing took."""
    timing = re.compile("<tr><th[^>]*>(fits and drawing|all outside measured steps|measured steps|whole run)<.*?</tr>")
    first, second = (timing.sub("", text(page)) for page in (render(planted_run, tmp_path), site / "scaling.html"))
    assert re.sub(r"\d+ %</td>", "", first) == re.sub(r"\d+ %</td>", "", second)


def test_index_lists_runs_newest_first(tmp_path: Path) -> None:
    small: dict[str, Any] = {"architectures": ARCHITECTURES[:1], "lengths": (64, 128, 256, 512), "kinds": ("cell",)}
    old = make_run(tmp_path / "runs", "old-run", created="2026-01-01T00:00:00+00:00", **small)
    new = make_run(tmp_path / "runs", "new-run", created="2026-02-01T00:00:00+00:00", **small)
    damaged = make_run(tmp_path / "runs", "damaged-run", created="2026-03-01T00:00:00+00:00", **small)
    (damaged.folder / "plan.json").write_text("{")
    for run in (old, new):
        render(run, tmp_path / "site")
    page = text(render_index([old, new, damaged], tmp_path / "site"))
    assert page.index("new-run/scaling.html") < page.index("old-run/scaling.html")
    assert "is damaged" in page
    assert (tmp_path / "site" / "old-run" / "scaling.html").is_file()
    assert "No runs yet" in text(render_index([], tmp_path / "empty"))


def test_unknown_suite_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, kinds=(), change_plan=lambda plan: plan.update(suite="nothing"))
    with pytest.raises(ReportError, match="no page for suite 'nothing'"):
        render(run, tmp_path / "site")


def test_a_place_that_cannot_be_written(planted_run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot write"):
        render_index([planted_run], tmp_path / "file" / "site")


def test_importing_the_page_is_light() -> None:
    heavy = "import sys, reports.page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "torch", "scipy"} & set(done.stdout.split())


@pytest.mark.parametrize("wanted", [[1.0, 1.0, 1.0], [0.0, 50.0, 51.0, 52.0, 100.0], [100.0, 100.0], [5.0]])
def test_labels_do_not_overlap(wanted: list[float]) -> None:
    placed = sorted(spread(wanted, 10.0, 0.0, 100.0))
    assert all(b - a >= 10.0 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[0] >= 0 and placed[-1] <= 100


def test_csv_of_a_failed_run_keeps_its_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", architectures=ARCHITECTURES[:1], all_fail=True)
    render(run, tmp_path / "site")
    frame = pd.read_csv(io.StringIO((tmp_path / "site" / "scaling_cells.csv").read_text()))
    assert len(frame) == 48 and set(frame.status) == {"oom"}


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.9, 1.1, "in proportion to the length"),
        (1.9, 2.1, "with the square of the length"),
        (1.2, 1.7, "faster than the length"),
        (0.3, 0.8, "slower than the length"),
        (1.1, 1.6, "by a power that is not settled"),  # touches the margin of a law, and lies mostly outside
        (0.8, 0.95, "by a power that is not settled"),
    ],
)
def test_a_law_of_growth_is_named_where_the_interval_lies_within_its_margin(
    low: float, high: float, words: str, analysis: Analysis
) -> None:
    key = next(k for k in analysis.fits if (k.architecture, k.kind, k.regime, k.metric) == ("rnn", "cell", "batch1", "time")
               and k.phase == "forward_backward")  # fmt: skip
    judged = analysis.fits[key]
    fit = replace(judged.fit, exponent=(low + high) / 2, low=low, high=high)
    changed = Analysis(analysis.data, analysis.series, {key: replace(judged, fit=fit)})
    (growth,) = [s for s in headline(changed).sentences if s.startswith("Beyond its fixed cost, time of a pass")]
    assert f"{words} for rnn" in growth


def test_one_round_says_nothing_of_its_scatter(tmp_path: Path) -> None:
    alone = analyse(load(make_run(tmp_path, seeds=(0,))))
    verdicts: dict[bool, set[str]] = {True: set(), False: set()}
    for key, judged in alone.fits.items():
        verdicts[key.metric == "time"].add(judged.verdict)
    assert verdicts[True] == {"not judged"} and "agrees" in verdicts[False]


def test_counts_and_times_are_counted_apart(analysis: Analysis) -> None:
    (said,) = [s for s in headline(analysis).sentences if "claims of theory" in s]
    assert "about counts and exact bytes" in said and "about time" in said


def test_an_end_at_the_edge_of_the_search_is_no_bound(analysis: Analysis) -> None:
    judged = next(j for j in analysis.fits.values() if np.isfinite(j.fit.exponent) and not j.theory_text)
    ends = {(1.73, P_HIGH): "above 1.73", (P_LOW, 1.2): "below 1.20", (P_LOW, P_HIGH): "no bound"}
    for (low, high), words in ends.items():
        assert exponent(replace(judged, fit=replace(judged.fit, low=low, high=high))).small == words
