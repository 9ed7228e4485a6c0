"""Two kinds of chart: lines against length, and intervals against theory. Returned as SVG for a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from reports.canvas import HEIGHT, LEFT, LONGEST_LABEL, WIDTH, Line, Plot, draw_bands, name_ends, new_axes, trim
from reports.style import MUTED, TEXT, Look
from reports.words import integer, power, short


@dataclass(frozen=True)
class Point:
    """A row of a forest plot. NaN exponent: not resolved. `verdict` is a symbol with its word."""

    name: str
    look: Look
    exponent: float
    low: float
    high: float
    theory: float | None
    verdict: str


@dataclass(frozen=True)
class Scale:
    """The y axis: its label with unit, how a tick reads, and an optional reference line."""

    label: str
    tick: Callable[[float], str]
    reference: float | None = None
    reference_label: str = ""
    linear: bool = False
    binary: bool = False  # bytes: ticks at powers of two


def line_chart(identity: str, title: str, lines: list[Line], scale: Scale, caption: str) -> Plot:
    """Curves against sequence length, both axes logarithmic, each named at its right end."""
    own = [line for line in lines if not line.faint]
    labels = [short(line.name, LONGEST_LABEL) + (f" ✕ {line.stop}" if line.stop else "") for line in own]
    margin = min(170.0, 20 + 4.6 * max((len(label) for label in labels), default=8))
    alt = _describe(title, own, scale)

    def draw() -> tuple[Figure, str]:
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = new_axes(figure, LEFT, margin)
        axes.set_xscale("log")
        if not scale.linear:
            axes.set_yscale("log")
        for line in lines:
            _curve(axes, line)
        draw_bands(axes, [line for line in own if _wide(line)])
        if scale.reference is not None:
            axes.axhline(scale.reference, color=MUTED, lw=1, ls=(0, (4, 3)))
        _length_axis(axes, lines)
        _value_axis(axes, lines, scale)
        name_ends(axes, own, labels)
        if scale.reference is not None and scale.reference_label:
            axes.annotate(scale.reference_label, (0.01, scale.reference), xycoords=("axes fraction", "data"),
                          xytext=(0, 2), textcoords="offset points", color=MUTED, fontsize=7.5)  # fmt: skip
        return figure, ""

    return Plot(identity, title, draw, alt, caption)


def _curve(axes: Axes, line: Line) -> None:
    color = line.look.color
    if line.faint:
        axes.plot(line.x, line.y, color=color, ls=line.look.line, lw=0.9, alpha=0.55)
        return
    axes.plot(line.x, line.y, color=color, ls=line.look.line, lw=1.5, marker=line.look.marker, ms=4.2, mew=0)
    if line.stop:
        axes.plot(line.x[-1:], line.y[-1:], color=color, marker="x", ms=8.5, mew=2, ls="")


def _wide(line: Line) -> bool:
    """Whether its band would be seen."""
    return line.low is not None and line.high is not None and bool((line.high > 1.02 * line.low).any())


def _length_axis(axes: Axes, lines: list[Line]) -> None:
    lengths = sorted({int(x) for line in lines for x in line.x})
    axes.set_xlim(lengths[0] / 1.12, lengths[-1] * 1.12)
    if len(lengths) > 5:
        lengths = lengths[::-1][::2][::-1]  # keep the longest
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: integer(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("sequence length (tokens)")


def _value_axis(axes: Axes, lines: list[Line], scale: Scale) -> None:
    axes.set_ylabel(scale.label)
    values = np.concatenate([line.y for line in lines])
    if scale.reference is not None:
        values = np.append(values, scale.reference)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: trim(scale.tick(y))))
    if scale.linear:
        axes.set_ylim(0, float(values.max()) * 1.12)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return
    low, high = float(values.min()), float(values.max())
    axes.set_ylim(low / 1.3, high * 1.3)
    decades = np.log10(high * 1.3 / (low / 1.3))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    if scale.binary:
        bits = np.arange(np.ceil(np.log2(low / 1.3)), np.log2(high * 1.3))
        axes.yaxis.set_major_locator(FixedLocator(2.0 ** bits[bits % max(1, round(len(bits) / 7)) == 0]))
        return
    subs: tuple[float, ...] = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    if decades < 0.6:
        subs = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8 if decades > 2.2 else 20))


def _describe(title: str, lines: list[Line], scale: Scale) -> str:
    parts = [
        f"{short(line.name)} goes from {scale.tick(float(line.y[0]))} at {integer(line.x[0])} to "
        f"{scale.tick(float(line.y[-1]))} at {integer(line.x[-1])} tokens"
        + (f", where it stops ({line.stop})" if line.stop else "")
        for line in lines
    ]
    return f"Line chart: {title}; {scale.label} against sequence length. " + "; ".join(parts) + "."


def forest_chart(identity: str, title: str, points: list[Point], caption: str) -> Plot:
    """Measured exponents with 95 % intervals, one architecture a row, theory as a hollow diamond."""
    row = 16.0
    height = 50 + row * len(points)
    left = 14 + 4.7 * max(len(short(p.name, LONGEST_LABEL)) for p in points)
    parts = [
        f"{short(p.name)} {power(p.exponent)} [{power(p.low)}, {power(p.high)}]"
        + (f", theory {p.theory:g}" if p.theory is not None else "")
        + f", {p.verdict.split(' ', 1)[-1]}"
        for p in points
    ]
    alt = f"Interval chart: {title}. " + "; ".join(parts) + "."

    def draw() -> tuple[Figure, str]:
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        axes = new_axes(figure, left, 76.0, 34.0)
        axes.grid(False, axis="y")
        values = [v for p in points for v in (p.low, p.high, p.exponent, p.theory) if v is not None and np.isfinite(v)]
        low, high = min([-0.15, *values]), max([1.15, *values])
        low, high = max(low - 0.1, -0.7), min(high + 0.1, 3.2)
        axes.set_xlim(low, high)
        axes.set_ylim(len(points) - 0.4, -0.6)
        for y, p in enumerate(points):
            if p.theory is not None:
                axes.plot([p.theory], [y], marker="D", ms=8, mfc="none", mec=MUTED, mew=1.1, ls="")
            if np.isfinite(p.exponent):
                axes.plot([max(p.low, low), min(p.high, high)], [y, y], color=p.look.color, lw=2.6, alpha=0.55,
                          solid_capstyle="butt")  # fmt: skip
                axes.plot([p.exponent], [y], color=p.look.color, marker=p.look.marker, ms=4.6, mew=0, ls="")
            axes.text(1.02, y, p.verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=TEXT)
        axes.set_yticks(range(len(points)), [short(p.name, LONGEST_LABEL) for p in points])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("exponent p in T^p")
        return figure, ""

    return Plot(identity, title, draw, alt, caption)
