"""When two runs differ: effects with errors, intervals, and one correction over all that is asked.

Times. The unit of repetition is the round: its samples share a process, an initialisation and a moment, so each round
counts as one number, the logarithm of its median. Two runs share no rounds, so they are compared as two samples (Welch
1947). A cell has few rounds, three as a rule, and a variance from three numbers is hardly known; but all cells of a run were
measured on one machine in one way. So the variance of each cell is drawn toward what is usual in its run, as far as the
cells of that run are alike: the moderated t-test (Smyth 2004), which estimates from the cells themselves how far that is.

Scores. The unit of repetition is the seed. Runs that trained on the same data with the same seeds are compared seed by
seed (paired t-test), others as two samples (Welch). Scores of different tasks have no usual variance, so nothing is drawn
anywhere.

All tests of a comparison are one family: Holm's correction (1979) keeps the chance of even one false alarm at 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr, stdtrit

from reports.paired import LEVEL, difference

_ALIKE = 1e6  # degrees of freedom that stand for "all cells have the same variance"


@dataclass(frozen=True)
class Effect:
    """B minus A, with its standard error and degrees of freedom. NaN error: no repetition, so nothing can be tested."""

    value: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """At LEVEL, of this effect alone; NaN where nothing can be tested."""
        reach = float(stdtrit(self.freedom, 0.5 + LEVEL / 2)) * self.error if self.error > 0 else self.error
        return self.value - reach, self.value + reach

    @property
    def p(self) -> float:
        """Two-sided: is there a difference at all? Without any spread there is nothing to test against, and p is 1."""
        if not self.error > 0:
            return 1.0 if self.error == 0 else math.nan
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))

    def p_beyond(self, limit: float) -> float:
        """One-sided: is the effect larger than `limit`?"""
        if not self.error > 0:
            return 1.0 if self.error == 0 else math.nan
        return float(stdtr(self.freedom, (limit - self.value) / self.error))


def two_samples(a: list[np.ndarray], b: list[np.ndarray]) -> list[Effect]:
    """Effects of many cells at once, of which each run has n >= 1 numbers (logarithms of rounds' medians) a cell."""
    sides = [moderated([_variance(x) for x in side], [len(x) - 1 for x in side]) for side in (a, b)]
    made = []
    for x, y, (vx, fx), (vy, fy) in zip(a, b, *sides, strict=True):
        made.append(_welch(x, y, vx, vy, fx, fy))
    return made


def _welch(x: np.ndarray, y: np.ndarray, vx: float, vy: float, fx: float, fy: float) -> Effect:
    value = float(y.mean() - x.mean())
    sx, sy = vx / len(x), vy / len(y)
    if not (fx > 0 and fy > 0):
        return Effect(value, math.nan, math.nan)
    if sx + sy == 0:
        return Effect(value, 0.0, fx + fy)
    return Effect(value, math.sqrt(sx + sy), (sx + sy) ** 2 / (sx**2 / fx + sy**2 / fy))


def _variance(x: np.ndarray) -> float:
    return float(x.var(ddof=1)) if len(x) > 1 else math.nan


def moderated(variances: Sequence[float], freedoms: Sequence[float]) -> list[tuple[float, float]]:
    """Each variance drawn toward what is usual, and its degrees of freedom then (Smyth 2004, section 6.2).

    A cell without a variance of its own (one round) keeps none: that nobody repeated it is not mended by the others.
    """
    known = [(v, f) for v, f in zip(variances, freedoms, strict=True) if f > 0 and v > 0]
    if len(known) < 3:
        return list(zip(variances, freedoms, strict=True))
    v, f = (np.array(column) for column in zip(*known, strict=True))
    e = np.log(v) - digamma(f / 2) + np.log(f / 2)
    excess = float(e.var(ddof=1) - polygamma(1, f / 2).mean())
    prior = min(_ALIKE, 2 * _inverse_trigamma(excess)) if excess > 0 else _ALIKE
    usual = math.exp(float(e.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    # No more certain than all cells of the run together make it.
    most = float(f.sum())
    return [((prior * usual + n * s) / (prior + n), min(prior + n, most)) if n > 0 else (s, n)
            for s, n in zip(variances, freedoms, strict=True)]  # fmt: skip


def _inverse_trigamma(x: float) -> float:
    """The y with trigamma(y) = x, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(50):
        value = float(polygamma(1, y))
        step = value * (1 - value / x) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-9 * y:
            break
    return y


def scores(a: Mapping[int, float], b: Mapping[int, float], paired: bool) -> Effect:
    """B - A over seeds; paired over those that both have."""
    found = difference(b, a) if paired else None
    if found is not None:
        if found.n < 2:
            return Effect(found.value, math.nan, math.nan)
        reach = float(stdtrit(found.n - 1, 0.5 + LEVEL / 2))
        return Effect(found.value, (found.high - found.low) / 2 / reach, found.n - 1)
    x, y = (np.array(list(side.values())) for side in (a, b))
    return _welch(x, y, _variance(x), _variance(y), len(x) - 1, len(y) - 1)
