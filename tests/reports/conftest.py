"""One synthetic run and its pages, shared by the tests of `reports`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.data import load
from reports.page import render, render_index
from reports.statistics import Analysis, analyse
from results.store import Run
from tests.synthetic_run import ARCHITECTURES, HOSTILE, Planted, make_run

HOSTILE_ARCHITECTURE = Planted(HOSTILE, "other", 5e-4, 1e-5, 0, 1)


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"), architectures=(*ARCHITECTURES, HOSTILE_ARCHITECTURE))


@pytest.fixture(scope="session")
def analysis(planted_run: Run) -> Analysis:
    return analyse(load(planted_run))


@pytest.fixture(scope="session")
def site(planted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    render(planted_run, folder)
    render_index([planted_run], folder)
    return folder
