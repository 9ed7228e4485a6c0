"""Learning curves over seeds, the way to a target score, and loss by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.training.data import Name, TaskRun
from results.schema import Record

FEW_POSITIONS = 16
BINS = 24
MOST_POINTS = 160  # more cannot be seen, and make the page heavy


@dataclass(frozen=True)
class Curve:
    """Mean over seeds with the smallest and largest; `x` holds step, tokens and seconds. `stop`: how it ended early."""

    x: dict[str, np.ndarray]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int
    stop: str = ""


@dataclass(frozen=True)
class Reached:
    """Where a curve first reaches a target; seconds are NaN where the curve has none. `at_once`: it is there at its first
    look, and may have been before."""

    step: float
    tokens: float
    seconds: float
    at_once: bool = False


AXES = ("step", "tokens", "seconds")


def columns(record: Record, part: str, quantity: str) -> dict[str, np.ndarray] | None:
    """Step, tokens, seconds and one quantity of a trial's curve, where all are there and finite."""
    raw: dict[str, Any] = (record.extra.get("curves") or {}).get(part) or {}
    if not raw.get("step") or not raw.get(quantity):
        return None
    size = min(len(raw[k]) for k in ("step", quantity))
    step = np.array(raw["step"][:size], dtype=float)
    found = {"step": step}
    for axis in ("tokens", "seconds"):
        values = raw.get(axis) or []
        found[axis] = np.array(values[:size] if len(values) >= size else [np.nan] * size, dtype=float)
    found["value"] = np.array([np.nan if v is None else v for v in raw[quantity][:size]], dtype=float)
    kept = np.isfinite(found["value"])
    return {k: v[kept] for k, v in found.items()} if kept.any() else None


def curve(task: TaskRun, name: Name, part: str, quantity: str) -> Curve | None:
    """Mean over the seeds' final trials at the steps that all of them have. A trial that failed ends the curve."""
    records = [r for _, r in sorted(task.finals.get(name, {}).items())]
    found = [(r, c) for r in records if (c := columns(r, part, quantity)) is not None]
    if not found:
        return None
    steps = found[0][1]["step"]
    for _, one in found[1:]:
        if not np.array_equal(steps, one["step"]):
            steps = np.intersect1d(steps, one["step"])
    if not len(steps):
        return None
    picked = [{k: v[np.searchsorted(one["step"], steps)] for k, v in one.items()} for _, one in found]
    values = np.stack([p["value"] for p in picked])
    thin = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).round().astype(int))
    stops = dict.fromkeys(r.status for r, _ in found if r.status != "ok")
    return Curve(
        {axis: np.mean([p[axis] for p in picked], axis=0)[thin] for axis in AXES},
        values.mean(axis=0)[thin], values.min(axis=0)[thin], values.max(axis=0)[thin], len(found), ", ".join(stops),
    )  # fmt: skip


def reached(task: TaskRun, name: Name, target: float) -> list[Reached | None]:
    """Where the tuning curve of each final trial that ended well first reaches a target."""
    better = task.watched.better
    return [None if found is None else reach(found, target, better) for found in _tuning(task, name)]


def reach(curve: dict[str, np.ndarray], target: float, better: str) -> Reached | None:
    """Where a curve first reaches a target, on a straight line between two looks."""
    value = curve["value"]
    there = value >= target if better == "higher" else value <= target
    i = int(there.argmax())
    if not there[i]:
        return None
    share = 1.0 if i == 0 or value[i] == value[i - 1] else (target - value[i - 1]) / (value[i] - value[i - 1])
    step, tokens, seconds = (float(curve[a][i] - (1 - share) * (curve[a][i] - curve[a][max(i - 1, 0)])) for a in AXES)
    return Reached(step, tokens, seconds, at_once=i == 0)


def best_looks(task: TaskRun, name: Name) -> list[float]:
    """The best score on the tuning split of each final trial that ended well."""
    return [task.watched.best(one["value"].tolist()) for one in _tuning(task, name) if one is not None]


def _tuning(task: TaskRun, name: Name) -> list[dict[str, np.ndarray] | None]:
    """The tuning curve of each final trial that ended well; None where it has none."""
    if name not in task.tuning_curves:
        task.tuning_curves[name] = [columns(r, "tune", task.watched.name) for r in task.ok(name).values()]
    return task.tuning_curves[name]


def target(task: TaskRun, learnt: list[Name]) -> tuple[float, str] | None:
    """The score to reach and where it comes from: the recipe, or the best that every trial of those who learnt came to."""
    named = (task.raw.get("recipe") or {}).get("target")
    if isinstance(named, int | float):
        return float(named), "named by the recipe"
    best = [v for name in learnt for v in best_looks(task, name)]
    all_of_them = len(learnt) == len(task.competitors)
    whose = "finished trial" if all_of_them else "trial of those that are shown to beat what takes no learning"
    return (task.watched.worst(best), f"the best score that every {whose} came to") if best else None


def positions(task: TaskRun, name: Name) -> Curve | None:
    """Mean loss by position in the context (counted from 1) over the seeds that have it; beyond 16, in growing bins."""
    rows = []
    for record in task.ok(name).values():
        by_split = record.extra.get("positions") or {}
        raw = by_split.get(task.test_split) or {}
        loss = np.array([np.nan if v is None else v for v in raw.get("loss") or ()], dtype=float)
        count = np.array(raw.get("count") or np.ones(len(loss)), dtype=float)
        length = (record.extra.get("lengths") or {}).get(task.test_split) or 0
        gaps_left_out = len(loss) < length and count.all()  # as records once did: nobody knows which place is which
        if len(loss) and len(count) == len(loss) and not gaps_left_out:
            rows.append(np.stack([np.where(count > 0, loss, np.nan), count]))
    if not rows:
        return None
    size = min(r.shape[1] for r in rows)
    edges = np.array(bin_edges(size))
    grid = np.stack([_binned(r[0, :size], r[1, :size], edges[:-1] - 1) for r in rows], axis=1)
    whole = np.isfinite(grid).all(axis=1)
    if not whole.any():
        return None
    spots, grid = np.sqrt(edges[:-1] * (edges[1:] - 1.0))[whole], grid[whole]
    return Curve({"position": spots}, grid.mean(axis=1), grid.min(axis=1), grid.max(axis=1), len(rows))


def bin_edges(size: int) -> list[int]:
    """First positions of the bins of 1..size, and size + 1; a bin a position where there are few, growing ones beyond."""
    if size <= FEW_POSITIONS:
        return list(range(1, size + 2))
    return sorted({int(v) for v in np.geomspace(1, size + 1, BINS + 1).round()})


def _binned(values: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Weighted means of bins that start there; NaN where a bin has nothing."""
    kept = np.isfinite(values) & (weights > 0)
    weights = np.where(kept, weights, 0.0)
    total, weight = (np.add.reduceat(v, starts) for v in (np.where(kept, values, 0.0) * weights, weights))
    return np.divide(total, weight, out=np.full(len(starts), np.nan), where=weight > 0)
