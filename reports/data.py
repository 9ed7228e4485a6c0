"""A run folder as plain data: the plan, the machine, and every measured cell with its rounds kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from results.schema import Record
from results.store import Run, of_plan

FAMILIES = ("recurrent", "convolution", "attention", "windowed", "other")
STOP_WORDS = {"oom": "out of memory", "timeout": "time limit", "nan": "not a number", "unsupported": "not supported"}


@dataclass(frozen=True)
class Architecture:
    """One row of the plan. Theory is what the architecture claims in its traits; None where it claims nothing."""

    name: str
    family: str
    order: int
    summary: str = ""
    source: str = ""
    reference: str = ""
    width: int | None = None
    depth: int | None = None
    parameters: int | None = None
    receptive_field: int | None = None
    time_exponent: float | None = None
    memory_exponent: float | None = None
    parallel_in_time: bool | None = None
    path: str | None = None


@dataclass(frozen=True)
class Key:
    """What a series of lengths measures. `regime` is empty for counts, which do not depend on the batch."""

    architecture: str
    kind: str
    regime: str
    phase: str
    metric: str


@dataclass
class Cell:
    """One length of a series: the samples of each ok round (seed), in the unit of the measurement, and of which trials."""

    length: int
    batch: int
    unit: str
    rounds: list[Sequence[float]] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)
    unstable: bool = False

    @property
    def value(self) -> float:
        """The median of the rounds' medians: each round counts once, however many samples it took."""
        return float(row_medians(medians(self.rounds)[None, :])[0])


def medians(rounds: Sequence[Sequence[float]]) -> np.ndarray:
    """(k,) the median of each of k rounds; those with as many samples at once, since a call costs more than its sum."""
    found = np.empty(len(rounds))
    for places, table in by_size(rounds):
        found[places] = row_medians(table)
    return found


def by_size(rounds: Sequence[Sequence[float]]) -> Iterator[tuple[slice | np.ndarray, np.ndarray]]:
    """Places of the rounds with as many samples, and these samples, (k, size)."""
    sizes = [len(samples) for samples in rounds]
    if len(set(sizes)) == 1:
        yield slice(None), np.array(rounds, dtype=float)
        return
    for size in dict.fromkeys(sizes):
        places = np.flatnonzero(np.array(sizes) == size)
        yield places, np.array([rounds[i] for i in places.tolist()], dtype=float)


def row_medians(table: np.ndarray) -> np.ndarray:
    """(k,) medians of the rows of finite numbers; a third of the time that `np.median` takes for rows as short as these."""
    ordered, half = np.sort(table, axis=1), table.shape[1] // 2
    middle: np.ndarray = ordered[:, half] if table.shape[1] % 2 else 0.5 * (ordered[:, half - 1] + ordered[:, half])
    return middle


@dataclass(frozen=True)
class Stop:
    """Where an architecture stopped in a regime: the shortest length that did not end ok, and why."""

    architecture: str
    regime: str
    length: int
    status: str
    reason: str

    @property
    def words(self) -> str:
        return STOP_WORDS.get(self.status, self.status)


@dataclass(frozen=True)
class RunData:
    """Everything a page needs from one run."""

    run_id: str
    plan: dict[str, Any]
    environment: dict[str, Any]
    summary: dict[str, Any]
    records: list[Record]
    unreadable: list[str]
    architectures: list[Architecture]
    folder: Path | None = None
    estimate: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def cells(self) -> dict[Key, dict[int, Cell]]:
        """Series over lengths, for suites that measure them; made when asked for."""
        return _cells(self.records)

    @cached_property
    def regimes(self) -> list[dict[str, Any]]:
        """Regimes of the plan, then any that only the records know."""
        listed = [r for r in self.plan.get("regimes", []) if isinstance(r, dict) and r.get("name")]
        names = {r["name"] for r in listed}
        found = sorted({r.regime for r in self.records if r.kind == "cell" and r.regime} - names)
        return listed + [{"name": name, "title": name} for name in found]

    def regime_title(self, name: str) -> str:
        return next((str(r.get("title") or name) for r in self.regimes if r["name"] == name), name)

    def fixed_tokens(self, name: str) -> bool:
        """True where the batch shrinks as the sequence grows, so that every batch has the same number of tokens."""
        return any(r["name"] == name and r.get("tokens") for r in self.regimes)

    def stops(self, phase: str, metric: str = "time") -> list[Stop]:
        """The shortest length of each architecture and regime at which this quantity has no value, and why."""
        cells = sorted((r for r in self.records if r.kind == "cell"), key=lambda r: (r.length, r.seed))
        measured = {
            (key.architecture, key.regime, length)
            for key, by_length in self.cells.items()
            if (key.kind, key.phase, key.metric) == ("cell", phase, metric)
            for length in by_length
        }
        first: dict[tuple[str, str], Record] = {}
        for record in cells:
            place = (record.architecture, record.regime)
            # Bytes are taken in a trial of their own, which goes on where timing is over its limit.
            concerns = (record.failed_phase == "memory") == (metric != "time") or record.status in ("error", "nan")
            if record.status != "ok" and concerns and place not in first and (*place, record.length) not in measured:
                first[place] = record
        return [Stop(a, regime, r.length, r.status, r.reason) for (a, regime), r in first.items()]


