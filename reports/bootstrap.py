"""Resampling within a cell: first rounds (seeds), then the samples of each round.

Rounds are the unit of repetition: samples of one round share an initialisation, a process and a moment, and are not
independent. With k rounds a bootstrap of rounds shows (k - 1) / k of the variance between them, so deviations are
scaled by sqrt(k / (k - 1)). Random numbers are seeded by what is measured, so that a page is the same each time.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from reports.data import Cell, Key, by_size, medians, row_medians

REPLICATES = 300
LEVEL = 0.95
_POOL = 20_000


@dataclass(frozen=True)
class Series:
    """One quantity against length. `deviations` (R, n) are bootstrap deviations of log(values); n lengths ascending."""

    lengths: np.ndarray
    values: np.ndarray
    deviations: np.ndarray
    rounds: np.ndarray
    unit: str
    exact: bool

    @property
    def replicates(self) -> np.ndarray:
        """(R, n) bootstrap replicates of the values."""
        return self.values * np.exp(self.deviations)

    @cached_property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and high of each length, (n,) each, at LEVEL."""
        return quantiles(self.replicates)

    def at(self, length: int) -> int:
        """Position of a length. Raises ValueError where it was not measured."""
        return self.lengths.tolist().index(length)


def quantiles(values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Central interval at LEVEL along an axis; the nearest real value, so that infinities stay exact."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=axis, method="nearest")
    return low, high


def generator(*names: object) -> np.random.Generator:
    """A generator that depends only on the names."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


@cache
def middles(size: int) -> np.ndarray:
    """(P, 2) which two of `size` ordered samples are in the middle of a resample, for P resamples. Their mean is its median.

    Which two does not depend on the samples, so that all cells may draw from the same P. The m-th smallest of n uniform
    numbers has a Beta distribution, so that neither has a resample to be drawn whole, nor to be put in order.
    """
    rng = generator("middles", size)
    lower = (size + 1) // 2  # from 1; the middle itself where there is one
    first = rng.beta(lower, size + 1 - lower, _POOL)
    second = first
    if size % 2 == 0:  # the smallest of those above the first
        second = first + (1 - first) * (1 - rng.random(_POOL) ** (1 / (size - lower)))
    return np.minimum((np.stack([first, second], axis=1) * size).astype(np.int64), size - 1)


@cache
def median_places(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Which two of `size` ordered samples have the low end of a median's interval at LEVEL between them, and which the
    high end: the ends of a bootstrap without the noise of its draws."""
    low, high = quantiles(middles(size))
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


@cache
def _ends(size: int) -> tuple[np.ndarray, np.ndarray]:
    """`middles`, (P,) for the lower and (P,) for the upper: numpy gathers fastest from what lies together."""
    lower, upper = middles(size).T.copy()
    return lower, upper


def deviations(rounds: Sequence[Sequence[float]], rng: np.random.Generator, replicates: int = REPLICATES) -> np.ndarray:
    """(R,) deviations of the log of a cell's value. Zero where all samples are equal."""
    count = len(rounds)
    of_rounds = medians(rounds)
    if all(len(s) == 1 for s in rounds):
        if (of_rounds == of_rounds[0]).all():
            return np.zeros(replicates)
        drawn = of_rounds[rng.integers(0, count, (replicates, count))]
    else:
        picks = rng.integers(0, _POOL, (count, replicates))
        chosen = rng.integers(0, count, (replicates, count))
        resampled = np.empty((count, replicates))
        for places, samples in by_size(rounds):
            resampled[places] = _resampled(samples, picks[places])
        drawn = resampled.ravel()[chosen * replicates + np.arange(replicates)[:, None]]
    centre = np.log(row_medians(of_rounds[None, :])[0])
    scale = np.sqrt(count / (count - 1)) if count > 1 else 1.0
    return scale * (np.log(row_medians(drawn)) - centre)


def _resampled(samples: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """(k, R) medians of resamples of k rounds (k, size), by which of the pool of `middles` each takes (k, R)."""
    size = samples.shape[1]
    ordered = np.sort(samples, axis=1).ravel()  # with one flat index, numpy gathers twice as fast as with two
    first = np.arange(0, len(ordered), size)[:, None]
    lower, upper = _ends(size)
    low = ordered[lower[picks] + first]
    return low if size % 2 else 0.5 * (low + ordered[upper[picks] + first])


def series(key: Key, cells: dict[int, Cell], exact: bool = False) -> Series | None:
    """The positive cells of a series; None where there are none. Counts (`exact`) may hold zeros, and no noise."""
    kept = [c for c in cells.values() if exact or min(map(min, c.rounds)) > 0]
    if not kept:
        return None
    columns = [
        np.zeros(REPLICATES)
        if exact
        else deviations(c.rounds, generator(key.architecture, key.kind, key.regime, key.phase, key.metric, c.length))
        for c in kept
    ]
    return Series(
        lengths=np.array([c.length for c in kept]),
        values=np.array([c.value for c in kept]),
        deviations=np.stack(columns, axis=1),
        rounds=np.array([len(c.rounds) for c in kept]),
        unit=kept[0].unit,
        exact=exact,
    )
