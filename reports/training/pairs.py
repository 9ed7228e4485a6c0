"""Every pair of competitors: how far apart, and whether that is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from reports.paired import Pair
from reports.tables import LAST, Table, Value
from reports.training.data import Name, label
from reports.words import p_value, signed

FAMILY = "p of the paired t-test after Holm's correction over all pairs"
ALONE = (
    "of this difference alone: it may leave out 0 where the corrected test, which asks all pairs at once, shows nothing"
)


def pairs_table(
    identity: str,
    found: Mapping[tuple[Name, Name], Pair],
    seeds: Mapping[Name, Mapping[int, float]],
    better: str,
    words: str,
) -> Table:
    """The better of each pair first, the largest difference first.

    Args:
        found: first minus second. seeds: the score of each seed. better: higher or lower. words: head of the differences.
    """
    rows = []
    for (a, b), pair in found.items():
        d = pair.difference
        ahead = (d.value >= 0) == (better == "higher")
        first, second, sign = (a, b, 1) if ahead else (b, a, -1)
        low, high = sorted((sign * d.low, sign * d.high))
        size = effect_size(seeds[first], seeds[second])
        rows.append([
            Value(label(first)), Value(label(second)), Value(signed(sign * d.value), -abs(d.value), number=True),
            Value(f"[{signed(low)}, {signed(high)}]" if d.n > 1 else "–", number=True),
            _finite(pair.adjusted, pair.adjusted, p_value), _finite(size, -abs(size), "{:.1f}".format),
            Value("better" if pair.significant else "not told apart"),
        ])  # fmt: skip
    columns = ["competitor", "against", words, "95 % interval", "p (Holm)", "effect size", "verdict"]
    tell = {
        3: ALONE,
        4: FAMILY,
        5: "mean difference over the standard deviation of the differences, paired by seed (Cohen's d_z)",
    }
    return Table(identity, columns, rows, [0, 1, 6], {}, (2, "asc"), tell)


def _finite(value: float, order: float, text: Callable[[float], str]) -> Value:
    return Value(text(value), order, number=True) if math.isfinite(value) else Value("–", LAST, number=True)


def effect_size(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    """Cohen's d_z: mean of the paired differences over their standard deviation; NaN where that has no value."""
    gaps = np.array([a[seed] - b[seed] for seed in sorted(set(a) & set(b))])
    if len(gaps) < 2 or np.std(gaps, ddof=1) <= 1e-12 * max(1.0, float(np.abs(gaps).max())):
        return math.nan
    return float(gaps.mean() / np.std(gaps, ddof=1))
