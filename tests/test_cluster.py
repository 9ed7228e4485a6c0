"""Trials on a Ray cluster: the records of a local run, to the bit, though a machine is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.execute.cluster import Cluster, ClusterError, Place, _difference, _Flight, _one_line, _unfit, connect
from results.schema import Record
from results.store import latest
from tests.conftest import ROOT
from tests.test_faults import only_run, records, run_all
from tests.test_runner import trial
from tests.test_training_runs import TINY

TIMES = ("time", "train_time", "eval_time", "first_step_time", "tokens_per_second", "peak_memory", "energy")
SMALL = [
    *TINY, "--architectures", "conv1d,attention", "--seeds", "2", "--set", "search.lr=[0.003]",
    *("--set", "recipe.steps=300", "--set", "recipe.evaluate_every=100", "--set", "recipe.checkpoint_seconds=0.5"),
]  # fmt: skip


# Which trial goes where, without Ray.


def cluster(*machines: str, lanes: int = 1) -> Cluster:
    """A cluster with these devices, of which those of the same name share a machine."""
    made = Cluster.__new__(Cluster)
    made.lanes = lanes
    made.places = [Place(f"node {i}", machine, None) for i, machine in enumerate(machines)]
    return made


def busy(place: Place, *tickets: int, whole: bool = False) -> None:
    place.running, place.whole = dict(enumerate(tickets)), whole


def test_timings_have_their_device_to_themselves() -> None:
    made = cluster("a", "b", lanes=4)
    busy(made.places[0], 1)
    assert made._place_for(trial("cell", "x")) is made.places[1]
    busy(made.places[1], 2, whole=True)
    assert made._place_for(trial("cell", "x")) is None
    assert made._place_for(trial("train", "x")) is made.places[0]  # beside a training, never beside a timing


def test_trainings_share_as_many_as_are_stated() -> None:
    made = cluster("a", lanes=2)
    busy(made.places[0], 1)
    assert made._place_for(trial("train", "x")) is made.places[0]
    busy(made.places[0], 1, 2)
    assert made._place_for(trial("train", "x")) is None


def test_two_nodes_of_one_machine_are_one_device() -> None:
    made = cluster("a", "a", "b")
    busy(made.places[0], 1)
    assert made._place_for(trial("cell", "x")) is made.places[2]
    busy(made.places[2], 2)
    assert made._place_for(trial("train", "x")) is None


def test_a_trial_that_loses_every_machine_becomes_a_row() -> None:
    made = cluster("a")
    made._dismiss = lambda place: None  # type: ignore[method-assign]
    from collections import deque

    flight = _Flight(trial("train", "x"), made.places[0])
    made.flights, made.queue = {7: flight}, deque()
    assert made._lost(7, flight) is None and list(made.queue) == [7] and not made.places
    assert made._lost(7, flight) is None
    ended = made._lost(7, flight)
    assert ended is not None and ended.answer.status == "error"
    assert "lost each of the 3 times" in ended.answer.reason and ended.answer.extra["machines_lost"] == 3


def hello(**changes: Any) -> dict[str, Any]:
    facts = {
        name: "x" for name in ("device_name", "cpu", "cores", "threads", "python", "torch", "cuda", "cudnn", "tf32")
    }
    environment = {**facts, "driver": None, "memory_bytes": 8 * 2**30, **changes.pop("environment", {})}
    entries = [{"name": "mine", "hash": "1"}]
    return {"architectures": entries, "tasks": [], "training_hash": "t", "engine_hash": "e", "missing": [],
            "environment": environment, **changes}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"missing": ["/data"]}, "/data is not on every machine"),
        ({"architectures": []}, "'mine' is not known on a machine"),
        ({"architectures": [{"name": "mine", "hash": "2"}]}, "'mine' is another on a machine"),
        ({"engine_hash": "other"}, "other code"),
        ({"problem": "device 'cuda': this torch sees no GPU"}, "sees no GPU"),
        ({}, ""),
    ],
)
def test_machines_that_cannot_take_part(changes: dict[str, Any], words: str) -> None:
    problem = _unfit({**hello(), **changes}, hello())
    assert (words in problem) if words else not problem


def test_machines_must_be_alike_but_for_some_memory() -> None:
    assert _difference(hello(environment={"memory_bytes": 8 * 2**30 + 5000}), hello()) == ""
    assert _difference(hello(environment={"torch": "y"}), hello()) == "its torch is y, that of the others x"


# What the user sees.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--executor", "rai"), "did you mean 'ray'?"),
        (("--address", "localhost:6379"), "--address is for --executor ray"),
        (("--devices-per-trial", "2"), "trains nothing; leave --devices-per-trial out"),
        (("--executor", "ray", "--device", "cuda:1"), "auto, cpu or cuda"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = run_all("--suite", "scaling", *arguments, "--out", str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_without_ray_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'pip install -e "\.\[cluster\]"'):
        connect("")


def test_ray_is_imported_only_when_asked_for() -> None:
    code = "import sys, run_all, bench.execute.cluster, bench.execute.runner; assert 'ray' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("address", "words"),
    [("localhost:1", "nobody answers there"), ("somewhere", "HOST:PORT"), ("ray://x:1", "HOST:PORT")],
)
def test_an_address_where_nobody_is(address: str, words: str) -> None:
    pytest.importorskip("ray", reason='Ray is not installed: pip install -e ".[cluster]"')
    with pytest.raises(ClusterError, match=words):
        connect(address)


def test_an_error_of_many_lines_becomes_one() -> None:
    assert _one_line(ValueError("first\nsecond")) == "first"
    assert _one_line(ValueError("Traceback (most recent call last):\n  File\nKeyError: 'x'")) == "KeyError: 'x'"


# With Ray: two nodes on this machine.


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("ray", reason='Ray is not installed: pip install -e ".[cluster]"')
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    from ray.cluster_utils import Cluster as Nodes

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    nodes = Nodes(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    nodes.second = nodes.add_node(**small)
    yield nodes
    nodes.shutdown()


def learnt(found: list[Record]) -> dict[str, Any]:
    """By trial: everything but times and where it ran."""
    return {
        r.trial_id: (
            r.status, r.reason, r.extra.get("weights"), r.extra.get("best_step"),
            [(m.phase, m.split, m.metric, m.value) for m in r.measurements if m.metric not in TIMES],
        )
        for r in found
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_lost_machine_changes_no_result(two_nodes: Any, tmp_path: Path) -> None:
    plain, spread = tmp_path / "plain", tmp_path / "spread"
    small = [*SMALL, "--trainings-per-device", "2"]  # each has its part of the cores, and so the same bits
    assert run_all(*small, "--out", str(plain), timeout=900).returncode == 0
    command = [*small, "--executor", "ray", "--address", two_nodes.address]
    process = subprocess.Popen(
        [sys.executable, "run_all.py", *command, "--out", str(spread)], cwd=ROOT, env={**os.environ, "CI": "1"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    # Until each machine has a training to lose.
    while time.monotonic() < deadline and len(list(spread.rglob("state.pt"))) < 2:
        assert process.poll() is None, "the run ended before two trainings were under way at once"
        time.sleep(0.02)
    two_nodes.remove_node(two_nodes.second, allow_graceful=False)
    _, errors = process.communicate(timeout=900)
    assert "Traceback" not in errors
    if process.returncode:
        assert run_all(*command, "--out", str(spread), timeout=900).returncode == 0
    assert learnt(records(spread)) == learnt(records(plain))
    written = only_run(spread).read()[0]
    assert len(written) == len(latest(written))
    assert any(r.extra.get("machines_lost") for r in written) or process.returncode
    assert not list(spread.rglob("state.pt")) and not list(spread.rglob("shared.mark"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_a_training_make_one_record(tmp_path: Path) -> None:
    single, spread = tmp_path / "single", tmp_path / "spread"
    arguments = [*TINY, "--architectures", "conv1d", "--seeds", "1", "--set", "search.lr=[0.003]"]
    assert run_all(*arguments, "--out", str(single), timeout=400).returncode == 0
    done = run_all(*arguments, "--devices-per-trial", "2", "--out", str(spread), timeout=400)
    assert done.returncode == 0, done.stderr
    (one,), (both,) = ([r for r in records(out) if r.kind == "train"] for out in (single, spread))
    assert both.extra["devices"] == 2 and "devices" not in one.extra and both.trial_id != one.trial_id
    assert both.extra["curves"]["tune"]["loss"] == pytest.approx(one.extra["curves"]["tune"]["loss"], rel=1e-3)
    wanted = {(m.phase, m.split, m.metric) for m in one.measurements}
    assert {(m.phase, m.split, m.metric) for m in both.measurements} == wanted
    again = run_all(*arguments, "--devices-per-trial", "2", "--out", str(spread), timeout=400)
    assert f"({len(records(spread))} from before)" in again.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fault_in_one_process_is_a_row(tmp_path: Path) -> None:
    plugin = ROOT / "tests" / "plugins" / "faulty_training.py"
    arguments = [*TINY, "--plugin", str(plugin), "--architectures", "nan_later,dies_later", "--set", "match=width"]
    more = ["--set", "target=32", "--set", "search.lr=[0.003]", "--seeds", "1", "--devices-per-trial", "2"]
    done = run_all(*arguments, *more, "--out", str(tmp_path), timeout=400)
    assert done.returncode == 1, done.stderr
    ends = {r.architecture: (r.status, r.reason) for r in records(tmp_path) if r.kind == "train"}
    assert ends["nan_later"][0] == "nan" and "is not a number at step 8" in ends["nan_later"][1]
    assert ends["dies_later"] == ("error", "the process of one device ended itself with exit code 7")
