"""A run that trains, as plain data: its tasks, and for each the competitors with their final trials, tries and costs."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from reports.data import RunData
from reports.words import score_name
from results.schema import Measurement, Record

Name = tuple[str, str]
"""A competitor: architecture and variant, the variant empty where nothing was changed."""


@dataclass(frozen=True)
class Metric:
    """A score: its name, unit, and which way is better ("higher", "lower", "none")."""

    name: str
    unit: str = ""
    better: str = "lower"

    @property
    def words(self) -> str:
        """Name and unit; a unit that says nothing ("", "1", "share") is left out."""
        name = score_name(self.name)
        return name if self.unit in ("", "1", "none", "share", "fraction", self.name) else f"{name} ({self.unit})"

    def beats(self, a: float, b: float) -> bool:
        return a > b if self.better == "higher" else a < b

    def best(self, values: Iterable[float]) -> float:
        return max(values) if self.better == "higher" else min(values)

    def worst(self, values: Iterable[float]) -> float:
        return min(values) if self.better == "higher" else max(values)


@dataclass(frozen=True)
class Reference:
    """A number to hold results against; `splits` it holds for, empty for all."""

    label: str
    metric: str
    value: float
    kind: str
    source: str
    splits: tuple[str, ...] = ()

    def holds(self, split: str) -> bool:
        return not self.splits or split in self.splits


@dataclass(frozen=True, eq=False)
class Competitor:
    """An architecture, or one with a named change. `problem` says why it could not take part."""

    name: Name
    family: str = "other"
    baseline: bool = False
    target: float | None = None
    """Its own size, where the plan gives it one beside the others'."""
    width: int | None = None
    depth: int | None = None
    parameters: int | None = None
    embedding_parameters: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    receptive_field: int | None = None
    problem: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Values of the task's recipe that are other for this competitor."""
    change: str = ""
    """What else is other, in words."""
    pretraining_s: float = 0.0
    """Seconds of training that another run spent on what it starts from."""

    @property
    def label(self) -> str:
        return label(self.name)


