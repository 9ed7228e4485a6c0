"""Systems against the best one by sacrebleu's paired bootstrap over test sentences (Koehn 2004), first seeds.

This asks what other sentences would give; the leaderboard's intervals ask what other seeds would give. Both can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.tables import Table, Value
from reports.training.data import Name
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.training.tables import who
from reports.translation.read import Written

SAMPLES = 1000


def against_best(board: Board, written: Written, cast: Cast, lowercase: bool) -> Table:
    """Rows in the leaderboard's order; the first one is what the others are compared with."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    columns = ["competitor", "test BLEU, first seed", "95 % interval over sentences", "p against the first"]
    order: list[Name] = [s.name for s in board.standings if s.name in written.first]
    rows: list[list[Value]] = []
    if len(order) > 1:
        systems: list[tuple[str, Sequence[str]]] = [(str(i), written.first[name]) for i, name in enumerate(order)]
        metrics = {"BLEU": BLEU(lowercase=lowercase, references=[written.references])}
        test = PairedTest(systems, metrics, None, test_type="bs", n_samples=SAMPLES, n_jobs=1)
        found: list[Any] = test()[1]["BLEU"]
        for name, result in zip(order, found, strict=True):
            p = result.p_value
            interval = "–" if result.mean is None else f"{result.mean:.1f} ± {result.ci:.1f}"
            shown = "compared with" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
            rows.append([
                who(cast, name), Value(f"{result.score:.2f}", float(result.score), number=True),
                Value(interval, number=True), Value(shown, 0.0 if p is None else float(p), number=True),
            ])  # fmt: skip
    return Table(f"{board.task.id}-bootstrap", columns, rows)
