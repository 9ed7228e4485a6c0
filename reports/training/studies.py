"""Studies: one thing varied over several tasks, and who is ahead where.

A crossing is claimed only where both ends are shown: one competitor significantly ahead at one value, the other at another,
each by the paired test of that value's own board.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reports.canvas import Line, Plot
from reports.paired import mean
from reports.tables import Table, Value
from reports.training.charts import Axis, curve_chart
from reports.training.data import Name, TaskRun, label
from reports.training.looks import Cast
from reports.training.plots import BYTES, CLOCK
from reports.training.scores import Board, average
from reports.training.tables import score_text
from reports.words import count, duration, integer, memory, names, short

AXES = {
    "training examples": "images to train on",
    "patch": "rows and columns of a patch (pixels)",
    "tokens": "tokens of an image",
}


@dataclass(frozen=True)
class StudySection:
    id: str
    title: str
    lead: str
    plots: list[Plot]
    table: Table
    sentences: list[str]


def studies(plan: dict[str, object], boards: list[Board], cast: Cast) -> list[StudySection]:
    by_name = {b.task.name: b for b in boards}
    found = []
    for number, raw in enumerate(plan.get("studies") or ()):  # type: ignore[arg-type, var-annotated]
        chosen = [by_name[name] for name in raw["tasks"] if name in by_name]
        if len(chosen) > 1 and raw.get("axis") in AXES:
            found.append(_study(f"study-{number}", raw, chosen, cast))
    return found


def _study(identity: str, raw: dict[str, str], boards: list[Board], cast: Cast) -> StudySection:
    axis = raw["axis"]
    boards = sorted(boards, key=lambda b: _value(b.task, axis, None))
    plots = [_scores(identity, axis, boards, cast)]
    for metric, title, y in (
        ("time", "Training time", Axis("training time (all steps)", duration, True, units=CLOCK)),
        ("activation_memory", "Activation memory", Axis("activations of a training step", memory, True, units=BYTES)),
    ):
        plots.append(_costs(f"{identity}-{metric}", axis, boards, cast, metric, title, y))
    shown = [p for p in plots if p is not None]
    table = _table(identity, axis, boards)
    sentences = [*crossings(axis, boards), *(_seen(boards) if axis == "training examples" else ())]
    return StudySection(identity, raw.get("title", ""), raw.get("lead", ""), shown, table, sentences)


def _seen(boards: list[Board]) -> list[str]:
    """Where trainings end before they have seen all there is, more of it cannot help."""
    short_of = []
    for one in boards:
        recipe, there = one.task.raw.get("recipe") or {}, _value(one.task, "training examples", None)
        seen = (recipe.get("steps") or np.nan) * (recipe.get("batch") or np.nan) * (recipe.get("accumulate") or 1)
        if seen < there:
            short_of.append(f"{integer(int(seen))} of {integer(int(there))} on {short(one.task.name)}")
    if not short_of:
        return []
    return [f"A training sees but {names(short_of)}: there, more data can hardly change a score; longer training would show "
            "what they are worth."]  # fmt: skip


def _value(task: TaskRun, axis: str, name: Name | None) -> float:
    """Where a task, or a competitor on it, stands on the axis; NaN where that is not recorded."""
    if axis == "training examples":
        return float(((task.raw.get("facts") or {}).get("sizes") or {}).get("train") or np.nan)
    if axis == "patch":
        own = next(
            (c.recipe for c in task.competitors if c.name == name), {}
        )  # some have one that is customary for them
        return float(own.get("patch") or (task.raw.get("recipe") or {}).get("patch") or np.nan)
    lengths = [r.length for n, trials in task.finals.items() if name in (None, n) for r in trials.values()]
    return float(np.median(lengths)) if lengths else np.nan


def _names(axis: str, boards: list[Board]) -> list[Name]:
    """Competitors with a mean at two values at least: one whose patch is its own, whatever the task's, is not drawn."""
    places: dict[Name, set[float]] = {}
    for b in boards:
        for s in b.ranked:
            places.setdefault(s.name, set()).add(_value(b.task, axis, s.name))
    return [name for name, values in places.items() if len(values) > 1]


def _scores(identity: str, axis: str, boards: list[Board], cast: Cast) -> Plot | None:
    lines = []
    for name in (n for n in _names(axis, boards) if n in cast.looks):
        points = []
        for b in boards:
            scores = list(b.task.scores(name, b.task.test_split, b.task.primary.name).values())
            if any(s.name == name for s in b.ranked) and np.isfinite(x := _value(b.task, axis, name)):
                m = mean(scores)
                points.append((x, m.value, m.low, m.high))
        line = _line(name, points, cast)
        if line is not None:
            lines.append(line)
    primary = boards[0].task.primary
    chance = next((r for r in boards[0].task.references if r.kind == "chance"), None)
    below = f" Chance is {score_text(chance.value)}." if chance is not None else ""
    caption = f"Mean over seeds, bars are 95 % t intervals. {primary.better.capitalize()} is better.{below}"
    return _chart(identity, f"Test {primary.words} by {AXES[axis]}", lines, axis, Axis(f"test {primary.words}", score_text),
                  caption)  # fmt: skip