@dataclass(frozen=True)
class Try:
    """One try of the search: what was set, and its score on the tuning split (None where it failed)."""

    settings: dict[str, Any]
    status: str
    score: float | None
    reason: str = ""

    @property
    def lr(self) -> float | None:
        value = self.settings.get("lr")
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Choice:
    """How a competitor's settings were chosen. status: chosen, single, none, or "" while the search is not over."""

    status: str = ""
    reason: str = ""
    tries: tuple[Try, ...] = ()
    chosen: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class TaskRun:
    """A task and all that was measured on it. Nothing is ever averaged over tasks."""

    id: str
    name: str
    primary: Metric
    seeds: int
    raw: dict[str, Any]
    references: list[Reference]
    competitors: list[Competitor]
    finals: dict[Name, dict[int, Record]]
    choices: dict[Name, Choice]
    costs: dict[Name, Record]
    decodes: dict[Name, list[Record]]

    @cached_property
    def test_split(self) -> str:
        """The split that ranks: "test", or the first further test where there is none of that name."""
        tests = [s for s in self.splits if s.startswith("test")]
        return "test" if "test" in tests or not tests else tests[0]

    @property
    def example(self) -> tuple[str, str]:
        """What FLOPs are counted for, in names of metrics and in words: an image where that is known, else a token."""
        if any(measured(r, "train", "flops_per_image") is not None for r in self.costs.values()):
            return "image", "an image"
        return "token", "a source and a target token" if any(r.decoder for r in self.costs.values()) else "a token"

    @cached_property
    def watched(self) -> Metric:
        """What looks at the tuning split go by while a model learns: the primary score, or the loss where that takes too
        long for every look."""
        looks = ((r.extra.get("curves") or {}).get("tune") or {} for rs in self.finals.values() for r in rs.values())
        names = {name for look in looks for name in look}
        return Metric("loss", "nats", "lower") if "loss" in names and self.primary.name not in names else self.primary

    @cached_property
    def splits(self) -> list[str]:
        """Splits of the plan, then any that only the records know."""
        planned = [str(s) for s in self.raw.get("splits") or ()]
        return list(dict.fromkeys([*planned, *self._metrics]))

    @property
    def length(self) -> int:
        return int(self.raw.get("length") or 0)

    def planned(self, name: Name) -> int:
        """How many final trials must end well for a mean: those of the plan, or those that ran if they are more."""
        return max(self.seeds, len(self.finals.get(name, {})))

    def ok(self, name: Name) -> dict[int, Record]:
        """Final trials that ended well, by seed."""
        if name not in self._ended:
            found = sorted(self.finals.get(name, {}).items())
            self._ended[name] = {seed: r for seed, r in found if r.status == "ok"}
        return self._ended[name]

    @cached_property
    def _ended(self) -> dict[Name, dict[int, Record]]:
        return {}

    @cached_property
    def tuning_curves(self) -> dict[Name, list[dict[str, np.ndarray] | None]]:
        """Of each competitor's final trials; kept, since the headline, the target and its table all ask for them."""
        return {}

    def scores(self, name: Name, split: str, metric: str) -> dict[int, float]:
        """A score of each final trial that ended well, by seed."""
        return dict(self._values(name).get(("tune" if split == "tune" else "test", metric, split), {}))

    def metrics(self, split: str) -> list[Metric]:
        """Scores of a split, the primary one first, then as they come."""
        others = {name: one for name, one in self._metrics.get(split, {}).items() if name != self.primary.name}
        return [self.primary, *others.values()]

    @cached_property
    def _metrics(self) -> dict[str, dict[str, Metric]]:
        """By split and name, as they come."""
        found: dict[str, dict[str, Metric]] = {}
        for trials in self.finals.values():
            for record in trials.values():
                for m in record.measurements:
                    if m.phase in ("tune", "test"):
                        found.setdefault(m.split, {}).setdefault(m.metric, Metric(m.metric, m.unit, m.better))
        return found

    def cost(self, name: Name, metric: str) -> float | None:
        """What a training step costs; None where it was not measured."""
        record = self.costs.get(name)
        return measured(record, "train", metric) if record else None

    def effort(self, name: Name, metric: str) -> dict[int, float]:
        """A quantity of training itself (seconds, tokens, joules), by seed of the trials that ended well."""
        return dict(self._values(name).get(("train", metric, ""), {}))

    def _values(self, name: Name) -> dict[tuple[str, str, str], dict[int, float]]:
        """Every number of the final trials that ended well: by phase, name and split ("" for whichever comes first)."""
        if name not in self._tables:
            made: dict[tuple[str, str, str], dict[int, float]] = {}
            for seed, record in self.ok(name).items():
                for m in record.measurements:
                    for split in ("", m.split):
                        made.setdefault((m.phase, m.metric, split), {}).setdefault(seed, value_of(m))
            self._tables[name] = made
        return self._tables[name]

    @cached_property
    def _tables(self) -> dict[Name, dict[tuple[str, str, str], dict[int, float]]]:
        return {}


@dataclass(frozen=True)
class Training:
    """Everything that a page of a run that trains needs."""

    run: RunData
    tasks: list[TaskRun]


def label(name: Name) -> str:
    """A competitor as a reader sees it."""
    return f"{name[0]} · {name[1]}" if name[1] else name[0]


def measured(record: Record, phase: str, metric: str, split: str | None = None) -> float | None:
    """One number of a record, the median where samples were taken."""
    for m in record.measurements:
        if m.phase == phase and m.metric == metric and split in (None, m.split):
            return value_of(m)
    return None


def value_of(m: Measurement) -> float:
    """The one number of a measurement, the median where samples were taken."""
    return float(m.value) if m.value is not None else float(statistics.median(m.samples or (math.nan,)))


def read(run: RunData) -> Training:
    """Sort the records of a run by task and competitor. A task that only the records know comes last."""
    listed = [t for t in run.plan.get("tasks") or () if isinstance(t, dict) and t.get("name")]
    known = {str(t["name"]) for t in listed}
    strangers = dict.fromkeys(r.task for r in run.records if r.kind == "train" and r.task and r.task not in known)
    raws = [*listed, *({"name": name} for name in strangers)]
    return Training(run, [_task(run, raw, f"t{i}") for i, raw in enumerate(raws)])


