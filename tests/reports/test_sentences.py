"""The overall score of a benchmark, rank intervals over tasks, and the published rows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reports.sentences.aggregate import BENCHMARKS, GLUE, MINI_GLUE, overall
from reports.sentences.board import Standings, critical_difference, standings
from reports.sentences.published import published
from reports.training.data import Competitor, Metric, TaskRun
from tasks.glue import TASKS
from tasks.mini_glue import _tasks


def test_the_published_rows_give_their_published_scores() -> None:
    rows = list(published())
    assert len(rows) == 15
    for row in rows:
        found = overall(row.points, GLUE)
        assert found is not None and abs(found - row.score) < 0.06, row.name


def test_a_missing_task_gives_no_overall_score() -> None:
    points = next(published()).points
    del points["rte", "test", "accuracy"]
    assert overall(points, GLUE) is None
    assert overall({}, ()) is None


def test_the_benchmarks_are_made_of_the_tasks_own_metrics() -> None:
    metrics = {task.name: {m.name for m in task.metrics} for task in TASKS}
    metrics |= {name: {m.name for m in found} for name, _, _, found, _ in _tasks()}
    assert [cells[0][0] for cells in GLUE] == [task.name for task in TASKS]
    assert [cells[0][0] for cells in MINI_GLUE] == [name for name, *_ in _tasks()]
    for task in (*GLUE, *MINI_GLUE):
        assert {metric for _, _, metric in task} <= metrics[task[0][0]]
        two = {m for m in metrics[task[0][0]] if not m.endswith("_mean")}
        if len(two) > 1 and task[0][0] not in ("cola", "mini_acceptability"):  # accuracy is there for readers only
            assert {metric for _, _, metric in task} == two


class Planted(TaskRun):
    """A task with planted scores: by competitor and (split, metric), one a seed."""

    def __init__(self, name: str, seeds: int, planted: dict[str, dict[tuple[str, str], list[float]]]) -> None:
        who = [Competitor((c, "")) for c in planted]
        super().__init__(name, name, Metric("accuracy", better="higher"), seeds, {}, [], who, {}, {}, {}, {})
        object.__setattr__(self, "planted", planted)

    def scores(self, name: Any, split: str, metric: str) -> dict[int, float]:
        found: Any = getattr(self, "planted")[name[0]]  # noqa: B009
        return dict(enumerate(found.get((split, metric), [])))


def planted(scores: dict[str, list[list[float]]]) -> Standings:
    """sst2, rte and wnli, each with seeds of accuracies; by competitor."""
    runs = [
        Planted(task, 3, {c: {("test", "accuracy"): tasks[i]} for c, tasks in scores.items()})
        for i, task in enumerate(("sst2", "rte", "wnli"))
    ]
    (found,) = standings(runs)
    return found


GOOD = [[0.90, 0.91, 0.92], [0.70, 0.71, 0.72], [0.60, 0.61, 0.62]]
BAD = [[0.50, 0.511, 0.52], [0.40, 0.41, 0.421], [0.30, 0.312, 0.32]]


def test_means_ranks_and_words() -> None:
    found = planted({"bad": BAD, "good": GOOD})
    assert [r.name[0] for r in found.rows] == ["good", "bad"]
    best = found.rows[0]
    assert best.score is not None and best.score.value == pytest.approx(100 * (0.91 + 0.71 + 0.61) / 3)
    assert best.seeds == pytest.approx({0: 220 / 3, 1: 223 / 3, 2: 226 / 3})
    assert [str(r.rank) for r in found.rows] == ["1", "2"]
    assert not found.whole and found.score_words == "mean of 3 of 9 tasks"
    assert found.ranks == {("good", ""): 1.0, ("bad", ""): 2.0}


def test_equal_competitors_tie() -> None:
    found = planted({"one": GOOD, "two": GOOD, "bad": BAD})
    assert [str(r.rank) for r in found.rows] == ["1–2", "1–2", "3"]
    assert found.ranks["one", ""] == found.ranks["two", ""] == 1.5
    assert found.friedman is not None and found.friedman < 0.1


def test_a_missing_seed_or_task_leaves_no_score_and_no_rank() -> None:
    short = [GOOD[0], GOOD[1][:2], GOOD[2]]
    found = planted({"good": GOOD, "short": short, "none": [GOOD[0], [], []]})
    rows = {r.name[0]: r for r in found.rows}
    assert rows["short"].score is None and rows["short"].rank is None and rows["short"].covered == 2
    assert rows["none"].covered == 1 and [r.name[0] for r in found.rows] == ["good", "short", "none"]
    assert ("short", "") not in found.ranks


def test_one_task_makes_no_benchmark_and_other_tasks_are_not_averaged() -> None:
    cells = {("test", "accuracy"): [0.5] * 3}
    assert standings([Planted("sst2", 3, {"a": cells})]) == []
    runs = [
        Planted(n, 3, {"a": cells}) for n in ("sst2", "rte", "mini_entailment", "mini_acceptability", "film_reviews")
    ]
    found = standings(runs)
    assert [(s.benchmark.id, [t[0][0] for t in s.tasks]) for s in found] == [
        ("glue", ["sst2", "rte"]),
        ("mini_glue", ["mini_acceptability", "mini_entailment"]),
    ]


def test_critical_difference_is_the_published_one() -> None:
    """Demšar 2006, section 3.2.2 and table 5: four classifiers on 14 data sets, q = 2.569, CD = 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert math.isnan(critical_difference(1, 5))


def test_benchmarks_share_no_task() -> None:
    names = [cells[0][0] for b in BENCHMARKS for cells in b.tasks]
    assert len(names) == len(set(names))
