"""What a reader must know before believing a run that trains, beside what holds for every run."""

from __future__ import annotations

from reports.notices import Warn
from reports.training.data import TaskRun
from reports.training.scores import Board
from reports.training.tables import score_text
from reports.training.tuning import edge, nothing_to_choose
from reports.words import count, integer, names, short

EQUAL, UNEQUAL = 1.05, 1.10  # largest over smallest: whole models meant to be equal; parts of them that are not


def gather(boards: list[Board]) -> list[Warn]:
    """Warnings of all tasks: too few seeds, choices at the edge of the search, competitors without a mean,
    no search, models or encoders of unequal size."""
    found = []
    for board in boards:
        task = board.task
        found += [*_seeds(task), *_nothing(board), *_edges(task), *_stopped(task)]
        absent = [s.label for s in board.standings if s.mean is None]
        if absent:
            found.append(Warn(f"unranked on {short(task.name)}", f"On {task.name} {integer(len(absent))} of "
                              f"{integer(len(board.standings))} competitors have no mean: "
                              f"{names([short(n) for n in absent])}."))  # fmt: skip
    return [*found, *_unsearched(boards), *_sizes(boards), *_encoders(boards)]


def _unsearched(boards: list[Board]) -> list[Warn]:
    at = [short(b.task.name) for b in boards if nothing_to_choose(b.task)]
    if not at:
        return []
    return [
        Warn(
            "no search",
            f"On {names(at)} every competitor ran with one set of settings, without a search of its own. Whoever wrote the "
            "plan chose them, perhaps with one competitor in mind; with other settings another may be ahead.",
        )
    ]


def _sizes(boards: list[Board]) -> list[Warn]:
    """Whoever has a size of its own, as a published model may."""
    found = []
    for board in boards:
        own = {short(c.label): c.parameters for c in board.task.competitors if c.target and c.parameters}
        if own:
            sizes = names([f"{name} {count(size)}" for name, size in own.items()])
            found.append(f"{short(board.task.name)} ({sizes})")
    if not found:
        return []
    return [
        Warn(
            "unequal sizes",
            "The plan gives some competitors a number of parameters of their own, so a difference to these may be one of "
            f"size: {'; '.join(found)}.",
        )
    ]


def _encoders(boards: list[Board]) -> list[Warn]:
    """Equal parameters are those of whole models: the wider of two encoders pays for a wider embedding."""
    found = []
    for board in boards:
        sized = [c for c in board.task.competitors if c.parameters and c.embedding_parameters]
        totals = [c.parameters or 0 for c in sized]
        if not sized or max(totals) > EQUAL * min(totals):
            continue
        rest = {short(c.label): (c.parameters or 0) - (c.embedding_parameters or 0) for c in sized}
        least, most = min(rest, key=rest.__getitem__), max(rest, key=rest.__getitem__)
        if rest[most] > UNEQUAL * rest[least]:
            sizes = f"from {integer(rest[least])}, {least}, to {integer(rest[most])}, {most}"
            found.append(f"{short(board.task.name)} ({sizes})")
    if not found:
        return []
    return [
        Warn(
            "unequal without embeddings",
            "Equal parameters are those of whole models. Without their embeddings competitors differ by more than "
            f"{100 * (UNEQUAL - 1):.0f} %, as a wider model pays for a wider embedding: {'; '.join(found)}.",
        )
    ]


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


def _nothing(board: Board) -> list[Warn]:
    reference, task = board.nothing_learnt, board.task
    if reference is None:
        return []
    return [Warn(f"nothing learnt on {short(task.name)}", f"On {task.name} nobody is shown to be better than "
                 f"“{short(reference.label, 60)}” ({score_text(reference.value)}): who is ahead there says nothing about "
                 "architectures. Longer training or larger models may.")]  # fmt: skip


def _stopped(task: TaskRun) -> list[Warn]:
    """Trials that time or patience ended have not had the same number of steps as the others."""
    by_reason: dict[str, list[str]] = {}
    for c in task.competitors:
        for why in dict.fromkeys(str(r.extra.get("stopped_by") or "") for r in task.ok(c.name).values()):
            if why in ("seconds", "patience"):
                by_reason.setdefault(why, []).append(short(c.label))
    alone = len(task.competitors) == 1
    title, so = ("ended early", "") if alone else ("unequal steps", ": competitors have seen different amounts of data")
    return [Warn(title, f"On {task.name} training was ended by {why}, not by a number of steps, for {names(who)}{so}.")
            for why, who in by_reason.items()]  # fmt: skip


def _edges(task: TaskRun) -> list[Warn]:
    at = [f"{short(c.label)} ({edge(task.choices[c.name])})" for c in task.competitors if edge(task.choices[c.name])]
    if not at:
        return []
    return [Warn("choice at the edge", f"On {task.name} the chosen learning rate is the largest or smallest that was "
                 f"tried: {names(at)}. A better one may lie beyond.")]  # fmt: skip
