"""Official metrics of sentence tasks: scikit-learn's and scipy's, with a value and a note where theirs are undefined.

Predictions and targets are lists of one number an example: classes, or values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.contract import Score

Numbers = Sequence[float]


@dataclass(frozen=True)
class Metric:
    """`function(targets, predictions)` gives the value and what is to be said about it, mostly nothing."""

    name: str
    function: Callable[[Numbers, Numbers], tuple[float, str]]

    def score(self, targets: Numbers, predictions: Numbers) -> Score:
        if not len(targets):
            raise ValueError(f"{self.name}: there is no example to score")
        value, note = self.function(targets, predictions)
        return Score(self.name, value, "", "higher", note)


def accuracy(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    return float(np.mean(np.asarray(targets) == np.asarray(predictions))), ""


def f1(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    """Of class 1."""
    from sklearn.metrics import f1_score

    nothing = 1 not in predictions and 1 not in targets
    note = "F1 has no value where class 1 neither occurs nor is predicted; 0 is given" if nothing else ""
    return float(f1_score(targets, predictions, pos_label=1, zero_division=0)), note


def matthews(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    """Correlation of classes (Matthews 1975), for any number of them (Gorodkin 2004)."""
    from sklearn.metrics import matthews_corrcoef

    value = float(matthews_corrcoef(targets, predictions))
    return value, _constant("Matthews correlation", targets, predictions)


def pearson(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    return _correlation("Pearson correlation", "pearsonr", targets, predictions)


def spearman(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    return _correlation("Spearman correlation", "spearmanr", targets, predictions)


def _correlation(name: str, function: str, targets: Numbers, predictions: Numbers) -> tuple[float, str]:
    from scipy import stats

    if note := _constant(name, targets, predictions):
        return 0.0, note
    return float(getattr(stats, function)(targets, predictions).statistic), ""


def _constant(name: str, targets: Numbers, predictions: Numbers) -> str:
    for what, numbers in (("predictions", predictions), ("targets", targets)):
        if np.ptp(np.asarray(numbers, float)) == 0:
            return f"{name} has no value where all {what} are the same; 0 is given"
    return ""


def mean_of(*metrics: Metric) -> Metric:
    """GLUE's score of a task with two metrics (Wang et al. 2019)."""

    def function(targets: Numbers, predictions: Numbers) -> tuple[float, str]:
        found = [metric.function(targets, predictions) for metric in metrics]
        return float(np.mean([value for value, _ in found])), next((note for _, note in found if note), "")

    return Metric("_".join(metric.name for metric in metrics) + "_mean", function)


ACCURACY, F1, MATTHEWS = Metric("accuracy", accuracy), Metric("f1", f1), Metric("matthews_correlation", matthews)
PEARSON, SPEARMAN = Metric("pearson", pearson), Metric("spearman", spearman)
METRICS = {metric.name: metric for metric in (ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN)}
