"""What a large run costs to show again, and to go on with: 100,000 measurements.

    python -m pytest -m perf tests/perf/test_report.py -s

A benchmark, not a test of speed: it fails only where a page is not made. The aims, on 2 cores: a page in 10 s, 1 GiB and
8 MB; what is left to do known in 2 s.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from results.store import Run, latest
from tests.synthetic_run import ARCHITECTURES, make_run
from tests.synthetic_training import ABLATION, LANGUAGE, PROBE, Planted, make_training

pytestmark = pytest.mark.perf

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = 100_000


def scaling(folder: Path) -> Run:
    """18 architectures, 12 lengths, 29 rounds, two regimes."""
    planted = [replace(p, name=f"{p.name}{end}") for end in ("", "_b") for p in ARCHITECTURES]
    return make_run(folder, "big", planted, tuple(2**k for k in range(4, 16)), tuple(range(29)))


def training(folder: Path) -> Run:
    """12 tasks, 8 to 18 competitors each, 44 seeds."""

    def larger(task: Planted, number: int) -> Planted:
        more = [replace(r, architecture=f"{r.architecture}_b") for r in task.runners
                if not (r.variant or r.ends or r.missing or "<" in r.architecture)]  # fmt: skip
        return replace(task, name=f"{task.name}_{number}", runners=(*task.runners, *more))

    tasks = [larger(task, i) for i in range(4) for task in (LANGUAGE, PROBE, ABLATION)]
    return make_training(folder, "big", tasks, tuple(range(44)))


@pytest.mark.parametrize("make", [scaling, training], ids=["scaling", "training"])
def test_a_large_run(make: Callable[[Path], Run], tmp_path: Path) -> None:
    run = make(tmp_path / "runs")
    count = sum(len(r.measurements) for r in run.read()[0])
    assert count > 0.9 * MEASUREMENTS
    began = time.perf_counter()
    command = [sys.executable, "run_all.py", "--report-only", "big", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    (page,) = [p for p in (tmp_path / "site").glob("*.html") if p.name != "index.html"]
    print(f"\n{make.__name__}, {count:,} measurements: page in {seconds:.1f} s, {peak:.2f} GiB for the largest process, "
          f"{page.stat().st_size / 1e6:.1f} MB")  # fmt: skip
    began = time.perf_counter()
    done = latest(run.read("ends")[0])  # what `bench.execute.runner.Runner` begins with
    print(f"{len(done):,} trials known to be done in {time.perf_counter() - began:.2f} s")
