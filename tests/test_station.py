"""What runs on a machine of a cluster, here in this process: the same ends, files sent back where no disk is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.execute.executor import LocalExecutor
from bench.execute.station import MARK, Kit, Station
from bench.execute.worker import Pool
from bench.trial import Trial
from run_all import PACKAGES
from tests.conftest import FAULTY

KIT = Kit(PACKAGES, ((FAULTY.name, FAULTY.read_bytes()),), "", {})
CHECK = Trial(
    kind="check", architecture="honest", task="", mode="causal", regime="", width=16, depth=1, parameters=1, batch=1,
    length=0, dtype="float32", device="cpu", seed=0, phases=(),
)  # fmt: skip


@pytest.fixture
def station() -> Any:
    made = Station(KIT)
    yield made
    made.close()
    assert not made.folder.exists()


def test_a_plugin_travels_and_a_trial_ends_as_here(station: Station, tmp_path: Path) -> None:
    here = LocalExecutor(Pool(PACKAGES, (str(FAULTY),)))
    here.attach(tmp_path)
    here.start(1, CHECK)
    assert here.full
    plain = here.wait(lambda *_: None)
    here.close()
    (tmp_path / MARK).write_text("another run")
    assert station.attach(str(tmp_path), "mark") is False
    ended, files = station.run(0, 1, CHECK)
    assert (ended.ticket, ended.answer.status, ended.answer.reason) == (1, plain.answer.status, plain.answer.reason)
    assert ended.answer.status == "ok" and files == {}


def test_files_come_back_where_no_disk_is_shared_and_states_do_not(station: Station, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("mark")
    assert not station.attach(str(tmp_path / "elsewhere"), "mark")
    scratch = Path(station.lanes[0].pool.data.run)
    for name in ("checkpoints/t/weights.pt", "checkpoints/t/state.pt", "predictions/t.json"):
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_text(name)
    found = station._files(scratch)
    assert found == {n: n.encode() for n in ("checkpoints/t/weights.pt", "predictions/t.json")}
    assert (scratch / "checkpoints/t/state.pt").is_file() and station._files(scratch) == {}


def test_on_a_shared_disk_files_stay_where_they_are(station: Station, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("mark")
    assert station.attach(str(tmp_path), "mark")
    assert station.lanes[0].pool.data.run == str(tmp_path)
    (tmp_path / "weights.pt").write_text("")
    assert station._files(tmp_path) == {}
