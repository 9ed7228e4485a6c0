"""A run cut to the time that there is: whole rounds first, then whole tasks, then the longest lengths.

Architectures are never told apart, so what is left is balanced over them: every cell that one keeps, all keep.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.spec import SpecError

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Part:
    """What is kept of a plan: rounds (seeds), tasks by name (one without a name where a suite has no choice of them), and
    lengths, rising."""

    rounds: int
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        return self.lengths[-1] if self.lengths else 0


def read_budget(text: str) -> float:
    """Seconds from "2h", "30m", "90s", "1.5 h" or "1h30m". Raises SpecError for anything else."""
    pieces = re.findall(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", text.lower())
    whole = "".join(re.split(r"\s+", text.lower()))
    if not pieces or "".join(n + u for n, u in pieces) != whole or any(u not in _UNITS for _, u in pieces):
        raise SpecError(f"--budget {text}: write it as 2h, 30m, 90s or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if seconds <= 0:
        raise SpecError(f"--budget {text}: there must be some time to spend")
    return seconds


def parts(whole: Part, dearest: Callable[[tuple[str, ...]], str]) -> Iterator[Part]:
    """What may be kept, the whole first: with each set of tasks all numbers of rounds, the dearest task going first; of the
    last task at last fewer and fewer lengths.

    Args:
        dearest: which of some tasks takes most time.
    """
    tasks = whole.tasks
    while True:
        for rounds in range(whole.rounds, 0, -1):
            yield Part(rounds, tasks, whole.lengths)
        if len(tasks) < 2:
            break
        gone = dearest(tasks)
        tasks = tuple(name for name in tasks if name != gone)
    for count in range(len(whole.lengths) - 1, 0, -1):
        for rounds in range(whole.rounds, 0, -1):
            yield Part(rounds, tasks, whole.lengths[:count])


def fit(candidates: Iterator[Part], seconds: Callable[[Part], float], allowed: float) -> tuple[Part, float]:
    """The first that takes no longer than is allowed, and how long it takes. Raises SpecError where none does."""
    least = float("inf")
    for part in candidates:
        spent = seconds(part)
        if spent <= allowed:
            return part, spent
        least = min(least, spent)
    if not math.isfinite(least):
        raise SpecError(
            "--budget: no competitor could be looked at, so nobody knows what a part takes; leave --budget out"
        )
    raise SpecError(f"--budget: even the smallest part of this plan takes about {_words(least)}; allow that, or take a "
                    "smaller preset")  # fmt: skip


def left_out(whole: Part, kept: Part) -> list[str]:
    """What a part leaves out, in words; nothing where it is the whole."""
    found = []
    if kept.rounds < whole.rounds:
        found.append(f"{whole.rounds - kept.rounds} of {whole.rounds} rounds (seeds {kept.rounds} and on)")
    if gone := [name for name in whole.tasks if name not in kept.tasks]:
        found.append(f"{'task' if len(gone) == 1 else 'tasks'} {', '.join(gone)}")
    if kept.longest < whole.longest:
        found.append(f"lengths past {kept.longest:,} tokens (up to {whole.longest:,})")
    return found


def entry(asked: str, allowed: float, whole: Part, kept: Part, seconds: float, full: float) -> dict[str, Any]:
    """For the plan: what was asked for, what is kept, what is left out, and what either takes by the estimate."""
    return {
        "asked": asked, "asked_s": allowed, "estimated_s": round(seconds, 1), "whole_s": round(full, 1),
        "kept": {"rounds": kept.rounds, "tasks": list(kept.tasks), "lengths": list(kept.lengths)},
        "left_out": left_out(whole, kept),
    }  # fmt: skip


def part_from(plain: dict[str, Any]) -> Part:
    return Part(int(plain["rounds"]), tuple(plain["tasks"]), tuple(plain["lengths"]))


def _words(seconds: float) -> str:
    """Rounded up, so that what it says would be enough."""
    return f"{-(-seconds // 60):.0f}m" if seconds >= 90 else f"{-(-seconds // 1):.0f}s"
