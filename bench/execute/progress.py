"""Progress for people (a bar with the time left) and for logs (a line now and then)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.execute.runner import Stage
from bench.trial import Trial
from results.schema import Record

QUIET_SECONDS = 30.0
BAR_SECONDS = 0.2  # the time left is a sum over all trials to come, and a resumed run passes thousands at once


class Estimator:
    """Seconds that the trials still to come will take, from those that are done.

    A cell is expected to take what it took in an earlier round; one at a new length, twice what half the length took, but
    no more than the limits allow. A training is expected to take what another of its competitor took, by their steps.
    """

    def __init__(self) -> None:
        self.todo: dict[str, Trial] = {}
        self.known: dict[tuple[str, ...], dict[int, float]] = {}

    def expect(self, trials: Iterable[Trial]) -> None:
        self.todo |= {t.trial_id: t for t in trials}

    def done(self, trial: Trial, record: Record) -> None:
        self.todo.pop(trial.trial_id, None)
        if record.wall_s or record.extra.get("skipped"):
            seconds = record.wall_s / (_steps(trial) or 1)
            self.known.setdefault(self._key(trial), {})[trial.length] = seconds

    def left(self) -> float:
        return sum(self._expect(t) for t in self.todo.values())

    def _expect(self, trial: Trial) -> float:
        if trial.kind == "train":
            own = self.known.get(self._key(trial)) or {}
            others = [s for key, found in self.known.items() if key[0] == "train" for s in found.values()]
            seconds = own.get(trial.length) or (sum(others) / len(others) if others else float("nan"))
            return seconds * (_steps(trial) or 1)
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


def _steps(trial: Trial) -> int:
    """Steps of a training; 0 for other trials, and where it is not steps that end it."""
    recipe = (trial.training or {}).get("recipe", {}) if trial.kind == "train" else {}
    return int(recipe.get("steps") or 0)


class Progress:
    """A bar on a terminal; elsewhere one line every half minute.

    Args:
        total: trials of the whole run, those of stages that are not known yet as well.
        at_once: how many run side by side, at most.
    """

    def __init__(self, total: int, terminal: bool, at_once: Callable[[], int] = lambda: 1) -> None:
        self.estimator = Estimator()
        self.total = total
        self.at_once = at_once
        self.count = 0
        self.now = ""
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
        self.now = describe(trial)
        if self.bar is not None:
            self.bar.update(self.task, description=self.now)

    def inside(self, done: int, of: int, words: str) -> None:
        """In the middle of a long trial."""
        share = f"{done:,} of {of:,}" if of else f"{done:,}"
        text = f"{self.now}, step {share}, {words}"
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
    """What is left, in words; nothing is known before the first training has ended."""
    return "time left unknown" if math.isnan(seconds) else f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
