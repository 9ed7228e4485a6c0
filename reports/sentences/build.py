"""The sections on whole benchmarks, above those of the single tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.sentences import tables
from reports.sentences.board import Standings, standings
from reports.sentences.plots import critical_difference_diagram
from reports.sentences.published import SOURCE
from reports.tables import Table
from reports.training.data import TaskRun
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.words import names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class BenchmarkSection:
    """What the page says about one benchmark. `published` is the public board, for GLUE alone."""

    id: str
    title: str
    lead: str
    card: tuple[str, str, str] | None
    board: Table
    pairs: Table
    plots: list[Any]
    published: Table | None
    source: str


def sections(boards: list[Board], cast: Cast) -> list[BenchmarkSection]:
    runs = {one.task.name: one.task for one in boards}
    untaught = {one.task.name for one in boards if one.nothing_learnt is not None}
    return [_section(s, runs, cast, untaught) for s in standings(list(runs.values()))]


def _section(s: Standings, runs: dict[str, TaskRun], cast: Cast, untaught: set[str]) -> BenchmarkSection:
    count, of, title = len(s.tasks), len(s.benchmark.tasks), s.benchmark.title
    whole = (
        f"All {count} tasks are here, so the overall score is the benchmark's own: the mean over tasks, a task with two "
        "metrics counting as their mean."
    )
    part = (
        f"{of - count} of the {of} tasks are not in this run, so there is no {title} score: the mean of the tasks that are "
        "here compares within this page only."
    )
    return BenchmarkSection(
        id=f"benchmark-{s.benchmark.id}",
        title=f"{title}: all tasks together",
        lead=f"{whole if s.whole else part} In points, 100 is perfect; {s.benchmark.note}.",
        card=_card(s),
        board=tables.leaderboard(s, runs, cast, untaught),
        pairs=tables.pairs(s),
        plots=critical_difference_diagram(s, cast),
        published=tables.reference_rows() if s.benchmark.id == "glue" else None,
        source=SOURCE,
    )


def _card(s: Standings) -> tuple[str, str, str] | None:
    """Who is ahead over all tasks: everybody whose rank interval begins at 1."""
    scored = [r for r in s.rows if r.score is not None]
    if not scored:
        return None
    first = [r for r in scored if r.rank is not None and r.rank.low == 1] or scored[:1]
    best = scored[0].score
    assert best is not None
    reach = f" [{best.low:.1f}, {best.high:.1f}]" if best.n > 1 else "; one seed gives no rank"
    several = len(first) > 1
    what = f"{'not told apart at the top' if several else 'best'}: {s.score_words}"
    return (
        names([r.competitor.label for r in first]),
        what,
        f"{scored[0].competitor.label} {best.value:.1f}{reach}",
    )


def frame(runs: list[TaskRun]) -> pd.DataFrame:
    """Points of every competitor, tidy: one row a benchmark, competitor and cell, and one for each overall score."""
    import pandas as pd  # slow to import, and only benchmarks need it here

    rows = []
    for s in standings(runs):
        for r in s.rows:
            who = {"benchmark": s.benchmark.id, "architecture": r.name[0], "variant": r.name[1]}
            for (task, split, metric), m in r.points.items():
                rows.append({**who, "task": task, "split": split, "metric": metric, **_numbers(m)})
            if r.score is not None:
                rank = {"rank_low": r.rank.low, "rank_high": r.rank.high} if r.rank else {}
                rows.append({**who, "task": "", "split": "", "metric": s.score_words, **_numbers(r.score), **rank})
    return pd.DataFrame(rows)


def _numbers(m: Any) -> dict[str, float]:
    return {"points": m.value, "low": m.low, "high": m.high, "seeds": m.n}
