"""Which source word each written word looked at, and how diagonal that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reports.canvas import Plot
from reports.shares import heads_map, shares_map
from reports.tables import Table, Value
from reports.training.data import TaskRun, label
from reports.training.looks import Cast
from reports.training.tables import who
from results.predictions import load_alignments

PREFIX = "prefix"  # as records name a model without an encoder
LEAST = 0.01  # of a word's look: what goes to the source on average, for a number to say something


def diagonality(shares: np.ndarray) -> float:
    """How far weight follows the order of words, of shares (target, source): 1 - mean distance of where a target word looks
    from its own relative place, over what looking everywhere alike would give. 1 is the diagonal, 0 as good as uniform.

    A target word counts by how much of its look goes to the source at all: in a decoder-only model the rest goes to the
    target before it. NaN for one word, and where hardly anything goes to the source.
    """
    rows, columns = shares.shape
    if rows < 2 or columns < 2 or shares.sum() < LEAST * rows:
        return float("nan")
    place_U1, place_1S = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, columns)[None]
    distance = np.abs(place_U1 - place_1S)
    return float(1 - (shares * distance).sum() / (shares.sum(1) * distance.mean(1)).sum())


def by_head(layers: Sequence[Any]) -> list[list[float]]:
    """`diagonality` by layer and head, of shares (layer, head, target, source)."""
    return [[diagonality(np.array(head)) for head in layer] for layer in layers]


def most_diagonal(numbers: np.ndarray) -> tuple[int, ...] | None:
    """Place of the largest, (layer, head); None where no head looks at the source."""
    if not np.isfinite(numbers).any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.nanargmax(numbers)), numbers.shape))


def _mean(numbers: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Over the first axis, of what has a number; NaN where nothing has."""
    table = np.ma.masked_invalid(np.array(numbers, dtype=float))
    return np.asarray(np.ma.filled(np.ma.mean(table, axis=0), np.nan))


@dataclass(frozen=True)
class Alignments:
    """Of every competitor that weighs the source's words.

    Attributes:
        maps: the most diagonal head on one sentence, the same for all where all kept it. heads: all heads on it.
        numbers: how diagonal, for all sentences; `rows` is the same by sentence and head, for a CSV file.
        without: who has none, and why.
    """

    maps: list[Plot]
    heads: list[Plot]
    numbers: Table
    rows: list[dict[str, Any]]
    without: list[str]


def alignments(task: TaskRun, cast: Cast, folder: Path) -> Alignments:
    maps: list[Plot] = []
    heads: list[Plot] = []
    rows: list[list[Value]] = []
    numbers: list[dict[str, Any]] = []
    without: list[str] = []
    chosen: list[str] = []
    for c in task.competitors:
        record = task.ok(c.name).get(0)
        found = load_alignments(folder, record.trial_id) if record is not None else []
        kept = [s for s in found if s.get("layers") and len(s["target"]) > 1 and len(s["source"]) > 1]
        if not kept:
            if record is not None:
                without.append(f"{label(c.name)}: {_why_none(record.decoder, found)}")
            continue
        of_heads = [by_head(s["layers"]) for s in kept]
        numbers += [
            {"task": task.name, "architecture": c.name[0], "variant": c.name[1], "sentence": i, "layer": layer + 1,
             "head": head + 1, "diagonality": value}
            for i, layers in enumerate(of_heads) for layer, row in enumerate(layers) for head, value in enumerate(row)
        ]  # fmt: skip
        means = _mean(of_heads)  # layer, head
        best = most_diagonal(means)
        if best is None:
            without.append(f"{label(c.name)}: its heads hardly look at the source")
            continue
        layer, head = best
        whole = float(_mean(_mean([[diagonality(np.array(one).mean(0)) for one in s["layers"]] for s in kept])))
        rows.append([
            who(cast, c.name), Value(f"{round(whole, 2) + 0.0:.2f}", whole, number=True),
            Value(f"{means[layer, head]:.2f}", float(means[layer, head]), number=True),
            Value(f"layer {layer + 1}, head {head + 1} of {means.shape[0]} × {means.shape[1]}"),
        ])  # fmt: skip
        sentence = next((s for s in kept if s["source"] == chosen), kept[len(kept) // 2])
        chosen = chosen or sentence["source"]
        identity, name, color = f"{task.id}-alignment-{len(maps)}", label(c.name), cast.looks[c.name].color
        alone = record is not None and record.decoder == PREFIX
        maps.append(_map(identity, name, sentence, layer, head, color, alone))
        if means.size > 1:
            heads.append(heads_map(f"{identity}-heads", name, sentence["layers"], color))
    columns = ["competitor", "diagonal, mean over layers", "most diagonal head", "which"]
    tell = {1: "1: word after word in order; 0: no more than looking everywhere alike"}
    return Alignments(maps, heads, Table(f"{task.id}-diagonal", columns, rows, help=tell), numbers, without)


def _why_none(decoder: str, found: list[dict[str, Any]]) -> str:
    """In words, from those of the record and what was kept."""
    if any(s.get("layers") for s in found):
        return "wrote no word for the sentences shown"
    if decoder == PREFIX:
        return "decoder-only, and its layers pass words on without weighing them"
    return "reads one vector of fixed size" if decoder.split(", ")[1:2] == ["none"] else "none was kept"


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