def _task(run: RunData, raw: dict[str, Any], identity: str) -> TaskRun:
    name = str(raw["name"])
    records = [r for r in run.records if r.task == name]
    primary = _primary(raw, records)
    finals: dict[Name, dict[int, Record]] = defaultdict(dict)
    tunes: dict[Name, list[Record]] = defaultdict(list)
    decodes: dict[Name, list[Record]] = defaultdict(list)
    costs: dict[Name, Record] = {}
    for record in records:
        who = (record.architecture, record.variant)
        if record.kind == "train" and record.regime == "final":
            finals[who][record.seed] = record
        elif record.kind == "train":
            tunes[who].append(record)
        elif record.kind == "cost":
            costs[who] = record
        elif record.kind == "decode" and record.status == "ok":
            decodes[who].append(record)
    competitors = _competitors(run, name, [*finals, *tunes, *costs])
    given = {(str(c.get("architecture")), str(c.get("variant") or "")): c for c in run.plan.get("choices") or ()
             if c.get("task") == name}  # fmt: skip
    choices = {c.name: _choice(given.get(c.name), tunes.get(c.name, []), primary) for c in competitors}
    return TaskRun(
        identity, name, primary, _planned(run.plan, raw), raw, _references(raw), competitors, dict(finals), choices, costs,
        {who: sorted(found, key=lambda r: r.length) for who, found in decodes.items()},
    )  # fmt: skip


def _planned(plan: dict[str, Any], raw: dict[str, Any]) -> int:
    """How many seeds a competitor must finish for a mean."""
    seeds = raw.get("seeds") or plan.get("seeds") or ()
    return int(seeds) if isinstance(seeds, int | float) else len(seeds)


def _primary(raw: dict[str, Any], records: list[Record]) -> Metric:
    given = raw.get("primary")
    if isinstance(given, dict) and given.get("metric"):
        return Metric(str(given["metric"]), str(given.get("unit") or ""), str(given.get("better") or "lower"))
    for m in (m for r in records for m in r.measurements if m.phase == "tune"):
        return Metric(m.metric, m.unit, m.better)
    return Metric("loss")


def _references(raw: dict[str, Any]) -> list[Reference]:
    return [
        Reference(str(r.get("label") or r.get("kind")), str(r.get("metric")), float(r["value"]), str(r.get("kind") or ""),
                  str(r.get("source") or ""), tuple(r.get("splits") or ()))
        for r in raw.get("references") or () if isinstance(r.get("value"), int | float)
    ]  # fmt: skip


def _competitors(run: RunData, task: str, seen: list[Name]) -> list[Competitor]:
    """In the order of the plan; one that only the records know comes last."""
    families = {a.name: a.family for a in run.architectures}
    found: dict[Name, Competitor] = {}
    for raw in run.plan.get("competitors") or ():
        if raw.get("task") == task:
            name = (str(raw.get("architecture")), str(raw.get("variant") or ""))
            found[name] = Competitor(
                name, families.get(name[0], "other"), bool(raw.get("baseline")), raw.get("target"), raw.get("width"),
                raw.get("depth"), raw.get("parameters"), raw.get("embedding_parameters"), raw.get("settings") or {},
                raw.get("receptive_field"), str(raw.get("problem") or ""), raw.get("recipe") or {},
                str(raw.get("change") or ""),
                float(raw.get("pretraining_s") or 0.0),
            )  # fmt: skip
    for name in seen:
        found.setdefault(name, Competitor(name, families.get(name[0], "other")))
    return list(found.values())


def _choice(given: dict[str, Any] | None, tunes: list[Record], primary: Metric) -> Choice:
    """From the plan; while the search is not over, from the tries that have ended."""
    if given is None:
        tries = []
        for r in tunes:
            score = measured(r, "tune", primary.name, "tune") if r.status == "ok" else None
            lr = (r.extra.get("recipe") or {}).get("lr")
            tries.append(Try({} if lr is None else {"lr": lr}, r.status, score, r.reason))
        return Choice(tries=tuple(tries))
    rest = ("trial_id", "status", "score", "reason")
    return Choice(
        str(given.get("status") or ""), str(given.get("reason") or ""),
        tuple(
            Try({k: v for k, v in one.items() if k not in rest}, str(one.get("status") or ""), one.get("score"),
                str(one.get("reason") or ""))
            for one in given.get("tries") or ()
        ),
        given.get("chosen"),
    )  # fmt: skip
