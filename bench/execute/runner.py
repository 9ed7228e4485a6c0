"""The loop over a plan: run what is missing, write a record for everything, know what not to try.

Larger cells of what ran out of memory or time are not tried; they become rows that say so. An architecture that breaks
the contract is not measured; its cells become rows that say so.

Where several trials run at once, the rows are those of one after another: a trial waits for every earlier one that could
still rule it out (see `_waits_for`), and for no other.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bench.execute.executor import Executor, company
from bench.execute.worker import Answer
from bench.trial import Trial
from results.schema import Record, Status
from results.store import Run, latest

RAN_OUT = ("oom", "timeout")
BUSY_CORES = 0.25  # more than this kept busy by others, and a trial's record says so


Competitor = tuple[str, str, str]  # task ("" where problems hold for all), architecture, variant


@dataclass(frozen=True)
class Stage:
    """Trials in their order; a stage begins when the one before it has ended.

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
    """How the run went: records by status, and where its time went, in seconds. Measured time is shared out over what ran
    side by side, so that it is a part of the run's time."""

    statuses: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    measured_s: float = 0.0
    sections: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    warnings: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)


Progress = Callable[[Trial, Record], None]


@dataclass(frozen=True)
class _Started:
    """A trial that runs, and phases of it that were left out, with status and reason."""

    trial: Trial
    reasons: dict[str, tuple[str, str]]


def _waits_for(trial: Trial) -> set[tuple[object, ...]]:
    """Names under which earlier trials could still rule this one out, or some of its phases."""
    own = _competitor(trial)
    return {own} if trial.kind == "train" else {own, (own, trial.kind, trial.regime)}


def _rules_over(trial: Trial) -> set[tuple[object, ...]]:
    """The names that it has for later ones: a check for all of its competitor, others for the lengths beside theirs."""
    own = _competitor(trial)
    if trial.kind == "train":  # one that ran out says nothing about another
        return set()
    return {own} if trial.kind == "check" else {(own, trial.kind, trial.regime)}


@dataclass
class Runner:
    """Runs one plan into one run folder.

    Args:
        on_start, on_end, on_progress: called around each trial and in the middle of long ones, for people to see.
    """

    run: Run
    executor: Executor
    stamp: Stamp
    on_start: Callable[[Trial], None] = lambda trial: None
    on_end: Progress = lambda trial, record: None
    on_progress: Callable[[Trial, int, int, str], None] = lambda trial, done, of, words: None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._running: dict[int, _Started] = {}
        self._tickets = 0
        self._broken: dict[Competitor, tuple[str, str]] = {}
        # (competitor, kind, regime, phase) -> the shortest length that ran out, how, and in which seed
        self._stopped: dict[tuple[Competitor, str, str, str], tuple[int, str, int]] = {}
        self._done: dict[str, Record] = {}

    def execute(self, stages: Iterable[Stage]) -> Tally:
        """Run every trial that has no good record yet. KeyboardInterrupt ends it; what is written stays."""
        records, skipped = self.run.read("ends")
        self.tally.warnings += skipped
        self._done = {r.trial_id: r for r in latest(records)}
        try:
            for stage in stages:
                before, measured = time.perf_counter(), self.tally.measured_s
                try:
                    self._stage(stage)
                finally:
                    spent = time.perf_counter() - before - (self.tally.measured_s - measured)
                    self.tally.sections[stage.section] += spent
        finally:
            self.executor.close()
        return self.tally

    def _forget(self, record: Record) -> None:
        if record.status == "ok" and record.kind == "train":
            self.run.forget_state(record.trial_id)

    def _stage(self, stage: Stage) -> None:
        waiting = list(stage.trials)
        while waiting or self._running:
            waiting = self._begin(stage, waiting)
            if self._running:
                ended = self.executor.wait(self._tell)
                started = self._running.pop(ended.ticket)
                self._finish(started, ended.answer, ended.started, ended.wall_s)

    def _begin(self, stage: Stage, waiting: list[Trial]) -> list[Trial]:
        """Start or settle what can be, in order. Returns what has to wait."""
        left: list[Trial] = []
        unsettled = {key for started in self._running.values() for key in _rules_over(started.trial)}
        for place, trial in enumerate(waiting):
            if self.executor.full:
                return left + waiting[place:]
            if unsettled.isdisjoint(_waits_for(trial)):
                if not self._start(stage, trial):
                    continue
            else:
                left.append(trial)
            unsettled |= _rules_over(trial)
        return left

    def _start(self, stage: Stage, trial: Trial) -> bool:
        """Start it, or return False where it is settled without: done before, or known to lead nowhere."""
        previous = self._done.get(trial.trial_id)
        if previous is not None and previous.status == "ok":
            self._forget(previous)  # killed between the record and this
            self.tally.reused += 1
            self.tally.statuses["ok"] += 1
            self.on_end(trial, previous)
            return False
        problem = stage.problem(trial) or self._broken.get(_competitor(trial))
        reasons = self._out_of_reach(trial)
        if problem is None and reasons and len(reasons) == len(trial.phases):
            problem = next(iter(reasons.values()))
        if problem is not None:
            self._write(trial, self._skip(trial, *problem))
            return False
        self.on_start(trial)
        self._tickets += 1
        self._running[self._tickets] = _Started(trial, reasons)
        self.executor.start(self._tickets, trial.without(set(reasons)))
        return True

    def _tell(self, ticket: int, done: int, of: int, words: str) -> None:
        self.on_progress(self._running[ticket].trial, done, of, words)

    def _finish(self, begun: _Started, answer: Answer, started: str, wall: float) -> None:
        trial, reasons = begun.trial, begun.reasons
        if answer.trace:
            self.tally.traces.append(f"{trial.kind} {trial.architecture} T={trial.length}\n{answer.trace}")
        if answer.others > BUSY_CORES:
            answer.notes.append(f"other work kept {answer.others:.1f} cores busy")
        self._learn(trial, answer)
        if reasons and answer.status == "ok":  # measured what could be; the rest is what ended this architecture
            answer.status, answer.reason = next(iter(reasons.values()))
            answer.phase = next(iter(reasons))
        self._write(trial, self._record(trial, answer, started, wall))

    def _write(self, trial: Trial, record: Record) -> None:
        if not _same_skip(self._done.get(record.trial_id), record):
            try:
                self.run.append(record)
            except (ValueError, TypeError) as error:  # a result of somebody's plug-in that JSON cannot hold
                record = _without_result(record, error)
                self.run.append(record)
        self._forget(record)
        self.tally.statuses[record.status] += 1
        self.tally.measured_s += record.measured_s / company(trial, self.executor.slots, self.executor.at_once)
        self.on_end(trial, record)

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


def _without_result(record: Record, error: Exception) -> Record:
    """The row that says that there is none."""
    reason = f"its result cannot be written: {' '.join(str(error).split())[:200]}"
    return replace(record, status="error", reason=reason, measurements=(), extra={"skipped": False})


def _same_skip(previous: Record | None, record: Record) -> bool:
    """A row that says again what the last run said of a cell that was not tried need not be written twice."""
    return (
        previous is not None
        and bool(previous.extra.get("skipped"))
        and bool(record.extra.get("skipped"))
        and (previous.status, previous.reason) == (record.status, record.reason)
    )
