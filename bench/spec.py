"""Suite files: YAML to validated, frozen objects. An unknown key is an error with a suggestion, always.

A file has `suite`, `kind`, `summary`, `base` (every setting) and `presets` (the settings each preset changes). What
stands on the command line as `--set key=value` changes the result once more. Nothing else overrides anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.registry import did_you_mean
from bench.sampler import Sampler
from bench.training.recipe import Recipe
from bench.yaml_files import YAMLProblem, parse_yaml, read_yaml
from results.schema import SAFE_ID

SUITES = Path(__file__).parent / "suites"
BASELINE = "baseline"  # the variant that an architecture's changes are compared with
PRESETS = ("smoke", "quick", "standard", "full")
Match = Literal["parameters", "flops", "width"]
Positive = Annotated[int, Field(gt=0, le=2**40)]
Seeds = Annotated[int, Field(gt=0, le=1000)]
Seconds = Annotated[float, Field(gt=0)]


class SpecError(ValueError):
    """A suite file or a setting is wrong; the message names the file or setting, and the fix."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
        timeout: seconds after which a trial is killed. memory_share: part of all memory that a trial may take;
            device_memory_share: the same of a GPU's.
        silence: seconds without a sign of life (see bench.execute.watch) after which a trial is killed as hung.
        phases: what a cell measures, in this order; one that runs out of memory or time ends those after it.
        settings: settings by architecture.
    """

    task: str
    mode: Literal["causal", "bidirectional"]
    match: Match
    target: Positive
    depth: Positive
    dtype: Literal["float32", "bfloat16", "float16"]
    regimes: dict[str, Regime] = Field(min_length=1)
    first_length: Positive
    last_length: Positive
    phases: tuple[Literal["forward", "forward_1_thread", "memory", "forward_backward"], ...] = Field(min_length=1)
    decode_lengths: tuple[Positive, ...]
    path_lengths: tuple[Positive, ...]
    seeds: Seeds
    seconds: Seconds
    limit: Seconds
    timeout: Seconds
    memory_share: Annotated[float, Field(gt=0, le=1)]
    device_memory_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    silence: Seconds = 300
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


class Search(_Strict):
    """What is tried on the tuning split, the same for every competitor.

    Attributes:
        lr: learning rates, one try each. A single one leaves nothing to choose and costs no try.
        share: part of the recipe's budget that a try gets.
    """

    lr: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    share: Annotated[float, Field(gt=0, le=1)] = 1.0


class Generation(_Strict):
    """Text to be sampled from the first final trial. `prompt`: None for the task's own."""

    tokens: Positive = 300
    prompt: str | None = None
    samplers: tuple[Sampler, ...] = ()


Changes = dict[str, dict[str, dict[str, Any]]]
"""By architecture, named changes of it."""


class TaskPlan(_Strict):
    """One task of a suite: its own settings, and what of the suite's settings is different for it."""

    settings: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    search: Search | None = None
    seeds: Seeds | None = None
    match: Match | None = None
    target: Positive | None = None
    depth: Positive | None = None
    architectures: tuple[str, ...] | None = None
    architecture_settings: dict[str, dict[str, Any]] = {}
    fronts: dict[str, dict[str, Any]] = {}
    changes: Changes | None = None  # in place of the suite's


class Study(_Strict):
    """Tasks that differ in one thing, drawn against it.

    Attributes:
        axis: what differs: examples to train on, rows and columns of a patch, or tokens of an input.
        lead: what the plots answer.
    """

    title: str
    axis: Literal["training examples", "patch", "tokens"]
    tasks: tuple[str, ...] = Field(min_length=2)
    lead: str = ""


OF_CHANGES = ("depth", "target", "recipe", "baseline")
"""What a change may say beside settings of the architecture."""
FRONT = ("patch", "patch_reach", "class_token", "positions", "pooling")


