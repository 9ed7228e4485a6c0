"""BLEU against the length of the source: where one vector of fixed size stops being enough."""

from __future__ import annotations

import re

import numpy as np

from reports.canvas import Line, Plot
from reports.paired import mean
from reports.training.charts import Axis, curve_chart
from reports.training.data import label
from reports.training.looks import Cast
from reports.training.plots import left_out
from reports.training.scores import Board

_NAME = re.compile(r"BLEU: (\d+) (?:to (\d+)|or more) source words")


def by_length(board: Board, cast: Cast) -> list[Plot]:
    task = board.task
    bins = {m.name: found for m in task.metrics(task.test_split) if (found := _NAME.fullmatch(m.name))}
    if len(bins) < 2:
        return []
    ordered = sorted(bins, key=lambda name: int(bins[name][1]))
    words = [f"{bins[n][1]}–{bins[n][2]}" if bins[n][2] else f"{bins[n][1]}+" for n in ordered]
    x = np.arange(1, len(ordered) + 1, dtype=float)
    whole = {s.name for s in board.standings if s.mean is not None}
    lines = []
    for name in cast.shown:
        means = [mean(list(task.scores(name, task.test_split, metric).values())) for metric in ordered if name in whole]
        if means:
            y, low, high = (np.array([getattr(m, part) for m in means]) for part in ("value", "low", "high"))
            several = bool(np.isfinite(low).all())
            lines.append(Line(label(name), cast.looks[name], x, y, low if several else None, high if several else None))
    if not lines:
        return []
    caption = (
        "Corpus BLEU of the test sentences of each length; mean over seeds, bars are 95 % t intervals. Bins with fewer than "
        f"20 sentences are left out. {left_out(cast)}"
    )
    return [
        curve_chart(
            f"{task.id}-source-length", "BLEU by length of the source", lines,
            Axis("words of the source", lambda v: words[round(v) - 1] if 1 <= round(v) <= len(words) else "",
                 ticks=tuple(x.tolist())),
            Axis("test BLEU", lambda v: f"{v:.3g}"), caption.strip(), [], None, bars=True,
        )
    ]  # fmt: skip
