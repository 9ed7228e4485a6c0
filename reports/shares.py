"""A map of shares: how much each row takes of each column, in one colour, words on both axes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from reports.canvas import WIDTH, Plot
from reports.words import short

FAINTEST = 0.02  # smaller shares are not drawn
CELL = 15.0
LETTER = 5.2  # points, about


def heads_map(identity: str, who: str, layers: list[list[list[list[float]]]], color: str) -> Plot:
    """All heads of all layers on one sentence, small and without words: `layers` is (layer, head, row, column), a row of the
    picture a layer."""
    across, down = max(len(layer) for layer in layers), len(layers)
    size = min(90.0, (WIDTH - 20) / across)

    def draw() -> tuple[Figure, str]:
        width, height = WIDTH, (size + 6) * down + 16  # as wide for one head as for many: a page makes all of one width
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_alpha(0)
        for i, layer in enumerate(layers):
            for j, head in enumerate(layer):
                left, top = 20 + size * j, 16 + (size + 6) * i
                axes = figure.add_axes(
                    (left / width, 1 - (top + size - 6) / height, (size - 6) / width, (size - 6) / height)
                )
                axes.patch.set_alpha(0)
                _fill(axes, np.array(head), color)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_visible(True)
                if i == 0:
                    axes.set_title(f"head {j + 1}", fontsize=7.5, pad=3)
                if j == 0:
                    axes.set_ylabel(f"layer {i + 1}", fontsize=7.5, labelpad=2)
        return figure, ""

    alt = f"Alignments of {who} on one sentence: {down} layers of {across} heads, rows written words, columns source words."
    caption = "Every head on that sentence: rows are what was written, columns the source."
    return Plot(identity, who, draw, alt, caption)


def _fill(axes: Axes, shares: np.ndarray, color: str) -> None:
    rows, columns = shares.shape
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    cells = [(i, j) for i in range(rows) for j in range(columns) if shares[i, j] >= FAINTEST]
    axes.add_collection(
        PolyCollection(
            [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i, j in cells],
            facecolors=[to_rgba(color, float(min(1.0, shares[i, j]))) for i, j in cells], linewidths=0,
        )
    )  # fmt: skip


def shares_map(
    identity: str,
    who: str,
    rows: list[str],
    columns: list[str],
    shares: np.ndarray,
    color: str,
    what: str,
    caption: str,
) -> Plot:
    """`shares` (rows, columns), each from 0 to 1; `what` begins the text for those who cannot see the picture."""
    count_rows, count_columns = shares.shape
    left, top = (LETTER * max(len(short(w, 12)) for w in words) + 10 for words in (rows, columns))
    cell = min(CELL, (WIDTH - left - 6) / count_columns)

    strongest = ", ".join(
        f"{rows[i]} takes {row.max():.0%} from {columns[int(row.argmax())]}" for i, row in enumerate(shares)
    )
    alt = f"{what}: {strongest}."

    def draw() -> tuple[Figure, str]:
        width, height = max(0.8 * WIDTH, cell * count_columns + left + 6), cell * count_rows + top + 6
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((left / width, 6 / height, cell * count_columns / width, cell * count_rows / height))
        axes.patch.set_alpha(0)
        _fill(axes, shares, color)
        axes.set_xticks(np.arange(count_columns) + 0.5, [short(w, 12) for w in columns], rotation=90, fontsize=7.5)
        axes.set_yticks(np.arange(count_rows) + 0.5, [short(w, 12) for w in rows], fontsize=7.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        return figure, ""

    return Plot(identity, who, draw, alt, caption)
