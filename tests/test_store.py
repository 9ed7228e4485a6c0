"""Records and the run folder: what is written can be read, and what is torn is never taken for whole."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import frame
from results.schema import Measurement, Record, RecordError
from results.store import Run, StoreError, latest, list_runs

finite = st.floats(allow_nan=False, allow_infinity=False)


def record(**changes: object) -> Record:
    values: dict[str, object] = {f.name: "x" for f in dataclasses.fields(Record) if f.default is dataclasses.MISSING}
    values |= dict.fromkeys(("width", "depth", "parameters", "batch", "length", "seed"), 1)
    values |= {
        "status": "ok",
        "kernels": ("k",),
        "warnings": (),
        "wall_s": 1.0,
        "measured_s": 0.5,
        "git_dirty": False,
        "extra": {},
    }
    return Record(**{**values, **changes})  # type: ignore[arg-type]


@given(st.lists(finite, min_size=1, max_size=5), st.text(), finite)
def test_round_trip(samples: list[float], text: str, value: float) -> None:
    given_ = record(
        reason=text,
        measurements=(
            Measurement("forward", "time", "s", "lower", samples=tuple(samples)),
            Measurement("forward", "flops", "FLOP", "lower", value=value),
        ),
    )
    line = given_.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == given_


@given(st.text(max_size=60))
def test_foreign_lines_are_refused_not_crashed_on(text: str) -> None:
    with pytest.raises(RecordError):
        Record.from_json(text)


@pytest.mark.parametrize("text", ["a\ud800b", "\u0000", "x" * 5000])
def test_what_a_strict_parser_refuses_is_no_loss(text: str) -> None:
    one = record(status="error", reason=text)
    assert Record.from_json(one.to_json()) == one


def test_impossible_records() -> None:
    for samples, value in ((None, None), ((1.0,), 1.0), ((), None), ((float("nan"),), None)):
        with pytest.raises(RecordError):
            Measurement("p", "m", "s", "lower", value=value, samples=samples)
    with pytest.raises(RecordError, match="needs a reason"):
        record(status="oom", reason="")
    with pytest.raises(RecordError, match="not one of"):
        record(status="fine")
    with pytest.raises(RecordError, match="unknown key 'colour'"):
        Record.from_json(json.dumps({**json.loads(record().to_json()), "colour": 1}))


def test_a_torn_line_is_skipped_and_cut_off(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r")
    run.append(record(trial_id="1"))
    whole = run.records_path.read_bytes()
    run.records_path.write_bytes(whole + whole[: len(whole) // 2])
    found, skipped = run.read()
    assert len(found) == 1
    assert "line 2" in skipped[0]
    run.append(record(trial_id="2"))
    assert [r.trial_id for r in run.read()[0]] == ["1", "2"]
    assert run.read()[1] == []


def test_a_last_record_without_its_newline_is_kept(tmp_path: Path) -> None:
    """It reads as done, so nothing may take it away again."""
    run = Run.create(tmp_path, "r")
    run.append(record(trial_id="1"))
    run.records_path.write_bytes(run.records_path.read_bytes()[:-1])
    assert [r.trial_id for r in run.read()[0]] == ["1"]
    run.append(record(trial_id="2"))
    assert [r.trial_id for r in run.read()[0]] == ["1", "2"] and not run.read()[1]


@pytest.mark.parametrize("keep", ["all", "measured", "ends"])
def test_damage_anywhere_in_a_line_is_found(keep: Any, tmp_path: Path) -> None:
    """Whoever reads less of a record must not take for done what others will skip."""
    run = Run.create(tmp_path, "r")
    run.append(
        record(measurements=(Measurement("forward", "time", "s", "lower", samples=(1.0, 2.0)),), extra={"load": 0.5})
    )
    whole = run.records_path.read_bytes()
    for part in (b"[1.0,2.0]", b'"load":0.5'):
        assert part in whole
        run.records_path.write_bytes(whole.replace(part, b"\x01" * len(part)))
        assert run.read(keep)[0] == [] and len(run.read(keep)[1]) == 1


def test_records_of_an_earlier_plan_are_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r")
    for trial_id in ("old", "new"):
        run.append(record(trial_id=trial_id))
    assert len(run.current()) == 2
    run.write_json("plan.json", {"trial_ids": ["new", "later"]})
    assert [r.trial_id for r in run.current()] == ["new"]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the write fails part way, and the file is as it was."""
    run = Run.create(tmp_path, "r")
    run.append(record(trial_id="1"))
    before = run.records_path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
        with pytest.raises(StoreError, match="finished trials are safe"):
            run.append(record(trial_id="2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert run.records_path.read_bytes() == before
    run.append(record(trial_id="2"))
    assert len(run.read()[0]) == 2


def test_a_retry_replaces_a_failure() -> None:
    failed, good = record(trial_id="1", status="oom", reason="no memory"), record(trial_id="1")
    assert latest([failed, record(trial_id="2"), good]) == [good, record(trial_id="2")]


def test_run_ids_cannot_leave_their_folder(tmp_path: Path) -> None:
    for name in ("../x", "", "a/b", ".hidden", "x" * 200):
        with pytest.raises(StoreError, match="use letters"):
            Run.create(tmp_path, name)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r")
    with run.lock(), pytest.raises(StoreError, match="another process is writing"):
        Run.create(tmp_path, "r").lock()
    run.lock().close()


def test_a_damaged_plan_does_not_hide_other_runs(tmp_path: Path) -> None:
    Run.create(tmp_path, "good").write_json("plan.json", {"created": "2026-01-01"})
    (Run.create(tmp_path, "bad").folder / "plan.json").write_text("{")
    assert [r.run_id for r in list_runs(tmp_path)] == ["good", "bad"]


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for name, created in (("old", "2026-01-01"), ("new", "2026-02-01")):
        Run.create(tmp_path, name).write_json("plan.json", {"created": created})
    (tmp_path / "not a run").mkdir()
    assert [r.run_id for r in list_runs(tmp_path)] == ["new", "old"]
    assert list_runs(tmp_path / "nowhere") == []


def test_frames() -> None:
    one = record(measurements=(Measurement("forward", "flops", "FLOP", "lower", value=3.0),))
    assert len(frame.trials([one])) == 1
    assert frame.measurements([one]).iloc[0]["value"] == 3.0
    assert frame.measurements([]).empty
