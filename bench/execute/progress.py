"""Progress for people (a bar with the time left) and for logs (a line now and then)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from bench.trial import Trial
from results.schema import Record

QUIET_SECONDS = 30.0


class Estimator:
    """Seconds that the trials still to come will take, from those that are done.

    A cell is expected to take what it took in an earlier round; one at a new length, twice what half the length took, but
    no more than the limits allow.
    """

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.todo = {t.trial_id: t for t in trials}
        self.known: dict[tuple[str, str, str, int], float] = {}

    def done(self, trial: Trial, record: Record) -> None:
        self.todo.pop(trial.trial_id, None)
        if record.wall_s or record.extra.get("skipped"):
            self.known[self._key(trial, trial.length)] = record.wall_s

    def left(self) -> float:
        return sum(self._expect(t) for t in self.todo.values())

    def _expect(self, trial: Trial) -> float:
        most = 4 * trial.limit + 5 * trial.seconds
        floor = 0.1 + 1.5 * trial.seconds * len(trial.phases)
        length, factor = trial.length, 1.0
        while length >= 1:
            known = self.known.get(self._key(trial, length))
            if known is not None:
                return min(max(known * factor, floor if factor > 1 else 0.0), max(most, known))
            length, factor = length // 2, factor * 2
        return floor

    @staticmethod
    def _key(trial: Trial, length: int) -> tuple[str, str, str, int]:
        return trial.kind, trial.architecture, trial.regime, length


class Progress:
    """A bar on a terminal; elsewhere one line every half minute."""

    def __init__(self, trials: tuple[Trial, ...], terminal: bool) -> None:
        self.estimator = Estimator(trials)
        self.total = len(trials)
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

    def start(self, trial: Trial) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=describe(trial))

    def end(self, trial: Trial, record: Record) -> None:
        self.count += 1
        self.estimator.done(trial, record)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.count, left=f"about {duration(self.estimator.left())} left")
        elif time.monotonic() - self.said > QUIET_SECONDS:
            self.said = time.monotonic()
            left = duration(self.estimator.left())
            print(f"{self.count} of {self.total} trials, about {left} left; now {describe(trial)}", flush=True)


def describe(trial: Trial) -> str:
    parts = [trial.kind, trial.architecture, trial.regime, f"T={trial.length:,}" if trial.length else ""]
    return " ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
