"""Growth with length: y(T) = a + b * T ** p, with an interval for p.

A straight line through log y against log T is wrong where a fixed cost matters: an exact quadratic plus 0.2 ms of
overhead reads as 0.81. So a >= 0 is fitted with b > 0 and p.

Measured quantities (`fit_power`). Errors are relative. For every p of a grid, a and b have a closed form (weighted
least squares with a >= 0); Huber weights keep one outlying cell from moving the line. The interval is a percentile
bootstrap that adds two sources: resampled rounds and samples within each cell, and resampled residuals over lengths,
scaled by their degrees of freedom, for whatever the three-parameter curve misses. Fewer than 4 lengths are not fitted.

On a GPU the host launches while the device works, so a fixed cost hides behind work rather than adding to it: time is nearer
to max(a, b T^p), in which a sum reads too steep a growth. There (`overlap`) sums of powers are fitted too,
(a^s + (b T^p)^s)^(1/s) with s up to 8, the form closest to the data is taken, and the interval spans all that are as close.

Exact counts (`fit_counts`). FLOPs and span carry no noise, so the exponent is solved from the last three lengths, where
a constant cancels: (T3^p - T2^p) / (T2^p - T1^p) = (y3 - y2) / (y2 - y1). The interval spans the last two such triples:
a single point where the count is a pure power plus a constant, wider where lower-order terms still matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from reports.bootstrap import Series, quantiles

MIN_LENGTHS = 4
P_LOW, P_HIGH = -0.5, 3.5
_POINT = (0.1, 0.01)  # steps of the two grids of exponents
_REPLICATES = (0.2, 0.04)  # ends of an interval need no third decimal
_HUBER = 1.345
_FLOOR = 0.003  # relative noise below this is not worth weighting by
_ITERATIONS = 5
_ROUGHLY = 2  # iterations that find the neighbourhood of the best exponent
_SHARP = (1, 2, 4, 8)  # 1 is a sum; the 8th root of a sum of 8th powers is within 9 % of the larger of the two
_AS_CLOSE = 2.0  # forms whose losses, in units of the noise, are no further apart are not told apart
RESOLVED_WIDTH = 1.0  # an interval wider than this says nothing about growth


@dataclass(frozen=True)
class Fit:
    """A fitted exponent. NaN and a `reason` where the run cannot give one.

    `local_slope` is log(y2 / y1) / log(T2 / T1) between the two longest lengths, with its interval; `outliers` are
    lengths whose cell lies far off the curve (kept in the fit, at a low weight).
    """

    exponent: float
    low: float
    high: float
    offset: float
    coefficient: float
    n_lengths: int
    first_length: int
    last_length: int
    local_slope: float
    local_low: float
    local_high: float
    previous_slope: float
    method: str
    reason: str = ""
    outliers: tuple[int, ...] = ()

    @property
    def resolved(self) -> bool:
        return bool(np.isfinite(self.exponent)) and self.high - self.low <= RESOLVED_WIDTH


def local_slopes(series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope between successive lengths in log-log, with interval: three arrays (n - 1,)."""
    steps = np.diff(np.log(series.lengths))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(np.log(series.values)) / steps
    low, high = quantiles(np.diff(series.deviations, axis=1) / steps)
    return slopes, slopes + low, slopes + high


def _tail(series: Series) -> dict[str, Any]:
    nothing = dict.fromkeys(("local_slope", "local_low", "local_high", "previous_slope"), float("nan"))
    if len(series.lengths) < 2:
        return nothing
    slopes, low, high = local_slopes(series)
    slopes = np.where(np.isfinite(slopes), slopes, np.nan)
    previous = float(slopes[-2]) if len(slopes) > 1 else float("nan")
    return {
        "local_slope": float(slopes[-1]),
        "local_low": float(low[-1]) if np.isfinite(slopes[-1]) else float("nan"),
        "local_high": float(high[-1]) if np.isfinite(slopes[-1]) else float("nan"),
        "previous_slope": previous,
    }


def _range(series: Series) -> dict[str, Any]:
    return {
        "n_lengths": len(series.lengths),
        "first_length": int(series.lengths[0]),
        "last_length": int(series.lengths[-1]),
    }


def _unresolved(series: Series, method: str) -> Fit:
    nan = float("nan")
    reason = f"{len(series.lengths)} lengths; a fit needs at least {MIN_LENGTHS}"
    return Fit(nan, nan, nan, nan, nan, **_range(series), **_tail(series), method=method, reason=reason)


# --- measured quantities -------------------------------------------------------------------------------------------


