"""Which source word each written word looked at, and how diagonal that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reports.canvas import Plot
from reports.shares import shares_map
from reports.tables import Table, Value
from reports.training.data import TaskRun, label
from reports.training.looks import Cast
from reports.training.tables import who
from results.predictions import load_alignments

PREFIX = "prefix"  # as records name a model without an encoder


def diagonality(shares: np.ndarray) -> float:
    """How far weight follows the order of words, of shares (target, source): 1 - mean distance of where a target word looks
    from its own relative place, over what looking everywhere alike would give. 1 is the diagonal, 0 as good as uniform."""
    rows, columns = shares.shape
    if rows < 2 or columns < 2:
        return float("nan")
    place_U1, place_1S = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, columns)[None]
    distance = np.abs(place_U1 - place_1S)
    weights = shares / np.maximum(shares.sum(1, keepdims=True), 1e-9)
    return float(1 - (weights * distance).sum(1).mean() / distance.mean())


def alignments(task: TaskRun, cast: Cast, folder: Path) -> tuple[list[Plot], Table, list[str]]:
    """A map of one sentence for every competitor that weighs the source's words, a number for all its sentences; and who
    has none, and why."""
    made: list[Plot] = []
    rows: list[list[Value]] = []
    without: list[str] = []
    for c in task.competitors:
        record = task.ok(c.name).get(0)
        found = load_alignments(folder, record.trial_id) if record is not None else []
        kept = [s for s in found if s.get("layers") and len(s["target"]) > 1 and len(s["source"]) > 1]
        if not kept:
            if record is not None:
                without.append(f"{label(c.name)}: {_why_none(record.decoder, found)}")
            continue
        by_head = [[[diagonality(np.array(head)) for head in layer] for layer in s["layers"]] for s in kept]
        means = np.nanmean(np.array(by_head), axis=0)  # layer, head
        layer, head = np.unravel_index(int(np.nanargmax(means)), means.shape)
        whole = float(np.nanmean([[diagonality(np.array(one).mean(0)) for one in s["layers"]] for s in kept]))
        rows.append([
            who(cast, c.name), Value(f"{round(whole, 2) + 0.0:.2f}", whole, number=True),
            Value(f"{means[layer, head]:.2f}", float(means[layer, head]), number=True),
            Value(f"layer {layer + 1}, head {head + 1} of {means.shape[0]} × {means.shape[1]}"),
        ])  # fmt: skip
        made.append(_map(f"{task.id}-alignment-{len(made)}", label(c.name), kept[len(kept) // 2], int(layer), int(head),
                         cast.looks[c.name].color, record is not None and record.decoder == PREFIX))  # fmt: skip
    columns = ["competitor", "diagonal, mean over layers", "most diagonal head", "which"]
    tell = {1: "1: word after word in order; 0: no more than looking everywhere alike"}
    return made, Table(f"{task.id}-diagonal", columns, rows, help=tell), without


def _why_none(decoder: str, found: list[dict[str, Any]]) -> str:
    """In words, from those of the record and what was kept."""
    if any(s.get("layers") for s in found):
        return "wrote no word for the sentences shown"
    if decoder == PREFIX:
        return "decoder-only, and its layers pass words on without weighing them"
    return "reads one vector of fixed size" if decoder.endswith(", none") else "none was kept"


def _map(
    identity: str, name: str, sentence: dict[str, Any], layer: int, head: int, color: str, decoder_only: bool
) -> Plot:
    shares = np.array(sentence["layers"][layer][head])
    source, target = [str(w) for w in sentence["source"]], [str(w) for w in sentence["target"]]
    caption = (
        f"Rows are what was written, columns the source; full colour is all of a row. Layer {layer + 1}, head {head + 1}, "
        "the most diagonal one over the sentences kept; seed 0."
        + (
            " What a row lacks of its whole went to the target before it: source and target are one text."
            * decoder_only
        )
    )
    what = f"Alignment of {name}, layer {layer + 1}, head {head + 1}"
    return shares_map(identity, name, target, source, shares, color, what, caption)
