"""One trial cannot hurt another: whatever a child does ends as an answer with a reason, and nothing of it stays behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import bench.execute.worker
from bench.execute import watch
from bench.execute.family import Family, Look
from bench.execute.watch import Limits, Watch
from bench.execute.worker import Pool, Worker
from bench.trial import Trial
from tests.conftest import ROOT

STUCK = ROOT / "tests" / "plugins" / "stuck.py"
GIB = 1 << 30


def trial(architecture: str, length: int = 256) -> Trial:
    return Trial(
        kind="cell", architecture=architecture, task="random_vectors", mode="causal", regime="", width=16, depth=1,
        parameters=272, batch=1, length=length, dtype="float32", device="cpu", seed=0, phases=("forward",), seconds=0.01,
        limit=100.0, memory=2 * GIB,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return Pool(("architectures", "tasks"), (str(STUCK),), str(tmp_path_factory.mktemp("log") / "worker.log"))


@pytest.fixture
def worker(pool: Pool) -> Iterator[Worker]:
    started = pool.start()
    yield started
    started.close()


def running(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except OSError:
            continue
    return found


def wait_for(condition: object, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.02)
    return bool(condition())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("architecture", "status", "words"),
    [
        ("deadlocks", "timeout", "hung: no message and no processor time for 1 s"),
        ("spins_in_c", "timeout", "hung: no heartbeat for 1 s (in code that lets no other thread run)"),
        ("halts", "timeout", "hung: no heartbeat for 1 s (halted by a signal)"),
        ("segfaults", "error", "the process died of SIGSEGV"),
        ("forks", "error", f"started more than {watch.MOST_PROCESSES} processes"),
        ("threads", "error", f"started more than {watch.MOST_THREADS} threads"),
        ("hoards_in_children", "oom", "GiB, the limit is 1.0 GiB"),
    ],
)
def test_each_fault_is_found_and_nothing_stays(worker: Worker, architecture: str, status: str, words: str) -> None:
    memory = GIB if architecture == "hoards_in_children" else 4 * GIB
    answer = worker.call("trial", trial(architecture), timeout=200, memory=memory, silence=1.0)
    assert answer.status == status and words in answer.reason, answer
    assert not worker.alive()
    assert wait_for(lambda: not running(worker.family.pid)), running(worker.family.pid)


def test_a_flood_of_messages_does_not_stop_the_clock(worker: Worker) -> None:
    answer = worker.call("trial", trial("floods"), timeout=1.0)
    assert (answer.status, answer.reason) == ("timeout", "no end within 1 s, stopped")


def test_a_message_that_stops_in_its_middle_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.execute.worker, "HALTED", 1)
    ours, theirs = multiprocessing.Pipe()
    bench.execute.worker._limit_reading(ours.fileno())
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"the beginning")
    with pytest.raises(BlockingIOError):
        ours.recv()


def test_a_long_call_of_torch_is_no_hang(worker: Worker) -> None:
    answer = worker.call("trial", trial("long_call"), timeout=200, memory=4 * GIB, silence=1.0)
    assert answer.status == "ok", answer


def test_a_copy_that_comes_back_answers_nobody(worker: Worker) -> None:
    for _ in range(2):
        answer = worker.call("trial", trial("comes_back_twice"), timeout=60)
        assert answer.status == "ok", answer
        assert {m.phase for m in answer.measurements} == {"forward"}
        if not worker.alive():
            return
        assert worker.call("describe", {"device": ""}, timeout=60).result["architectures"]


@pytest.mark.parametrize(
    ("architecture", "words"), [("leaves_a_thread", "1 threads"), ("leaves_a_process", "1 processes")]
)
def test_what_is_left_running_does_not_meet_the_next_trial(worker: Worker, architecture: str, words: str) -> None:
    answer = worker.call("trial", trial(architecture), timeout=60)
    assert answer.status == "ok" and answer.notes == [f"left {words} running, which were ended"]
    assert not worker.alive()
    assert wait_for(lambda: not running(worker.family.pid))


def test_a_worker_is_kept_where_nothing_is_left(worker: Worker) -> None:
    first = worker.family.pid
    for _ in range(3):
        answer = worker.call("trial", trial("nothing_wrong"), timeout=60)
        assert answer.status == "ok" and not answer.notes
        assert worker.alive() and worker.process.pid == first


@pytest.mark.parametrize("architecture", ["spins_in_c", "forks_then_waits"])
def test_children_do_not_outlive_a_killed_parent(tmp_path: Path, architecture: str) -> None:
    """Only the parent is killed, in the middle of a call that will never speak again."""
    code = f"""
import sys
from bench.execute.worker import Pool
from tests.test_isolation import STUCK, trial
if __name__ == "__main__":
    worker = Pool(("architectures", "tasks"), (str(STUCK),)).start()
    worker.call("describe", {{"device": ""}}, timeout=100)
    print(worker.process.pid, flush=True)
    worker.call("trial", trial({architecture!r}), timeout=1000)
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    if architecture == "forks_then_waits":
        assert wait_for(lambda: len(running(group)) > 3)
    time.sleep(0.3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not running(group)), running(group)


class Told(Family):
    """A family as the test tells it."""

    def __init__(self, look: Look) -> None:
        self.now = look
        self.pid = 0

    def look(self) -> Look:
        return self.now

    def others(self) -> list[int]:
        return []


def test_time_in_which_the_parent_stood_still_counts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    look = Watch(Told(Look()), Limits(timeout=100, silence=20))
    for _ in range(3):  # an hour with the lid closed, then a second at work
        now[0] += 3600
        assert look.problem() is None
        now[0] += 1
        assert look.problem() is None
    for _ in range(18):
        assert look.problem() is None
        now[0] += 1
    assert look.problem() == ("timeout", "hung: no heartbeat for 20 s (in code that lets no other thread run), stopped")


@pytest.mark.parametrize(("share", "hung"), [(0.5, False), (0.02, False), (0.005, True)])
def test_who_uses_a_core_now_and_then_is_alive(monkeypatch: pytest.MonkeyPatch, share: float, hung: bool) -> None:
    now, used = 0.0, 0.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    family = Told(Look())
    look = Watch(family, Limits(timeout=10_000, silence=60))
    found = None
    for _ in range(100):
        now, used = now + 1, used + share
        family.now = Look(cpu=used)
        look.heard("beat")
        found = found or look.problem()
    assert (found is not None) == hung


def test_short_calls_need_no_heartbeat() -> None:
    assert Limits(60, silence=300).beat == 0.0
    assert Limits(7200, silence=300).beat == watch.LONGEST_BEAT
    assert Limits(7200, silence=4).beat == 1.0
