"""The loop over a plan: run what is missing, write a record for everything, know what not to try.

Larger cells of what ran out of memory or time are not tried; they become rows that say so. An architecture that breaks
the contract is not measured; its cells become rows that say so.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.execute.worker import Answer, Pool, Worker
from bench.trial import Trial
from results.schema import Record, Status
from results.store import Run, latest

RAN_OUT = ("oom", "timeout")
BUSY_CORES = 0.25  # more than this kept busy by others, and a trial's record says so


Competitor = tuple[str, str, str]  # task ("" where problems hold for all), architecture, variant


@dataclass(frozen=True)
class Stage:
    """Trials to be run one after another.

    Attributes:
        section: name under which its time outside measured steps is booked.
        problems: competitors that cannot run, with status and reason: their trials become rows that say so.
    """

    section: str
    trials: tuple[Trial, ...]
    problems: Mapping[Competitor, tuple[str, str]] = field(default_factory=dict)

    def problem(self, trial: Trial) -> tuple[str, str] | None:
        return self.problems.get(_competitor(trial)) or self.problems.get(("", trial.architecture, trial.variant))


def _competitor(trial: Trial) -> Competitor:
    return trial.task, trial.architecture, trial.variant


@dataclass(frozen=True)
class Stamp:
    """What every record of a run carries."""

    suite: str
    environment_id: str
    git_commit: str
    git_dirty: bool


@dataclass
class Tally:
    """How the run went: records by status, and where its time went, in seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    measured_s: float = 0.0
    sections: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    warnings: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)


Progress = Callable[[Trial, Record], None]


