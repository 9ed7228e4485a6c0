"""The parent's side of a forecast: asks a child, and takes no for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.execute.worker import Pool, Worker
from bench.trial import Trial

MOST_SECONDS = 15.0  # of looking, in all; what is left then is taken for the mean of the others
PATIENCE = 20.0  # seconds for one look
FIRST_PATIENCE = 60.0  # until one has come: without any, nothing is foreseen


class Asker:
    """Asks for one look after another. A look that fails or comes too late is None: the forecast does without it.

    Args:
        worker: a child that has loaded what there is to look at, if there is one.
    """

    def __init__(self, pool: Pool, worker: Worker | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.pool, self.worker, self.clock = pool, worker, clock
        self.until = clock() + MOST_SECONDS
        self.seen = False

    def look(self, trial: Trial, asked: dict[str, Any]) -> Any:
        if self.clock() > self.until:
            return None
        if self.worker is None or not self.worker.alive():
            self.worker = self.pool.start()
        patience = min(PATIENCE if self.seen else FIRST_PATIENCE, trial.timeout)
        answer = self.worker.call("probe", {"trial": trial, **asked}, timeout=patience, memory=trial.memory)
        self.seen = self.seen or answer.status == "ok"
        return answer.result if answer.status == "ok" else None

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
