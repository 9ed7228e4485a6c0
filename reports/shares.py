"""A map of shares: how much each row takes of each column, in one colour, words on both axes."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from reports.canvas import WIDTH, Plot
from reports.words import short

FAINTEST = 0.02  # smaller shares are not drawn
CELL = 15.0
MARGIN = 74.0


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
    cell = min(CELL, (WIDTH - MARGIN - 6) / count_columns)

    strongest = ", ".join(
        f"{rows[i]} takes {row.max():.0%} from {columns[int(row.argmax())]}" for i, row in enumerate(shares)
    )
    alt = f"{what}: {strongest}."

    def draw() -> tuple[Figure, str]:
        width, height = cell * count_columns + MARGIN + 6, cell * count_rows + MARGIN + 6
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((MARGIN / width, 6 / height, cell * count_columns / width, cell * count_rows / height))
        axes.patch.set_alpha(0)
        axes.set_xlim(0, count_columns)
        axes.set_ylim(count_rows, 0)
        cells = [(i, j) for i in range(count_rows) for j in range(count_columns) if shares[i, j] >= FAINTEST]
        axes.add_collection(
            PolyCollection(
                [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i, j in cells],
                facecolors=[to_rgba(color, float(min(1.0, shares[i, j]))) for i, j in cells], linewidths=0,
            )
        )  # fmt: skip
        axes.set_xticks(np.arange(count_columns) + 0.5, [short(w, 12) for w in columns], rotation=90, fontsize=7.5)
        axes.set_yticks(np.arange(count_rows) + 0.5, [short(w, 12) for w in rows], fontsize=7.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        return figure, ""

    return Plot(identity, who, draw, alt, caption)