@dataclass
class Runner:
    """Runs one plan into one run folder.

    Args:
        on_start, on_end, on_progress: called around each trial and in the middle of long ones, for people to see.
    """

    run: Run
    pool: Pool
    stamp: Stamp
    on_start: Callable[[Trial], None] = lambda trial: None
    on_end: Progress = lambda trial, record: None
    on_progress: Callable[[int, int, str], None] = lambda done, of, words: None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._broken: dict[Competitor, tuple[str, str]] = {}
        # (competitor, kind, regime, phase) -> the shortest length that ran out, how, and in which seed
        self._stopped: dict[tuple[Competitor, str, str, str], tuple[int, str, int]] = {}

    def execute(self, stages: Iterable[Stage]) -> Tally:
        """Run every trial that has no good record yet. KeyboardInterrupt ends it; what is written stays."""
        records, skipped = self.run.read("ends")
        self.tally.warnings += skipped
        done = {r.trial_id: r for r in latest(records)}
        try:
            for stage in stages:
                for trial in stage.trials:
                    before = time.perf_counter()
                    previous = done.get(trial.trial_id)
                    if previous is not None and previous.status == "ok":
                        self.tally.reused += 1
                        self.tally.statuses["ok"] += 1
                        self.on_end(trial, previous)
                        continue
                    record = self._one(trial, stage.problem(trial))
                    if not _same_skip(previous, record):
                        self.run.append(record)
                    if record.status == "ok" and trial.kind == "train":
                        self.run.forget_state(record.trial_id)
                    self.tally.statuses[record.status] += 1
                    self.tally.measured_s += record.measured_s
                    self.on_end(trial, record)
                    self.tally.sections[stage.section] += time.perf_counter() - before - record.measured_s
        finally:
            self._close()
        return self.tally

    def _one(self, trial: Trial, problem: tuple[str, str] | None) -> Record:
        problem = problem or self._broken.get(_competitor(trial))
        if problem is not None:
            return self._skip(trial, *problem)
        reasons = self._out_of_reach(trial)
        if reasons and len(reasons) == len(trial.phases):
            status, reason = next(iter(reasons.values()))
            return self._skip(trial, status, reason)
        self.on_start(trial)
        started, began = datetime.now(UTC), time.perf_counter()
        answer = self._call(trial.without(set(reasons)))
        if answer.others > BUSY_CORES:
            answer.notes.append(f"other programs kept {answer.others:.1f} cores busy")
        self._learn(trial, answer)
        if reasons and answer.status == "ok":  # measured what could be; the rest is what ended this architecture
            answer.status, answer.reason = next(iter(reasons.values()))
            answer.phase = next(iter(reasons))
        return self._record(trial, answer, started.isoformat(timespec="seconds"), time.perf_counter() - began)

    def _call(self, trial: Trial) -> Answer:
        worker = self._workers.get(trial.worker)
        if worker is None or not worker.alive():
            worker = self._workers[trial.worker] = self.pool.start()
        answer = worker.call("trial", trial, timeout=trial.timeout, memory=trial.memory, on_progress=self.on_progress)
        if answer.trace:
            self.tally.traces.append(f"{trial.kind} {trial.architecture} T={trial.length}\n{answer.trace}")
        return answer

    def _learn(self, trial: Trial, answer: Answer) -> None:
        if trial.kind == "check" and answer.status != "ok":
            reason = f"fails the contract check '{answer.phase}': {answer.reason}"
            self._broken[_competitor(trial)] = ("error", reason)
        if answer.status not in RAN_OUT or not trial.phases or not trial.architecture or trial.kind == "train":
            return  # the machine's own roof has no longer cells, and another training may well end
        # What ran out ends its own phase and those after it in the cell: they need more time and memory, not less.
        at = trial.phases.index(answer.phase) if answer.phase in trial.phases else 0
        for phase in trial.phases[at:]:
            key = (_competitor(trial), trial.kind, trial.regime, phase)
            known = self._stopped.get(key)
            if known is None or trial.length < known[0]:
                self._stopped[key] = (trial.length, answer.status, trial.seed)

    def _out_of_reach(self, trial: Trial) -> dict[str, tuple[str, str]]:
        """Phases not worth trying, with status and reason: they ran out at this or a shorter length before."""
        found = {}
        for phase in trial.phases:
            stop = self._stopped.get((_competitor(trial), trial.kind, trial.regime, phase))
            if stop is not None and trial.length >= stop[0] and (trial.length, trial.seed) != (stop[0], stop[2]):
                ran_out = "out of memory" if stop[1] == "oom" else "over the time limit"
                found[phase] = (stop[1], f"{phase} not tried: {ran_out} at {stop[0]:,} tokens")
        return found

    def _skip(self, trial: Trial, status: str, reason: str) -> Record:
        answer = Answer(status, reason, phase=trial.phases[0] if trial.phases else "")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self._record(trial, answer, now, 0.0, skipped=True)

    def _record(self, trial: Trial, answer: Answer, started: str, wall: float, skipped: bool = False) -> Record:
        result = answer.result or {}
        status: Status = answer.status  # type: ignore[assignment]  # checked by Record
        return Record(
            run_id=self.run.run_id, trial_id=trial.trial_id, environment_id=self.stamp.environment_id,
            suite=self.stamp.suite, kind=trial.kind, architecture=trial.architecture, variant=trial.variant, task=trial.task,
            decoder=trial.decoder, mode=trial.mode, regime=trial.regime, width=trial.width, depth=trial.depth,
            parameters=trial.parameters, batch=trial.batch, length=trial.length, dtype=trial.dtype, device=trial.device,
            seed=trial.seed, status=status, reason=answer.reason, failed_phase=answer.phase if status != "ok" else "",
            kernels=tuple(result.get("kernels", ())), warnings=tuple(answer.notes), started_at=started,
            wall_s=round(wall, 6), measured_s=round(answer.measured_s, 6),
            git_commit=self.stamp.git_commit, git_dirty=self.stamp.git_dirty,
            measurements=tuple(answer.measurements),
            extra={
                "unstable": result.get("unstable", []), "first_call_s": result.get("first_call_s", {}),
                "skipped": skipped, "load": round(answer.others, 2), **answer.extra,
            },
        )  # fmt: skip

    def _close(self) -> None:
        while self._workers:
            self._workers.popitem()[1].close()


def _same_skip(previous: Record | None, record: Record) -> bool:
    """A row that says again what the last run said of a cell that was not tried need not be written twice."""
    return (
        previous is not None
        and bool(previous.extra.get("skipped"))
        and bool(record.extra.get("skipped"))
        and (previous.status, previous.reason) == (record.status, record.reason)
    )
