"""What a change does: each variant of an architecture against its baseline, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.paired import Pair, corrected, difference
from reports.training.data import Competitor, TaskRun
from reports.training.scores import Board, Standing, average
from reports.words import count

SOLVED = "mlp_hidden"  # set by the solver of budgets, not by whoever planned the change


@dataclass(frozen=True)
class Effect:
    """A variant against its baseline; `pair` is None where one of the two has no whole set of seeds."""

    standing: Standing
    change: str
    pair: Pair | None
    parameters_ratio: float | None
    time_ratio: float | None

    def verdict(self, better: str) -> str:
        """In a word or two; a difference that the seeds do not show is not called equal."""
        if self.pair is None:
            return "no result"
        if self.pair.difference.n < 2:
            return "one seed"
        if not self.pair.significant:
            return "not shown"
        return "better" if (self.pair.difference.value > 0) == (better == "higher") else "worse"


@dataclass(frozen=True)
class Ablation:
    """All variants of one architecture on one task, in the order of the plan."""

    task: TaskRun
    architecture: str
    baseline: Standing
    effects: list[Effect]


def ablations(board: Board) -> list[Ablation]:
    """One for each architecture of a task that has a baseline and at least one variant."""
    task = board.task
    usual = task.raw.get("recipe") or {}
    standings = {s.name: s for s in board.standings}
    made = []
    for architecture in dict.fromkeys(c.name[0] for c in task.competitors):
        group = [c for c in task.competitors if c.name[0] == architecture]
        base = next((c for c in group if c.baseline), None) or next((c for c in group if not c.name[1]), None)
        if base is None or len(group) < 2:
            continue
        baseline = standings[base.name]
        others = [c for c in group if c is not base]
        pairs = _pairs(task, baseline, [standings[c.name] for c in others])
        effects = [
            Effect(standings[c.name], change(base, c, usual), pairs.get(i), _ratio(c.parameters, base.parameters),
                   _ratio(average(task.effort(c.name, "train_time")), average(task.effort(base.name, "train_time"))))
            for i, c in enumerate(others)
        ]  # fmt: skip
        made.append(Ablation(task, architecture, baseline, effects))
    return made


def _pairs(task: TaskRun, baseline: Standing, others: list[Standing]) -> dict[int, Pair]:
    """Differences to the baseline, Holm's correction over this architecture's variants."""
    if baseline.mean is None:
        return {}
    split, metric = task.test_split, task.primary.name
    held = task.scores(baseline.name, split, metric)
    found = {
        i: difference(task.scores(s.name, split, metric), held) for i, s in enumerate(others) if s.mean is not None
    }
    return corrected({i: one for i, one in found.items() if one is not None})


def change(base: Competitor, other: Competitor, usual: Mapping[str, Any]) -> str:
    """Settings that differ from the baseline's: "window 64 → 128"; sizes that were solved for equal parameters left out.

    Args:
        usual: the task's recipe, which holds for what a competitor does not change of it.
    """
    keys = [k for k in dict.fromkeys([*base.settings, *other.settings]) if k != SOLVED]
    parts = [f"{k} {base.settings.get(k, '–')} → {other.settings.get(k, '–')}" for k in keys
             if base.settings.get(k) != other.settings.get(k)]  # fmt: skip
    if base.depth != other.depth:
        parts.append(f"depth {base.depth} → {other.depth}")
    if base.target != other.target:
        parts.append(f"parameters {count(base.parameters or 0)} → {count(other.parameters or 0)}")
    for k in dict.fromkeys([*base.recipe, *other.recipe]):
        before, after = (c.recipe.get(k, usual.get(k, "–")) for c in (base, other))
        parts += [f"{k} {before} → {after}"] if before != after else []
    parts += [other.change] if other.change else []
    return ", ".join(parts)


def _ratio(top: float | None, bottom: float | None) -> float | None:
    """top / bottom; None where either is missing (or NaN, which is not equal to itself)."""
    if not top or not bottom or top != top or bottom != bottom:
        return None
    return top / bottom
