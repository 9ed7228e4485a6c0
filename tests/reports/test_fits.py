"""Fits find what was planted, and say so when they cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import fits
from reports.bootstrap import REPLICATES, Series, deviations
from reports.data import load
from reports.fits import Fit, fit_counts, fit_power, local_slopes
from reports.statistics import analyse
from tests.synthetic_run import Planted, make_run

LENGTHS = np.array([64, 128, 256, 512, 1024, 2048, 4096, 8192])


def noiseless(f: Callable[[np.ndarray], np.ndarray], lengths: np.ndarray = LENGTHS, exact: bool = False) -> Series:
    n = len(lengths)
    values = f(lengths.astype(float)) * np.ones(n)
    return Series(lengths, values, np.zeros((REPLICATES, n)), np.ones(n), "s", exact)


def noisy(f: Callable[[float], float], seed: int, n: int = 8, misfit: float = 0.0, rounds: int = 3) -> Series:
    """`rounds` rounds of 11 samples with 3 % noise, 2 % between rounds, and `misfit` that all rounds share."""
    rng = np.random.default_rng(seed)
    values, columns = [], []
    for length in LENGTHS[:n]:
        centre = f(float(length)) * np.exp(rng.normal(0, misfit))
        drawn = [centre * np.exp(rng.normal(0, 0.02)) * np.exp(rng.normal(0, 0.03, 11)) for _ in range(rounds)]
        values.append(np.median([np.median(s) for s in drawn]))
        columns.append(deviations(drawn, np.random.default_rng([seed, int(length)])))
    return Series(LENGTHS[:n], np.array(values), np.stack(columns, axis=1), np.full(n, rounds), "s", False)


def power(series: Series, with_offset: bool = True) -> Fit:
    return fit_power(series, np.random.default_rng(0), with_offset)


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("offset", [0.0, 2e-4, 5e-3])
def test_exact_power_with_offset(p: float, offset: float) -> None:
    fit = power(noiseless(lambda t: offset + 3e-9 * t**p * 64 ** (2 - p)))
    assert fit.exponent == pytest.approx(p, abs=0.01)
    assert fit.low <= p + 0.01 and fit.high >= p - 0.01
    assert fit.high - fit.low < 0.05
    assert fit.offset == pytest.approx(offset, rel=0.02, abs=1e-6)


def test_a_plain_slope_would_be_wrong_here() -> None:
    series = noiseless(lambda t: 2e-4 + 1e-10 * t**2)
    plain = np.polyfit(np.log(series.lengths), np.log(series.values), 1)[0]
    assert plain < 1.0
    assert power(series).exponent == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_one_outlier_does_not_move_the_fit(position: int, factor: float) -> None:
    series = noisy(lambda t: 2e-4 + 3e-9 * t**2, seed=1)
    series.values[position] *= factor
    fit = power(series)
    assert fit.exponent == pytest.approx(2.0, abs=0.08)
    # The shortest cell is all offset: a low one there is met by a smaller offset instead.
    assert position == 0 or int(LENGTHS[position]) in fit.outliers


def test_out_of_memory_tail_is_just_fewer_lengths() -> None:
    fit = power(noisy(lambda t: 2e-4 + 3e-9 * t**2, seed=2, n=6))
    assert (fit.n_lengths, fit.last_length) == (6, 2048)
    assert fit.low <= 2.0 <= fit.high


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_lengths(n: int) -> None:
    for fit in (power(noiseless(lambda t: t, LENGTHS[:n])), fit_counts(noiseless(lambda t: t, LENGTHS[:n], True))):
        assert not np.isfinite(fit.exponent) and not fit.resolved
        assert f"{n} lengths" in fit.reason


def test_a_logarithm_is_no_constant() -> None:
    """Equal steps a doubling solve to T^0; a span that grows like this (a scan in log T steps) is not O(1)."""
    fit = fit_counts(noiseless(lambda t: 5 + 9 * np.log2(t), exact=True))
    assert fit.exponent > 0.05
    assert "log T" in fit.reason


@pytest.mark.parametrize(
    ("f", "p"),
    [
        (lambda t: 7 + 11 * t, 1.0),
        (lambda t: 0 * t + 40, 0.0),
        (lambda t: 0 * t, 0.0),
        (lambda t: 2 * t**2, 2.0),
        (lambda t: 64 * t - 64 * 63 / 2, 1.0),  # a causal window: linear with a negative offset
    ],
)
def test_exact_counts(f: Callable[[np.ndarray], np.ndarray], p: float) -> None:
    fit = fit_counts(noiseless(f, exact=True))
    assert fit.exponent == pytest.approx(p, abs=1e-6)
    assert fit.low == pytest.approx(p, abs=1e-6) and fit.high == pytest.approx(p, abs=1e-6)


def test_counts_with_two_terms_report_the_long_end() -> None:
    fit = fit_counts(noiseless(lambda t: 40 + 2 * t**2 + 900 * t, exact=True))
    assert fit.low < fit.exponent < 2.0
    assert fit.high - fit.low > 0.01
    y = [40 + 2 * t**2 + 900 * t for t in (4096, 8192)]
    assert fit.local_slope == pytest.approx(np.log2(y[1] / y[0]))


def test_counts_at_lengths_that_do_not_double() -> None:
    lengths = np.array([10, 25, 70, 100, 333])
    assert fit_counts(noiseless(lambda t: 7 + 3 * t**1.5, lengths, True)).exponent == pytest.approx(1.5, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-9, 1e9), p=st.floats(0.3, 3.0), offset=st.floats(0, 10), seed=st.integers(0, 10_000))
def test_scale_does_not_change_the_exponent(factor: float, p: float, offset: float, seed: int) -> None:
    series = noisy(lambda t: offset + (t / 64) ** p, seed)
    scaled = Series(series.lengths, series.values * factor, series.deviations, series.rounds, "s", False)
    one, other = power(series), power(scaled)
    assert other.exponent == pytest.approx(one.exponent, abs=1e-4)
    assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.0, 2.5))
def test_interval_holds_the_estimate_and_offset_is_never_negative(seed: int, p: float) -> None:
    fit = power(noisy(lambda t: 1.0 + (t / 512) ** p, seed, n=6, misfit=0.05))
    assert fit.low <= fit.exponent <= fit.high
    assert fit.offset >= 0 and fit.coefficient >= 0


@pytest.mark.parametrize(
    ("f", "p", "n", "misfit"),
    [
        (lambda t: 2e-4 + 3e-9 * t**2, 2.0, 8, 0.0),
        (lambda t: 2e-4 + 3e-6 * t, 1.0, 6, 0.0),
        (lambda t: 2e-4 + 3e-9 * t**2, 2.0, 8, 0.08),
        (lambda t: 2e-4 + 3e-6 * t, 1.0, 6, 0.05),
    ],
)
def test_coverage(f: Callable[[float], float], p: float, n: int, misfit: float) -> None:
    """95 % nominal; at least 88 % of 80 runs, with noise in the cells and with misfit that all rounds share."""
    held = 0
    for seed in range(80):
        fit = power(noisy(f, seed, n, misfit))
        held += fit.low <= p <= fit.high
    assert held / 80 >= 0.88


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e15])
@pytest.mark.parametrize(
    ("p", "offset", "noise"), [(0.5, 0.02, 0.05), (1.0, 0.0, 0.3), (2.0, 3.0, 0.003), (3.0, 1e-9, 0.05)]
)
def test_ends_of_intervals_need_no_double_precision(p: float, offset: float, noise: float, scale: float) -> None:
    """Replicas are fitted in single precision, whatever their unit; over 12 octaves a cube spans eleven decades."""
    lengths = 2.0 ** np.arange(4, 16)
    rng = np.random.default_rng(5)
    deviations = noise * rng.standard_normal((REPLICATES, 12))
    values = scale * (offset + (lengths / lengths[-1]) ** p)
    found, single = [], fits._best
    for fit in (single, lambda log_t, y, *more: single(log_t, y.astype(np.float64), *more)):
        with pytest.MonkeyPatch.context() as patch, np.errstate(over="raise", invalid="raise", divide="raise"):
            patch.setattr(fits, "_best", fit)
            one = fits.fit_power(Series(lengths, values, deviations, np.ones(12), "s", False), np.random.default_rng(1))
        found.append((one.exponent, one.low, one.high))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_flat_series_without_offset() -> None:
    fit = power(noisy(lambda t: 1e-2, seed=3), with_offset=False)
    assert abs(fit.exponent) < 0.05 and fit.low <= 0 <= fit.high


def test_local_slopes() -> None:
    slopes, low, high = local_slopes(noiseless(lambda t: t**2))
    assert slopes == pytest.approx(np.full(7, 2.0))
    assert low == pytest.approx(slopes) and high == pytest.approx(slopes)


def test_the_same_data_give_the_same_interval() -> None:
    series = noisy(lambda t: 1e-3 + 1e-6 * t, seed=5)
    assert power(series) == power(series)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("f", "p"),
    [
        (lambda t: max(1.0, t / 1024), 1.0),
        (lambda t: max(1.0, (t / 1024) ** 2), 2.0),
        (lambda t: (1.0 + (t / 1024) ** 2) ** 0.5, 1.0),
        (lambda t: 1.0 + t / 1024, 1.0),
        (lambda t: 1e-5 * (t / 64) ** 3.0, 3.0),
    ],
)
def test_a_fixed_cost_that_hides_behind_work(f: Callable[[float], float], p: float) -> None:
    """The larger of the two, their sum, and what lies between."""
    seeds = range(12)
    fits = [fit_power(noisy(f, seed), np.random.default_rng(0), overlap=True) for seed in seeds]
    assert float(np.median([fit.exponent for fit in fits])) == pytest.approx(p, abs=0.03)
    assert sum(fit.low <= p + 0.005 and fit.high >= p - 0.005 for fit in fits) >= 9
    assert all(fit.low <= fit.exponent <= fit.high for fit in fits)


def test_a_sum_reads_too_steep_a_growth_where_costs_overlap() -> None:
    fit = power(noiseless(lambda t: np.maximum(1.0, t / 1024)))
    assert fit.exponent > 1.15 and "^8" not in fit.method


@dataclass(frozen=True)
class Overlapping(Planted):
    """Work hides the fixed cost, up to 1,024 tokens of work."""

    def seconds(self, length: int, batch: int = 1) -> float:
        return max(2e-6 * 1024, super().seconds(length, batch))


def test_times_of_a_gpu_are_fitted_as_the_larger_of_two_costs(tmp_path: Path) -> None:
    planted = (Overlapping("conv", "convolution", 0.0, 2e-6, 0, 1, path="linear"),)
    for device, agrees in (("cuda", True), ("cpu", False)):
        run = make_run(tmp_path, device, planted, outlier=False, kinds=("cell", "graph"), noise=0.01,
                       change_plan=lambda plan, device=device: plan.update(device=device))  # fmt: skip
        judged = analyse(load(run)).fit("conv", "cell", "batch1", "forward", "time")
        assert judged is not None and (judged.verdict == "agrees") is agrees, judged
