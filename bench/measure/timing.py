"""Raw samples of a step's time: warm up, then repeat until enough time was spent or the limit is near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.measure.device import Device

UNSTABLE_SPREAD = 0.10


class OverTime(Exception):
    """One call took longer than a cell may; the message says how long."""


@dataclass(frozen=True)
class Times:
    """`samples` in seconds, in order. `first_call`: the first warm-up call, with compilation and kernel loading in it.

    `unstable`: spread past UNSTABLE_SPREAD.
    """

    samples: tuple[float, ...]
    first_call: float
    unstable: bool


def spread(samples: list[float]) -> float:
    """Interquartile range over the median; of fewer than four samples the whole range. 0 for a single sample."""
    ends = [25, 50, 75] if len(samples) > 3 else [0, 50, 100]
    low, middle, high = np.percentile(samples, ends)
    return float((high - low) / middle) if middle > 0 else 0.0


def sample_times(
    step: Callable[[], object],
    device: Device,
    *,
    seconds: float,
    limit: float,
    min_samples: int = 3,
    max_samples: int = 100,
) -> Times:
    """Time `step` again and again.

    Args:
        seconds: repeat for about as long; twice as long where the spread is past 10 %.
        limit: the longest that one call may take, in seconds.

    Raises:
        OverTime: where the second and the third call were longer than `limit`.
    """
    first = device.seconds(step)  # not judged: it may compile for seconds what then runs in microseconds
    second = device.seconds(step)
    if second > limit:
        # One slow call may be the machine's doing, and would end the whole curve: ask once more.
        second = min(second, device.seconds(step))
    if second > limit:
        raise OverTime(f"one call took {second:.3g} s, the limit is {limit:.3g} s")
    # A second warm-up call is only thrown away where calls are cheap.
    samples = [] if second < seconds / min_samples else [second]
    timed = sum(samples)
    while len(samples) < max_samples:
        wanted = seconds if len(samples) < min_samples or spread(samples) <= UNSTABLE_SPREAD else 2 * seconds
        if len(samples) >= min_samples and timed >= wanted:
            break
        samples.append(device.seconds(step))
        timed += samples[-1]
    # A nanosecond is the clock's own step; more digits would only make records long.
    samples = [round(s, 9) for s in samples]
    return Times(tuple(samples), round(first, 9), spread(samples) > UNSTABLE_SPREAD)
