"""Another run on one's own page: its numbers where they fit, a warning that says what differs, nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.data import load
from reports.page import ReportError, render
from reports.plots import groups
from reports.statistics import analyse, lay_beside
from results.store import Run
from tests.synthetic_run import ARCHITECTURES, make_run
from tests.synthetic_training import LANGUAGE, make_training

SLOW = 3.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("own"), "own")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Another machine: three times slower, other order of architectures, one that is not in `own`, longer sequences."""
    planted = [
        replace(p, overhead=SLOW * p.overhead, linear=SLOW * p.linear, power=SLOW * p.power)
        for p in reversed(ARCHITECTURES)
    ]
    planted[0] = replace(planted[0], name="stranger")
    lengths = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    run = make_run(tmp_path_factory.mktemp("other"), "other", planted, lengths)
    environment = run.read_json("environment.json")
    run.write_json("environment.json", {**environment, "device_name": "Planted GPU"})
    return run


def test_what_fits_is_laid_beside(own: Run, other: Run) -> None:
    analysis = analyse(load(own))
    assert lay_beside(analysis, load(other)) and analysis.beside is not None
    there = analysis.beside.by_architecture("cell", "batch1", "forward", "time")
    assert "stranger" not in there and "attention" in there
    here = analysis.by_architecture("cell", "batch1", "forward", "time")
    ratio = there["attention"].values[: len(here["attention"].values)] / here["attention"].values
    assert np.allclose(ratio, SLOW, rtol=0.1)
    assert repr(analysis.fits) == repr(analyse(load(own)).fits)  # the other run enters no fit and no rank


def test_other_batches_are_left_out(own: Run, other: Run) -> None:
    analysis, data = analyse(load(own)), load(other)
    doubled = [replace(r, batch=2 * r.batch) if r.kind == "cell" else r for r in data.records]
    assert lay_beside(analysis, replace(data, records=doubled)) and analysis.beside is not None
    assert {key.kind for key in analysis.beside.series} == {"decode"}


def test_faint_lines_keep_the_colours_of_this_run(own: Run, other: Run) -> None:
    alone = {p.id: p for g in groups(analyse(load(own))) for p in g.plots}
    analysis = analyse(load(own))
    lay_beside(analysis, load(other))
    both = {p.id: p for g in groups(analysis) for p in g.plots}
    assert alone.keys() == both.keys()
    changed = {name for name in both if both[name].svg != alone[name].svg}
    assert {"time-batch1-forward", "decode-time"} <= changed
    assert not {"span", "parallelism", "forest-0"} & changed  # counts are the same on every machine
    for name in changed:
        assert "Faint lines" in both[name].caption and both[name].alt == alone[name].alt
        assert both[name].svg.count("<text") >= alone[name].svg.count("<text") - 4  # nobody loses its name


def test_the_page_says_whose_they_are(own: Run, other: Run, tmp_path: Path) -> None:
    page = render(own, tmp_path, other).read_text(encoding="utf-8")
    assert "another run beside" in page and "Planted GPU" in page and "Planted CPU @ 2.0 GHz" in page
    assert "another run beside" not in render(own, tmp_path).read_text(encoding="utf-8")


def test_scores_of_the_other_run_stand_in_a_column(tmp_path: Path) -> None:
    own = make_training(tmp_path / "a", "a", tasks=[LANGUAGE])
    runners = tuple(replace(r, score=r.score + 1.0) for r in LANGUAGE.runners)
    other = make_training(tmp_path / "b", "b", tasks=[replace(LANGUAGE, runners=runners)])
    page = render(own, tmp_path / "site", other).read_text(encoding="utf-8")
    assert "beside: test loss" in page and "beside: training time" in page and "another run beside" in page


def test_nothing_that_fits_is_said(own: Run, tmp_path: Path) -> None:
    planted = [replace(p, name=f"x_{p.name}") for p in ARCHITECTURES[:2]]
    other = make_run(tmp_path / "runs", "strangers", planted)
    assert "nothing beside" in render(own, tmp_path / "site", other).read_text(encoding="utf-8")


def test_another_kind_is_one_line(own: Run, tmp_path: Path) -> None:
    other: Any = make_training(tmp_path / "runs", "lm", tasks=[LANGUAGE])
    with pytest.raises(ReportError, match="--beside lm: that is a run of kind 'train'"):
        render(own, tmp_path / "site", other)
