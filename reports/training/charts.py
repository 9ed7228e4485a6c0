"""Charts of runs that train: curves over any axis, scores against a cost, and differences to a baseline."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ruler
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from reports.canvas import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LONGEST_LABEL,
    WIDTH,
    Line,
    Plot,
    draw_bands,
    draw_bars,
    name_ends,
    new_axes,
    spread,
    trim,
)  # fmt: skip
from reports.style import MUTED, TEXT, Look
from reports.words import names, short, signed

_REACH = 0.75  # a reference further off than this share of the data's span is told in words, not drawn
_DECADE = 10.0
_FIRST_PART, _MOST = 0.15, 0.5  # of the way, and of the axis
_CUT = "A bar or band that leaves the plot at the bottom goes on, maybe to zero and below."
_START = "The beginning of the curves lies outside the plot."


@dataclass(frozen=True)
class Axis:
    """Label, how a value reads, and the scale; `ticks` puts ticks where the data are, `units` are what a tick may be a
    round number of (minutes, MiB), largest first."""

    label: str
    tick: Callable[[float], str]
    log: bool = False
    ticks: tuple[float, ...] = ()
    units: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Rule:
    """A reference: a labelled line at a value."""

    value: float
    label: str


@dataclass(frozen=True)
class Spot:
    """A competitor in the plane of cost and score; `front` where no other is better at both."""

    name: str
    look: Look
    x: float
    y: float
    low: float
    high: float
    front: bool


@dataclass(frozen=True)
class Row:
    """A row of a forest plot: a difference with its interval (NaN for one seed), or a reason why there is none."""

    name: str
    look: Look
    value: float
    low: float
    high: float
    note: str


def spans_decades(values: np.ndarray) -> bool:
    """True where a logarithmic axis shows more."""
    return bool(len(values)) and float(values.min()) > 0 and float(values.max()) > _DECADE * float(values.min())


def curve_chart(
    identity: str,
    title: str,
    lines: list[Line],
    x: Axis,
    y: Axis,
    caption: str,
    rules: list[Rule] | None = None,
    upright: Rule | None = None,
    bars: bool = False,
    focus: bool = False,
) -> Plot:
    """Curves named at their right ends. `bars`: intervals as bars at each point, else as bands. `focus`: where the
    beginning of the curves would squeeze all that follows, it may leave the plot.
    """
    labels = [short(line.name, LONGEST_LABEL) + (f" ✕ {line.stop}" if line.stop else "") for line in lines]
    margin = min(170.0, 20 + 4.6 * max(len(label) for label in labels))
    values, cropped = _values(lines, y.log), False
    if focus:
        values, cropped = _without_the_start(lines, y.log)
    shown, hidden = _in_view(values, y.log, rules or [])
    lows = [line.low for line in lines if line.low is not None]
    cut = _CUT if y.log and lows and float(np.nanmin(np.concatenate(lows))) < float(values.min()) else ""
    caption = " ".join(filter(None, [caption.strip(), _START if cropped else "", cut, _out_of_view(hidden, y)]))
    alt = _describe(title, lines, x, y, shown)

    def draw() -> tuple[Figure, str]:
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = new_axes(figure, LEFT, margin)
        for line in lines:
            _curve(axes, line)
        (draw_bars if bars else draw_bands)(axes, lines)
        _limit(axes, lines, values, x, y, shown, upright)
        _ruler(axes.xaxis, x)
        _ruler(axes.yaxis, y)
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        _references(axes, shown)
        if upright is not None:
            axes.axvline(upright.value, color=MUTED, lw=1, ls=(0, (1, 2)))
            at = float(axes.transAxes.inverted().transform(axes.transData.transform((upright.value, 1.0)))[0])
            axes.annotate(upright.label, (upright.value, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", color=MUTED, fontsize=7.5,
                          ha="left" if at < 0.25 else "right" if at > 0.75 else "center")  # fmt: skip
        name_ends(axes, lines, labels)
        return figure, ""

    return Plot(identity, title, draw, alt, caption)


def _without_the_start(lines: list[Line], log: bool) -> tuple[np.ndarray, bool]:
    """Values of all curves; without those of the first part of each where these take up most of the axis."""
    everything = _values(lines, log)
    late = []
    for line in lines:
        kept = line.x >= line.x[0] + _FIRST_PART * (line.x[-1] - line.x[0])
        low, high = (None if v is None else v[kept] for v in (line.low, line.high))
        late.append(replace(line, x=line.x[kept], y=line.y[kept], low=low, high=high))
    rest = _values(late, log)

    def span(values: np.ndarray) -> float:
        return float(np.ptp(np.log(values) if log else values))

    return (rest, True) if len(rest) > 1 and 0 < span(rest) < _MOST * span(everything) else (everything, False)


def _in_view(values: np.ndarray, log: bool, rules: list[Rule]) -> tuple[list[Rule], list[Rule]]:
    """References near enough to draw, and those that would squeeze the curves."""
    low, high = float(values.min()), float(values.max())
    if log:
        near = [r for r in rules if r.value > 0 and low / _DECADE <= r.value <= high * _DECADE]
    else:
        reach = _REACH * max(high - low, 0.05 * abs(high))
        near = [r for r in rules if low - reach <= r.value <= high + reach]
    return near, [r for r in rules if r not in near]


def _out_of_view(hidden: list[Rule], y: Axis) -> str:
    return f"Out of view: {'; '.join(f'{r.label} at {y.tick(r.value)}' for r in hidden)}." if hidden else ""


def _values(lines: list[Line], log: bool) -> np.ndarray:
    ends = [v for line in lines for v in (line.low, line.high) if v is not None]
    return _within(np.concatenate([line.y for line in lines]), np.concatenate([*ends, np.empty(0)]), log)


def _within(points: np.ndarray, ends: np.ndarray, log: bool) -> np.ndarray:
    """What an axis has to show: all points, and the ends of their intervals. On a logarithmic axis an end near zero, or
    below it, would squeeze all else, and leaves the plot."""
    points, ends = points[np.isfinite(points)], ends[np.isfinite(ends)]
    if log and len(points):
        ends = ends[ends >= float(points.min()) / _DECADE]
    return np.concatenate([points, ends])


def _curve(axes: Axes, line: Line) -> None:
    color = line.look.color
    every = max(1, len(line.x) // 7)
    axes.plot(line.x, line.y, color=color, ls=line.look.line, lw=1.5, marker=line.look.marker, ms=4.0, mew=0,
              markevery=(min(every // 2, len(line.x) - 1), every))  # fmt: skip
    if line.stop:
        axes.plot(line.x[-1:], line.y[-1:], color=color, marker="x", ms=8.5, mew=2, ls="")


def _limit(axes: Axes, lines: list[Line], values: np.ndarray, x: Axis, y: Axis, rules: list[Rule],
           upright: Rule | None) -> None:  # fmt: skip
    across = np.concatenate([line.x for line in lines])
    if upright is not None:
        across = np.append(across, upright.value)
    axes.set_xlim(*_range(across[np.isfinite(across)], x.log, 0.03))
    axes.set_ylim(*_range(np.append(values, [r.value for r in rules]), y.log, 0.07))
    axes.set_xscale("log" if x.log else "linear")
    axes.set_yscale("log" if y.log else "linear")


def _range(values: np.ndarray, log: bool, margin: float) -> tuple[float, float]:
    """Limits that leave a margin; a single value gets some room to stand in."""
    low, high = float(values.min()), float(values.max())
    if log:
        room = max((high / low) ** margin, 1.08)
        return low / room, high * room
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _ruler(ruler: Ruler, axis: Axis) -> None:
    """Ticks: at the data where they are few, else round numbers; after the limits are set."""
    ruler.set_minor_locator(NullLocator())
    ruler.set_minor_formatter(NullFormatter())
    low, high = sorted(ruler.get_view_interval())
    if axis.ticks:
        ticks = sorted(set(axis.ticks))
        while len(ticks) > 6:
            ticks = ticks[::-1][::2][::-1]
        ruler.set_major_locator(FixedLocator(ticks))
    else:
        unit = next((u for u in axis.units if high > 2 * u), axis.units[-1])
        ruler.set_major_locator(FixedLocator([unit * t for t in _round_numbers(low / unit, high / unit, axis.log)]))
    ruler.set_major_formatter(FuncFormatter(lambda v, _: trim(axis.tick(v))))


def _round_numbers(low: float, high: float, log: bool) -> list[float]:
    """Up to about six round numbers within low..high."""
    even = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    if log:
        ratio = high / low
        subs: tuple[float, ...] = (1.0,) if ratio > 200 else (1.0, 3.0) if ratio > 12 else (1.0, 2.0, 5.0)
        if ratio < 6:
            subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        spaced = LogLocator(subs=subs, numticks=20).tick_values(low, high)
        if sum(low <= t <= high for t in spaced) >= 2:
            even = spaced
    return [float(t) for t in even if low <= t <= high]


def _references(axes: Axes, rules: list[Rule]) -> None:
    """Dashed lines with their labels at the left, pushed apart where they are near each other."""
    height = HEIGHT * axes.get_position().height
    at = [float(axes.transAxes.inverted().transform(axes.transData.transform((1, r.value)))[1]) * height for r in rules]
    for rule, place in zip(rules, spread([v + 4.5 for v in at], 9.5, 4.0, height), strict=True):
        axes.axhline(rule.value, color=MUTED, lw=1, ls=(0, (4, 3)))
        axes.text(0.012, place / height, short(rule.label, 40), transform=axes.transAxes, color=MUTED, fontsize=7.5,
                  va="center")  # fmt: skip


def _describe(title: str, lines: list[Line], x: Axis, y: Axis, rules: list[Rule]) -> str:
    parts = [
        f"{short(line.name)} goes from {y.tick(float(line.y[0]))} at {x.tick(float(line.x[0]))} to "
        f"{y.tick(float(line.y[-1]))} at {x.tick(float(line.x[-1]))}"
        + (f", where it stops ({line.stop})" if line.stop else "")
        for line in lines
    ]  # fmt: skip
    marks = [f"{r.label} at {y.tick(r.value)}" for r in rules]
    return f"Line chart: {title}; {y.label} against {x.label}. " + "; ".join(parts + marks) + "."


def cost_chart(identity: str, title: str, spots: list[Spot], x: Axis, y: Axis, caption: str, better: str) -> Plot:
    """Score against cost: a point a competitor, those on the Pareto front filled and joined."""
    alt = f"Scatter chart: {title}; {y.label} against {x.label}. " + "; ".join(
        f"{short(s.name)} {y.tick(s.y)} at {x.tick(s.x)}{', on the front' if s.front else ''}" for s in spots
    ) + "."  # fmt: skip
    across = np.array([s.x for s in spots])
    ends = np.array([v for s in spots for v in (s.low, s.high)])
    values = _within(np.array([s.y for s in spots]), ends, y.log)
    if y.log and np.nanmin([*ends, np.inf]) < values.min():
        caption = f"{caption.strip()} {_CUT}"

    def draw() -> tuple[Figure, str]:
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = new_axes(figure, LEFT, 14.0)
        low, high = _range(across, x.log, 0.04)
        axes.set_xlim(low, high * (high / low) ** 0.25 if x.log else high + 0.25 * (high - low))  # room for names
        axes.set_ylim(*_range(values, y.log, 0.1))
        axes.set_xscale("log" if x.log else "linear")
        axes.set_yscale("log" if y.log else "linear")
        _ruler(axes.xaxis, x)
        _ruler(axes.yaxis, y)
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        front = sorted((s for s in spots if s.front), key=lambda s: s.x)
        axes.step([s.x for s in front], [s.y for s in front], where="post", color=MUTED, lw=1.1, ls=(0, (4, 2)))
        sure = [s for s in spots if np.isfinite(s.low)]
        axes.vlines([s.x for s in sure], [s.low for s in sure], [s.high for s in sure], lw=1.6, alpha=0.5,
                    colors=[s.look.color for s in sure])  # fmt: skip
        for s in spots:
            axes.plot([s.x], [s.y], color=s.look.color, marker=s.look.marker, ls="", ms=6.5 if s.front else 5.5,
                      mfc=s.look.color if s.front else "none", mew=1.2)  # fmt: skip
        unnamed = _name_spots(axes, spots, front)
        axes.annotate("▲ better" if better == "higher" else "▼ better", (0.0, 1.0), xycoords="axes fraction",
                      xytext=(4, -2), textcoords="offset points", va="top", fontsize=7.5, color=MUTED)  # fmt: skip
        return figure, f"No room for the names of {names(unnamed)}." if unnamed else ""

    return Plot(identity, title, draw, alt, caption)


# Where a name may stand beside its point: offset in points, and how the text hangs on it. Far ones get a leader.
_PLACES = [(7.0, 0.0, "left"), (-7.0, 0.0, "right"), (0.0, 9.0, "center"), (0.0, -9.0, "center"), (7.0, 9.0, "left"),
           (7.0, -9.0, "left"), (-7.0, 9.0, "right"), (-7.0, -9.0, "right")]  # fmt: skip
_PLACES += [
    (dx, dy * k, side) for k in range(2, 15) for dy in (9.0, -9.0) for dx, side in ((9.0, "left"), (-9.0, "right"))
]


def _name_spots(axes: Axes, spots: list[Spot], front: list[Spot]) -> list[str]:
    """Names beside points, each at the first place where it covers no point, no name, and neither front nor edge.

    Returns those for which there was no such place.
    """
    unnamed: list[str] = []
    box = axes.get_position()
    width, height = WIDTH * box.width, HEIGHT * box.height
    to_axes = axes.transAxes.inverted()
    at = [to_axes.transform(axes.transData.transform((s.x, s.y))) * (width, height) for s in spots]
    taken = [(px - 4.5, py - 4.5, px + 4.5, py + 4.5) for px, py in at]
    taken.append((0.0, height - 13.0, 44.0, height))  # "better"
    for s, (px, _) in zip(spots, at, strict=True):
        if np.isfinite(s.low):
            ends = [float(to_axes.transform(axes.transData.transform((s.x, v)))[1]) * height for v in (s.low, s.high)]
            taken.append((px - 1.5, ends[0], px + 1.5, ends[1]))
    corner = dict(zip(map(id, spots), at, strict=True))
    for a, b in itertools.pairwise(corner[id(s)] for s in front):  # the front: along, then up or down
        taken.append((a[0] + 5, a[1] - 1, b[0], a[1] + 1))
        taken.append((b[0] - 1, min(a[1], b[1]), b[0] + 1, max(a[1], b[1])))
    for s, (px, py) in zip(spots, at, strict=True):
        text = short(s.name, 24)
        long, tall = 4.7 * len(text), 9.0
        for dx, dy, side in _PLACES:
            left = px + dx - (0 if side == "left" else long if side == "right" else long / 2)
            asked = (left, py + dy - tall / 2, left + long, py + dy + tall / 2)
            inside = asked[0] >= 0 and asked[2] <= width + 12 and asked[1] >= -1 and asked[3] <= height + 8
            if inside and not any(_overlap(asked, other) for other in taken):
                break
        else:
            unnamed.append(short(s.name))
            continue
        taken.append(asked)
        if abs(dy) > 10:
            axes.plot([px / width, (px + dx) / width], [py / height, (py + dy) / height], color=s.look.color, lw=0.6,
                      transform=axes.transAxes)  # fmt: skip
        axes.text((px + dx) / width, (py + dy) / height, text, transform=axes.transAxes, color=s.look.color, ha=side,
                  va="center", fontsize=8)  # fmt: skip
    return unnamed


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def difference_chart(identity: str, title: str, rows: list[Row], label: str, better: str, caption: str) -> Plot:
    """Differences to a baseline, a variant a row, a line at zero, and the better side named on the axis."""
    pitch = 17.0
    height = 58 + pitch * len(rows)
    labels = [short(r.name, 24) for r in rows]
    left = 14 + 4.7 * max(len(text) for text in labels)
    right = 14 + 4.4 * max(len(r.note) for r in rows)
    sides = ("← worse", "better →") if better == "higher" else ("← better", "worse →")
    alt = f"Interval chart: {title}; {label}, {sides[0]} {sides[1]}. " + "; ".join(
        f"{short(r.name)} {r.note}" + (f" [{signed(r.low)}, {signed(r.high)}]" if np.isfinite(r.low) else "")
        for r in rows) + "."  # fmt: skip

    def draw() -> tuple[Figure, str]:
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        axes = new_axes(figure, left, right, 42.0)
        axes.grid(False, axis="y")
        values = [v for r in rows for v in (r.low, r.value, r.high) if np.isfinite(v)]
        low, high = min([0.0, *values]), max([0.0, *values])
        room = 0.08 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axvline(0.0, color=MUTED, lw=1.2)
        for y, r in enumerate(rows):
            if np.isfinite(r.low):
                axes.plot([r.low, r.high], [y, y], color=r.look.color, lw=2.6, alpha=0.55, solid_capstyle="butt")
            if np.isfinite(r.value):
                axes.plot([r.value], [y], color=r.look.color, marker=r.look.marker, ms=5, mew=1,
                          mfc=r.look.color if np.isfinite(r.low) else "none", ls="")  # fmt: skip
            axes.text(1.02, y, r.note, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=TEXT)
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: signed(v)))
        axes.set_xlabel(label)
        for text, place, side in ((sides[0], 0.0, "left"), (sides[1], 1.0, "right")):
            axes.annotate(text, (place, 0.0), xycoords="axes fraction", xytext=(0, -BOTTOM + 3),
                          textcoords="offset points", ha=side, fontsize=8, color=MUTED)  # fmt: skip
        return figure, ""

    return Plot(identity, title, draw, alt, caption)
