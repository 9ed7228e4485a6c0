"""Trials side by side: in whatever order they end, the rows are those of one after another."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from bench.execute.executor import Ended, TicketTold
from bench.execute.runner import Runner, Stage, Stamp
from bench.execute.worker import Answer
from bench.trial import Trial
from results.store import Run, latest

STAMP = Stamp("made up", "environment", "", False)
PHASES = ("forward", "forward_backward")


def trial(kind: Any, architecture: str, length: int = 0, seed: int = 0, **fields: Any) -> Trial:
    phases = {"cell": PHASES, "check": ()}.get(kind, (kind,))
    return Trial(
        kind=kind, architecture=architecture, task="", mode="causal", regime="", width=8, depth=1, parameters=1, batch=1,
        length=length, dtype="float32", device="cpu", seed=seed, **{"phases": phases, **fields},
    )  # fmt: skip


class Planted:
    """Runs nothing: each trial ends as `ends` says, after others that were started with it, in an order of its own."""

    def __init__(self, slots: int, ends: dict[str, tuple[str, str]], seed: int = 0) -> None:
        self.slots, self.at_once = slots, 1
        self.ends = ends
        self.random = random.Random(seed)
        self.running: dict[int, Trial] = {}
        self.most = 0
        self.order: list[str] = []
        self.closed = False

    def attach(self, run: Path) -> None:
        pass

    @property
    def full(self) -> bool:
        return len(self.running) >= self.slots

    def start(self, ticket: int, trial: Trial) -> None:
        assert not self.full
        self.running[ticket] = trial
        self.most = max(self.most, len(self.running))
        self.order.append(name(trial))

    def wait(self, on_progress: TicketTold) -> Ended:
        ticket = self.random.choice(sorted(self.running))
        found = self.running.pop(ticket)
        status, phase = self.ends.get(name(found), ("ok", ""))
        phase = phase if phase in found.phases else ""
        return Ended(ticket, Answer(status if phase or status != "oom" else "ok", "planted", phase=phase), "", 1.0)

    def close(self) -> None:
        self.closed = True


def name(trial: Trial) -> str:
    return f"{trial.kind} {trial.architecture} {trial.length} {trial.seed}"


def rows(folder: Path, executor: Planted, stages: list[Stage]) -> dict[str, tuple[Any, ...]]:
    run = Run.create(folder, "run")
    Runner(run, executor, STAMP).execute(stages)
    records, _ = run.read()
    assert len(records) == len(latest(records)), "a trial has two rows"
    return {r.trial_id: (r.status, r.reason, r.failed_phase, r.extra["skipped"]) for r in records}


def plan(generator: random.Random) -> tuple[list[Stage], dict[str, tuple[str, str]]]:
    """Checks, then cells of three architectures in an order of their own, and trainings; some run out, one is broken."""
    names, lengths, ends = ("a", "b", "c"), (1, 2, 4, 8), {}
    checks = [trial("check", a) for a in names]
    counts = [trial("graph", a, length) for a in names for length in lengths]
    cells = [trial("cell", a, length, seed) for a in names for length in lengths for seed in range(2)]
    generator.shuffle(cells)
    trainings = [trial("train", a, seed=seed) for a in names for seed in range(3)]
    for cell in generator.sample(cells, 6):
        ends[name(cell)] = (generator.choice(["oom", "timeout"]), generator.choice(PHASES))
    ends[name(generator.choice(checks))] = ("error", "")
    ends[name(generator.choice(trainings))] = ("timeout", "")
    return [Stage("first", (*checks, *counts)), Stage("then", (*cells, *trainings))], ends


@pytest.mark.parametrize("seed", range(10))
def test_rows_are_those_of_one_after_another(tmp_path: Path, seed: int) -> None:
    stages, ends = plan(random.Random(seed))
    plain = rows(tmp_path / "plain", Planted(1, ends), stages)
    executor = Planted(5, ends, seed)
    assert rows(tmp_path / "beside", executor, stages) == plain
    assert executor.most > 1 and executor.closed
    assert {status for status, *_ in plain.values()} > {"ok", "error"}
    assert any(skipped for *_, skipped in plain.values())


def test_one_slot_keeps_the_order_of_the_plan(tmp_path: Path) -> None:
    stages, _ = plan(random.Random(0))
    executor = Planted(1, {})
    rows(tmp_path, executor, stages)
    assert executor.order == [name(t) for stage in stages for t in stage.trials]


def test_a_stage_begins_when_the_one_before_it_has_ended(tmp_path: Path) -> None:
    """A later stage may be made from the records of the earlier one, so it must not be asked for before."""
    run = Run.create(tmp_path, "run")
    executor = Planted(4, {})

    def stages() -> Any:
        first = tuple(trial("train", "a", seed=seed) for seed in range(6))
        yield Stage("first", first)
        assert len(run.read()[0]) == 6 and not executor.running
        yield Stage("then", (trial("train", "b"),))

    Runner(run, executor, STAMP).execute(stages())
    assert len(run.read()[0]) == 7


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stages, ends = plan(random.Random(1))
    whole = rows(tmp_path / "whole", Planted(3, ends), stages)

    class Stopped(Planted):
        def wait(self, on_progress: TicketTold) -> Ended:
            if len(self.order) > 15:
                raise KeyboardInterrupt
            return super().wait(on_progress)

    run = Run.create(tmp_path / "stopped", "run")
    stopped = Stopped(3, ends)
    with pytest.raises(KeyboardInterrupt):
        Runner(run, stopped, STAMP).execute(stages)
    assert stopped.closed
    before = {r.trial_id for r in run.read()[0] if r.status == "ok"}
    assert before
    again = Planted(3, ends, seed=5)
    Runner(run, again, STAMP).execute(stages)
    found = latest(run.read()[0])
    assert {r.trial_id: (r.status, r.reason, r.failed_phase, r.extra["skipped"]) for r in found} == whole
    by_name = {name(t): t.trial_id for stage in stages for t in stage.trials}
    assert not {by_name[started] for started in again.order} & before


def test_progress_names_the_trial_that_it_is_of(tmp_path: Path) -> None:
    """Also where that is not the one that was started last."""

    class Telling(Planted):
        def wait(self, on_progress: TicketTold) -> Ended:
            for ticket, trial in self.running.items():
                on_progress(ticket, 1, 2, name(trial))
            return super().wait(on_progress)

    told: list[tuple[str, str]] = []
    runner = Runner(Run.create(tmp_path, "run"), Telling(3, {}), STAMP)
    runner.on_progress = lambda trial, done, of, words: told.append((name(trial), words))
    runner.execute(plan(random.Random(1))[0])
    assert len({one for one, _ in told}) > 10
    assert all(one == words for one, words in told)


def test_what_cannot_be_written_is_a_row(tmp_path: Path) -> None:
    """A plug-in's result that JSON cannot hold must not end the run, now and each time it is tried again."""

    class Odd(Planted):
        def wait(self, on_progress: TicketTold) -> Ended:
            ended = super().wait(on_progress)
            ended.answer.extra["score"] = math.inf if ended.ticket == 1 else object()
            return ended

    run = Run.create(tmp_path, "run")
    Runner(run, Odd(1, {}), STAMP).execute([Stage("all", tuple(trial("train", "a", seed=seed) for seed in range(2)))])
    found, skipped = run.read()
    assert not skipped and [r.status for r in found] == ["error", "error"]
    assert all(r.reason.startswith("its result cannot be written: ") for r in found)


def test_the_rule_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, longer cells of what runs out are tried, and rows differ."""
    monkeypatch.setattr("bench.execute.runner._rules_over", lambda trial: set())
    differing = 0
    for seed in range(5):
        stages, ends = plan(random.Random(seed))
        plain = rows(tmp_path / f"plain {seed}", Planted(1, ends), stages)
        differing += rows(tmp_path / f"beside {seed}", Planted(5, ends, seed), stages) != plain
    assert differing
