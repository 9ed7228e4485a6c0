"""Crossovers, verdicts and ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.bootstrap import REPLICATES, Series
from reports.crossover import crossover
from reports.fits import fit_counts, fit_power
from reports.ranks import rank
from reports.verdicts import judge, judge_path, judge_time, judge_with_tail

LENGTHS = np.array([64, 128, 256, 512, 1024, 2048, 4096, 8192])


def curve(f: Callable[[np.ndarray], np.ndarray], noise: float = 0.01, seed: int = 0, last: int = 8192) -> Series:
    lengths = LENGTHS[last >= LENGTHS]
    spread = np.random.default_rng(seed).normal(0, noise, (REPLICATES, len(lengths)))
    values = np.asarray(f(lengths.astype(float)) * np.ones(len(lengths)))
    return Series(lengths, values, spread, np.full(len(lengths), 3), "s", False)


def test_crossing_at_a_known_length() -> None:
    # 1e-3 T = 5e-7 T^2 at T = 2,000
    c = crossover("linear", curve(lambda t: 1e-3 * t), "square", curve(lambda t: 5e-7 * t**2, seed=1))
    assert (c.outcome, c.winner, c.loser, c.crossings) == ("crosses", "linear", "square", 1)
    assert c.length == pytest.approx(2000, rel=0.01)
    assert c.low <= 2000 <= c.high and c.high / c.low < 1.2


def test_no_crossing() -> None:
    c = crossover("a", curve(lambda t: t), "b", curve(lambda t: 2 * t, seed=1))
    assert (c.outcome, c.winner, c.first, c.last) == ("throughout", "a", 64, 8192)
    assert c.ratio_at_last == pytest.approx(2)


def test_equal_curves_tie() -> None:
    assert crossover("a", curve(lambda t: t), "b", curve(lambda t: 1.001 * t, seed=1)).outcome == "tie"


def test_a_lead_is_only_called_throughout_where_it_is() -> None:
    late = np.array([1, 1, 1, 1, 1, 1, 1, 2.0])
    c = crossover("a", curve(lambda t: t), "b", curve(lambda t: late * t, seed=1))
    assert (c.outcome, c.winner, c.length) == ("pulls ahead", "a", 8192)
    c = crossover("a", curve(lambda t: t), "b", curve(lambda t: np.array([2, 1, 2, 2, 2, 2, 2, 2.0]) * t, seed=1))
    assert (c.outcome, c.winner, c.length) == ("pulls ahead", "a", 256)
    c = crossover("a", curve(lambda t: t), "b", curve(lambda t: late[::-1] * t + t * (t < 1000), seed=1))
    assert (c.outcome, c.winner, c.length) == ("falls level", "a", 512)
    both = np.array([2, 2, 1, 1, 0.5, 0.5, 1, 1.0])
    c = crossover("a", curve(lambda t: t), "b", curve(lambda t: both * t, seed=1))
    assert (c.outcome, c.winner, c.crossings) == ("tie", "", 1)


def test_only_common_lengths_count() -> None:
    c = crossover("linear", curve(lambda t: 1e-3 * t), "square", curve(lambda t: 5e-7 * t**2, seed=1, last=1024))
    assert (c.outcome, c.winner, c.last) == ("throughout", "square", 1024)  # never extended beyond the range


def test_several_crossings_report_the_last() -> None:
    bump = np.array([1, 1, 2, 2, 1, 1, 0.5, 0.5])
    c = crossover("a", curve(lambda t: t * bump[: len(t)]), "b", curve(lambda t: 1.2 * t, seed=1))
    assert c.outcome == "crosses" and c.crossings == 2 and c.winner == "a"
    assert 512 < c.length < 1024


def test_no_common_lengths() -> None:
    early = curve(lambda t: t, last=256)
    late = Series(LENGTHS[4:], LENGTHS[4:] * 1.0, np.zeros((REPLICATES, 4)), np.ones(4), "s", False)
    assert crossover("a", early, "b", late).outcome == "no common lengths"


@settings(max_examples=40, deadline=None)
@given(factor=st.floats(1e-6, 1e6), at=st.floats(100, 6000))
def test_crossing_does_not_depend_on_the_unit_or_the_order(factor: float, at: float) -> None:
    a, b = curve(lambda t: factor * t), curve(lambda t: factor * t**2 / at, seed=1)
    one, other = crossover("a", a, "b", b), crossover("b", b, "a", a)
    assert one.winner == other.winner == "a"
    assert one.length == pytest.approx(at, rel=0.02) and one.length == pytest.approx(other.length)


@pytest.mark.parametrize(
    ("low", "high", "theory", "expected"),
    [
        (0.9, 1.1, 1.0, "agrees"),
        (0.85, 1.15, 1.0, "agrees"),
        (1.2, 1.4, 1.0, "disagrees"),
        (0.5, 0.8, 1.0, "disagrees"),
        (1.1, 1.4, 1.0, "not resolved"),
        (-0.5, 3.5, 1.0, "not resolved"),
        (float("nan"), float("nan"), 1.0, "not resolved"),
        (0.9, 1.1, None, "not judged"),
    ],
)
def test_verdict(low: float, high: float, theory: float | None, expected: str) -> None:
    assert judge(low, high, theory, 0.15) == expected


def test_time_between_counted_work_and_theory_is_not_a_contradiction() -> None:
    rng = np.random.default_rng(0)
    mixed = fit_power(curve(lambda t: 900 * t + 0.1 * t**2, noise=0.005), rng)
    assert judge_time(mixed, 2.0)[0] == "disagrees"
    verdict, why = judge_time(mixed, 2.0, mixed)
    assert verdict == "not resolved" and "longer sequences" in why
    late = replace(mixed, local_slope=1.8, local_low=1.5, local_high=1.9)  # the last doubling is on its way
    verdict, why = judge_time(late, 2.0)
    assert verdict == "not resolved" and "last doubling" in why
    cubic = fit_power(curve(lambda t: t**3, noise=0.005), rng)
    assert judge_time(cubic, 2.0, mixed)[0] == "disagrees"


def test_memory_agrees_by_its_last_doubling() -> None:
    fit = fit_power(curve(lambda t: 1e4 * t + 64 * t**2, noise=0.0), np.random.default_rng(0))
    assert judge_with_tail(fit, 2.0, 0.10)[0] == "agrees"
    assert judge_with_tail(fit, 1.0, 0.10)[0] == "disagrees"


def test_memory_on_its_way_is_not_resolved() -> None:
    fit = fit_power(curve(lambda t: 3e5 * t + 64 * t**2, noise=0.0), np.random.default_rng(0))
    assert judge_with_tail(fit, 2.0, 0.10)[0] == "not resolved"


def test_exact_counts_have_a_narrow_margin() -> None:
    assert judge_with_tail(fit_counts(curve(lambda t: 7 + 11 * t, 0.0)), 1.0, 0.02)[0] == "agrees"
    assert judge_with_tail(fit_counts(curve(lambda t: 7 + t**1.1, 0.0)), 1.0, 0.02)[0] == "disagrees"


@pytest.mark.parametrize(
    ("f", "shape"),
    [
        (lambda t: 0 * t + 12, "constant"),
        (lambda t: 5 + 9 * np.log2(t), "logarithmic"),
        (lambda t: 7 + 11 * t, "linear"),
    ],
)
def test_path_shapes(f: Callable[[np.ndarray], np.ndarray], shape: str) -> None:
    one = curve(f, 0.0)
    assert judge_path(one, shape)[0] == "agrees"
    wrong = {"constant": "linear", "logarithmic": "linear", "linear": "logarithmic"}[shape]
    assert judge_path(one, wrong)[0] in ("disagrees", "not resolved")


def test_ranks_show_ties() -> None:
    rng = np.random.default_rng(0)
    logs = np.stack([rng.normal(m, 0.05, 400) for m in (0.0, 0.01, 1.0, 2.0)], axis=1)
    assert [str(r) for r in rank(logs)] == ["1–2", "1–2", "3", "4"]


def test_exactly_equal_values_share_their_ranks() -> None:
    logs = np.tile([1.0, 0.0, 1.0, 2.0], (400, 1))
    assert [str(r) for r in rank(logs)] == ["2–3", "1", "2–3", "4"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.integers(0, 100))
def test_ranks_are_possible(means: list[float], seed: int) -> None:
    logs = np.random.default_rng(seed).normal(means, 0.3, (200, len(means)))
    ranks = rank(logs)
    assert all(1 <= r.low <= r.high <= len(means) for r in ranks)
    assert min(r.low for r in ranks) == 1 and max(r.high for r in ranks) == len(means)
