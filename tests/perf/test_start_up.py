"""What isolation costs: the time around a trial that measures next to nothing, in a new child and in a warm one.

    python -m pytest -m perf tests/perf/test_start_up.py -s

A benchmark, not a test: nothing fails for being slow. At most 0.3 s for each trial beyond the first is the aim.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from bench.execute.worker import Pool
from tests.test_isolation import STUCK, trial

pytestmark = pytest.mark.perf


def test_start_up(tmp_path: Path) -> None:
    began = time.perf_counter()
    pool = Pool(("architectures", "tasks"), (str(STUCK),), str(tmp_path / "worker.log"))
    found: dict[str, list[float]] = {"a new child": [], "a warm child": [], "a warm child, with heartbeats": []}
    first = 0.0
    for _ in range(5):
        start = time.perf_counter()
        worker = pool.start()
        assert worker.call("trial", trial("nothing_wrong"), timeout=60).status == "ok"
        first = first or time.perf_counter() - began
        found["a new child"].append(time.perf_counter() - start)
        for name, silence in (("a warm child", 0.0), ("a warm child, with heartbeats", 4.0)):
            for _ in range(10):
                start = time.perf_counter()
                answer = worker.call("trial", trial("nothing_wrong"), timeout=60, silence=silence)
                found[name].append(time.perf_counter() - start - answer.measured_s)
        worker.close()
    print(f"\nthe first trial of all: {first:.2f} s")
    for name, seconds in found.items():
        print(f"{name}: {statistics.median(seconds):.4f} s (median of {len(seconds)}, most {max(seconds):.4f} s)")
