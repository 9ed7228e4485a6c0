"""Where trials are run: here, one after another; here, side by side (bench.execute.side_by_side); or on the machines of a
cluster (bench.execute.cluster)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.execute.worker import Answer, Pool, Worker
from bench.trial import Trial

Told = Callable[[int, int, str], None]
"""Told how far a trial is: steps done, steps in all or 0, words."""
TicketTold = Callable[[int, int, int, str], None]
"""The same behind the ticket of the trial."""
SIDE_BY_SIDE = ("check", "graph", "path", "train")  # kinds whose result does not depend on what else the device does


@dataclass(frozen=True)
class Ended:
    """How a trial ended, where it ran. `ticket` is what it was started with; `started` is ISO 8601."""

    ticket: int
    answer: Answer
    started: str
    wall_s: float


class Executor(Protocol):
    """Runs trials. What depends on their order is the runner's: it starts none that another could still rule out."""

    slots: int
    """Trials that run at the same time, at most."""
    at_once: int
    """Of these, those that may share a device."""

    def attach(self, run: Path) -> None:
        """Name the folder of the run that trials belong to; called once, before the first."""
        ...

    @property
    def full(self) -> bool:
        """Whether one trial more would only wait."""
        ...

    def start(self, ticket: int, trial: Trial) -> None: ...

    def wait(self, on_progress: TicketTold) -> Ended:
        """The next trial that ends, of those that were started."""
        ...

    def close(self) -> None:
        """End what is still running."""
        ...


def beside(words: str, trials: int) -> str:
    """How far one of several trials is, and how many run."""
    return f"{words}; {trials} trials at once" if trials > 1 else words


def shares(trial: Trial) -> bool:
    """Whether others may run on its device meanwhile."""
    return trial.kind in SIDE_BY_SIDE


def company(trial: Trial, slots: int, at_once: int) -> int:
    """How many trials like this one run at the same time, at most; `slots` and `at_once` as an executor has them."""
    return slots if shares(trial) else slots // at_once


def shared(answer: Answer, trial: Trial, slots: int, cores: int) -> None:
    """Have the answer say that up to `slots` trainings ran on one device of so many cores. Its neighbours are no other
    work; what runs alone has none."""
    if not shares(trial):
        return
    answer.others = max(0.0, answer.others - (slots - 1) * max(1, cores // slots))
    if slots > 1 and trial.kind == "train":
        answer.extra["at_once"] = slots


class Lane:
    """Runs one trial at a time, each in the child that its name asks for; a child is kept until something fails in it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.workers: dict[str, Worker] = {}

    def run(self, ticket: int, trial: Trial, on_progress: Told) -> Ended:
        started, began = datetime.now(UTC), time.perf_counter()
        worker = self.workers.get(trial.worker)
        if worker is None or not worker.alive():
            worker = self.workers[trial.worker] = self.pool.start()
        answer = worker.call(
            "trial",
            trial,
            timeout=trial.timeout,
            memory=trial.memory,
            silence=trial.silence,
            on_progress=on_progress,
        )
        return Ended(ticket, answer, started.isoformat(timespec="seconds"), time.perf_counter() - began)

    def close(self) -> None:
        while self.workers:
            self.workers.popitem()[1].close()


class LocalExecutor:
    """This machine, one trial at a time, so that no timing has company."""

    slots = at_once = 1

    def __init__(self, pool: Pool) -> None:
        self.lane = Lane(pool)
        self.next: tuple[int, Trial] | None = None

    def attach(self, run: Path) -> None:
        pool = self.lane.pool
        self.lane = Lane(replace(pool, log=str(run / "worker.log"), data=replace(pool.data, run=str(run))))

    @property
    def full(self) -> bool:
        return self.next is not None

    def start(self, ticket: int, trial: Trial) -> None:
        self.next = ticket, trial

    def wait(self, on_progress: TicketTold) -> Ended:
        assert self.next is not None
        (ticket, trial), self.next = self.next, None
        return self.lane.run(ticket, trial, partial(on_progress, ticket))

    def close(self) -> None:
        self.lane.close()
