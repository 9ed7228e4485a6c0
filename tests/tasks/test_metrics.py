"""Metrics against formulas written out here, and what they give where they have no value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from tasks.metrics import ACCURACY, F1, MATTHEWS, METRICS, PEARSON, SPEARMAN, mean_of

BINARY = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=40)
VALUES = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=40)


@given(BINARY)
def test_classes(pairs: list[tuple[float, float]]) -> None:
    targets, predictions = map(list, zip(*pairs, strict=True))
    tp, tn, fp, fn = (sum(pair == p for pair in pairs) for p in ((1, 1), (0, 0), (0, 1), (1, 0)))
    assert ACCURACY.score(targets, predictions).value == pytest.approx((tp + tn) / len(pairs))
    assert F1.score(targets, predictions).value == pytest.approx(2 * tp / max(1, 2 * tp + fp + fn))
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert MATTHEWS.score(targets, predictions).value == pytest.approx((tp * tn - fp * fn) / below if below else 0)
    assert F1.score(targets, predictions).value == pytest.approx(sk.f1_score(targets, predictions, zero_division=0))


@given(VALUES)
def test_values(pairs: list[tuple[int, int]]) -> None:
    targets, predictions = (np.array(side, float) for side in zip(*pairs, strict=True))
    assume(np.ptp(targets) and np.ptp(predictions))
    assert PEARSON.score(targets, predictions).value == pytest.approx(np.corrcoef(targets, predictions)[0, 1], abs=1e-9)
    ranks = [stats.rankdata(side) for side in (targets, predictions)]
    assert SPEARMAN.score(targets, predictions).value == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-9)
    assert not PEARSON.score(targets, predictions).note


@pytest.mark.parametrize("name", METRICS)
def test_one_answer_to_everything_has_a_value_and_where_it_is_made_up_a_note(name: str) -> None:
    score = METRICS[name].score([0.0, 1.0, 1.0, 0.0], [0.0] * 4)
    assert math.isfinite(score.value)
    assert ("no value" in score.note) == (name in ("matthews_correlation", "pearson", "spearman"))


def test_f1_without_any_of_the_class_says_so() -> None:
    assert "no value" in F1.score([0.0, 0.0], [0.0, 0.0]).note


def test_mean_of_two() -> None:
    both = mean_of(F1, ACCURACY)
    score = both.score([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    assert score.metric == "f1_accuracy_mean"
    assert score.value == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert "no value" in mean_of(PEARSON, SPEARMAN).score([1.0, 2.0], [3.0, 3.0]).note


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no example"):
        ACCURACY.score([], [])
