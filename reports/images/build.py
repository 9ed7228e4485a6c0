"""Of one task of images: what was taken for what, and what each competitor reaches, depends on and attends to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reports.images.draw import Thumb, heat, photograph
from reports.tables import Table, Value
from reports.training.data import Name, TaskRun, label
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.training.tables import who
from results.predictions import has_pictures, load_pictures

MOST_CONFUSIONS = 12


@dataclass(frozen=True)
class Strip:
    """One competitor's pictures in a row."""

    who: Value
    thumbs: list[Thumb]
    note: str = ""


@dataclass(frozen=True)
class Looked:
    """One test image, and what each layer of those that attend takes of it."""

    image: Thumb
    strips: list[Strip]


@dataclass(frozen=True)
class PictureSection:
    """What is empty is left out by the template."""

    reach: list[Strip]
    fields: list[Strip]
    attention: list[Looked]
    positions: list[Strip]
    confused: list[Strip]
    confusion: Table


def pictures(board: Board, cast: Cast, folder: Path | None) -> PictureSection | None:
    """None where the run kept no pictures of this task."""
    task = board.task
    if folder is None or not has_pictures(folder):
        return None
    kept: dict[Name, dict[int, dict[str, Any]]] = {}
    for s in board.standings:
        found = {seed: content for seed, r in task.ok(s.name).items() if (content := load_pictures(folder, r.trial_id))}
        if found:
            kept[s.name] = found
    if not kept:
        return None
    first = {name: found[0] for name, found in kept.items() if 0 in found}
    return PictureSection(
        _reach(first, cast), _fields(first, cast), _attention(first, cast), _positions(first, cast), _confused(first, cast),
        _confusion(task, kept, cast),
    )  # fmt: skip


def _reach(first: dict[Name, dict[str, Any]], cast: Cast) -> list[Strip]:
    strips = []
    for name, content in first.items():
        thumbs = []
        for one in content.get("reach") or ():
            seen = np.array(one["seen"])
            words = f"layer {one['layer']}: {seen.sum()} of {seen.size}"
            thumbs.append(
                heat(seen, f"{label(name)} after layer {one['layer']}: {seen.sum()} of {seen.size} tokens", words)
            )
        if thumbs:
            strips.append(Strip(who(cast, name), thumbs))
    return strips


def _fields(first: dict[Name, dict[str, Any]], cast: Cast) -> list[Strip]:
    strips = []
    for name, content in first.items():
        thumbs = []
        for key, words in (("field_before", "before training"), ("field", "after")):
            if content.get(key):
                values = np.sqrt(np.array(content[key]))  # the far and faint is what differs
                thumbs.append(heat(values, f"{label(name)}, {words}: dependence on each pixel", words))
        if thumbs:
            strips.append(Strip(who(cast, name), thumbs))
    return strips


def _attention(first: dict[Name, dict[str, Any]], cast: Cast) -> list[Looked]:
    """By test image, since all competitors are shown the same ones."""
    rows: dict[int, tuple[Thumb, list[Strip]]] = {}
    for name, content in first.items():
        classes = content.get("classes") or []
        for example in content.get("examples") or ():
            word = _class(classes, example["true"])
            image = photograph(example["pixels"], f"test image of class {word}", word)
            _, strips = rows.setdefault(example["row"], (image, []))
            thumbs = [
                heat(
                    layer, f"{label(name)}, layer {i + 1}, attention to a test image of class {word}", f"layer {i + 1}"
                )
                for i, layer in enumerate(example["layers"])
            ]
            strips.append(Strip(who(cast, name), thumbs))
    return [Looked(image, strips) for image, strips in rows.values()]


def _positions(first: dict[Name, dict[str, Any]], cast: Cast) -> list[Strip]:
    strips = []
    for name, content in first.items():
        thumbs = []
        for one in content.get("positions") or ():
            place = f"{one['row'] + 1}, {one['column'] + 1}"
            thumbs.append(heat(one["similarity"], f"{label(name)}: similarity to the place at {place}", place))
        if thumbs:
            strips.append(Strip(who(cast, name), thumbs))
    return strips


def _confused(first: dict[Name, dict[str, Any]], cast: Cast) -> list[Strip]:
    strips = []
    for name, content in first.items():
        classes = content.get("classes") or []
        thumbs = []
        for one in content.get("confused") or ():
            true, said = _class(classes, one["true"]), _class(classes, one["predicted"])
            words = f"{true} → {said}, {100 * one['share']:.0f} %"
            thumbs.append(
                photograph(
                    one["pixels"], f"{true}, taken for {said} with {100 * one['share']:.0f} % by {label(name)}", words
                )
            )
        if thumbs:
            strips.append(Strip(who(cast, name), thumbs))
    return strips


def _confusion(task: TaskRun, kept: dict[Name, dict[int, dict[str, Any]]], cast: Cast) -> Table:
    """The commonest confusions of each competitor, over all seeds."""
    rows = []
    for name, seeds in kept.items():
        counted = [np.array(c["confusion"]) for c in seeds.values() if c.get("confusion")]
        if not counted:
            continue
        classes = next(iter(seeds.values())).get("classes") or []
        total = np.sum(counted, axis=0)
        wrong = total - np.diag(np.diag(total))
        of_class = np.maximum(total.sum(1, keepdims=True), 1)
        for flat in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]:
            true, said = np.unravel_index(int(flat), wrong.shape)
            if wrong[true, said]:
                share = wrong[true, said] / of_class[true, 0]
                rows.append([
                    who(cast, name), Value(_class(classes, int(true))), Value(_class(classes, int(said))),
                    Value(f"{100 * share:.1f} %", float(share), number=True),
                    Value(f"{wrong[true, said]}", int(wrong[true, said]), number=True),
                ])  # fmt: skip
    columns = ["competitor", "class", "taken for", "share of the class", "test images, all seeds"]
    return Table(f"{task.id}-confusions", columns, rows, [0, 1], {}, (3, "desc"))


def _class(classes: list[Any], index: int) -> str:
    return str(classes[index]) if index < len(classes) else str(index)
