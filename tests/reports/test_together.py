"""Work on all cores gives what it gives on one; a child that dies or cannot be forked loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from reports import together
from reports.together import Errand, side_by_side
from tests.conftest import ROOT


@pytest.fixture(params=["forked", "here"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, whatever threads the test runner has."""
    forked = request.param == "forked"
    if forked and sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    monkeypatch.setattr(together, "_can_fork", lambda: forked)
    monkeypatch.setattr(together, "_cores", lambda: 3)
    return str(request.param)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_in_order(way: str, count: int) -> None:
    found = side_by_side([partial(lambda i: (i, os.getpid()), i) for i in range(count)])
    assert [i for i, _ in found] == list(range(count))
    processes = {pid for _, pid in found}
    assert len(processes) == (min(3, count) if way == "forked" else min(1, count))


def test_more_than_a_pipe_holds(way: str) -> None:
    assert Errand([lambda: "x" * 3_000_000]).results() == ["x" * 3_000_000]


def test_results_are_there_twice(way: str) -> None:
    errand = Errand([lambda: object()])
    assert errand.results() is errand.results()


def test_a_dead_child_is_made_up_for(way: str) -> None:
    here = os.getpid()

    def job() -> str:
        if os.getpid() != here:
            os._exit(9)
        return "done here"

    assert Errand([job]).results() == ["done here"]


def test_a_mistake_is_raised_here(way: str) -> None:
    def job() -> None:
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        Errand([job]).results()
    with pytest.raises(ValueError, match="planted"):
        side_by_side([lambda: None, job, lambda: None])


def test_nothing_is_forked_beside_threads() -> None:
    code = (
        "import threading, os; from reports.together import Errand; stop = threading.Event(); "
        "t = threading.Thread(target=stop.wait); t.start(); same = Errand([os.getpid]).results() == [os.getpid()]; "
        "stop.set(); t.join(); print(same)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"
