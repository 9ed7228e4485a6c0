"""Kill the command at random moments, again and again: what is there in the end is what an undisturbed run leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from results.schema import Record
from results.store import Run
from tests.command import run_all
from tests.conftest import ROOT
from tests.test_faults import only_run

MATRIX = [
    *("--suite", "lm", "--preset", "smoke", "--device", "cpu", "--set", "target=12000", "--set", "recipe.batch=4"),
    *("--set", "tasks.docs_lm.settings.context=32", "--set", "decode_lengths=[32]", "--architectures", "conv1d,lstm"),
    *("--set", "recipe.steps=60", "--set", "recipe.evaluate_every=20", "--set", "recipe.checkpoint_seconds=0.01"),
    *("--seeds", "2"),
]
# The command as it is, but that now and then it is killed with half a record written.
TORN = """
import os, random, runpy, signal, sys
write, dice = os.write, random.Random(int(sys.argv.pop(1)))
def torn(file, data):
    if bytes(data[:10]) == b'{"run_id":' and dice.random() < 0.1:
        write(file, data[:dice.randrange(len(data))])
        os.killpg(0, signal.SIGKILL)
    return write(file, data)
os.write = torn
sys.argv[0] = "run_all.py"
runpy.run_path("run_all.py", run_name="__main__")
"""


def started(out: Path, seed: int, mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", TORN, str(seed), *MATRIX, "--out", str(out)], cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "CI": "1", "CHAOS": mark},
    )  # fmt: skip


def marked(mark: str) -> list[int]:
    """Processes of a command that are still running."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if process.info["status"] != psutil.STATUS_ZOMBIE and process.environ().get("CHAOS") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def learnt(records: list[Record]) -> dict[str, tuple[object, ...]]:
    """By trial: what must be the same to the bit."""
    times = ("s", "tokens/s", "J", "B")
    return {
        r.trial_id: (r.status, r.extra.get("weights"), r.extra.get("steps"),
                     tuple((m.phase, m.split, m.metric, m.value) for m in r.measurements if m.unit not in times))
        for r in records
    }  # fmt: skip


def killed_often(tmp_path: Path, kills: int, seed: int) -> None:
    undisturbed = tmp_path / "undisturbed"
    done = run_all(*MATRIX, "--out", str(undisturbed), timeout=600)
    assert done.returncode == 0, done.stderr
    expected = learnt(only_run(undisturbed).read()[0])
    dice, count, matrices = random.Random(seed), 0, 0
    longest = 8.0
    while count < kills:
        out = tmp_path / f"killed-{matrices}"
        matrices += 1
        while count < kills:  # until the matrix is done or the kills are
            mark = uuid.uuid4().hex
            began = time.monotonic()
            process = started(out, dice.randrange(1 << 30), mark)
            try:
                status = process.wait(dice.uniform(0.1, longest))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
            if status == 0:
                longest = max(2.0, 0.9 * (time.monotonic() - began))
                break
            assert status == -signal.SIGKILL, f"the command ended itself with {status}"
            count += 1
            longest *= 1.1  # on a slow machine nothing would ever be done
            if dice.random() < 0.5:  # else the next one starts while children of this one are still being ended
                deadline = time.monotonic() + 60
                while marked(mark):
                    assert time.monotonic() < deadline, "children outlive the command"
                    time.sleep(0.02)
        done = run_all(*MATRIX, "--out", str(out), timeout=600)
        assert done.returncode == 0, done.stderr
        whole(only_run(out), expected)
    print(f"{count} kills over {matrices} matrices of {len(expected)} trials")


def whole(run: Run, expected: dict[str, tuple[object, ...]]) -> None:
    """No loss, no duplicate, the same bits, nothing left over."""
    records, skipped = run.read()
    assert not skipped
    assert len(records) == len(expected), "a trial is there twice, or not at all"
    assert learnt(records) == expected
    assert not [p for p in run.folder.rglob("*") if p.name == "state.pt" or p.name.endswith(".partial")]
    summary = run.read_json("summary.json")
    assert summary["complete"] and summary["trials"] == {"ok": len(expected)}


def test_three_kills(tmp_path: Path) -> None:
    killed_often(tmp_path, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fifty_kills(tmp_path: Path) -> None:
    killed_often(tmp_path, kills=50, seed=2)
