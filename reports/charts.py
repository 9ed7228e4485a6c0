"""Two kinds of chart: lines against length, and intervals against theory. Returned as SVG for a page."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from reports.style import GRID, MUTED, TEXT, Look, to_variables
from reports.words import integer, power, short

_WIDTH, _HEIGHT = 366.0, 262.0  # points; a page shows about 520 CSS pixels, a phone 350
_LEFT, _BOTTOM, _TOP = 64.0, 40.0, 12.0
_LONGEST_LABEL = 20
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, and in the page's font
    "svg.hashsalt": "seqbench",  # the same run gives the same page
    "text.parse_math": False,  # names come from plug-ins; a dollar sign is a dollar sign
    "font.family": "DejaVu Sans",  # comes with matplotlib; the page replaces it by its own
    "font.size": 9,
    "text.color": TEXT,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
}


@dataclass(frozen=True)
class Plot:
    """A finished figure: `svg` is safe markup, the rest is plain text."""

    id: str
    title: str
    svg: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Line:
    """A curve: x (n,) tokens, y (n,), low and high (n,) or None; `stop` says why it ends early, if it does."""

    name: str
    look: Look
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    stop: str = ""


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


@contextmanager
def _drawing() -> Iterator[None]:
    with rc_context(_RC):
        yield


def line_chart(identity: str, title: str, lines: list[Line], scale: Scale, caption: str) -> Plot:
    """Curves against sequence length, both axes logarithmic, each named at its right end."""
    labels = [short(line.name, _LONGEST_LABEL) + (f" ✕ {line.stop}" if line.stop else "") for line in lines]
    margin = min(170.0, 20 + 4.6 * max((len(label) for label in labels), default=8))
    with _drawing():
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
        axes = _axes(figure, _LEFT, margin)
        axes.set_xscale("log")
        if not scale.linear:
            axes.set_yscale("log")
        for line in lines:
            _curve(axes, line)
        if scale.reference is not None:
            axes.axhline(scale.reference, color=MUTED, lw=1, ls=(0, (4, 3)))
        _length_axis(axes, lines)
        _value_axis(axes, lines, scale)
        _name_ends(axes, lines, labels)
        if scale.reference is not None and scale.reference_label:
            axes.annotate(scale.reference_label, (0.01, scale.reference), xycoords=("axes fraction", "data"),
                          xytext=(0, 2), textcoords="offset points", color=MUTED, fontsize=7.5)  # fmt: skip
        svg = _to_svg(figure, identity, _describe(title, lines, scale))
    return Plot(identity, title, svg, _describe(title, lines, scale), caption)


def _axes(figure: Figure, left: float, right: float, bottom: float = _BOTTOM) -> Axes:
    width, height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - _TOP) / height)
    )
    axes.grid(True, which="major")
    axes.set_axisbelow(True)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return axes


def _curve(axes: Axes, line: Line) -> None:
    color = line.look.color
    axes.plot(line.x, line.y, color=color, ls=line.look.line, lw=1.5, marker=line.look.marker, ms=4.2, mew=0)
    if line.low is not None and line.high is not None and bool((line.high > 1.02 * line.low).any()):
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.13, lw=0)
    if line.stop:
        axes.plot(line.x[-1:], line.y[-1:], color=color, marker="x", ms=8.5, mew=2, ls="")


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
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _trim(scale.tick(y))))
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


def _trim(text: str) -> str:
    """A tick as short as can be: 1 ms, not 1.00 ms."""
    return re.sub(r"\.0+(?=\D|$)|(\.\d*?[1-9])0+(?=\D|$)", r"\1", text)


def _name_ends(axes: Axes, lines: list[Line], labels: list[str]) -> None:
    """Names to the right of the axes, pushed apart so that none overlaps, each joined to its curve by a thin line."""
    box = axes.get_position()
    height = _HEIGHT * box.height
    to_axes = axes.transAxes.inverted()
    wanted = [
        float(to_axes.transform(axes.transData.transform((line.x[-1], line.y[-1])))[1]) * height for line in lines
    ]
    gap = min(10.5, (height + 16) / max(1, len(lines)))
    placed = spread(wanted, gap, -26.0, height + 6.0)
    for line, label, y_from, y_to in zip(lines, labels, wanted, placed, strict=True):
        x_end = float(to_axes.transform(axes.transData.transform((line.x[-1], line.y[-1])))[0])
        axes.plot([x_end, 1.0, 1.035], [y_from / height, y_from / height, y_to / height], color=line.look.color,
                  lw=0.7, ls=(0, (1, 1.5)), transform=axes.transAxes, clip_on=False)  # fmt: skip
        axes.text(1.045, y_to / height, label, transform=axes.transAxes, color=line.look.color, va="center",
                  fontsize=min(8.5, gap * 0.85))  # fmt: skip


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions at least `gap` apart within low..high (as far as they fit), as near to `wanted` as can be.

    Neighbours that are too near are merged into a block that is centred on the mean of what its members want.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[int]] = [[i] for i in order]

    def start(block: list[int]) -> float:
        centre = sum(wanted[i] for i in block) / len(block)
        length = gap * (len(block) - 1)
        return max(low, min(centre - length / 2, high - length))

    merged = True
    while merged:
        merged = False
        for k in range(len(blocks) - 1):
            if start(blocks[k]) + gap * len(blocks[k]) > start(blocks[k + 1]) + 1e-9:
                blocks[k : k + 2] = [blocks[k] + blocks[k + 1]]
                merged = True
                break
    placed = [0.0] * len(wanted)
    for block in blocks:
        for offset, i in enumerate(block):
            placed[i] = start(block) + gap * offset
    return placed


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
    left = 14 + 4.7 * max(len(short(p.name, _LONGEST_LABEL)) for p in points)
    with _drawing():
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        axes = _axes(figure, left, 76.0, 34.0)
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
        axes.set_yticks(range(len(points)), [short(p.name, _LONGEST_LABEL) for p in points])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("exponent p in T^p")
        parts = [
            f"{short(p.name)} {power(p.exponent)} [{power(p.low)}, {power(p.high)}]"
            + (f", theory {p.theory:g}" if p.theory is not None else "")
            + f", {p.verdict.split(' ', 1)[-1]}"
            for p in points
        ]
        alt = f"Interval chart: {title}. " + "; ".join(parts) + "."
        svg = _to_svg(figure, identity, alt)
    return Plot(identity, title, svg, alt, caption)


def _to_svg(figure: Figure, identity: str, alt: str) -> str:
    """Inline SVG: own ids, CSS colours, two decimals, and an alternative text."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{identity}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{identity}-", text)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    # Stand-in colours of texts and lines become CSS variables; whatever is plain black is text.
    text = to_variables(text).replace("#000000", "var(--text)")
    view = re.search(r'viewBox="[^"]+"', text)
    label = html.escape(alt, quote=True)
    head = f'<svg role="img" aria-label="{label}" {view[0] if view else ""} xmlns="http://www.w3.org/2000/svg" ' \
           'xmlns:xlink="http://www.w3.org/1999/xlink">'  # fmt: skip
    return head + re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
