"""The record: one trial, one line of JSON.

A record says what was asked for (the resolved trial), what really ran (device, dtype, kernels), how it ended (status and
reason) and what was measured. Timings are kept as raw samples; medians and intervals are computed in `reports`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

SCHEMA_VERSION = 1
# Two runs are comparable when Major.Minor agree. CHANGELOG.md says what each version changed in how we measure.
PROTOCOL_VERSION = "1.0"

# What may be a part of a path: ids of runs and trials, names of suites.
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Status = Literal["ok", "oom", "nan", "timeout", "unsupported", "error"]
STATUSES: tuple[str, ...] = get_args(Status)
Better = Literal["lower", "higher", "none"]
Keep = Literal["all", "measured", "ends"]
"""What to read of trials that ended ok: all, all but `extra` (a training's curves), or only how they ended. Of those that
ended otherwise all is read; there is little of it."""


class RecordError(ValueError):
    """A line that is not a record of this schema; the message names the key and what was expected."""


@dataclass(frozen=True)
class Measurement:
    """One measured quantity of a trial.

    Exactly one of `value` (a count, a number of bytes) and `samples` (raw repeats, in order of measurement) is given.
    `method` says how the number came about, e.g. `traced`, `affine`, `resident`, `allocator`.
    """

    phase: str
    metric: str
    unit: str
    better: Better
    value: float | None = None
    samples: tuple[float, ...] | None = None
    split: str = "none"
    method: str = "measured"

    def __post_init__(self) -> None:
        if (self.value is None) == (self.samples is None):
            raise RecordError(f"measurement {self.phase}/{self.metric}: give either value or samples")
        numbers = self.samples if self.samples is not None else (self.value,)
        plain = _NUMBERS.issuperset(map(type, numbers)) or all(map(_is_number, numbers))
        if not numbers or not plain or not all(map(math.isfinite, numbers)):  # type: ignore[arg-type]
            raise RecordError(f"measurement {self.phase}/{self.metric}: {numbers!r} is not a list of finite numbers")
        words = (self.phase, self.metric, self.unit, self.split, self.method)
        known = _WORDS.issuperset(map(type, words)) or all(isinstance(word, str) for word in words)
        if not known or self.better not in _BETTER:
            raise RecordError(f"measurement {self.phase}/{self.metric}: {(*words, self.better)!r} are not all words")

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> Measurement:
        """What JSON gave. Raises RecordError, TypeError or KeyError for what is no measurement.

        A run holds a hundred thousand of them, and the constructor of a frozen class sets one attribute after the other;
        so the attributes of a whole one are set at once.
        """
        if raw["samples"] is not None:
            raw["samples"] = tuple(raw["samples"])
        if raw.keys() != _MEASUREMENT_KEYS:
            return cls(**raw)
        made = object.__new__(cls)
        made.__dict__.update(raw)
        made.__post_init__()
        return made


_NUMBERS, _WORDS = {int, float}, {str}  # of nearly all; types that derive from them take the longer way
_BETTER = get_args(Better)
_MEASUREMENT_KEYS = {f.name for f in dataclasses.fields(Measurement)}


@dataclass(frozen=True)
class Record:
    """One finished trial, whatever its end. `architecture` is empty for trials of the machine itself (kind `roof`)."""

    # what was asked for
    run_id: str
    trial_id: str
    environment_id: str
    suite: str
    kind: str
    architecture: str
    variant: str
    task: str
    decoder: str
    mode: str
    regime: str
    width: int
    depth: int
    parameters: int
    batch: int
    length: int
    dtype: str
    device: str
    seed: int
    # what ran, and how it ended
    status: Status
    reason: str
    failed_phase: str
    kernels: tuple[str, ...]
    warnings: tuple[str, ...]
    started_at: str
    wall_s: float
    measured_s: float
    git_commit: str
    git_dirty: bool
    measurements: tuple[Measurement, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION
    protocol: str = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise RecordError(f"status {self.status!r} is not one of {', '.join(STATUSES)}")
        if self.status != "ok" and not self.reason:
            raise RecordError(f"a trial that ended {self.status!r} needs a reason")

    def to_json(self) -> str:
        """One line, no newline at its end."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str, keep: Keep = "all") -> Record:
        """Read one line. Raises RecordError for torn, foreign or newer lines."""
        try:
            raw = _parsed(line)  # whole, so that damage anywhere in it is found
        except (ValueError, RecursionError) as error:
            raise RecordError(f"not JSON: {error}") from error
        if not isinstance(raw, dict):
            raise RecordError("not a JSON object")
        if raw.get("schema") != SCHEMA_VERSION:
            raise RecordError(f"schema {raw.get('schema')!r}, this version reads {SCHEMA_VERSION}")
        if unknown := sorted(raw.keys() - _RECORD_KEYS):
            raise RecordError(f"unknown key {unknown[0]!r}")
        try:
            if keep != "all" and raw["status"] == "ok":
                raw["extra"] = {}
                raw["measurements"] = raw["measurements"] if keep == "measured" else ()
            raw["measurements"] = tuple(map(Measurement.from_raw, raw["measurements"]))
            raw["kernels"] = tuple(raw["kernels"])
            raw["warnings"] = tuple(raw["warnings"])
            return _checked(cls(**raw))
        except (TypeError, KeyError) as error:
            raise RecordError(f"missing or wrong key: {error}") from error


def _checked(record: Record) -> Record:
    """A record that somebody else wrote: every value is of the kind that readers rely on."""
    for name, kind in _FIELD_KINDS.items():
        value = getattr(record, name)
        if not (_is_number(value) if kind is float else type(value) is kind):
            raise RecordError(f"{name!r} is {value!r:.60}, expected {kind.__name__}")
    for name in ("kernels", "warnings"):
        if not all(isinstance(word, str) for word in getattr(record, name)):
            raise RecordError(f"{name!r} are not all words")
    if not SAFE_ID.fullmatch(record.trial_id):
        raise RecordError(f"trial id {record.trial_id!r:.60} is no part of a path")
    for name, kinds in EXTRA_KINDS.items():
        if name in record.extra and not isinstance(record.extra[name], kinds):
            raise RecordError(f"extra {name!r} is {record.extra[name]!r:.60}")
    return record


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parsed(line: str) -> Any:
    """In half the time of json, which says better what is wrong, and reads what orjson refuses (half a surrogate pair)."""
    try:
        return orjson.loads(line)
    except ValueError:
        return json.loads(line, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


_FIELD_KINDS: dict[str, type] = {
    f.name: {"int": int, "float": float, "bool": bool, "dict[str, Any]": dict}.get(str(f.type), str)
    for f in dataclasses.fields(Record)
    if not str(f.type).startswith("tuple")
}
# Of what a record may hold beside, that which every reader relies on.
EXTRA_KINDS: dict[str, type | tuple[type, ...]] = {
    "unstable": list, "first_call_s": dict, "skipped": bool, "load": (int, float), "curves": dict, "recipe": dict,
    "positions": dict, "samples": list, "resumed_at": list, "checkpoint": str, "weights": str,
}  # fmt: skip
_RECORD_KEYS = {f.name for f in dataclasses.fields(Record)}
