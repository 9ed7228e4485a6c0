"""Trainings side by side on this machine: small ones leave most of a GPU, and half of two cores, unused when alone.

A timing never has company. Each trial runs in a child of its own, as one after another would, so that what is learnt is the
same; what a training takes is not, and its record says so.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from bench.execute.executor import Ended, Lane, TicketTold, beside, shared, shares
from bench.execute.worker import Pool
from bench.measure.cores import usable_cores
from bench.trial import Trial

THREADS = "OMP_NUM_THREADS"


class SideBySide:
    """Implements `bench.execute.executor.Executor` with up to `slots` trials at once, started in their order."""

    def __init__(self, pool: Pool, slots: int) -> None:
        self.pool, self.slots, self.at_once = pool, slots, slots
        self.idle = [Lane(pool) for _ in range(slots)]
        self.busy: dict[int, tuple[Trial, Lane]] = {}
        self.queue: deque[tuple[int, Trial]] = deque()
        self.said: SimpleQueue[Ended | Exception | tuple[int, int, int, str]] = SimpleQueue()

    def attach(self, run: Path) -> None:
        pool = replace(self.pool, log=str(run / "worker.log"), data=replace(self.pool.data, run=str(run)))
        self.idle = [Lane(pool) for _ in range(self.slots)]

    @property
    def full(self) -> bool:
        return bool(self.queue)

    def start(self, ticket: int, trial: Trial) -> None:
        self.queue.append((ticket, trial))
        self._dispatch()

    def wait(self, on_progress: TicketTold) -> Ended:
        while True:
            match self.said.get():
                case Exception() as fault:  # a full disk, no more processes: as if it had happened here
                    raise fault
                case Ended() as ended:
                    trial, lane = self.busy.pop(ended.ticket)
                    self.idle.append(lane)
                    self._dispatch()
                    shared(ended.answer, trial, self.slots, usable_cores())
                    return ended
                case ticket, done, of, words:
                    if ticket == max(self.busy):  # the one that was started last
                        on_progress(ticket, done, of, beside(words, len(self.busy)))

    def close(self) -> None:
        self.queue.clear()
        for lane in [*self.idle, *(lane for _, lane in self.busy.values())]:
            lane.close()

    def _dispatch(self) -> None:
        """In their order: one that has to be alone is not overtaken for ever by those that do not."""
        while self.queue and self.idle:
            ticket, trial = self.queue[0]
            if self.busy and not all(map(shares, [trial, *(other for other, _ in self.busy.values())])):
                return
            self.queue.popleft()
            self.busy[ticket] = trial, self.idle.pop()
            Thread(target=self._run, args=(ticket, *self.busy[ticket]), daemon=True).start()

    def _run(self, ticket: int, trial: Trial, lane: Lane) -> None:
        try:
            self.said.put(lane.run(ticket, trial, lambda *told: self.said.put((ticket, *told))))
        except Exception as fault:
            self.said.put(fault)


def share_cores(slots: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Give every child its part of the cores, where the user has not said how many threads it is to have. To be called
    before torch is loaded anywhere: more threads than cores make all of them several times slower."""
    environment.setdefault(THREADS, str(max(1, usable_cores() // slots)))
