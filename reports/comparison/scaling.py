"""Two runs that measured cost against length: every time, and every count that carries no noise."""

from __future__ import annotations

import math

import numpy as np

from reports.comparison.changes import Change
from reports.comparison.method import Effect, two_samples
from reports.data import PAIRED, Cell, Key, RunData, medians
from reports.words import digits, integer, phase, short

COLUMNS = ("architecture", "regime", "phase", "quantity", "length (tokens)")
EXACT = ("activation_memory", "state_memory", "flops", "span", "path_length")
ROOF = ("matmul_throughput", "copy_bandwidth")

Place = tuple[Key, int]


def changes(a: RunData, b: RunData) -> tuple[list[Change], dict[str, list[str]], list[str]]:
    """What both runs have, uncorrected; in words what only one of them has, and what was tried in b but failed there."""
    left, right = _cells(a), _cells(b)
    common = [place for place in left if place in right and left[place].batch == right[place].batch]
    shared = set(common)
    times = [place for place in common if place[0].metric == "time"]
    logs = [[np.log(medians(side[place].rounds)) for place in times] for side in (left, right)]
    effects = dict(zip(times, two_samples(*logs), strict=True))
    made = [_change(a, place, left[place], right[place], effects.get(place)) for place in common]
    only = {
        name: _words(data, [place for place in own if place not in shared])
        for name, data, own in (("A", a, left), ("B", b, right))
    }
    return made, only, _lost(a, b, [place for place in left if place not in shared])


def _lost(a: RunData, b: RunData, places: list[Place]) -> list[str]:
    failed = {(r.architecture, r.kind, r.regime, r.length): r for r in b.records if r.status != "ok"}
    found: dict[tuple[str, str, str], str] = {}
    for key, length in sorted(places, key=lambda place: place[1]):
        record = failed.get((key.architecture, key.kind, key.regime, length))
        if record is not None:  # the shortest length says it all
            found.setdefault((key.architecture, key.kind, key.regime), f"{short(key.architecture)}, {_regime(a, key)}, from "
                             f"{integer(length)} tokens ({record.status}: {short(record.reason, 80)})")  # fmt: skip
    return list(found.values())


def _cells(data: RunData) -> dict[Place, Cell]:
    """Times with a positive value, and exact counts."""
    found = {}
    for key, by_length in data.cells.items():
        timed = key.kind in ("cell", "decode") and key.metric == "time" and key.metric != PAIRED
        if timed or key.metric in EXACT:
            for length, cell in by_length.items():
                if not timed or min(map(min, cell.rounds)) > 0:
                    found[key, length] = cell
    return found


def _change(data: RunData, place: Place, x: Cell, y: Cell, effect: Effect | None) -> Change:
    key, length = place
    where = (key.architecture, _regime(data, key), phase(key.phase), key.metric.replace("_", " "), integer(length))
    order = (key.architecture, key.kind, key.regime, key.phase, key.metric, length)
    n = (len(x.rounds), len(y.rounds))
    if effect is not None:
        note = "unstable" if x.unstable or y.unstable else ""
        return Change("time", where, order, x.unit, "lower", x.value, y.value, effect, n, "rounds", note=note)
    ratio = y.value / x.value - 1 if x.value else (0.0 if y.value == 0 else math.inf)
    return Change("count", where, order, x.unit, "lower", x.value, y.value, Effect(ratio, 0.0, math.inf), n, "exact")


def _regime(data: RunData, key: Key) -> str:
    return data.regime_title(key.regime) if key.regime else "decoding" if key.kind == "decode" else "one sequence"


def _words(data: RunData, places: list[Place]) -> list[str]:
    """One line an architecture, regime and quantity, with its lengths."""
    lengths: dict[tuple[str, ...], list[int]] = {}
    for key, length in places:
        name = (key.architecture, _regime(data, key), phase(key.phase), key.metric.replace("_", " "))
        lengths.setdefault(name, []).append(length)
    return [f"{short(name[0])}, {', '.join(name[1:])}: {', '.join(map(integer, sorted(found)))} tokens"
            for name, found in lengths.items()]  # fmt: skip


def machine(a: RunData, b: RunData) -> list[str]:
    """What the machine itself did in either run: it is measured beside the architectures, so it is the control."""
    said = []
    for metric in ROOF:
        rates = [_roof(data, metric) for data in (a, b)]
        if rates[0] and rates[1]:
            ratio = rates[1] / rates[0]
            said.append(f"The machine's own {metric.replace('_', ' ').replace('matmul', 'matrix-product')} was "
                        f"{digits(ratio)}× in B what it was in A.")  # fmt: skip
    return said


def _roof(data: RunData, metric: str) -> float | None:
    found = [c.value for key, cells in data.cells.items() for c in cells.values()
             if (key.kind, key.phase, key.metric) == ("roof", "all_threads", metric)]  # fmt: skip
    return found[0] if found else None
