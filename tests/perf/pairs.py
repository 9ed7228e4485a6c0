"""Two ways to do one thing, timed in turns: their ratio by pairs, with its interval, printed and kept in the JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def in_turns(ours: Callable[[], None], plain: Callable[[], None], pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of both, taken pair by pair so that drift falls on both; each pair in the other order than the last."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):
        ours()
        plain()
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 else (1, 0):
            start = time.perf_counter()
            (ours, plain)[side]()
            times[side].append(time.perf_counter() - start)
    return times


def report_ratio(name: str, benchmark: Any, ours: Callable[[], None], plain: Callable[[], None], pairs: int) -> None:
    """Ours over plain: median of the pairs with its 95 % bootstrap interval."""
    ours_s, plain_s = in_turns(ours, plain, pairs)
    ratios = np.array(ours_s) / np.array(plain_s)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    found = {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), "pairs": pairs}
    medians = {"ours_s": float(np.median(ours_s)), "plain_s": float(np.median(plain_s))}
    benchmark.extra_info.update(found, **medians)
    print(
        f"\n{name}: {1e3 * medians['ours_s']:.1f} ms and {1e3 * medians['plain_s']:.1f} ms, "
        f"ratio {found['ratio']:.3f} [{low:.3f}; {high:.3f}] over {pairs} pairs"
    )
    benchmark.pedantic(lambda: None, rounds=1)  # the figures are in extra_info: pairs, which pytest-benchmark has not
    assert np.isfinite(ratios).all()
