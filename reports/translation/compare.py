"""Systems against the best one by sacrebleu's paired bootstrap over test sentences (Koehn 2004), first seeds.

This asks what other sentences would give; the leaderboard's intervals ask what other seeds would give. Both can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.paired import holm
from reports.tables import Table, Value
from reports.training.data import Name
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.training.tables import who
from reports.translation.read import Written
from reports.words import p_value

SAMPLES = 1000


@dataclass(frozen=True)
class Against:
    """One system's BLEU, its mean and half its interval over samples of sentences, and the p value of its difference to the
    first system (None for that one)."""

    score: float
    mean: float | None
    half: float | None
    p: float | None


def paired(systems: list[list[str]], references: list[str], lowercase: bool) -> list[Against]:
    """Two systems or more, the first of which the others are compared with."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    named: list[tuple[str, Sequence[str]]] = [(str(i), texts) for i, texts in enumerate(systems)]
    metrics = {"BLEU": BLEU(lowercase=lowercase, force=True, references=[references])}
    test = PairedTest(named, metrics, None, test_type="bs", n_samples=SAMPLES, n_jobs=1)
    results: list[Any] = test()[1]["BLEU"]
    # Where no sample tells two systems apart, sacrebleu says p = 1 / (samples + 1): it counts only larger differences.
    return [
        Against(
            float(r.score), r.mean, r.ci, 1.0 if r.p_value is not None and r.score == results[0].score else r.p_value
        )
        for r in results
    ]


def against_best(board: Board, written: Written, cast: Cast, lowercase: bool) -> Table:
    """Rows in the leaderboard's order; the first one is what the others are compared with."""
    columns = ["competitor", "test BLEU, first seed", "95 % interval over sentences", "p against the first (Holm)"]
    order: list[Name] = [s.name for s in board.standings if s.name in written.first]
    rows: list[list[Value]] = []
    if len(order) > 1:
        found = paired([written.first[name] for name in order], written.references, lowercase)
        adjusted = holm([math.nan if one.p is None else one.p for one in found])
        for name, one, p in zip(order, found, adjusted, strict=True):
            interval = "–" if one.mean is None else f"{one.mean:.1f} ± {one.half:.1f}"
            shown = "compared with" if one.p is None else p_value(p)
            rows.append([
                who(cast, name), Value(f"{one.score:.2f}", one.score, number=True),
                Value(interval, number=True), Value(shown, 0.0 if one.p is None else p, number=True),
            ])  # fmt: skip
    return Table(f"{board.task.id}-bootstrap", columns, rows)
