"""Work of a page on all cores: in processes forked from this one, which have all data without its being sent.

No pool of a library: that keeps threads in this process, and forking again beside threads may hang. Where nothing can be
forked (other systems, threads, no memory), or a child dies, the work is done here, and shows here what is wrong with it.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST = 8  # processes


class Errand(Generic[T]):
    """Jobs that another process begins at once, one after the other, while this one goes on. Results must be picklable."""

    def __init__(self, jobs: Sequence[Callable[[], T]]) -> None:
        self._jobs = jobs
        self._results: list[T] | None = None
        self._child = self._fork() if _can_fork() else None

    def results(self) -> list[T]:
        """What each job gave, in order; waits for it."""
        if self._results is None:
            sent = self._receive()
            self._results = sent if sent is not None else [job() for job in self._jobs]
        return self._results

    def later(self, place: int) -> Callable[[], T]:
        """What gives the result of one job, when asked."""
        return lambda: self.results()[place]

    def forget(self) -> None:
        """Nobody wants the results any more: a child that would send them gets an end of pipe, and ends."""
        if self._results is None and self._child is not None:
            process, reading = self._child
            os.close(reading)
            os.waitpid(process, 0)
            self._child = None

    def _fork(self) -> tuple[int, int] | None:
        reading, writing = os.pipe()
        try:
            process = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return None
        if process:
            os.close(writing)
            return process, reading
        try:
            gc.disable()  # a look for garbage would copy what is shared
            os.close(reading)
            with open(writing, "wb") as pipe:
                pickle.dump([job() for job in self._jobs], pipe, pickle.HIGHEST_PROTOCOL)
            os._exit(0)
        except BaseException:
            os._exit(1)

    def _receive(self) -> list[T] | None:
        if self._child is None:
            return None
        process, reading = self._child
        self._child = None
        with open(reading, "rb") as pipe:
            sent = pipe.read()
        _, status = os.waitpid(process, 0)
        return pickle.loads(sent) if status == 0 else None


Text = str | Callable[[], str]
"""A text of a page's files: here, or on its way."""


def written(text: Text) -> str:
    return text if isinstance(text, str) else text()


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What each job gives, in order, done on all cores: every process takes each n-th."""
    ways = min(_cores(), _MOST, len(jobs))
    errands = [Errand(jobs[i::ways]) for i in range(1, ways)]
    try:
        shares = [[job() for job in jobs[:: ways or 1]], *(errand.results() for errand in errands)]
    except BaseException:
        for errand in errands:
            errand.forget()
        raise
    return [shares[i % ways][i // ways] for i in range(len(jobs))]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _can_fork() -> bool:
    return sys.platform == "linux" and _cores() > 1 and threading.active_count() == 1
