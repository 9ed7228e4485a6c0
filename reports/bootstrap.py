"""Resampling within a cell: first rounds (seeds), then the samples of each round.

Rounds are the unit of repetition: samples of one round share an initialisation, a process and a moment, and are not
independent. With k rounds a bootstrap of rounds shows (k - 1) / k of the variance between them, so deviations are
scaled by sqrt(k / (k - 1)). Random numbers are seeded by what is measured, so that a page is the same each time.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.data import Cell, Key

REPLICATES = 300
LEVEL = 0.95


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


def deviations(rounds: list[np.ndarray], rng: np.random.Generator, replicates: int = REPLICATES) -> np.ndarray:
    """(R,) deviations of the log of a cell's value. Zero where all samples are equal."""
    if all(len(s) == 1 for s in rounds):
        medians = np.tile([s[0] for s in rounds], (replicates, 1))
    else:
        medians = np.stack(
            [np.median(s[rng.integers(0, len(s), (replicates, len(s)))], axis=1) for s in rounds], axis=1
        )
    count = len(rounds)
    drawn = np.take_along_axis(medians, rng.integers(0, count, (replicates, count)), axis=1)
    centre = np.log(np.median([np.median(s) for s in rounds]))
    scale = np.sqrt(count / (count - 1)) if count > 1 else 1.0
    return scale * (np.log(np.median(drawn, axis=1)) - centre)


def series(key: Key, cells: dict[int, Cell], exact: bool = False) -> Series | None:
    """The positive cells of a series; None where there are none. Counts (`exact`) may hold zeros, and no noise."""
    kept = [c for c in cells.values() if exact or min(float(s.min()) for s in c.rounds) > 0]
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
