"""A child and all that it started, as the parent sees them: looked at for little, ended as one.

Every child leads a process group (see `bench.execute.lifeline`), and what it starts is in that group unless it leaves it on
purpose. Where the system has no groups (Windows), its tree of processes has to do.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Look:
    """What the system says of a process; zeros of one that is gone.

    Attributes:
        resident: bytes of memory. cpu: seconds of processor time since it began. threads: how many it has.
        stopped: whether a signal has halted it.
    """

    resident: int = 0
    cpu: float = 0.0
    threads: int = 0
    stopped: bool = False


class Family:
    def __init__(self, pid: int | None) -> None:
        self.pid = pid or 0
        try:
            self._child: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._child = None

    def look(self) -> Look:
        """The child alone."""
        return _look(self._child) if self._child is not None else Look()

    def others(self) -> list[int]:
        """Processes that the child started and that are there now: one system call for each process of the machine."""
        if not hasattr(os, "getpgid"):
            return [process.pid for process in self._tree()]
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if pid != self.pid and os.getpgid(pid) == self.pid:
                    found.append(pid)
        return found

    def look_at(self, pids: list[int]) -> Look:
        """The child and these together; what several share is counted for each."""
        looks = [self.look()]
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                looks.append(_look(psutil.Process(pid)))
        return Look(sum(x.resident for x in looks), sum(x.cpu for x in looks), sum(x.threads for x in looks),
                    looks[0].stopped)  # fmt: skip

    def memory_of(self, pids: list[int]) -> int:
        """Bytes that the child and these hold, what several share counted once. Asking for it takes milliseconds each."""
        total = 0
        for process in [self.pid, *pids]:
            with contextlib.suppress(psutil.Error):
                held = psutil.Process(process).memory_full_info()
                total += getattr(held, "pss", held.uss)
        return total

    def kill(self) -> None:
        """End the child and all that it started, those that are just being started too: a group is ended at one stroke."""
        tree = self._tree()  # who has left the group is still a descendant
        if hasattr(os, "killpg") and self.pid:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return self._child.children(recursive=True) if self._child is not None else []
        return []


def _look(process: psutil.Process) -> Look:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return Look(process.memory_info().rss, times.user + times.system, process.num_threads(),
                        process.status() == psutil.STATUS_STOPPED)  # fmt: skip
    except psutil.Error:
        return Look()
