"""Whether a call still goes as it may: its time, its memory, what it started, and whether it is alive at all.

A call is hung where nothing is heard and no processor time is used (a deadlock), or where the heartbeat stops (a loop in C
that lets no other thread run, a stopped process). A long call of torch is neither: it uses its cores and its heart beats.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from bench.execute.family import Family

ASLEEP = 5.0  # seconds between two looks, past which it was this process that stood still (Ctrl-Z, a closed lid)
FAMILY_SECONDS = 0.25  # between two looks at what the child has started
IDLE_SHARE = 0.01  # of one core; less is no work
TICKS = 0.02  # seconds of processor time, below which the system's clock says nothing
# Far more than torch, its compilers and loaders of data start; a bomb passes both in a second.
MOST_PROCESSES = 128 + 4 * (os.cpu_count() or 1)
MOST_THREADS = 512 + 16 * (os.cpu_count() or 1)
LONGEST_BEAT = 5.0


@dataclass(frozen=True)
class Limits:
    """What a call may take.

    Attributes:
        timeout: seconds. memory: bytes that it may grow by, with all that it starts; 0 for no limit.
        silence: seconds without a sign of life, after which it is hung; 0 to wait for the timeout.
    """

    timeout: float
    memory: int = 0
    silence: float = 0.0

    @property
    def beat(self) -> float:
        """Seconds between heartbeats; 0 where none is needed."""
        return min(LONGEST_BEAT, self.silence / 4) if self.silence and self.silence < self.timeout else 0.0


class Watch:
    """Looks at one call of one child."""

    def __init__(self, family: Family, limits: Limits) -> None:
        self.family, self.limits = family, limits
        now, look = time.monotonic(), family.look()
        self.base = look.resident
        self.deadline = now + limits.timeout
        self.looked = self.looked_around = self.beaten = self.worked = now
        self.cpu = look.cpu
        self.others: list[int] = []

    def heard(self, kind: str) -> None:
        """A message came; what is not a heartbeat is a sign of work."""
        self.beaten = time.monotonic()
        if kind != "beat":
            self.worked = self.beaten

    def problem(self) -> tuple[str, str] | None:
        """Status and reason for ending the call now."""
        now = time.monotonic()
        self._forgive(now - self.looked)
        self.looked = now
        if now > self.deadline:
            return "timeout", f"no end within {self.limits.timeout:.0f} s, stopped"
        if now - self.looked_around > FAMILY_SECONDS:
            self.others, self.looked_around = self.family.others(), now
            if len(self.others) > MOST_PROCESSES:
                return "error", f"started more than {MOST_PROCESSES} processes, stopped"
        look = self.family.look_at(self.others) if self.others else self.family.look()
        if look.threads > MOST_THREADS:
            return "error", f"started more than {MOST_THREADS} threads, stopped"
        grown, most = look.resident - self.base, self.limits.memory
        if most and grown > most and self.others:
            grown = self.family.memory_of(self.others) - self.base
        if most and grown > most:
            return "oom", f"took {grown / 2**30:.1f} GiB, the limit is {most / 2**30:.1f} GiB"
        if look.cpu - self.cpu > max(TICKS, IDLE_SHARE * (now - self.worked)) or look.cpu < self.cpu:
            self.worked, self.cpu = now, look.cpu
        if self.limits.beat:
            return self._silent(now, look.stopped)
        return None

    def _silent(self, now: float, stopped: bool) -> tuple[str, str] | None:
        most = self.limits.silence
        if now - self.beaten > most:
            why = "halted by a signal" if stopped else "in code that lets no other thread run"
            return "timeout", f"hung: no heartbeat for {most:.0f} s ({why}), stopped"
        if now - self.worked > most:
            return "timeout", f"hung: no message and no processor time for {most:.0f} s (a deadlock?), stopped"
        return None

    def _forgive(self, gap: float) -> None:
        """Time in which this process itself stood still counts for nobody."""
        if gap > ASLEEP:
            self.deadline += gap
            self.beaten += gap
            self.worked += gap
