"""Rank intervals, so that a leaderboard does not order what the data cannot tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.bootstrap import quantiles

_EQUAL = 1e-9


@dataclass(frozen=True)
class Rank:
    """1 is best (lowest). `low`..`high` is the 95 % interval; `tied` where it holds more than one rank."""

    low: int
    high: int

    @property
    def tied(self) -> bool:
        return self.high > self.low

    def __str__(self) -> str:
        return f"{self.low}–{self.high}" if self.tied else str(self.low)


def rank(logs: np.ndarray) -> list[Rank]:
    """Ranks of A competitors from logs (R, A) of bootstrap replicates; equal values share all ranks they span."""
    below = (logs[:, None, :] < logs[:, :, None] - _EQUAL).sum(axis=2)
    not_above = (logs[:, None, :] <= logs[:, :, None] + _EQUAL).sum(axis=2)
    low, high = quantiles(below + 1)[0], quantiles(not_above)[1]
    return [Rank(int(a), int(b)) for a, b in zip(low, high, strict=True)]
