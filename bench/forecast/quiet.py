"""A clock for looks on a machine that others use as well: what a call would take if it had not had to wait for a core."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.measure.cores import busy_seconds
from bench.measure.device import open_device


class QuietClock:
    """Seconds of a call. On a CPU, time in which others had the cores does not count: a call cannot have lost more than
    others used meanwhile, nor taken less than the processor time of its threads, shared out as in the call in which most of
    them ran at once. Nothing that waits for a disk is to be timed by it.
    """

    def __init__(self, device: str) -> None:
        self.device = open_device(device)
        self.on_cpu = device == "cpu"
        self.at_once = 1.0
        self.wall = self.quiet = 1e-9

    def seconds(self, step: Callable[[], object]) -> float:
        if not self.on_cpu:
            return self.device.seconds(step)
        everybody, used = busy_seconds(), time.process_time()
        wall = self.device.seconds(step)
        used, everybody = time.process_time() - used, busy_seconds() - everybody
        self.at_once = max(self.at_once, used / wall) if wall > 0 else self.at_once
        quiet = min(wall, max(used / self.at_once, wall - max(0.0, everybody - used)))
        self.wall, self.quiet = self.wall + wall, self.quiet + quiet
        return quiet

    @property
    def busy(self) -> float:
        """How many times as long as its own time everything took."""
        return self.wall / self.quiet