def kind_of(plan: dict[str, Any]) -> str:
    """Of the suite: what its page and its comparisons are made by."""
    return str(plan.get("kind") or plan.get("suite") or "")


def load(run: Run) -> RunData:
    """Read a run folder. Raises results.store.StoreError where a side file is damaged."""
    written, unreadable = run.read()
    plan = run.read_json("plan.json")
    # Records whose source, settings or protocol have changed since stay in the file, but are not of this plan any more.
    records = of_plan(written, plan)
    return RunData(
        run_id=str(plan.get("run_id") or run.run_id),
        plan=plan,
        environment=run.read_json("environment.json"),
        summary=run.read_json("summary.json"),
        records=records,
        unreadable=unreadable,
        architectures=_architectures(plan, records),
        folder=run.folder,
        estimate=run.read_json("estimate.json"),
    )


def _architectures(plan: dict[str, Any], records: list[Record]) -> list[Architecture]:
    """In registry order; an architecture that only the records know comes last, with no claims."""
    found = []
    for position, raw in enumerate(plan.get("architectures", [])):
        traits = raw.get("traits") or {}
        family = raw.get("family", "other")
        found.append(
            Architecture(
                name=str(raw["name"]),
                family=family if family in FAMILIES else "other",
                order=int(raw.get("order", position)),
                summary=str(raw.get("summary") or ""),
                source=str(raw.get("source") or ""),
                reference=str(raw.get("reference") or ""),
                width=raw.get("width"),
                depth=raw.get("depth"),
                parameters=raw.get("parameters"),
                receptive_field=raw.get("receptive_field"),
                time_exponent=traits.get("time_exponent"),
                memory_exponent=traits.get("memory_exponent"),
                parallel_in_time=traits.get("parallel_in_time"),
                path=traits.get("path"),
            )
        )
    found.sort(key=lambda a: a.order)
    known = {a.name for a in found}
    strangers = dict.fromkeys(r.architecture for r in records if r.architecture and r.architecture not in known)
    return found + [Architecture(name, "other", 10_000 + i) for i, name in enumerate(strangers)]


def _cells(records: list[Record]) -> dict[Key, dict[int, Cell]]:
    """Every phase that was measured to its end. A trial that failed in a later phase keeps its earlier ones: forward
    times stand where forward + backward ran out of memory. What failed left no measurement, so it is in no fit.
    """
    found: dict[tuple[str, ...], dict[int, Cell]] = defaultdict(dict)  # a Key costs more to make and to look up
    for record in records:
        unstable = set(record.extra.get("unstable") or ())
        regime = record.regime if record.kind == "cell" else ""
        for m in record.measurements:
            by_length = found[record.architecture, record.kind, regime, m.phase, m.metric]
            cell = by_length.get(record.length)
            if cell is None:
                cell = by_length[record.length] = Cell(record.length, record.batch, m.unit)
            cell.rounds.append(m.samples if m.samples is not None else (cast(float, m.value),))
            cell.trials.append(record.trial_id)
            cell.methods.add(m.method)
            if unstable and m.metric == "time":
                cell.unstable |= bool(unstable & {m.phase, f"{m.phase}/{m.metric}"})
        _pair_threads(record, found)
    cells = {Key(*names): by_length for names, by_length in found.items()}
    for key, length in _survivors(records, cells):
        del cells[key][length]
    return {key: dict(sorted(by_length.items())) for key, by_length in cells.items()}


PAIRED = "time_beside_1_thread"


def _pair_threads(record: Record, found: dict[tuple[str, ...], dict[int, Cell]]) -> None:
    """Forward times of those visits that also ran with one thread: a speed-up compares times of one visit."""
    samples = {m.phase: m.samples for m in record.measurements if m.metric == "time" and m.samples is not None}
    if record.kind == "cell" and {"forward", "forward_1_thread"} <= set(samples):
        by_length = found[record.architecture, record.kind, record.regime, "forward", PAIRED]
        cell = by_length.setdefault(record.length, Cell(record.length, record.batch, "s"))
        cell.rounds.append(samples["forward"])


def _survivors(records: list[Record], cells: dict[Key, dict[int, Cell]]) -> list[tuple[Key, int]]:
    """Times that some round finished and another gave up on: what is left of them is the quick half."""
    timed = {"cell": ("forward", "forward_backward"), "decode": ("decode",)}
    found = set()
    for record in records:
        if record.kind not in timed or record.status == "ok" or record.failed_phase == "memory":
            continue
        done = {m.phase for m in record.measurements}
        regime = record.regime if record.kind == "cell" else ""
        for phase in timed[record.kind]:
            key = Key(record.architecture, record.kind, regime, phase, "time")
            if phase not in done and record.length in cells.get(key, {}):
                found.add((key, record.length))
    return list(found)
