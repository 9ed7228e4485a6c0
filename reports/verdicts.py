"""Does a measured exponent agree with what the architecture claims?

- `agrees`: the 95 % interval lies within theory +- margin.
- `disagrees`: the interval lies wholly outside the band [lowest expectation - margin, highest expectation + margin].
- `not resolved`: anything else: too few lengths, an interval too wide, or lower-order terms still in the way.
- `not judged`: the architecture claims nothing about this quantity.

Margins: 0.02 for exact counts, 0.15 for time, 0.10 for memory.

Two refinements, because theory speaks of T -> infinity and a run does not go there:

- Time. Where even the counted FLOPs, fitted in the same way over the same lengths, grow with another exponent than the
  asymptotic one, both are expectations: between them lies `not resolved`, only outside both lies `disagrees`, and there
  only if the last doubling by itself lies outside too. Where the counts themselves contradict the claim, there is nothing
  to wait for, and time is judged by the claim alone. What one round measured is not judged: how rounds differ is unknown.
- Memory and counts. The slope of the last doubling stands beside the fit. It agrees if either agrees, and disagrees
  only if both do and the slope does not move toward theory from one doubling to the next.

Path length is discrete (it counts layers), so that an exponent from a few short lengths says little. Instead a
constant, a logarithm and a straight line are compared: the claim agrees if its shape fits best, and disagrees if
another shape has less than a quarter of its squared relative error.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from reports.bootstrap import Series
from reports.fits import MIN_LENGTHS, Fit

Verdict = Literal["agrees", "disagrees", "not resolved", "not judged"]
SYMBOLS: dict[str, str] = {"agrees": "✓", "disagrees": "✗", "not resolved": "?", "not judged": "–"}
MARGINS = {"count": 0.02, "time": 0.15, "memory": 0.10}
_EPSILON = 1e-6


def judge(low: float, high: float, theory: float | None, margin: float, also: float | None = None) -> Verdict:
    """Compare an interval with theory; `also` is a second expectation, inside whose reach nothing is contradicted."""
    if theory is None:
        return "not judged"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "not resolved"
    margin += _EPSILON
    if theory - margin <= low and high <= theory + margin:
        return "agrees"
    expected = [theory] if also is None or not np.isfinite(also) else [theory, also]
    if high < min(expected) - margin or low > max(expected) + margin:
        return "disagrees"
    return "not resolved"


def judge_time(fit: Fit, theory: float | None, work: Fit | None = None) -> tuple[Verdict, str]:
    """Verdict and the reason in words. `work` is the fit of counted FLOPs over the same lengths."""
    if theory is None:
        return "not judged", ""
    if not np.isfinite(fit.exponent):
        return "not resolved", fit.reason
    also = work.exponent if work is not None else None
    verdict = judge(fit.low, fit.high, theory, MARGINS["time"], also)
    if verdict == "disagrees" and judge(fit.local_low, fit.local_high, theory, MARGINS["time"], also) != "disagrees":
        return "not resolved", "the last doubling by itself does not contradict it"
    if verdict != "not resolved":
        return verdict, ""
    if also is not None and abs(also - theory) > MARGINS["time"]:
        return (
            verdict,
            f"over these lengths even the FLOPs of the kernel grow as T^{also:.2f}; longer sequences would tell",
        )
    return verdict, "the interval reaches beyond theory ± 0.15"


def judge_with_tail(fit: Fit, theory: float | None, margin: float) -> tuple[Verdict, str]:
    """Verdict for memory and counts: the fit, or the slope of the last doubling."""
    if theory is None:
        return "not judged", ""
    if not np.isfinite(fit.exponent):
        return "not resolved", fit.reason
    whole = judge(fit.low, fit.high, theory, margin)
    tail = judge(fit.local_low, fit.local_high, theory, margin)
    if whole == "agrees":
        return "agrees", ""
    if tail == "agrees":
        return "agrees", "by the last doubling; shorter lengths still hold lower-order terms"
    if whole == tail == "disagrees":
        nearer = abs(fit.local_slope - theory) < abs(fit.previous_slope - theory) - 0.01
        if nearer:
            return "not resolved", "the slope still moves toward theory at the longest length"
        return "disagrees", ""
    return "not resolved", f"the interval reaches beyond theory ± {margin:g}"


def judge_path(series: Series, claim: str | None) -> tuple[Verdict, str]:
    """Verdict for the maximum path length against `constant`, `logarithmic` or `linear`."""
    if claim is None:
        return "not judged", ""
    if len(series.lengths) < MIN_LENGTHS:
        return "not resolved", f"{len(series.lengths)} lengths; at least {MIN_LENGTHS} are needed"
    errors = shape_errors(series)
    if claim not in errors:
        return "not judged", ""
    best = min(errors, key=lambda shape: (errors[shape], list(errors).index(shape)))
    if best == claim:
        return "agrees", ""
    if errors[best] < 0.25 * errors[claim]:
        return "disagrees", f"a {best} shape fits better"
    return "not resolved", f"a {best} shape fits about as well"


def shape_errors(series: Series) -> dict[str, float]:
    """Squared relative error of a constant, a + b log T and a + b T, each at its best."""
    t, y = series.lengths.astype(float), series.values
    one = np.ones_like(t)
    columns = {"constant": [one], "logarithmic": [one, np.log2(t)], "linear": [one, t]}
    errors = {}
    for shape, parts in columns.items():
        design = np.stack(parts, axis=1) / y[:, None]
        best = np.linalg.lstsq(design, one, rcond=None)[0]
        errors[shape] = round(float(((design @ best - 1) ** 2).sum()), 12)
    return errors
