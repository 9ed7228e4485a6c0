"""Two runs that train: every score on every test split, by seed where both saw the same data, and seconds of training."""

from __future__ import annotations

import numpy as np

from reports.comparison.changes import Change
from reports.comparison.method import scores, two_samples
from reports.data import RunData
from reports.training.data import Metric, Name, TaskRun, label, read
from reports.words import short

COLUMNS = ("task", "competitor", "split", "quantity")

Place = tuple[str, Name]


def changes(a: RunData, b: RunData) -> tuple[list[Change], dict[str, list[str]], list[str]]:
    """What both runs have, uncorrected; in words what only one of them has, and what was tried in b but failed there. A
    competitor that lacks a planned seed in a run counts as absent there: its survivors would be no fair sample."""
    tasks = read(b).tasks
    left, right = _competitors(read(a).tasks), _competitors(tasks)
    common = [place for place in left if place in right]
    made = [change for place in common for change in _scores(place, left[place], right[place])]
    made += _times(common, left, right)
    only = {
        side: [f"{task}, {label(name)}" for task, name in own if (task, name) not in other]
        for side, own, other in (("A", left, right), ("B", right, left))
    }
    return made, only, _lost(tasks, [place for place in left if place not in right])


def _lost(tasks: list[TaskRun], places: list[Place]) -> list[str]:
    finals_of = {task.name: task.finals for task in tasks}
    found = []
    for task, name in places:
        finals = finals_of.get(task, {}).get(name, {}).values()
        first = next((r for r in finals if r.status != "ok"), None)
        if first is not None:
            found.append(f"{label(name)} on {task} ({first.status}: {short(first.reason, 80)})")
    return found


def _competitors(tasks: list[TaskRun]) -> dict[Place, TaskRun]:
    return {
        (task.name, c.name): task
        for task in tasks
        for c in task.competitors
        if 0 < len(task.ok(c.name)) >= task.planned(c.name)
    }


def same_data(x: TaskRun, y: TaskRun) -> bool:
    """The same seed gives both the same examples: the data's fingerprint is the same, and known."""
    prints = {str(t.raw.get("fingerprint") or "") for t in (x, y)}
    return len(prints) == 1 and prints != {""}


def _scores(place: Place, x: TaskRun, y: TaskRun) -> list[Change]:
    task, name = place
    made = []
    for split in (s for s in x.splits if s.startswith("test")):
        a, b = (t.scores(name, split, x.primary.name) for t in (x, y))
        if not a or not b:
            continue
        paired = same_data(x, y) and set(a) == set(b)
        how = "seed by seed" if paired else "seeds, not paired"
        made.append(Change(
            "score", (task, label(name), split, x.primary.words), (task, *name, split), _unit(x.primary), x.primary.better,
            float(np.mean(list(a.values()))), float(np.mean(list(b.values()))), scores(a, b, paired), (len(a), len(b)), how,
        ))  # fmt: skip
    return made


def _unit(metric: Metric) -> str:
    return metric.unit or metric.name


def _times(common: list[Place], left: dict[Place, TaskRun], right: dict[Place, TaskRun]) -> list[Change]:
    """Seconds of training, as two samples: the same seed is not the same moment."""
    spent = {
        place: tuple(np.array(list(side[place].effort(place[1], "train_time").values())) for side in (left, right))
        for place in common
    }
    kept = [p for p, (a, b) in spent.items() if len(a) and len(b) and min(a.min(), b.min()) > 0]
    effects = two_samples(*([np.log(spent[p][i]) for p in kept] for i in (0, 1)))
    return [
        Change("time", (task, label(name), "–", "training time"), (task, *name, "~"), "s", "lower",
               float(np.median(spent[task, name][0])), float(np.median(spent[task, name][1])), effect,
               (len(spent[task, name][0]), len(spent[task, name][1])), "seeds")
        for (task, name), effect in zip(kept, effects, strict=True)
    ]  # fmt: skip
