"""Competitors over a whole benchmark: points on each task, the overall score where every task is there, rank intervals.

The unit of repetition is the seed, as everywhere: a competitor has one overall score a seed, from that seed's scores on
all tasks, and competitors are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.paired import Mean, Pair, compare, mean, ranks
from reports.ranks import Rank
from reports.sentences.aggregate import BENCHMARKS, Benchmark, Cell, overall
from reports.training.data import Competitor, Name, TaskRun


@dataclass(frozen=True)
class Row:
    """A competitor. `score` is the mean over seeds of the mean over the tasks; None where a task or a seed is missing."""

    competitor: Competitor
    points: dict[Cell, Mean]
    seeds: dict[int, float]
    score: Mean | None
    rank: Rank | None
    covered: int

    @property
    def name(self) -> Name:
        return self.competitor.name


@dataclass(frozen=True)
class Standings:
    """A benchmark's rows, best first.

    Attributes:
        tasks: the cells of the tasks that the run has. whole: whether these are all of the benchmark's.
        pairs: every comparison of overall scores, Holm-corrected together.
        ranks: mean rank of each competitor over the tasks, 1 is best (Demšar 2006); for those with all tasks.
        friedman: p-value of the hypothesis that these ranks are chance; None where it cannot be tested.
        critical: difference of mean ranks beyond which two competitors differ (Nemenyi, 5 %).
    """

    benchmark: Benchmark
    tasks: tuple[tuple[Cell, ...], ...]
    whole: bool
    rows: list[Row]
    pairs: dict[tuple[Name, Name], Pair]
    ranks: dict[Name, float]
    friedman: float | None
    critical: float

    @property
    def score_words(self) -> str:
        """What the overall column is called: GLUE's score only where all of GLUE is there."""
        return (
            f"{self.benchmark.title} score"
            if self.whole
            else f"mean of {len(self.tasks)} of {len(self.benchmark.tasks)} tasks"
        )


def standings(runs: Sequence[TaskRun]) -> list[Standings]:
    """One for each benchmark of which the run has two tasks or more."""
    by_name = {run.name: run for run in runs}
    found = [(b, b.present(by_name)) for b in BENCHMARKS]
    return [_standings(b, tasks, by_name) for b, tasks in found if len(tasks) > 1]


def _standings(benchmark: Benchmark, tasks: tuple[tuple[Cell, ...], ...], runs: dict[str, TaskRun]) -> Standings:
    competitors: dict[Name, Competitor] = {}
    for task in tasks:
        for c in runs[task[0][0]].competitors:
            competitors.setdefault(c.name, c)
    by_cell = {name: _points(name, tasks, runs) for name in competitors}
    seeds: dict[Name, dict[int, float]] = {}
    for name, cells in by_cell.items():
        common = set.intersection(*(set(cells.get(c, {})) for task in tasks for c in task))
        scores = {
            s: overall({c: values[s] for c, values in cells.items() if s in values}, tasks) for s in sorted(common)
        }
        seeds[name] = {s: score for s, score in scores.items() if score is not None}
    planned = min(runs[task[0][0]].seeds for task in tasks)  # seeds that every task has
    whole = {name: found for name, found in seeds.items() if found and len(found) >= planned}
    pairs = compare(whole)
    several = all(len(found) > 1 for found in whole.values())
    places = ranks(list(whole), pairs, "higher") if several else {}
    rows = [
        Row(
            competitor=c,
            points={cell: mean(list(values.values())) for cell, values in by_cell[name].items() if values},
            seeds=seeds[name],
            score=mean(list(whole[name].values())) if name in whole else None,
            rank=places.get(name),
            covered=sum(all(by_cell[name].get(cell) for cell in task) for task in tasks),
        )
        for name, c in competitors.items()
    ]
    rows.sort(key=lambda r: (r.score is None, -r.score.value if r.score else -r.covered))
    ordered, p = _mean_ranks([r for r in rows if r.score is not None], tasks)
    return Standings(
        benchmark, tasks, benchmark.whole(runs), rows, pairs, ordered, p, critical_difference(len(ordered), len(tasks))
    )


def _points(name: Name, tasks: tuple[tuple[Cell, ...], ...], runs: dict[str, TaskRun]) -> dict[Cell, dict[int, float]]:
    """Points by cell and seed, of cells for which every planned seed ended well."""
    found = {}
    for cell in (cell for task in tasks for cell in task):
        run = runs[cell[0]]
        scores = run.scores(name, cell[1], cell[2])
        if scores and len(scores) >= run.planned(name):
            found[cell] = {seed: 100 * value for seed, value in scores.items()}
    return found


def _mean_ranks(rows: list[Row], tasks: tuple[tuple[Cell, ...], ...]) -> tuple[dict[Name, float], float | None]:
    """Ranks within each task by its mean score, averaged over tasks; equal scores share the mean of their ranks."""
    if len(rows) < 2:
        return {}, None
    from scipy import stats  # half a second to import, and few pages want it

    table = np.array([[np.mean([r.points[cell].value for cell in task]) for task in tasks] for r in rows])
    places = stats.rankdata(-table, axis=0)
    tested = len(rows) > 2 and len(tasks) > 1 and np.ptp(places) > 0
    p = float(stats.friedmanchisquare(*table).pvalue) if tested else None
    return {r.name: float(rank) for r, rank in zip(rows, places.mean(axis=1), strict=True)}, p


def critical_difference(competitors: int, tasks: int) -> float:
    """Nemenyi's: q / sqrt(2) * sqrt(k (k + 1) / 6 n), q of the studentised range with infinite degrees of freedom."""
    if competitors < 2 or tasks < 1:
        return float("nan")
    from scipy import stats

    q = float(stats.studentized_range.ppf(0.95, competitors, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(competitors * (competitors + 1) / (6 * tasks)))
