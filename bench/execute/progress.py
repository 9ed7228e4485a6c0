"""Progress for people (a bar with the time left) and for logs (a line now and then)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from bench.execute.runner import Stage
from bench.trial import Trial
from results.schema import Record

QUIET_SECONDS = 30.0
BAR_SECONDS = 0.2  # the time left is a sum over all trials to come, and a resumed run passes thousands at once


class Estimator:
    """Seconds that the trials still to come will take, from those that are done.

    A cell is expected to take what it took in an earlier round; one at a new length, twice what half the length took, but
    no more than the limits allow. A training is expected to take what another of its competitor took, by their steps; the
    first of a competitor what was foreseen, put right by how long others took that were foreseen as well.

    Args:
        planned: every trial of the run, those included that wait for a choice. seconds: foreseen for each, if they were;
            not a number where one was not.
    """

    def __init__(self, planned: Iterable[Trial] = (), seconds: Iterable[float] = ()) -> None:
        self.todo: dict[str, Trial] = {}
        self.known: dict[tuple[str, ...], dict[int, float]] = {}
        self.expect(planned)
        self.foreseen = {place: s for place, s in zip(self.todo, seconds, strict=False) if math.isfinite(s)}
        self.told = self.took = 0.0

    def expect(self, trials: Iterable[Trial]) -> None:
        self.todo |= {_place(t): t for t in trials}

    def done(self, trial: Trial, record: Record) -> None:
        self.todo.pop(_place(trial), None)
        if record.wall_s or record.extra.get("skipped"):
            seconds = _from_the_start(record)
            self.known.setdefault(self._key(trial), {})[trial.length] = seconds / (_steps(trial) or 1)
            if trial.kind == "train" and _place(trial) in self.foreseen and record.status == "ok":
                self.told, self.took = self.told + self.foreseen[_place(trial)], self.took + seconds

    def left(self) -> float:
        return sum(self._expect(t) for t in self.todo.values())

    def _expect(self, trial: Trial) -> float:
        if trial.kind == "train":
            own = (self.known.get(self._key(trial)) or {}).get(trial.length)
            if not own and _place(trial) in self.foreseen:
                return self.foreseen[_place(trial)] * (self.took / self.told if self.told else 1.0)
            others = [s for key, found in self.known.items() if key[0] == "train" for s in found.values()]
            return (own or (sum(others) / len(others) if others else float("nan"))) * (_steps(trial) or 1)
        most = 4 * trial.limit + 5 * trial.seconds
        floor = 0.1 + 1.5 * trial.seconds * len(trial.phases)
        length, factor = trial.length, 1.0
        known = self.known.get(self._key(trial), {})
        while length >= 1:
            if length in known:
                return min(max(known[length] * factor, floor if factor > 1 else 0.0), max(most, known[length]))
            length, factor = length // 2, factor * 2
        return floor

    @staticmethod
    def _key(trial: Trial) -> tuple[str, ...]:
        stage = "" if trial.kind == "train" else trial.regime
        return trial.kind, trial.architecture, trial.variant, trial.task, stage


def _place(trial: Trial) -> str:
    """A trial's place in the plan: the same before and after a search has chosen its learning rate."""
    if trial.kind == "train" and trial.regime == "final":
        return f"{trial.task} {trial.architecture} {trial.variant} {trial.seed}"
    return trial.trial_id


def _from_the_start(record: Record) -> float:
    """Seconds of a trial; of a training that went on from a checkpoint, what it would have taken without one."""
    resumed = record.extra.get("resumed_at")
    steps = record.extra.get("steps", 0)
    return record.wall_s * (steps / (steps - resumed[-1]) if resumed and steps > resumed[-1] else 1.0)


def _steps(trial: Trial) -> int:
    """Steps of a training; 0 for other trials, and where it is not steps that end it."""
    recipe = (trial.training or {}).get("recipe", {}) if trial.kind == "train" else {}
    return int(recipe.get("steps") or 0)


class Progress:
    """A bar on a terminal; elsewhere one line every half minute.

    Args:
        planned: trials of the whole run, those of stages that are not known yet as well. seconds: foreseen for each.
        at_once: how many run side by side, at most.
    """

    def __init__(
        self,
        planned: Sequence[Trial],
        terminal: bool,
        seconds: Iterable[float] = (),
        at_once: Callable[[], int] = lambda: 1,
    ) -> None:
        self.estimator = Estimator(planned, seconds)
        self.total = len(planned)
        self.at_once = at_once
        self.count = 0
        self.said = time.monotonic()
        self.bar: Any = None
        if terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
            self.bar = Bar(*columns, TextColumn("{task.description}"), transient=True)
            self.task = self.bar.add_task("starting", total=self.total, left="")

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def watch(self, stages: Iterable[Stage]) -> Iterator[Stage]:
        """Pass stages on, and expect their trials from then on."""
        for stage in stages:
            self.estimator.expect(stage.trials)
            yield stage

    def start(self, trial: Trial) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=describe(trial))

    def inside(self, trial: Trial, done: int, of: int, words: str) -> None:
        """In the middle of a long trial."""
        share = f"{done:,} of {of:,}" if of else f"{done:,}"
        text = f"{describe(trial)}, step {share}, {words}"
        if self.bar is not None:
            self.bar.update(self.task, description=text)
        else:
            self._say(text)

    def end(self, trial: Trial, record: Record) -> None:
        self.count += 1
        self.estimator.done(trial, record)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.count)
            if time.monotonic() - self.said > BAR_SECONDS:
                self.said = time.monotonic()
                self.bar.update(self.task, left=self._left())
        else:
            self._say(describe(trial))

    def _say(self, text: str) -> None:
        if time.monotonic() - self.said > QUIET_SECONDS:
            self.said = time.monotonic()
            print(f"{self.count} of {self.total} trials, {self._left()}; now {text}", flush=True)

    def _left(self) -> str:
        return _about(self.estimator.left() / self.at_once())


def describe(trial: Trial) -> str:
    name = f"{trial.architecture} {trial.variant}".strip()
    parts = [trial.kind, name, trial.regime, f"T={trial.length:,}" if trial.length and trial.kind != "train" else ""]
    return " ".join(part for part in parts if part)


def _about(seconds: float) -> str:
    """What is left, in words; where nothing was foreseen, nothing is known before the first training has ended."""
    return "time left unknown" if math.isnan(seconds) else f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
