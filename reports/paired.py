"""Means over seeds, differences paired by seed, and ranks that show ties.

The unit of repetition is the seed: one training from one initialisation, on one order of the data. Seeds of two
competitors pair, because the same seed sees the same data in the same order. Intervals are Student's t at 95 %, and
differences are tested by the paired t-test, all pairs of a task corrected together (Holm 1979).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

from reports.ranks import Rank

LEVEL = 0.95
SIGNIFICANT = 1 - LEVEL
_ROUNDING = 1e-12  # relative; what is smaller is arithmetic, not a difference

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds with its t interval; low and high are NaN for a single seed, which has none."""

    value: float
    low: float
    high: float
    n: int

    def against(self, value: float) -> float:
        """p-value of the two-sided t-test against a fixed value; NaN for a single seed. Seeds without spread are taken at
        their word: all of them right is no accident."""
        if self.n < 2:
            return math.nan
        error = (self.high - self.low) / (2 * _quantile(self.n - 1))
        gap = abs(self.value - value)
        if gap <= _ROUNDING * max(abs(self.value), abs(value)):
            return 1.0
        return _p_value(gap / error, self.n - 1) if error > 0 else 0.0


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over n common seeds, its t interval, and the p-value of the paired t-test (NaN for one seed)."""

    value: float
    low: float
    high: float
    p: float
    n: int


@dataclass(frozen=True)
class Pair:
    """A difference within a family of comparisons: `adjusted` is its p-value after Holm's correction."""

    difference: Difference
    adjusted: float

    @property
    def significant(self) -> bool:
        return self.adjusted < SIGNIFICANT


def mean(values: Sequence[float]) -> Mean:
    """Mean and t interval. Raises ValueError without values."""
    if not values:
        raise ValueError("a mean needs at least one value")
    array = np.asarray(values, dtype=float)
    centre = float(array.mean())
    if len(array) < 2:
        return Mean(centre, math.nan, math.nan, 1)
    reach = _quantile(len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Mean(centre, centre - reach, centre + reach, len(array))


@cache
def _quantile(freedom: int) -> float:
    """Of Student's t, for a two-sided interval at LEVEL."""
    return float(stdtrit(freedom, 0.5 + LEVEL / 2))


def _p_value(t: float, freedom: int) -> float:
    """Of a t statistic, two-sided."""
    return 2 * float(stdtr(freedom, -abs(t)))


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference | None:
    """a - b, paired by seed; None without a common seed.

    Where all differences are equal there is no spread to test against, and p is 1: scores are counted in whole examples,
    so that a few seeds may differ alike by chance.
    """
    common = sorted(set(a) & set(b))
    if not common:
        return None
    gaps = np.array([a[seed] - b[seed] for seed in common])
    size = max(max(abs(a[seed]), abs(b[seed])) for seed in common)
    gaps[np.abs(gaps) <= _ROUNDING * size] = 0.0
    found = mean(gaps.tolist())
    if found.n < 2:
        return Difference(found.value, math.nan, math.nan, math.nan, 1)
    if float(np.ptp(gaps)) <= _ROUNDING * size:
        return Difference(found.value, found.value, found.value, 1.0, found.n)
    t = found.value / (float(gaps.std(ddof=1)) / math.sqrt(found.n))
    return Difference(found.value, found.low, found.high, _p_value(t, found.n - 1), found.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given. A NaN stays NaN and does not count as a test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for step, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - step) * p))
        adjusted[i] = largest
    return adjusted


def corrected(found: Mapping[Name, Difference]) -> dict[Name, Pair]:
    """A family of differences with Holm's correction over all of them."""
    return {
        name: Pair(one, p)
        for (name, one), p in zip(found.items(), holm([d.p for d in found.values()]), strict=True)
    }  # fmt: skip


def compare(scores: Mapping[Name, Mapping[int, float]]) -> dict[tuple[Name, Name], Pair]:
    """Every pair of competitors, first minus second, in the order of `scores`."""
    found = {(a, b): difference(scores[a], scores[b]) for a, b in itertools.combinations(scores, 2)}
    return corrected({names: one for names, one in found.items() if one is not None})


def ranks(names: Sequence[Name], pairs: Mapping[tuple[Name, Name], Pair], better: str) -> dict[Name, Rank]:
    """Rank intervals: from 1 + those significantly better to N - those significantly worse. `better`: higher, lower."""
    above = dict.fromkeys(names, 0)
    below = dict.fromkeys(names, 0)
    for (a, b), pair in pairs.items():
        if pair.significant:
            winner, loser = (a, b) if (pair.difference.value > 0) == (better == "higher") else (b, a)
            below[winner] += 1
            above[loser] += 1
    return {name: Rank(1 + above[name], len(names) - below[name]) for name in names}
