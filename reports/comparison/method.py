"""When two runs differ: effects with errors, intervals, and one correction over all that is asked.

Times. The unit of repetition is the round: its samples share a process, an initialisation and a moment, so each round
counts as one number, the logarithm of its median. Two runs share no rounds, so they are compared as two samples (Welch
1947). A cell has few rounds, three as a rule, and a variance from three numbers is hardly known. Two things mend that.
A round may be fast or slow as a whole, for all cells alike: this part of the noise is taken out of the cells, estimated by
itself, and counts with the few degrees of freedom that rounds have. What is left of a cell's variance is drawn up to what is
usual in its run, as far as the cells of that run are alike: the moderated t-test (Smyth 2004), which estimates from the
cells themselves how far that is. It is never drawn down: cells of a benchmark are less alike than genes, and in simulations
plain moderation gave a false alarm in 6 to 7 % of tables, where 5 % are stated. Errors are added after Satterthwaite (1946).

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

_ENOUGH = 3  # cells that tell what their rounds have in common
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
        """Two-sided: is there a difference at all? Without any spread there is nothing to test a difference against."""
        if not self.error > 0:
            return 1.0 if self.error == self.value == 0 else math.nan
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))

    def p_beyond(self, limit: float) -> float:
        """One-sided: is the effect larger than `limit`?"""
        if not self.error > 0:
            return 1.0 if self.error == 0 and self.value <= limit else math.nan
        return float(stdtr(self.freedom, (limit - self.value) / self.error))


@dataclass(frozen=True)
class Part:
    """A part of the squared error of a mean, and its degrees of freedom (0 or less: not known)."""

    square: float
    freedom: float


def two_samples(a: list[np.ndarray], b: list[np.ndarray]) -> list[Effect]:
    """Effects of many cells at once, of which each run has n >= 1 numbers (logarithms of rounds' medians) a cell."""
    return [
        _effect(float(y.mean() - x.mean()), [*of_x, *of_y])
        for x, y, of_x, of_y in zip(a, b, _parts(a), _parts(b), strict=True)
    ]


def _effect(value: float, parts: list[Part]) -> Effect:
    if not all(part.freedom > 0 for part in parts):
        return Effect(value, math.nan, math.nan)
    square = sum(part.square for part in parts)
    if square == 0:
        return Effect(value, 0.0, sum(part.freedom for part in parts))
    return Effect(value, math.sqrt(square), square**2 / sum(part.square**2 / part.freedom for part in parts))


def _parts(cells: list[np.ndarray]) -> list[list[Part]]:
    """What the error of each cell's mean is made of: rounds as a whole, and the cell's own rest."""
    rounds = max((len(x) for x in cells), default=0)
    whole = [i for i, x in enumerate(cells) if len(x) == rounds]
    if rounds < 2 or len(whole) < _ENOUGH:  # too few to tell what their rounds have in common
        own = moderated([_variance(x) for x in cells], [len(x) - 1 for x in cells])
        return [[Part(v / len(x), f)] for x, (v, f) in zip(cells, own, strict=True)]
    table = np.stack([cells[i] for i in whole])
    centred = table - table.mean(axis=1, keepdims=True)
    common = centred.mean(axis=0)
    rest = centred - common
    freedom = (rounds - 1) * (1 - 1 / len(whole))
    own = moderated(((rest**2).sum(axis=1) / freedom).tolist(), [freedom] * len(whole))
    shared = Part(float((common**2).sum()) / (rounds - 1) / rounds, rounds - 1)
    found = {i: [Part(v / rounds, f), shared] for i, (v, f) in zip(whole, own, strict=True)}
    return [found[i] if i in found else [Part(_variance(x) / len(x), len(x) - 1)] for i, x in enumerate(cells)]


def _variance(x: np.ndarray) -> float:
    return float(x.var(ddof=1)) if len(x) > 1 else math.nan


def moderated(variances: Sequence[float], freedoms: Sequence[float]) -> list[tuple[float, float]]:
    """Each variance drawn up, never down, to what is usual, and its degrees of freedom then (Smyth 2004, section 6.2).

    A cell without a variance of its own (one round) keeps none: that nobody repeated it is not mended by the others.
    """
    known = [(v, f) for v, f in zip(variances, freedoms, strict=True) if f > 0 and v > 0]
    if len(known) < _ENOUGH:
        return list(zip(variances, freedoms, strict=True))
    v, f = (np.array(column) for column in zip(*known, strict=True))
    e = np.log(v) - digamma(f / 2) + np.log(f / 2)
    excess = float(e.var(ddof=1) - polygamma(1, f / 2).mean())
    prior = min(_ALIKE, 2 * _inverse_trigamma(excess)) if excess > 0 else _ALIKE
    usual = math.exp(float(e.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    # No more certain than all cells of the run together make it.
    most = float(f.sum())
    return [(max(s, (prior * usual + n * s) / (prior + n)), min(prior + n, most)) if n > 0 else (s, n)
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
    return _effect(float(y.mean() - x.mean()), [Part(_variance(side) / len(side), len(side) - 1) for side in (x, y)])
