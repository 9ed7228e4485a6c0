"""Who is ahead on a task: means over seeds, rank intervals, and why a competitor has neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.data import STOP_WORDS
from reports.paired import SIGNIFICANT, Mean, Pair, compare, holm, mean, ranks
from reports.ranks import Rank
from reports.training.data import Competitor, Name, Reference, TaskRun


@dataclass(frozen=True)
class Standing:
    """A competitor on a task. `mean` is None where some planned seed did not end well; `reason` says why then, `short`
    in two or three words."""

    competitor: Competitor
    done: int
    mean: Mean | None
    rank: Rank | None
    reason: str = ""
    short: str = ""

    @property
    def name(self) -> Name:
        return self.competitor.name

    @property
    def label(self) -> str:
        return self.competitor.label


@dataclass(frozen=True)
class Board:
    """The standings of a task, best first, those without a mean last; `pairs` are all comparisons between means."""

    task: TaskRun
    standings: list[Standing]
    pairs: dict[tuple[Name, Name], Pair]

    @property
    def ranked(self) -> list[Standing]:
        """Those with a mean, best first; with a single seed they are ordered, but carry no rank."""
        return [s for s in self.standings if s.mean is not None]

    @property
    def first(self) -> list[Standing]:
        """Those whose rank interval begins at 1: nobody is shown to be better. With a single seed, the leader."""
        return [s for s in self.ranked if s.rank is not None and s.rank.low == 1] or self.ranked[:1]

    @property
    def nothing_learnt(self) -> Reference | None:
        """What takes no learning and nobody is shown to be better than: chance, or the floor of a model without memory. None
        where somebody is: by a t-test of its mean with Holm's correction over all means, or by a single seed's score."""
        return next((r for r in self._untaught if not self._beating(r.value)), None) if self.ranked else None

    @property
    def learnt(self) -> list[Name]:
        """Those shown, in the same way, to be better than all that takes no learning; everybody where that is not known."""
        beating = [self._beating(r.value) for r in self._untaught]
        if not beating:
            return [c.name for c in self.task.competitors]
        return [s.name for s in self.ranked if all(s.name in names for names in beating)]

    @property
    def _untaught(self) -> list[Reference]:
        """What takes no learning."""
        task = self.task
        named = [r for r in task.references if r.kind in ("chance", "floor") and r.metric == task.primary.name]
        return [r for r in named if r.holds(task.test_split)]

    def _beating(self, value: float) -> set[Name]:
        means = [(s.name, s.mean) for s in self.ranked if s.mean is not None]
        adjusted = holm([one.against(value) for _, one in means])  # NaN for a single seed
        return {
            name
            for (name, one), p in zip(means, adjusted, strict=True)
            if self.task.primary.beats(one.value, value) and (p < SIGNIFICANT or one.n < 2)
        }

    def pair(self, a: Name, b: Name) -> Pair | None:
        """The comparison of two competitors, first minus second as in `pairs`; None where they were not compared."""
        return self.pairs.get((a, b)) or self.pairs.get((b, a))


def board(task: TaskRun) -> Board:
    """Rank the competitors of a task by the mean primary score on its test split."""
    by_seed = {c.name: task.scores(c.name, task.test_split, task.primary.name) for c in task.competitors}
    whole: Mapping[Name, dict[int, float]] = {
        name: scores for name, scores in by_seed.items() if scores and len(scores) >= task.planned(name)
    }
    pairs = compare(whole)
    several = all(len(scores) > 1 for scores in whole.values())
    places = ranks(list(whole), pairs, task.primary.better) if several else {}
    standings = [
        Standing(c, len(by_seed[c.name]), mean(list(whole[c.name].values())) if c.name in whole else None,
                 places.get(c.name), *(("", "") if c.name in whole else absence(task, c)))
        for c in task.competitors
    ]  # fmt: skip
    sign = -1.0 if task.primary.better == "higher" else 1.0
    standings.sort(key=lambda s: (s.mean is None, sign * s.mean.value if s.mean else 0.0, -s.done))
    return Board(task, standings, pairs)


def absence(task: TaskRun, competitor: Competitor) -> tuple[str, str]:
    """Why a competitor has no mean: in a line, and in a few words."""
    finals = task.finals.get(competitor.name, {})
    failed = [(seed, r) for seed, r in sorted(finals.items()) if r.status != "ok"]
    choice = task.choices.get(competitor.name)
    if failed:
        seed, first = failed[0]
        words = STOP_WORDS.get(first.status, first.status)
        done = f"{len(finals) - len(failed)} of {max(task.seeds, len(finals))} seeds ok; "
        reason = f"{done if len(failed) < len(finals) else ''}{words} (seed {seed}): {first.reason}"
        return reason, "no try worked" if choice is not None and choice.status == "none" else words
    if competitor.problem:
        return competitor.problem, "left out"
    if choice is not None and choice.status == "none":
        return choice.reason or "every try of the search failed", "no try worked"
    if finals:
        count = len(task.scores(competitor.name, task.test_split, task.primary.name))
        return (f"{count} of {task.seeds} seeds done",) * 2
    return ("no final trial yet",) * 2


def average(values: Mapping[int, float]) -> float:
    """Mean over seeds; NaN where there is none."""
    return float(np.mean(list(values.values()))) if values else float("nan")
