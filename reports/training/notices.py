"""What a reader must know before believing a run that trains, beside what holds for every run."""

from __future__ import annotations

from reports.notices import Warn
from reports.training.data import TaskRun
from reports.training.scores import Board
from reports.training.tuning import edge
from reports.words import integer, names, short


def gather(boards: list[Board]) -> list[Warn]:
    """Warnings of all tasks: too few seeds, choices at the edge of the search, competitors without a mean."""
    found = []
    for board in boards:
        task = board.task
        found += [*_seeds(task), *_edges(task)]
        absent = [s.label for s in board.standings if s.mean is None]
        if absent:
            found.append(Warn(f"unranked on {short(task.name)}", f"On {task.name} {integer(len(absent))} of "
                              f"{integer(len(board.standings))} competitors have no mean: "
                              f"{names([short(n) for n in absent])}."))  # fmt: skip
    return found


def _seeds(task: TaskRun) -> list[Warn]:
    if task.seeds >= 3 or not task.finals:
        return []
    if task.seeds == 1:
        return [Warn("one seed", f"{task.name} ran with one seed: no intervals, no ranks; the order may be chance.")]
    return [
        Warn(
            "few seeds",
            f"{task.name} ran with {task.seeds} of at least 3 seeds: intervals are wide and most ranks tie.",
        )
    ]


def _edges(task: TaskRun) -> list[Warn]:
    at = [f"{short(c.label)} ({edge(task.choices[c.name])})" for c in task.competitors if edge(task.choices[c.name])]
    if not at:
        return []
    return [Warn("choice at the edge", f"On {task.name} the chosen learning rate is the largest or smallest that was "
                 f"tried: {names(at)}. A better one may lie beyond.")]  # fmt: skip
