"""Trainings side by side on one machine: company for those that do not mind, none for timings, the same results."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from bench.execute import side_by_side
from bench.execute.executor import Ended, shared
from bench.execute.side_by_side import SideBySide, share_cores
from bench.execute.worker import Answer, Pool
from bench.measure.cores import usable_cores
from bench.spec import load_suite
from bench.trial import Trial
from run_all import _Choice, _side_by_side
from tests.command import run_all, run_all_anew
from tests.test_cluster import SMALL, learnt
from tests.test_faults import only_run, records
from tests.test_runner import trial


class Stage:
    """In place of lanes: trials run until they are let go, and it is seen who is on at the same time."""

    def __init__(self) -> None:
        self.lock, self.on, self.seen = threading.Lock(), 0, []
        self.gates: dict[int, threading.Event] = {}
        self.closed = 0

    def lane(self, pool: Pool) -> Stage:
        return self

    def run(self, ticket: int, one: Trial, told: Any) -> Ended:
        with self.lock:
            self.on += 1
            self.seen.append((one.kind, self.on))
        told(1, 2, f"of {ticket}")
        if one.architecture == "faulty":
            raise OSError(28, "No space left on device")
        assert self.gates[ticket].wait(20)
        with self.lock:
            self.on -= 1
        return Ended(ticket, Answer("ok", others=5.0), "", 0.0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(side_by_side, "Lane", made.lane)
    return made


def play(stage: Stage, kinds: list[str], slots: int) -> list[int]:
    """Start all that the executor takes, as the runner does, letting go the newest first. Returns the order of ends."""
    executor = SideBySide(Pool(()), slots)
    stage.gates = {n: threading.Event() for n in range(len(kinds))}
    waiting, ends = list(enumerate(kinds)), []
    while waiting or executor.queue or executor.busy:
        while waiting and not executor.full:
            number, kind = waiting.pop(0)
            executor.start(number, trial(kind, "x"))
        stage.gates[max(executor.busy)].set()
        ends.append(executor.wait(lambda *_: None).ticket)
    executor.close()
    assert stage.closed == slots
    return ends


def test_trainings_run_at_once_and_no_more_than_asked_for(stage: Stage) -> None:
    assert play(stage, ["train"] * 4, slots=2) == [1, 2, 3, 0]
    assert max(on for _, on in stage.seen) == 2


def test_a_timing_has_no_company_and_is_not_overtaken(stage: Stage) -> None:
    ends = play(stage, ["train", "train", "cell", "train", "decode", "check"], slots=3)
    assert [on for kind, on in stage.seen if kind in ("cell", "decode")] == [1, 1]
    assert ends.index(2) > max(ends.index(0), ends.index(1)) and ends.index(3) > ends.index(2)


def test_progress_is_of_the_one_that_was_started_last(stage: Stage) -> None:
    executor = SideBySide(Pool(()), 2)
    stage.gates = {n: threading.Event() for n in range(2)}
    executor.start(0, trial("train", "x"))
    executor.start(1, trial("train", "x"))
    said: list[tuple[int, str]] = []
    stage.gates[0].set()
    executor.wait(lambda ticket, done, of, words: said.append((ticket, words)))
    assert not any("of 0" in words for _, words in said)
    stage.gates[1].set()
    executor.wait(lambda ticket, done, of, words: said.append((ticket, words)))
    assert said in ([(1, "of 1; 2 trials at once")], [(1, "of 1")])


def test_a_fault_of_the_machine_is_raised_where_the_runner_waits(stage: Stage) -> None:
    executor = SideBySide(Pool(()), 2)
    executor.start(0, trial("train", "faulty"))
    with pytest.raises(OSError, match="No space left"):
        executor.wait(lambda *_: None)


def test_neighbours_are_no_other_work_and_trainings_say_that_they_had_some() -> None:
    answer = Answer("ok", others=4.5)
    shared(answer, trial("train", "x"), 2, cores=8)
    assert answer.others == pytest.approx(0.5)
    assert answer.extra == {"at_once": 2} and not answer.notes
    alone = Answer("ok", others=0.7)
    shared(alone, trial("train", "x"), 1, cores=8)
    assert alone.others == 0.7 and not alone.extra
    timing = Answer("ok", others=1.0)  # it has the device to itself: what else works there is other work
    shared(timing, trial("decode", "x"), 2, cores=2)
    assert timing.others == 1.0 and not timing.extra


def test_cores_are_shared_out_where_the_user_has_not_done_it() -> None:
    environment: dict[str, str] = {}
    share_cores(2, environment)
    assert environment == {"OMP_NUM_THREADS": str(max(1, usable_cores() // 2))}
    own = {"OMP_NUM_THREADS": "3"}
    share_cores(2, own)
    assert own == {"OMP_NUM_THREADS": "3"}


def test_suites_that_only_time_say_that_they_train_nothing(tmp_path: Path) -> None:
    done = run_all("--suite", "scaling", "--trainings-per-device", "2", "--out", str(tmp_path))
    assert done.returncode == 2 and "leave --trainings-per-device out" in done.stderr


def most_memory(folder: Path) -> int:
    """Bytes that each training of a run was allowed."""
    lines = (only_run(folder).folder / "trials.jsonl").read_text().splitlines()
    (found,) = {one.memory for one in map(Trial.from_json, lines) if one.kind == "train"}
    return found


@pytest.mark.parametrize(
    ("suite", "changes", "device", "cores", "seconds", "many"),
    [
        ("lm", {}, "cpu", 2, 900.0, 2), ("lm", {}, "cpu", 64, 900.0, 8), ("lm", {}, "cpu", 1, 900.0, 0),
        ("lm", {}, "cuda", 16, 900.0, 0), ("lm", {}, "cpu", 2, 60.0, 0), ("lm", {}, "cpu", 2, float("nan"), 0),
        ("scaling", {}, "cpu", 2, 900.0, 0), ("lm", {"trainings_per_device": 2}, "cpu", 2, 900.0, 0),
        ("lm", {"executor": "ray"}, "cpu", 2, 900.0, 0), ("lm", {"devices_per_trial": 2}, "cpu", 2, 900.0, 0),
    ],
)  # fmt: skip
def test_long_runs_say_what_would_make_them_shorter(
    suite: str, changes: dict[str, Any], device: str, cores: int, seconds: float, many: int
) -> None:
    choice = _Choice(suite, "quick", (), (), "auto", 0, (), (), **changes)
    words = _side_by_side(choice, load_suite(suite), {"device": device, "cores": cores}, seconds)
    assert words == (
        [f"  --trainings-per-device {many} would train {many} models at once, see docs/running.md"] if many else []
    )


@pytest.mark.timeout(300)
def test_what_is_learnt_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    beside, alone = tmp_path / "beside", tmp_path / "alone"
    short = [*SMALL, "--set", "recipe.steps=40", "--set", "recipe.evaluate_every=20"]
    done = run_all_anew(*short, "--trainings-per-device", "2", "--out", str(beside))
    assert done.returncode == 0, done.stderr
    threads = only_run(beside).read_json("environment.json")["threads"]
    assert threads == max(1, usable_cores() // 2)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    assert run_all_anew(*short, "--out", str(alone)).returncode == 0
    assert learnt(records(beside)) == learnt(records(alone))
    assert 2 * most_memory(beside) == most_memory(alone) > 0
    finals = [r for r in records(beside) if r.kind == "train"]
    assert len(finals) == 4
    assert all(r.extra["at_once"] == 2 for r in finals)
    assert not any("at_once" in r.extra for r in records(beside) if r.kind != "train")
    pages = [(folder / "site" / "lm.html").read_text() for folder in (beside, alone)]
    assert ["4 trainings shared their device, up to 2 at once" in page for page in pages] == [True, False]
