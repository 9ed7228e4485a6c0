"""Where competitors err: confusion of classes, score against length, and the examples on which they disagree most.

Made from the predictions that a run keeps; a run without them has no such view.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.canvas import Line, Plot
from reports.paired import mean
from reports.sentences.attention import attention_plots
from reports.tables import Table, Value
from reports.training.charts import Axis, curve_chart
from reports.training.data import Name, TaskRun, label
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.training.tables import who
from results.predictions import load_examples, load_predictions

BINS = 6
MOST_SHOWN = 12
LONGEST_TEXT = 240


@dataclass(frozen=True)
class Errors:
    """What the page shows of one task."""

    plots: list[Plot]
    confusion: Table
    disagreements: Table
    attention: list[Plot]


@dataclass(frozen=True)
class Split:
    """A test split with everybody's predictions. `predicted`: competitor -> (seeds, examples)."""

    labels: list[str]
    texts: list[list[str]]
    targets: np.ndarray
    tokens: np.ndarray
    predicted: dict[Name, np.ndarray]


def read_split(task: TaskRun, folder: Path) -> Split | None:
    """The split that ranks; None where the run kept nothing of it."""
    shown = load_examples(folder, task.name, str(task.raw.get("fingerprint") or "")).get(task.test_split)
    if not shown or "targets" not in shown:
        return None
    predicted = {}
    for c in task.competitors:
        rows = [load_predictions(folder, r.trial_id).get(task.test_split, []) for r in task.ok(c.name).values()]
        rows = [row for row in rows if len(row) == len(shown["texts"])]
        if rows:
            predicted[c.name] = np.array(rows)
    labels = [str(w) for w in (task.raw.get("facts") or {}).get("labels") or ()]
    if not predicted:
        return None
    return Split(labels, shown["texts"], np.array(shown["targets"], float), np.array(shown["tokens"]), predicted)


def confusion(board: Board, split: Split, cast: Cast) -> Table:
    """How often each class was taken for which, in percent of the class, over all seeds."""
    columns = ["competitor", *(f"{a} → {b}" for a in split.labels for b in split.labels)]
    rows = []
    for s in board.standings:
        if s.name in split.predicted:
            values = []
            for a in range(len(split.labels)):
                said = split.predicted[s.name][:, split.targets == a]
                values += [float((said == b).mean()) if said.size else float("nan") for b in range(len(split.labels))]
            rows.append([who(cast, s.name), *(_share(v) for v in values)])
    tell = {i: "share of the examples of the first class that were given the second" for i in range(1, len(columns))}
    return Table(f"{board.task.id}-confusion", columns, rows if split.labels else [], help=tell)


def _share(value: float) -> Value:
    return Value("–", number=True) if np.isnan(value) else Value(f"{100 * value:.1f} %", value, number=True)


def by_length(split: Split) -> tuple[np.ndarray, dict[Name, np.ndarray]]:
    """Mean tokens of bins of about as many examples, and by competitor (seeds, bins): accuracy, or squared error."""
    edges = np.unique(np.quantile(split.tokens, np.linspace(0, 1, BINS + 1)))
    bins = np.clip(np.searchsorted(edges, split.tokens, side="right") - 1, 0, max(0, len(edges) - 2))
    kept = [b for b in range(max(1, len(edges) - 1)) if (bins == b).any()]
    centres = np.array([split.tokens[bins == b].mean() for b in kept])
    found = {}
    for name, rows in split.predicted.items():
        right = (rows == split.targets).astype(float) if split.labels else (rows - split.targets) ** 2
        found[name] = np.stack([right[:, bins == b].mean(1) for b in kept], axis=1)
    return centres, found


def disagreements(board: Board, split: Split) -> Table:
    """Examples on which competitors differ most: each says what most of its seeds say (values: their mean)."""
    names = [s.name for s in board.standings if s.name in split.predicted]
    said = np.stack([_voice(split, split.predicted[name]) for name in names])
    if split.labels:
        share = np.stack([(said == c).mean(0) for c in range(len(split.labels))])
        apart = 1 - share.max(0)
    else:
        apart = said.std(0)
    order = [int(i) for i in np.argsort(-apart, kind="stable")[:MOST_SHOWN] if apart[i] > 0]
    columns = ["text", "truth", *(s.label for s in board.standings if s.name in split.predicted)]
    rows = [
        [Value(_cut(" │ ".join(split.texts[i]))), Value(_word(split, split.targets[i])),
         *(_said(split, said[k, i], split.targets[i]) for k in range(len(names)))]
        for i in order
    ]  # fmt: skip
    return Table(f"{board.task.id}-disagreements", columns, rows)


def _voice(split: Split, rows: np.ndarray) -> np.ndarray:
    if not split.labels:
        return np.asarray(rows.mean(0))
    votes = np.stack([(rows == c).sum(0) for c in range(len(split.labels))])
    return np.asarray(votes.argmax(0).astype(float))


def _word(split: Split, value: float) -> str:
    return split.labels[int(value)] if split.labels else f"{value:.1f}"


def _said(split: Split, value: float, truth: float) -> Value:
    if not split.labels:
        return Value(f"{value:.1f}", number=True)
    return Value(("✓ " if value == truth else "✕ ") + _word(split, value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def length_plots(board: Board, split: Split, cast: Cast) -> list[Plot]:
    """Score against the length of the input, in bins of about as many examples; mean over seeds."""
    centres, found = by_length(split)
    if len(centres) < 2:
        return []
    lines = []
    for name in cast.shown:
        if name in found:
            means = [mean(column.tolist()) for column in found[name].T]
            several = found[name].shape[0] > 1
            low, high = (np.array([getattr(m, side) for m in means]) for side in ("low", "high"))
            y = np.array([m.value for m in means])
            lines.append(
                Line(label(name), cast.looks[name], centres, y, low if several else None, high if several else None)
            )
    if not lines:
        return []
    what = "accuracy" if split.labels else "squared error"
    return [
        curve_chart(
            f"{board.task.id}-input-length", f"{what.capitalize()} by length of the input", lines,
            Axis("tokens of the input", lambda v: f"{v:.3g}"), Axis(f"test {what}", lambda v: f"{v:.3g}"),
            f"Test examples in {len(centres)} bins of about as many; mean over seeds, bars are 95 % t intervals.", [], None,
            bars=True,
        )
    ]  # fmt: skip


def errors(board: Board, cast: Cast, folder: Path | None) -> Errors | None:
    """None where the run kept no predictions of this task."""
    split = read_split(board.task, folder) if folder is not None else None
    if split is None or folder is None:
        return None
    maps = attention_plots(board.task, cast, folder)
    return Errors(length_plots(board, split, cast), confusion(board, split, cast), disagreements(board, split), maps)
