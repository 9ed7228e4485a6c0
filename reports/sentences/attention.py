"""Maps of attention: which word takes how much of which, for one test example."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reports.canvas import Plot
from reports.shares import shares_map
from reports.training.data import TaskRun, label
from reports.training.looks import Cast
from results.predictions import load_attention


def attention_plots(task: TaskRun, cast: Cast, folder: Path) -> list[Plot]:
    """One map a competitor that has attention: its last layer, mean over heads."""
    made: list[Plot] = []
    for c in task.competitors:
        record = task.ok(c.name).get(0)
        kept = load_attention(folder, record.trial_id) if record is not None else {}
        if kept.get("words") and kept.get("layers"):
            layers = [np.array(layer) for layer in kept["layers"]]
            if layers[-1].shape[-1] != len(kept["words"]):
                continue  # of one text of a pair that was read apart
            name = f"{task.id}-attention-{len(made)}"
            made.append(_map(name, label(c.name), [str(w) for w in kept["words"]], layers, cast.looks[c.name].color))
    return made


def _map(identity: str, who: str, words: list[str], layers: list[np.ndarray], color: str) -> Plot:
    shares = layers[-1].mean(0)
    which = f"last of {len(layers)} layers, mean over {layers[-1].shape[0]} heads"
    caption = (
        f"Row takes from column; full colour is all. The {which}, seed 0. Weights say where a layer looks, not why "
        "an answer is given."
    )
    return shares_map(identity, who, words, words, shares, color, f"Attention of {who}, {which}", caption)