class TrainSpec(_Strict):
    """Settings of a suite that trains.

    Attributes:
        title: the page's heading.
        tasks: what can be learnt; each may change recipe, search, size and settings. `name@label` is the task `name` once
            more, with settings of its own. run: those that are, where no other is named on the command line; all of them if
            empty. groups: names that stand for several tasks there. studies: plots across tasks.
        fronts: by architecture, what of the recipe's front end and pooling (`FRONT`) is customary for it and differs from
            the others': a convolutional network begins with pixels where a Transformer has patches. A task may change it.
        match, target: what every competitor has the same of (parameters of the whole model, forward FLOPs of the encoder, or
            width), and how much.
        recipe: how everything is trained; a task's `recipe` changes single values.
        search: what is tried before. seeds: final trials of each competitor.
        leave_out: architectures that "all" does not mean here.
        changes: ablations: by architecture, named changes of its settings (or of `depth`, the `recipe` or `target`, as
            published models of several sizes need it: pages say that sizes differ), each trained as a competitor. One of
            them may be the `baseline` of the others, in place of the unchanged architecture. A task may have changes of its
            own in place of these.
        decode_lengths: contexts at which generation is timed; empty for none. decode_batches: batches at which writing is
            timed too, at the first of these contexts. decode_beams: beams with which a search is timed there, at the
            largest batch.
        generate: what is sampled; None for nothing.
        seconds, limit, timeout, silence, memory_share, device_memory_share: as for scaling; a training that takes longer
            than `train_timeout` is killed.
    """

    title: str
    tasks: dict[str, TaskPlan] = Field(min_length=1)
    mode: Literal["causal", "bidirectional"]
    match: Match
    target: Positive
    depth: Positive
    dtype: Literal["float32", "bfloat16"]
    recipe: dict[str, Any]
    search: Search
    seeds: Seeds
    architectures: tuple[str, ...] | Literal["all"] = "all"
    leave_out: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}
    studies: tuple[Study, ...] = ()
    fronts: dict[str, dict[str, Any]] = {}
    settings: dict[str, dict[str, Any]] = {}
    changes: Changes = {}
    decode_lengths: tuple[Positive, ...] = ()
    decode_batches: tuple[Positive, ...] = ()
    decode_beams: tuple[Positive, ...] = ()
    generate: Generation | None = None
    seconds: Seconds = 0.04
    limit: Seconds = 1.0
    timeout: Seconds = 120
    train_timeout: Seconds = 7200
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    device_memory_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    silence: Seconds = 300

    @model_validator(mode="after")
    def _recipes_are_whole(self) -> TrainSpec:
        for name in self.tasks:
            self.recipe_of(name)
            for architecture in {*self.fronts, *self.tasks[name].fronts}:
                self.recipe_of(name, architecture, where=f"fronts, {architecture}: ")
        for study in self.studies:
            for name in study.tasks:
                if name not in self.tasks:
                    raise ValueError(
                        f"study '{study.title}' names '{name}', tasks does not; {did_you_mean(name, list(self.tasks))}"
                    )
        self._changes_are_whole(
            self.changes, [name for name, plan in self.tasks.items() if plan.changes is None], "changes"
        )
        for name, plan in self.tasks.items():
            self._changes_are_whole(plan.changes or {}, [name], f"changes of {name}")
        for name in self.run:
            if name not in self.tasks:
                raise ValueError(f"run names '{name}', tasks does not; {did_you_mean(name, list(self.tasks))}")
        return self

    def _changes_are_whole(self, changes: Changes, tasks: list[str], where: str) -> None:
        for architecture, named in changes.items():
            marks = [change["baseline"] for change in named.values() if "baseline" in change]
            if marks not in ([], [True]):
                raise ValueError(f"{where}, {architecture}: mark one change with baseline: true, or none")
            for name, change in named.items():
                this = f"{where}, {architecture} '{name}'"
                depth = change.get("depth", 1)
                if not isinstance(own := change.get("recipe", {}), dict):
                    raise ValueError(f"{this}: recipe is no mapping; write recipe: {{pooling: max}}")
                for task in tasks if own else ():
                    self.recipe_of(task, architecture, own, f"{this}, ")
                if name == BASELINE:
                    raise ValueError(f"{this}: has the baseline's own name; change it")
                if type(depth) is not int or depth < 1:
                    raise ValueError(f"{this}: depth {depth!r} is no number of layers; change it")
                target = change.get("target", 1)
                if type(target) is not int or target < 1:
                    raise ValueError(f"{this}: target {target!r} is no whole number above 0; change it")

    @property
    def chosen(self) -> dict[str, TaskPlan]:
        """The tasks of this run."""
        return {name: plan for name, plan in self.tasks.items() if name in (self.run or self.tasks)}

    def changes_of(self, task: str) -> Changes:
        """What ablations change in one task: its own list, else the suite's."""
        own = self.tasks[task].changes
        return self.changes if own is None else own

    def front_of(self, task: str, architecture: str) -> dict[str, Any]:
        """What of a task's recipe is other for an architecture. Raises ValueError for settings of no front end."""
        front = {**self.fronts.get(architecture, {}), **self.tasks[task].fronts.get(architecture, {})}
        for key in front:
            if key not in FRONT:
                raise ValueError(f"fronts, {architecture}: unknown key '{key}'; {did_you_mean(key, list(FRONT))}")
        return front

    def recipe_of(
        self, task: str, architecture: str = "", change: dict[str, Any] | None = None, where: str = ""
    ) -> Recipe:
        """The recipe of one task, with the front end that an architecture has here, and with an ablation's change. Raises
        ValueError naming the setting that is wrong."""
        usual = {**self.recipe, **self.tasks[task].recipe}
        if "lr" in usual:
            raise ValueError(f"recipe of {task}: lr is what the search tries; set search.lr to one rate or several")
        merged = {**usual, **self.front_of(task, architecture), **(change or {})}
        try:
            return Recipe.model_validate(merged)
        except ValidationError as error:
            raise ValueError(f"{where}recipe of {task}: {_first_problem(Recipe, error)}") from error


