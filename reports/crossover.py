"""Where one curve passes under another.

Both curves are joined by straight lines in log-log between measured lengths, and never extended beyond them. The last
sustained crossing is reported: the longest length after which the order no longer changes. A lead counts only where the
95 % interval of the ratio excludes 1 and the ratio is at least 1 %; so noise around equality is no crossing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from reports.bootstrap import Series, quantiles

Outcome = Literal["crosses", "throughout", "pulls ahead", "falls level", "tie", "no common lengths"]
_LEAD = np.log(1.01)


@dataclass(frozen=True)
class Crossover:
    """`winner` is lower (better): `crosses`, from `length` on; `throughout`, at every common length; `pulls ahead`, from the
    measured `length` on, with ties before; `falls level`, up to the measured `length` at most, and level at the long end.
    `tie`: level there, whoever led before.

    Lengths in tokens; `low` and `high` bound the crossing at 95 %, 0 and infinity where it may lie outside the range.
    `crossings` counts changes of order in the measured curves; `first` and `last` bound the common lengths.
    """

    a: str
    b: str
    outcome: Outcome
    winner: str = ""
    loser: str = ""
    length: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    crossings: int = 0
    first: int = 0
    last: int = 0
    ratio_at_last: float = float("nan")


def _last_crossing(gap: np.ndarray, log_t: np.ndarray) -> np.ndarray:
    """Log length of the last change of sign of each row of gap (R, n); -inf where the sign never changes."""
    last_sign = np.sign(gap[:, -1:])
    other = gap * last_sign < 0
    any_other = other.any(axis=1)
    i = gap.shape[1] - 1 - other[:, ::-1].argmax(axis=1)
    i = np.where(any_other, i, 0)
    rows = np.arange(len(gap))
    j = np.minimum(i + 1, gap.shape[1] - 1)
    y0, y1 = gap[rows, i], gap[rows, j]
    fraction = np.where(y1 != y0, y0 / np.where(y1 != y0, y0 - y1, 1.0), 0.0)
    return np.where(any_other, log_t[i] + fraction * (log_t[j] - log_t[i]), -np.inf)


def crossover(name_a: str, a: Series, name_b: str, b: Series) -> Crossover:
    """Compare two series of a quantity where less is better."""
    common = np.intersect1d(a.lengths, b.lengths)
    if len(common) == 0:
        return Crossover(name_a, name_b, "no common lengths")
    in_a, in_b = np.isin(a.lengths, common), np.isin(b.lengths, common)
    log_t = np.log(common)
    gap = np.log(a.values[in_a] / b.values[in_b])
    gaps = gap + a.deviations[:, in_a] - b.deviations[:, in_b]
    low, high = quantiles(gaps)
    lead = np.where((low > 0) & (gap > _LEAD), 1, np.where((high < 0) & (gap < -_LEAD), -1, 0))
    span: dict[str, Any] = {"first": int(common[0]), "last": int(common[-1])}
    decided = lead[lead != 0]
    crossings = int((np.diff(decided) != 0).sum())
    if lead[-1] == 0 and (crossings or not len(decided)):
        # Equal at the long end: no order is sustained, whatever happened before.
        return Crossover(name_a, name_b, "tie", crossings=crossings, **span, ratio_at_last=float(np.exp(gap[-1])))
    winner, loser = (name_b, name_a) if decided[-1] > 0 else (name_a, name_b)
    ratio = float(np.exp(abs(gap[-1])))
    if crossings == 0:
        apart, last = common[lead != 0], bool(lead[-1])
        outcome: Outcome = "throughout" if len(apart) == len(common) else "pulls ahead" if last else "falls level"
        length = float("nan")
        if outcome == "pulls ahead":  # behind the last length that tells nothing
            length = float(common[common > common[lead == 0][-1]][0])
        elif outcome == "falls level":
            length = float(apart[-1])
        return Crossover(name_a, name_b, outcome, winner, loser, length, crossings=0, **span, ratio_at_last=ratio)
    point = _last_crossing(gap[None, :], log_t)[0]
    drawn = _last_crossing(gaps, log_t)
    drawn = np.where(np.sign(gaps[:, -1]) == lead[-1], drawn, np.inf)
    ends = quantiles(drawn)
    return Crossover(name_a, name_b, "crosses", winner, loser, float(np.exp(point)),
                     float(np.exp(min(ends[0], point))), float(np.exp(max(ends[1], point))),
                     crossings, **span, ratio_at_last=ratio)  # fmt: skip
