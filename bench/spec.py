"""Suite files: YAML to validated, frozen objects. An unknown key is an error with a suggestion, always.

A file has `suite`, `kind`, `summary`, `base` (every setting) and `presets` (the settings each preset changes). What
stands on the command line as `--set key=value` changes the result once more. Nothing else overrides anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.registry import did_you_mean

SUITES = Path(__file__).parent / "suites"
PRESETS = ("smoke", "quick", "standard", "full")
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class SpecError(ValueError):
    """A suite file or a setting is wrong; the message names the file or setting, and the fix."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Regime(_Strict):
    """How the batch goes with the length: a fixed batch, or a fixed number of tokens in a batch."""

    batch: Positive | None = None
    tokens: Positive | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Regime:
        if (self.batch is None) == (self.tokens is None):
            raise ValueError("give either batch or tokens")
        return self

    def batch_at(self, length: int) -> int | None:
        """Sequences in a batch; None where a single one is longer than the tokens allowed."""
        if self.batch is not None:
            return self.batch
        assert self.tokens is not None
        return self.tokens // length or None

    @property
    def title(self) -> str:
        return f"batch {self.batch}" if self.batch is not None else f"{self.tokens:,} tokens a batch"


class ScalingSpec(_Strict):
    """Settings of a suite that measures cost against length.

    Attributes:
        match, target: what every architecture has the same of (parameters, forward FLOPs or width), and how much.
        first_length, last_length: lengths double from one to the other.
        decode_lengths, path_lengths: lengths of those trials; empty for none.
        seeds: rounds. Each initialises anew and visits the cells in an order of its own.
        seconds: how long to repeat one timing. limit: the longest that one call may take, past which a cell is a timeout.
        timeout: seconds after which a trial is killed. memory_share: part of all memory that a trial may take.
        phases: what a cell measures, in this order; one that runs out of memory or time ends those after it.
        settings: settings by architecture.
    """

    task: str
    mode: Literal["causal", "bidirectional"]
    match: Literal["parameters", "flops", "width"]
    target: Positive
    depth: Positive
    dtype: Literal["float32", "bfloat16", "float16"]
    regimes: dict[str, Regime] = Field(min_length=1)
    first_length: Positive
    last_length: Positive
    phases: tuple[Literal["forward", "forward_1_thread", "memory", "forward_backward"], ...] = Field(min_length=1)
    decode_lengths: tuple[Positive, ...]
    path_lengths: tuple[Positive, ...]
    seeds: Positive
    seconds: Seconds
    limit: Seconds
    timeout: Seconds
    memory_share: Annotated[float, Field(gt=0, le=1)]
    architectures: tuple[str, ...] | Literal["all"] = "all"
    settings: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _lengths_in_order(self) -> ScalingSpec:
        if self.last_length < self.first_length:
            raise ValueError(f"last_length {self.last_length} is below first_length {self.first_length}")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        lengths = [self.first_length]
        while lengths[-1] * 2 <= self.last_length:
            lengths.append(lengths[-1] * 2)
        return tuple(lengths)


class SuiteFile(_Strict):
    suite: str
    kind: Literal["scaling"]
    summary: str
    base: dict[str, Any]
    presets: dict[str, dict[str, Any]]


SPECS: dict[str, type[ScalingSpec]] = {"scaling": ScalingSpec}


def suite_names() -> list[str]:
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name: str) -> SuiteFile:
    """A suite by name, or by the path of a YAML file."""
    is_path = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_path else SUITES / f"{name}.yaml"
    if is_path and not path.is_file():
        raise SpecError(f"suite file {name}: no such file")
    if not path.is_file():
        raise SpecError(f"no suite '{name}'; {did_you_mean(name, suite_names())}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected keys and values, found {type(raw).__name__}")
    suite: SuiteFile = _validate(SuiteFile, raw, str(path))
    for preset, changes in suite.presets.items():
        if preset not in PRESETS:
            raise SpecError(f"{path}: no preset '{preset}'; {did_you_mean(preset, list(PRESETS))}")
        resolve(suite, preset, {}, where=f"{path}, preset {preset}" if changes else str(path))
    return suite


def resolve(suite: SuiteFile, preset: str, overrides: dict[str, Any], where: str = "") -> ScalingSpec:
    """Base, then the preset's changes, then overrides (keys may be dotted: `settings.NAME.heads`)."""
    if preset not in suite.presets:
        raise SpecError(f"suite '{suite.suite}' has no preset '{preset}'; {did_you_mean(preset, list(suite.presets))}")
    merged: dict[str, Any] = {**suite.base, **suite.presets[preset]}
    for key, value in overrides.items():
        _put(merged, key, value)
    spec: ScalingSpec = _validate(SPECS[suite.kind], merged, where or f"suite '{suite.suite}', preset '{preset}'")
    return spec


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as YAML: numbers, booleans, lists."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text}: write it as key=value, e.g. --set seeds=5")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SpecError(f"--set {text}: the value is not YAML") from error


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    first, _, rest = key.partition(".")
    if not rest:
        tree[first] = value
        return
    branch = tree.get(first)
    tree[first] = dict(branch) if isinstance(branch, dict) else {}  # a copy: the suite's own values stay
    _put(tree[first], rest, value)


def _validate(model: type[Any], raw: dict[str, Any], where: str) -> Any:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise SpecError(f"{where}: {_first_problem(model, error)}") from error


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        known = list(Regime.model_fields) if place[0] == "regimes" else list(model.model_fields)
        return f"unknown key '{'.'.join(place)}'; {did_you_mean(place[-1], known)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"'{'.'.join(place)}': {message}" if place else message