def _costs(identity: str, axis: str, boards: list[Board], cast: Cast, metric: str, title: str, y: Axis) -> Plot | None:
    lines = []
    for name in (n for n in _names(axis, boards) if n in cast.looks):
        points = []
        for b in boards:
            cost = average(b.task.effort(name, "train_time")) if metric == "time" else b.task.cost(name, metric)
            x = _value(b.task, axis, name)
            if cost is not None and np.isfinite(cost) and np.isfinite(x) and cost > 0:
                points.append((x, cost, np.nan, np.nan))
        line = _line(name, points, cast)
        if line is not None:
            lines.append(line)
    if not lines or axis == "training examples":  # the same steps of the same batches cost the same
        return None
    return _chart(identity, f"{title} by {AXES[axis]}", lines, axis, y, "On this machine.")


def _line(name: Name, points: list[tuple[float, float, float, float]], cast: Cast) -> Line | None:
    if len(points) < 2:
        return None
    x, y, low, high = (np.array(column) for column in zip(*sorted(points), strict=True))
    several = bool(np.isfinite(low).all())
    return Line(label(name), cast.looks[name], x, y, low if several else None, high if several else None)


def _chart(identity: str, title: str, lines: list[Line], axis: str, y: Axis, caption: str) -> Plot | None:
    if not lines:
        return None
    ticks = tuple(sorted({float(v) for line in lines for v in line.x}))
    x = Axis(AXES[axis], integer if axis != "training examples" else count, True, ticks)
    return curve_chart(identity, title, lines, x, y, caption, [], None, bars=True)


def _table(identity: str, axis: str, boards: list[Board]) -> Table:
    rows = []
    for b in boards:
        x = _value(b.task, axis, None)
        first = [s for s in b.first if s.mean is not None]
        rest = [s for s in b.ranked if s not in first]
        best = first[0].mean if first else None
        tied = names([short(s.label) for s in first])
        rows.append([
            Value(integer(int(x)) if np.isfinite(x) else "–", x, number=True), Value(b.task.name),
            Value(tied, small="tied" if len(first) > 1 else ""),
            Value(score_text(best.value) if best else "–", number=True), Value(names([short(s.label) for s in rest]) or "–"),
        ])  # fmt: skip
    columns = [AXES[axis], "task", "ahead", f"best {boards[0].task.primary.words}", "behind"]
    return Table(f"{identity}-table", columns, rows)


def crossings(axis: str, boards: list[Board]) -> list[str]:
    """One sentence a pair of competitors whose order changes, or one that says that none does."""
    said, kept = [], []
    for a, b in combinations(_names(axis, boards), 2):
        lead = {_value(board.task, axis, None): _ahead(board, a, b) for board in boards}
        ahead = {sign: [x for x, s in sorted(lead.items()) if s == sign] for sign in (1, -1)}
        if ahead[1] and ahead[-1]:
            early, late = (a, b) if min(ahead[1]) < min(ahead[-1]) else (b, a)
            x_early, x_late = (ahead[1], ahead[-1]) if early == a else (ahead[-1], ahead[1])
            places = f"at {_list(x_early)} {AXES[axis]}, behind at {_list(x_late)}"
            said.append(f"{label(early)} is ahead of {label(late)} {places}: they cross.")
        elif ahead[1] or ahead[-1]:
            first, second, where = (a, b, ahead[1]) if ahead[1] else (b, a, ahead[-1])
            if len(where) == len(boards):
                kept.append(f"{label(first)} over {label(second)}")
    if not said:
        said.append(
            "No two competitors are shown to change places here (paired tests at each value, Holm's correction)."
        )
    if kept:
        said.append(f"Ahead at every value: {names(kept)}.")
    return said


def _ahead(board: Board, a: Name, b: Name) -> int:
    """1 where `a` is significantly better, -1 where `b` is, 0 where neither is shown."""
    pair = board.pair(a, b)
    if pair is None or not pair.significant:
        return 0
    forward = (a, b) in board.pairs
    better = (pair.difference.value > 0) == (board.task.primary.better == "higher")
    return 1 if better == forward else -1


def _list(values: list[float]) -> str:
    return names([integer(int(v)) for v in values])
