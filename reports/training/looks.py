"""One look for one competitor within a task: its architecture's, and a free one for each variant."""

from __future__ import annotations

from dataclasses import dataclass

from reports.data import Architecture
from reports.style import LIGHT, LINES, MARKERS, Look, looks
from reports.training.data import Name
from reports.training.scores import Board

MOST_LINES = 10


@dataclass(frozen=True)
class Cast:
    """Who is drawn and how; `left_out` has no place in plots of curves, where more lines could not be told apart."""

    looks: dict[Name, Look]
    shown: list[Name]
    left_out: list[Name]


def cast(board: Board, architectures: list[Architecture]) -> Cast:
    """Looks of all competitors of a task; up to ten are drawn: what is unchanged first, then the best."""
    base = looks(architectures)
    competitors = board.task.competitors
    found: dict[Name, Look] = {}
    for c in competitors:
        if not c.name[1] or c.baseline:
            found[c.name] = base.get(c.name[0], Look(len(found) % len(LIGHT), MARKERS[0], LINES["other"]))
    used = {look.slot for look in found.values()}
    free = [i for i in range(len(LIGHT)) if i not in used] or list(range(len(LIGHT)))
    for i, c in enumerate(c for c in competitors if c.name not in found):
        found[c.name] = Look(free[i % len(free)], MARKERS[(i + 1) % len(MARKERS)], LINES[c.family])
    order = [s.name for s in board.standings]
    plain = {c.name for c in competitors if not c.name[1] or c.baseline}
    kept = sorted(order, key=lambda n: (n not in plain, order.index(n)))[:MOST_LINES]
    shown = [c.name for c in competitors if c.name in kept]
    return Cast(found, shown, [c.name for c in competitors if c.name not in kept])
