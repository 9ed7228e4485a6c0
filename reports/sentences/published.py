"""Rows of the public GLUE leaderboard, for scale. Their systems are pretrained, and scored on the secret test set."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reports.sentences.aggregate import Cell

FILE = Path(__file__).with_name("glue_leaderboard.csv")
SOURCE = "https://gluebenchmark.com/leaderboard"
CELLS: dict[str, Cell] = {
    "cola_mcc": ("cola", "test", "matthews_correlation"),
    "sst2_acc": ("sst2", "test", "accuracy"),
    "mrpc_f1": ("mrpc", "test", "f1"),
    "mrpc_acc": ("mrpc", "test", "accuracy"),
    "stsb_pearson": ("stsb", "test", "pearson"),
    "stsb_spearman": ("stsb", "test", "spearman"),
    "qqp_f1": ("qqp", "test", "f1"),
    "qqp_acc": ("qqp", "test", "accuracy"),
    "mnli_m_acc": ("mnli", "test", "accuracy"),
    "mnli_mm_acc": ("mnli", "test_mismatched", "accuracy"),
    "qnli_acc": ("qnli", "test", "accuracy"),
    "rte_acc": ("rte", "test", "accuracy"),
    "wnli_acc": ("wnli", "test", "accuracy"),
    "ax_mcc": ("mnli", "test_ax", "matthews_correlation"),
}


@dataclass(frozen=True)
class Published:
    """One row of the board. `points` lacks what the board leaves empty."""

    rank: int
    name: str
    model: str
    score: float
    points: dict[Cell, float]


def published() -> Iterator[Published]:
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        points = {cell: float(row[column]) for column, cell in CELLS.items() if row[column]}
        yield Published(int(row["rank"]), row["name"], row["model"], float(row["score"]), points)
