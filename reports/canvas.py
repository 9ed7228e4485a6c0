"""What all charts share: sizes, fonts, axes, names beside curves, and the way from a figure to inline SVG."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cbook import contiguous_regions
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from reports.style import GRID, MUTED, TEXT, Look, to_variables
from reports.together import side_by_side

_FEW = 12  # figures: fewer are not worth a process
WIDTH, HEIGHT = 366.0, 262.0  # points; a page shows about 520 CSS pixels, a phone 350
LEFT, BOTTOM, TOP = 64.0, 40.0, 12.0
LONGEST_LABEL = 20
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
    """A figure, drawn when its markup or its caption is asked for, or before that with others (`draw`).

    `draw` makes the figure, and a sentence for the caption where drawing found something out. `svg` is safe markup, the
    rest is plain text.
    """

    id: str
    title: str
    draw: Callable[[], tuple[Figure, str]]
    alt: str
    words: str

    def __post_init__(self) -> None:
        waiting = _waiting.get()
        if waiting is not None:
            waiting.append(self)

    @cached_property
    def drawn(self) -> tuple[str, str]:
        """Markup, and what drawing found out."""
        with rc_context(_RC):
            figure, note = self.draw()
            return to_svg(figure, self.id, self.alt), note

    @property
    def svg(self) -> str:
        return self.drawn[0]

    @property
    def caption(self) -> str:
        return " ".join(filter(None, [self.words.strip(), self.drawn[1]]))


_waiting: ContextVar[list[Plot] | None] = ContextVar("waiting", default=None)


@contextmanager
def sketching() -> Iterator[list[Plot]]:
    """The list of all figures that are planned meanwhile."""
    plots: list[Plot] = []
    token = _waiting.set(plots)
    try:
        yield plots
    finally:
        _waiting.reset(token)


def draw(plots: list[Plot]) -> None:
    """Draw figures before they are asked for, on all cores: matplotlib takes a tenth of a second for each."""
    if len(plots) >= _FEW:
        for plot, drawn in zip(plots, side_by_side([partial(getattr, plot, "drawn") for plot in plots]), strict=True):
            vars(plot)["drawn"] = drawn


@dataclass(frozen=True)
class Line:
    """A curve: x (n,) tokens, y (n,), low and high (n,) or None; `stop` says why it ends early, if it does. A `faint` one is
    of another run: drawn thin, without a name or marks."""

    name: str
    look: Look
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    stop: str = ""
    faint: bool = False


def new_axes(figure: Figure, left: float, right: float, bottom: float = BOTTOM) -> Axes:
    width, height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - TOP) / height)
    )
    axes.grid(True, which="major")
    axes.set_axisbelow(True)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return axes


def trim(text: str) -> str:
    """A tick as short as can be: 1 ms, not 1.00 ms."""
    return re.sub(r"\.0+(?=\D|$)|(\.\d*?[1-9])0+(?=\D|$)", r"\1", text)


def draw_bands(axes: Axes, lines: list[Line]) -> None:
    """Intervals as faint bands around curves, with gaps where there is none.

    All are one thing to draw, as are all bars and all leaders: matplotlib takes its time by things, not by points.
    """
    shapes, colors = [], []
    for line in lines:
        if line.low is None or line.high is None:
            continue
        for first, last in contiguous_regions(np.isfinite(line.low) & np.isfinite(line.high)):
            x, low, high = (v[first:last] for v in (line.x, line.low, line.high))
            shapes.append(np.column_stack([np.append(x, x[::-1]), np.append(low, high[::-1])]))
            colors.append(line.look.color)
    axes.add_collection(PolyCollection(shapes, facecolors=colors, alpha=0.13, linewidths=0), autolim=False)


def draw_bars(axes: Axes, lines: list[Line]) -> None:
    """Intervals as bars through the points of curves."""
    kept = [line for line in lines if line.low is not None and line.high is not None]
    if kept:
        x, low, high = (np.concatenate([getattr(line, end) for line in kept]) for end in ("x", "low", "high"))
        colors = np.repeat([line.look.color for line in kept], [len(line.x) for line in kept])
        axes.vlines(x, low, high, colors=colors.tolist(), lw=1.6, alpha=0.55)


def name_ends(axes: Axes, lines: list[Line], labels: list[str], figure_height: float = HEIGHT) -> None:
    """Names to the right of the axes, pushed apart so that none overlaps, each joined to its curve by a thin line."""
    box = axes.get_position()
    height = figure_height * box.height
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = to_axes.transform([(line.x[-1], line.y[-1]) for line in lines]).reshape(-1, 2)
    wanted = ends[:, 1] * height
    gap = min(10.5, (height + 16) / max(1, len(lines)))
    placed = spread(wanted.tolist(), gap, -26.0, height + 6.0)
    leaders = [[(x, y), (1.0, y), (1.035, to / height)] for (x, y), to in zip(ends, placed, strict=True)]
    axes.add_collection(LineCollection(leaders, colors=[line.look.color for line in lines], linewidths=0.7, zorder=2,
                                       linestyles=[(0, (1, 1.5))], transform=axes.transAxes, clip_on=False),
                        autolim=False)  # fmt: skip
    for line, label, to in zip(lines, labels, placed, strict=True):
        axes.text(1.045, to / height, label, transform=axes.transAxes, color=line.look.color, va="center",
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


def to_svg(figure: Figure, identity: str, alt: str) -> str:
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
    # Two decimals for places of lines and points; what a reader sees between the tags stays whole.
    text = re.sub(r"<[^>]*>", lambda m: re.sub(r"(\d\.\d\d)\d+", r"\1", m[0]), text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    # Stand-in colours of texts and lines become CSS variables; whatever is plain black is text.
    text = to_variables(text).replace("#000000", "var(--text)")
    view = re.search(r'viewBox="[^"]+"', text)
    label = html.escape(alt, quote=True)
    head = f'<svg role="img" aria-label="{label}" {view[0] if view else ""} xmlns="http://www.w3.org/2000/svg" ' \
           'xmlns:xlink="http://www.w3.org/1999/xlink">'  # fmt: skip
    return head + re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
