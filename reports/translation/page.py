"""A page for one text of the user's: what each kept model makes of it, and where it looks."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.canvas import Plot
from reports.shares import shares_map
from reports.style import LIGHT
from reports.translation.alignment import by_head, most_diagonal


def maps(found: list[dict[str, Any]]) -> list[Plot]:
    """Of each model that looks at the source, its most diagonal head."""
    made = []
    for i, one in enumerate(found):
        layers = [np.array(layer) for layer in one["layers"]]
        numbers = np.array(by_head(layers))
        best = most_diagonal(numbers)
        if best is not None:
            a, b = best
            shares = layers[a][b]
            name = str(one["competitor"])
            what = f"Alignment of {name}, layer {a + 1}, head {b + 1}"
            caption = (
                f"Rows are what was written, columns the source. Layer {a + 1}, head {b + 1}, the most diagonal one: "
                f"{numbers[a, b]:.2f}."
            )
            made.append(
                shares_map(f"map-{i}", name, one["target"], one["source"], shares, LIGHT[i % len(LIGHT)], what, caption)
            )
    return made
