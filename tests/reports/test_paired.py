"""Means, paired differences, Holm and ranks: against scipy, against hand calculations, against planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.paired import Difference, compare, corrected, difference, holm, mean, ranks
from reports.training.curves import bin_edges, columns, reach
from reports.training.data import Choice, Metric, Try
from reports.training.tuning import chosen_try, edge, expected_best, filled
from tests.synthetic_training import PROBE, _Maker

GAPS = [0.11, 0.08, 0.14, 0.09]


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_mean_and_interval_are_students() -> None:
    values = [1.2, 1.5, 1.1, 1.3]
    found = mean(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high, found.n) == pytest.approx((np.mean(values), low, high, 4))


def test_one_seed_has_no_interval() -> None:
    found = mean([1.0])
    assert found.value == 1.0 and math.isnan(found.low) and math.isnan(found.high)
    alone = difference({0: 1.0}, {0: 2.0})
    assert alone is not None and alone.value == -1.0 and math.isnan(alone.p)
    with pytest.raises(ValueError):
        mean([])


def test_difference_is_scipys_paired_test() -> None:
    b = [1.0, 1.4, 0.7, 1.1]
    a = [x + gap for x, gap in zip(b, GAPS, strict=True)]
    found = difference(by_seed(a), by_seed(b))
    expected = stats.ttest_rel(a, b)
    assert found is not None and found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_pairing_finds_what_an_unpaired_test_would_miss() -> None:
    b = [1.0, 2.0, 3.0, 4.0]
    a = [x + gap for x, gap in zip(b, GAPS, strict=True)]
    found = difference(by_seed(a), by_seed(b))
    assert found is not None and found.p < 0.01 < stats.ttest_ind(a, b).pvalue


def test_only_common_seeds_are_paired() -> None:
    found = difference({0: 1.0, 1: 2.0, 7: 100.0}, {0: 0.5, 1: 1.4, 8: -100.0})
    assert found is not None and found.n == 2 and found.value == pytest.approx(0.55)
    assert difference({0: 1.0}, {1: 1.0}) is None


def test_no_spread_in_the_differences() -> None:
    same = difference(by_seed([0.1 + 0.2, 0.3]), by_seed([0.3, 0.1 + 0.2]))
    assert same is not None and same.value == 0 and same.p == 1
    shifted = difference(by_seed([1.1, 1.2, 1.3]), by_seed([1.0, 1.1, 1.2]))
    assert shifted is not None and shifted.p == 1 and shifted.low == shifted.high == pytest.approx(0.1)


def test_holm_by_hand() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04; never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    with_gap = holm([0.02, math.nan, 0.04])
    assert math.isnan(with_gap[1]) and [with_gap[0], with_gap[2]] == pytest.approx([0.04, 0.04])
    assert holm([]) == []


def test_planted_difference_is_found_and_planted_tie_is_not() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 1, 5)
    own = {name: rng.normal(0, 0.05, 5) for name in "abc"}
    scores = {
        name: by_seed((shift + shared + own[name]).tolist()) for name, shift in (("a", 2.0), ("b", 2.0), ("c", 0.0))
    }
    pairs = compare(scores)
    assert not pairs["a", "b"].significant and pairs["a", "c"].significant and pairs["b", "c"].significant
    higher = ranks(list(scores), pairs, "higher")
    assert {n: str(r) for n, r in higher.items()} == {"a": "1–2", "b": "1–2", "c": "3"}
    lower = ranks(list(scores), pairs, "lower")
    assert {n: str(r) for n, r in lower.items()} == {"a": "2–3", "b": "2–3", "c": "1"}


def test_false_alarms_are_rare() -> None:
    """Of families of 10 pairs without any difference about 5 % find one; 3 seeds, 300 families."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        drawn = rng.normal(0, 1, (5, 3))
        pairs = compare({i: by_seed(row.tolist()) for i, row in enumerate(drawn)})
        alarms += any(pair.significant for pair in pairs.values())
    assert alarms <= 0.09 * 300


def test_correction_within_a_family() -> None:
    one, two = Difference(1.0, 0.5, 1.5, 0.03, 3), Difference(1.0, 0.5, 1.5, 0.04, 3)
    found = corrected({"x": one, "y": two})
    assert found["x"].adjusted == pytest.approx(0.06) and not found["x"].significant
    assert corrected({"x": one})["x"].significant


def test_expected_best_is_exact() -> None:
    scores = [3.0, 1.0, 2.0]
    # one draw: the mean; two: best is 1 in 2 of 3 pairs, else 2; three: the best of all.
    assert expected_best(scores, "lower") == pytest.approx([2.0, 4 / 3, 1.0])
    assert expected_best(scores, "higher") == pytest.approx([2.0, 8 / 3, 3.0])


def test_failed_tries_count_as_worst() -> None:
    tries = (Try({"lr": 0.1}, "ok", 2.0), Try({"lr": 1.0}, "nan", None, "diverged"))
    assert filled(Choice("chosen", "", tries, {"lr": 0.1}), Metric("loss"), 9.0) == [2.0, 9.0]


@pytest.mark.parametrize(("lr", "says"), [(0.1, "smallest"), (0.2, ""), (0.4, "largest")])
def test_edge_of_the_grid(lr: float, says: str) -> None:
    tries = tuple(Try({"lr": v}, "ok", 1.0) for v in (0.1, 0.2, 0.4))
    choice = Choice("chosen", "", tries, {"lr": lr})
    assert edge(choice) == says
    picked = chosen_try(choice)
    assert picked is not None and picked.lr == lr
    assert edge(Choice("single", "", tries[:1], {"lr": 0.1})) == ""


def test_target_is_interpolated_between_looks() -> None:
    record = _Maker("r", "lm", np.random.default_rng(0))._record(PROBE, PROBE.runners[0], "train", "final", extra={
        "curves": {"tune": {"step": [0, 100, 200], "tokens": [0, 1000, 2000], "seconds": [0.0, 10.0, 20.0],
                            "accuracy": [0.0, 0.4, 0.8]}}})  # fmt: skip
    curve = columns(record, "tune", "accuracy")
    assert curve is not None
    found = reach(curve, 0.5, "higher")
    assert found is not None and (found.step, found.tokens, found.seconds) == pytest.approx((125, 1250, 12.5))
    assert not found.at_once and reach(curve, 0.9, "higher") is None
    first = reach(curve, 0.1, "lower")
    assert first is not None and first.step == 0 and first.at_once


def test_position_bins_cover_every_position_once() -> None:
    for size in (1, 5, 64, 65, 256, 4096):
        edges = bin_edges(size)
        assert edges[0] == 1 and edges[-1] == size + 1 and edges == sorted(set(edges))
    assert len(bin_edges(4096)) < 30