class SuiteFile(_Strict):
    suite: Annotated[str, Field(pattern=f"^{SAFE_ID.pattern}$")]  # a part of the names of folders and pages
    kind: Literal["scaling", "train"]
    summary: str
    base: dict[str, Any]
    presets: dict[str, dict[str, Any]]


Spec = ScalingSpec | TrainSpec
SPECS: dict[str, type[ScalingSpec] | type[TrainSpec]] = {"scaling": ScalingSpec, "train": TrainSpec}


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
    raw = _read(path)
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected keys and values, found {type(raw).__name__}")
    suite: SuiteFile = _validate(SuiteFile, raw, str(path))
    for preset, changes in suite.presets.items():
        if preset not in PRESETS:
            raise SpecError(f"{path}: no preset '{preset}'; {did_you_mean(preset, list(PRESETS))}")
        resolve(suite, preset, {}, where=f"{path}, preset {preset}" if changes else str(path))
    return suite


def read_settings(path: Path, paths: tuple[str, ...]) -> dict[str, Any]:
    """Settings of a task from a YAML file; those in `paths` are files, found from where the YAML file lies."""
    raw = _read(path)
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise SpecError(f"{path}: expected settings and their values, such as 'path: reviews.csv'")
    return {
        k: str((path.parent / v).resolve()) if k in paths and isinstance(v, str) and v else v for k, v in raw.items()
    }


def _read(path: Path) -> Any:
    try:
        return read_yaml(path)
    except OSError as error:
        raise SpecError(f"cannot read {path} ({error.strerror})") from error
    except YAMLProblem as error:
        raise SpecError(f"{path}: {error}") from error


def files_named(settings: Any) -> tuple[str, ...]:
    """Files and folders of this machine that settings name by their whole path."""
    if isinstance(settings, dict):
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        return tuple(path for value in settings for path in files_named(value))
    return (settings,) if isinstance(settings, str) and settings.startswith("/") and Path(settings).exists() else ()


def resolve(suite: SuiteFile, preset: str, overrides: dict[str, Any], where: str = "") -> Spec:
    """Base, then the preset's changes, then overrides (keys may be dotted: `settings.NAME.heads`)."""
    if preset not in suite.presets:
        raise SpecError(f"suite '{suite.suite}' has no preset '{preset}'; {did_you_mean(preset, list(suite.presets))}")
    merged: dict[str, Any] = dict(suite.base)
    for key, value in {**suite.presets[preset], **overrides}.items():
        _put(merged, key, value)
    spec: Spec = _validate(SPECS[suite.kind], merged, where or f"suite '{suite.suite}', preset '{preset}'")
    return spec


def studies_among(suite: SuiteFile, preset: str, tasks: Iterable[str]) -> list[dict[str, Any]]:
    """The suite's studies of which two of `tasks` or more are part, with these alone."""
    spec = resolve(suite, preset, {})
    found = [
        (s, [n for n in s.tasks if n in set(tasks)]) for s in (spec.studies if isinstance(spec, TrainSpec) else ())
    ]
    return [{**study.model_dump(), "tasks": named} for study, named in found if len(named) > 1]


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as YAML: numbers, booleans, lists."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text}: write it as key=value, e.g. --set seeds=5")
    try:
        return key.strip(), parse_yaml(value)
    except YAMLProblem as error:
        raise SpecError(f"--set {text}: the value is {error}") from error


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
    # The branch of a union is no place of the user's.
    place = [str(part) for part in first["loc"] if not str(part).startswith(("tuple[", "literal["))]
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {
            "regimes": Regime, "tasks": TaskPlan, "search": Search, "generate": Generation, "samplers": Sampler,
            "studies": Study,
        }  # fmt: skip
        holder = next((parts[part] for part in reversed(place[:-1]) if part in parts), model)
        known = list(holder.model_fields)
        return f"unknown key '{'.'.join(place)}'; {did_you_mean(place[-1], known)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"'{'.'.join(place)}': {message}" if place else message
