"""How busy the machine's cores are, by the system's own counters."""

from __future__ import annotations

import os

import psutil


def busy_seconds() -> float:
    """Seconds for which cores worked for anybody since the machine started, summed over cores. They grow in ticks, of 10 ms
    on Linux."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