def _solve(
    log_t: np.ndarray, y: np.ndarray, p: np.ndarray, scale: float, with_offset: bool, iterations: int = _ITERATIONS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best a, b and robust loss at given exponents.

    log_t (n,) = log(T / T_longest); y (R, n); p (R, P) or (1, P). Returns loss, a, b, each (R, P), in the precision of y.
    """
    kind = y.dtype.type
    x = np.exp(p * log_t[:, None, None]).astype(kind)  # (n, R or 1, P): numpy sums fastest over what comes first
    u = (1.0 / y).T[:, :, None]
    alike = 1e-10 if kind is np.float64 else 1e-5
    v = x * u  # target is 1 in relative units
    w = np.ones_like(v)
    for round_ in range(iterations):
        wv = w * v
        svv, sv = np.einsum("nrp,nrp->rp", wv, v), wv.sum(0)
        if with_offset:
            wu = w * u
            suu, suv, su = (wu * u).sum(0), np.einsum("nrp,nrp->rp", wu, v), wu.sum(0)
            determinant = suu * svv - suv * suv
            usable = determinant > alike * suu * svv  # at p = 0 both columns are the same
            safe = np.where(usable, determinant, 1.0)
            a, b = (su * svv - sv * suv) / safe, (suu * sv - suv * su) / safe
            without = ~usable | (a < 0)
            flat = usable & ~without & (b <= 0)
            a = np.where(without, 0.0, np.where(flat, su / suu, a))
            b = np.where(without, sv / svv, np.where(flat, 0.0, b))
        else:
            b = sv / svv
            a = np.zeros_like(b)
        ratio = np.maximum(a * u + b * v, 1e-6)  # curve over measured
        signed = np.log(ratio)
        size = np.abs(signed)
        if round_ == iterations - 1:
            break
        # Huber's weight, times what turns least squares of (ratio - 1) into least squares of log(ratio): without it a
        # cell that is too low would pull harder than one that is too high.
        pull = np.divide(signed, ratio * (ratio - 1), out=np.ones_like(ratio), where=size > 1e-6)
        w = np.minimum(1.0, _HUBER * scale / np.maximum(size, 1e-12)) * np.clip(pull, 0.02, 20.0)
    error = size / scale
    loss = np.where(error <= _HUBER, 0.5 * error**2, _HUBER * (error - 0.5 * _HUBER)).sum(0)
    return loss, a, b


def _best(
    log_t: np.ndarray, y: np.ndarray, scale: float, with_offset: bool, grids: tuple[float, float] = _POINT
) -> tuple[np.ndarray, ...]:
    """Exponent, a, b and loss of each row of y (R, n): a coarse grid, a fine one around its best, then a parabola."""
    wide, narrow = grids
    coarse = np.arange(P_LOW, P_HIGH + wide / 2, wide)[None, :]
    loss, _, _ = _solve(log_t, y, coarse, scale, with_offset, _ROUGHLY)
    start = coarse[0, loss.argmin(1)]
    steps = np.arange(-wide, wide + narrow / 2, narrow)
    fine = np.clip(start[:, None] + steps, P_LOW, P_HIGH)
    loss, _, _ = _solve(log_t, y, fine, scale, with_offset)
    rows = np.arange(len(y))
    middle = np.clip(loss.argmin(1), 1, len(steps) - 2)
    left, centre, right = (loss[rows, middle + k] for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    p = np.clip(fine[rows, middle] + narrow * np.clip(shift, -1, 1), P_LOW, P_HIGH)
    loss, a, b = _solve(log_t, y, p[:, None], scale, with_offset)
    return p, a[:, 0], b[:, 0], loss[:, 0]


def fit_power(series: Series, rng: np.random.Generator, with_offset: bool = True, overlap: bool = False) -> Fit:
    """Fit a measured series of positive values.

    Args:
        with_offset: False fixes a = 0, where theory says flat.
        overlap: the fixed cost may hide behind work, as on a GPU; see the top of this file.
    """
    if len(series.lengths) < MIN_LENGTHS:
        return _unresolved(series, _method(with_offset, 1))
    forms = [_Form(series, with_offset, sharp) for sharp in (_SHARP if overlap and with_offset else (1,))]
    best = min(forms, key=lambda form: form.loss)
    fits = {form: form.fit(rng) for form in forms if form is best or form.loss - best.loss <= _AS_CLOSE}
    low, high = min(fit.low for fit in fits.values()), max(fit.high for fit in fits.values())
    return replace(fits[best], low=low, high=high)


def _method(with_offset: bool, sharp: int) -> str:
    if not with_offset:
        return "b T^p, robust"
    return "a + b T^p, robust" if sharp == 1 else f"(a^{sharp} + (b T^p)^{sharp})^(1/{sharp}), robust"


class _Form:
    """The curve (a^sharp + (b T^p)^sharp)^(1 / sharp), fitted.

    It is a sum in powers of the values, whose logarithms, and so errors and noise, are `sharp` times as large.
    """

    def __init__(self, series: Series, with_offset: bool, sharp: int) -> None:
        self.series, self.with_offset, self.sharp = series, with_offset, sharp
        self.log_t = np.log(series.lengths / series.lengths[-1])
        self.noise = float(np.sqrt((series.deviations.std(axis=0) ** 2).mean()))
        self.scale = max(self.noise, _FLOOR)
        unit = float(series.values.max()) if sharp > 1 else 1.0  # powers of bytes, or of microseconds, are no numbers
        p, a, b, loss = (float(v[0]) for v in self._best(series.values[None, :] / unit))
        self.p, self.loss = p, loss
        self.a, self.b = unit * a ** (1 / sharp), unit * b ** (1 / sharp)

    def _best(self, y: np.ndarray, grids: tuple[float, float] = _POINT) -> tuple[np.ndarray, ...]:
        return _best(self.sharp * self.log_t, y**self.sharp, self.sharp * self.scale, self.with_offset, grids)

    def fit(self, rng: np.random.Generator) -> Fit:
        """With the interval of its exponent."""
        series, sharp, noise = self.series, self.sharp, self.noise
        n = len(series.lengths)
        curve = (self.a**sharp + (self.b * np.exp(self.p * self.log_t)) ** sharp) ** (1 / sharp)
        residuals = np.log(series.values / curve)
        freedom = n - (3 if self.a > 0 else 2)
        typical = 1.4826 * float(np.median(np.abs(residuals))) * np.sqrt(n / freedom)
        limit = 2.5 * max(typical, noise)
        clipped = np.clip(residuals, -limit, limit)
        misfit = float(np.sqrt((clipped**2).sum() / freedom))
        # What the cells' own noise explains is resampled in the cells; only the rest is misfit of the curve.
        share = np.sqrt(max(0.0, 1.0 - noise**2 / misfit**2)) if misfit > 0 else 0.0
        widen = min(3.0, float(stdtrit(freedom, 0.975)) / 1.96)
        shape = series.deviations.shape
        drawn = clipped[rng.integers(0, n, shape)] * rng.choice([-1.0, 1.0], shape) * np.sqrt(n / freedom)
        replicas = curve * np.exp(series.deviations + share * widen * drawn)
        # Single precision takes half of the time. Squares of bytes would overflow in it; an exponent does not depend on
        # scale. Powers would overflow all the same.
        small = (replicas / replicas.min(axis=1, keepdims=True)).astype(np.float32 if sharp == 1 else np.float64)
        low, high = (float(v) for v in quantiles(self._best(small, _REPLICATES)[0]))
        far = np.abs(residuals) > max(5 * typical, 5 * self.scale, 0.2)
        return Fit(
            exponent=self.p,
            low=min(low, self.p),
            high=max(high, self.p),
            offset=self.a,
            coefficient=self.b / float(series.lengths[-1]) ** self.p,
            **_range(series),
            **_tail(series),
            method=_method(self.with_offset, sharp),
            outliers=tuple(int(t) for t in series.lengths[far]),
        )


# --- exact counts --------------------------------------------------------------------------------------------------


def _triple(t: np.ndarray, y: np.ndarray) -> float:
    """The p for which a + b T^p passes through three points; 0 for a constant; NaN where none does."""
    first, second = y[1] - y[0], y[2] - y[1]
    if first == 0 and second == 0:
        return 0.0
    if first * second <= 0:
        return float("nan")
    ratio = second / first
    logs = np.log(t / t[0])

    def growth(p: float) -> float:
        if abs(p) < 1e-9:
            return float((logs[2] - logs[1]) / (logs[1] - logs[0]))
        powers = np.exp(p * logs)
        return float((powers[2] - powers[1]) / (powers[1] - powers[0]))

    low, high = -3.0, 6.0
    if not growth(low) <= ratio <= growth(high):
        return float("nan")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if growth(middle) < ratio else (low, middle)
    return 0.0 if abs(low) < 1e-6 else (low + high) / 2


def fit_counts(series: Series) -> Fit:
    """Fit an exact count; zeros and negative offsets are allowed."""
    method = "exact, last three lengths"
    t, y = series.lengths.astype(float), series.values
    n = len(t)
    if n < MIN_LENGTHS:
        return _unresolved(series, method)
    triples = [_triple(t[i : i + 3], y[i : i + 3]) for i in range(n - 4, n - 2)]
    tail = _tail(series)
    reason = ""
    exponent = triples[-1]
    if not np.isfinite(exponent):
        # Not of the form a + b T^p (it rises and falls, or is flat and then jumps): the last doubling is what is left.
        exponent, method = tail["local_slope"], "local slope of the last two lengths"
        reason = "the count is not a constant plus a power at the long end"
    if exponent == 0 and y[-1] != y[-2]:
        # Equal steps a doubling: T^p with p going to 0 is a logarithm, which is no constant.
        exponent, method = tail["local_slope"], "local slope of the last two lengths"
        reason = "the count grows with log T"
    around = [p for p in (*triples, exponent) if np.isfinite(p)] or [float("nan")]
    if exponent == 0:
        coefficient, offset = 0.0, float(y[-1])
    else:
        coefficient = float((y[-1] - y[-2]) / (t[-1] ** exponent - t[-2] ** exponent))
        offset = float(y[-1] - coefficient * t[-1] ** exponent)
    return Fit(exponent, min(around), max(around), offset, coefficient, **_range(series), **tail, method=method,
               reason=reason)  # fmt: skip
