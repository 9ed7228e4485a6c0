"""One score over the tasks of a benchmark, as GLUE makes it: the mean over tasks, where a task with two scores counts as
their mean (Wang et al. 2019).

Points are 100 times a score, so that 100 is perfect on every task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Cell = tuple[str, str, str]
"""Task, split, metric."""

GLUE: tuple[tuple[Cell, ...], ...] = (
    (("cola", "test", "matthews_correlation"),),
    (("sst2", "test", "accuracy"),),
    (("mrpc", "test", "f1"), ("mrpc", "test", "accuracy")),
    (("stsb", "test", "pearson"), ("stsb", "test", "spearman")),
    (("qqp", "test", "f1"), ("qqp", "test", "accuracy")),
    (("mnli", "test", "accuracy"), ("mnli", "test_mismatched", "accuracy")),
    (("qnli", "test", "accuracy"),),
    (("rte", "test", "accuracy"),),
    (("wnli", "test", "accuracy"),),
)
MINI_GLUE: tuple[tuple[Cell, ...], ...] = (
    (("mini_acceptability", "test", "matthews_correlation"),),
    (("mini_entailment", "test", "accuracy"),),
    (("mini_paraphrase", "test", "f1"), ("mini_paraphrase", "test", "accuracy")),
    (("mini_similarity", "test", "pearson"), ("mini_similarity", "test", "spearman")),
)


@dataclass(frozen=True)
class Benchmark:
    """Tasks whose scores may be averaged with one another, and with no other's. `tasks`: the cells of each."""

    id: str
    title: str
    tasks: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def present(self, names: Iterable[str]) -> tuple[tuple[Cell, ...], ...]:
        """Its tasks among `names`."""
        known = set(names)
        return tuple(cells for cells in self.tasks if cells[0][0] in known)

    def whole(self, names: Iterable[str]) -> bool:
        return len(self.present(names)) == len(self.tasks)


BENCHMARKS = (
    Benchmark("glue", "GLUE", GLUE, "scored on GLUE's dev sets, since the labels of its test sets are secret"),
    Benchmark("mini_glue", "mini_glue", MINI_GLUE, "synthetic sentences, not comparable with GLUE"),
)


def overall(points: Mapping[Cell, float], tasks: tuple[tuple[Cell, ...], ...]) -> float | None:
    """The mean over the tasks; None where a cell of any of them is missing."""
    cells = [cell for task in tasks for cell in task]
    if not cells or any(cell not in points for cell in cells):
        return None
    return float(np.mean([np.mean([points[cell] for cell in task]) for task in tasks]))
