"""Tables of a benchmark of sentence tasks: the board with the public board's columns, every pair, the published rows."""

from __future__ import annotations

import math

from reports.paired import Mean
from reports.sentences.aggregate import Cell
from reports.sentences.board import Row, Standings
from reports.sentences.published import CELLS, published
from reports.tables import LAST, Table, Value
from reports.training.data import TaskRun
from reports.training.looks import Cast
from reports.training.pairs import pairs_table
from reports.training.scores import average
from reports.training.tables import who
from reports.words import duration, integer, memory

_NONE = Value("–", LAST, number=True)
TITLES = {
    "cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "qqp": "QQP", "mnli": "MNLI", "qnli": "QNLI",
    "rte": "RTE", "wnli": "WNLI",
}  # fmt: skip
SHORT = {"matthews_correlation": "MCC", "accuracy": "acc", "f1": "F1", "pearson": "Pearson", "spearman": "Spearman"}


def column(cell: Cell) -> str:
    """ "MNLI mismatched acc"."""
    task, split, metric = cell
    parts = [TITLES.get(task, task.removeprefix("mini_")), split.removeprefix("test").strip("_"), SHORT[metric]]
    return " ".join(filter(None, parts))


def leaderboard(s: Standings, runs: dict[str, TaskRun], cast: Cast, untaught: set[str]) -> Table:
    """One row a competitor, best first; the best of each column is marked, but not on tasks that nobody learnt."""
    cells = [cell for task in s.tasks for cell in task]
    learnt = [cell for cell in cells if cell[0] not in untaught]
    best = {cell: max((r.points[cell].value for r in s.rows if cell in r.points), default=math.nan) for cell in learnt}
    columns = ["rank", "competitor", s.score_words, *(column(cell) for cell in cells), "parameters", "training time",
               "activation memory", "tasks"]  # fmt: skip
    tasks = [task[0][0] for task in s.tasks]
    rows = []
    for place, r in enumerate(s.rows):
        spent = [average(runs[t].effort(r.name, "train_time")) for t in tasks]
        held = [runs[t].cost(r.name, "activation_memory") or math.nan for t in tasks]
        rows.append([
            _rank(r, place), who(cast, r.name), _points(r.score, f"{r.covered} of {len(s.tasks)} tasks"),
            *(_points(r.points.get(cell), "failed or missing seeds", best.get(cell, math.nan)) for cell in cells),
            _sizes(r, runs, tasks), _number(duration(sum(spent)), sum(spent)), _number(memory(max(held)), max(held)),
            Value(f"{r.covered} of {len(s.tasks)}", -r.covered, number=True),
        ])  # fmt: skip
    tell = {
        0: "from 1 + those significantly better to N - those significantly worse, by paired tests over seeds",
        2: "mean over the tasks, in points",
    }
    return Table(f"{s.benchmark.id}-board", columns, rows, [], {}, (0, "asc"), tell)


def _rank(r: Row, place: int) -> Value:
    if r.rank is None:
        return Value("–", (1e3 if r.score else 1e6) + place, number=True)
    return Value(str(r.rank), r.rank.low + r.rank.high / 1e3 + place / 1e6, "tie" if r.rank.tied else "", number=True)


def _points(found: Mean | None, reason: str, best: float = math.nan) -> Value:
    if found is None:
        return Value("✕", LAST, title=reason, number=True)
    reach = f"±{found.value - found.low:.1f}" if found.n > 1 else ""
    mark = " ★" if found.value == best else ""
    return Value(f"{found.value:.1f}{mark}", -found.value, reach, f"{found.n} seeds, 95 % t interval", number=True)


def _number(text: str, value: float) -> Value:
    return Value(text, value, number=True) if math.isfinite(value) else _NONE


def _sizes(r: Row, runs: dict[str, TaskRun], tasks: list[str]) -> Value:
    """Parameters differ a little between tasks, by their vocabularies and widths."""
    found = [c.parameters for t in tasks for c in runs[t].competitors if c.name == r.name and c.parameters]
    if not found:
        return _NONE
    low, high = min(found), max(found)
    return Value(integer(high), high, f"from {integer(low)}" if low < high else "", number=True)


def pairs(s: Standings) -> Table:
    """Every pair of overall scores."""
    seeds = {r.name: r.seeds for r in s.rows}
    return pairs_table(f"{s.benchmark.id}-pairs", s.pairs, seeds, "higher", "difference (points)")


def reference_rows() -> Table:
    """The public board, as it stands."""
    cells = list(CELLS.values())
    columns = ["rank", "name", "model", "score", *(column(cell) for cell in cells)]
    rows = [
        [Value(str(p.rank), p.rank, number=True), Value(p.name), Value(p.model), _percent(p.score),
         *(_percent(p.points[cell]) if cell in p.points else _NONE for cell in cells)]
        for p in published()
    ]  # fmt: skip
    return Table("glue-published", columns, rows, [], {}, (0, "asc"))


def _percent(value: float) -> Value:
    return Value(f"{value:.1f}", -value, number=True)
