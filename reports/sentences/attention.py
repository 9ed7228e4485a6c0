"""Maps of attention: which word takes how much of which, for one test example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from reports.canvas import WIDTH, Plot, drawing, to_svg
from reports.training.data import TaskRun, label
from reports.training.looks import Cast
from reports.words import short
from results.predictions import load_attention

FAINTEST = 0.02  # smaller shares are not drawn
CELL = 15.0
MARGIN = 74.0


def attention_plots(task: TaskRun, cast: Cast, folder: Path) -> list[Plot]:
    """One map a competitor that has attention: its last layer, mean over heads."""
    made: list[Plot] = []
    for c in task.competitors:
        record = task.ok(c.name).get(0)
        kept = load_attention(folder, record.trial_id) if record is not None else {}
        if kept.get("words") and kept.get("layers"):
            layers = [np.array(layer) for layer in kept["layers"]]
            name = f"{task.id}-attention-{len(made)}"
            made.append(_map(name, label(c.name), [str(w) for w in kept["words"]], layers, cast.looks[c.name].color))
    return made


def _map(identity: str, who: str, words: list[str], layers: list[np.ndarray], color: str) -> Plot:
    shares = layers[-1].mean(0)
    size = len(words)
    side = min(CELL * size, WIDTH - MARGIN - 6)
    with drawing():
        width, height = side + MARGIN + 6, side + MARGIN + 6
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_alpha(0)
        axes = figure.add_axes((MARGIN / width, 6 / height, side / width, side / height))
        axes.patch.set_alpha(0)
        axes.set_xlim(0, size)
        axes.set_ylim(size, 0)
        cells = [(i, j) for i in range(size) for j in range(size) if shares[i, j] >= FAINTEST]
        axes.add_collection(
            PolyCollection(
                [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i, j in cells],
                facecolors=[to_rgba(color, float(min(1.0, shares[i, j]))) for i, j in cells], linewidths=0,
            )
        )  # fmt: skip
        shown = [short(word, 12) for word in words]
        axes.set_xticks(np.arange(size) + 0.5, shown, rotation=90, fontsize=7.5)
        axes.set_yticks(np.arange(size) + 0.5, shown, fontsize=7.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        most = [int(row.argmax()) for row in shares]
        strongest = ", ".join(f"{words[i]} takes {shares[i, j]:.0%} from {words[j]}" for i, j in enumerate(most))
        which = f"last of {len(layers)} layers, mean over {layers[-1].shape[0]} heads"
        alt = f"Attention of {who}, {which}: {strongest}."
        svg = to_svg(figure, identity, alt)
    caption = (
        f"Row takes from column; full colour is all. The {which}, seed 0. Weights say where a layer looks, not why "
        "an answer is given."
    )
    return Plot(identity, who, svg, alt, caption)
