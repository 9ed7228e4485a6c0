"""Names to factories. A duplicate is an error, a misspelt name gets a suggestion, plug-ins register like built-ins do.

from bench.registry import register_architecture

@register_architecture("my_mixer", family="recurrent", config=MyConfig, summary="...", reference="Me 2026")
def my_mixer(config, width, depth, causal, grid=None): ...
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

FAMILIES = ("recurrent", "convolution", "attention", "windowed", "other")
# vectors: inputs with no labels, for suites that measure cost; language: text; probe: generated, with a known answer;
# translation: targets that a decoder writes; image: inputs are images.
TASK_FAMILIES = ("vectors", "language", "probe", "supervised", "translation", "image")
ENTRY_POINT_GROUPS = ("seqbench.architectures", "seqbench.tasks")


class RegistryError(ValueError):
    """A name that is unknown, taken or malformed; the message names the fix."""


@dataclass(frozen=True)
class NoConfig:
    """The configuration of an architecture that has no settings."""


@dataclass(frozen=True)
class Entry:
    """One registered architecture or task."""

    name: str
    build: Callable[..., Any]
    summary: str
    source: str
    order: int
    config: type = NoConfig
    family: str = "other"
    reference: str = ""
    images: bool = False


T = TypeVar("T", bound=Entry)


def did_you_mean(name: str, known: list[str]) -> str:
    """' Did you mean ...?' or the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"


@dataclass
class Registry(Generic[T]):
    """Entries by name, in order of registration."""

    kind: str
    entries: dict[str, T] = field(default_factory=dict)

    def add(self, entry: T) -> None:
        if not entry.name.replace("_", "a").isalnum() or not entry.name.isascii() or len(entry.name) > 40:
            raise RegistryError(f"{self.kind} name {entry.name!r}: use ASCII letters, digits and '_', at most 40")
        if entry.name in self.entries:
            other = self.entries[entry.name].source
            raise RegistryError(f"{self.kind} '{entry.name}' is registered already ({other}); choose another name")
        self.entries[entry.name] = entry

    def get(self, name: str) -> T:
        if name not in self.entries:
            raise RegistryError(f"no {self.kind} '{name}'; {did_you_mean(name, list(self.entries))}")
        return self.entries[name]

    def names(self) -> list[str]:
        return list(self.entries)


LABEL = "@"
"""`cifar10@10 %` is the task cifar10 under a name of its own, with other settings: so one run has a task several times."""


def registered(task: str) -> str:
    """The registered name of a task of a run."""
    return task.partition(LABEL)[0]


ARCHITECTURES: Registry[Entry] = Registry("architecture")
TASKS: Registry[Entry] = Registry("task")

# Where registrations come from while a plug-in is being loaded; built-ins otherwise.
_source = "built-in"


def register_architecture(
    name: str, *, family: str, summary: str, reference: str = "", config: type = NoConfig, images: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a factory `(config, width, depth, causal, grid=None) -> Encoder`.

    Args:
        name: what users type.
        family: one of FAMILIES; decides the row of the summary table.
        summary: one line for `--list`.
        reference: paper and year.
        config: a frozen dataclass whose fields are the settings; each needs a default.
        images: made for images. It is given the rows and columns of its tokens as `grid`, and where a suite has no images
            "all architectures" does not mean it.
    """
    if family not in FAMILIES:
        raise RegistryError(f"architecture '{name}': no family '{family}'; {did_you_mean(family, list(FAMILIES))}")
    if not is_dataclass(config):
        raise RegistryError(f"architecture '{name}': config {config!r} is not a dataclass")

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        order = len(ARCHITECTURES.entries)
        ARCHITECTURES.add(Entry(name, build, summary, _source, order, config, family, reference, images))
        return build

    return register


def register_task(
    name: str, *, summary: str, reference: str = "", config: type = NoConfig, family: str = "supervised"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a factory `(config, mode, places) -> Task`, or `VectorTask` where the family is "vectors".

    Args:
        config: a frozen dataclass whose fields are the settings; each needs a default.
        family: one of TASK_FAMILIES; decides which suites can run it.
    """
    if family not in TASK_FAMILIES:
        raise RegistryError(f"task '{name}': no family '{family}'; {did_you_mean(family, list(TASK_FAMILIES))}")
    if not is_dataclass(config):
        raise RegistryError(f"task '{name}': config {config!r} is not a dataclass")

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        TASKS.add(Entry(name, build, summary, _source, len(TASKS.entries), config, family, reference))
        return build

    return register


def load_plugin(plugin: str) -> None:
    """Import a plug-in, given as `path/to/file.py` or as `package.module`; what it registers is then known.

    Loading the same plug-in twice does nothing. A plug-in that registers a name and then fails is taken back whole.
    """
    path = Path(plugin)
    is_file = plugin.endswith(".py")
    if is_file and not path.is_file():
        raise RegistryError(f"plug-in {plugin}: no such file")
    module_name = f"seqbench_plugin_{zlib.crc32(str(path.resolve()).encode()):08x}" if is_file else plugin
    if module_name in sys.modules:
        return
    with _Registering(plugin, must=True):
        if not is_file:
            importlib.import_module(plugin)
            return
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None  # a .py file always has a loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise


def load_entry_points() -> list[str]:
    """Load plug-ins that installed packages offer. Returns one sentence for each that failed."""
    problems = []
    for group in ENTRY_POINT_GROUPS:
        for point in importlib.metadata.entry_points(group=group):
            try:
                with _Registering(f"{point.value} ({group})"):
                    point.load()
            except RegistryError as error:
                problems.append(str(error))
    return problems


class _Registering:
    """Marks registrations with their source, and takes them back when loading fails."""

    def __init__(self, source: str, must: bool = False) -> None:
        self.source = source
        self.must = must

    def __enter__(self) -> None:
        global _source
        self.before = {registry.kind: dict(registry.entries) for registry in (ARCHITECTURES, TASKS)}
        _source = self.source

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        global _source
        _source = "built-in"
        if isinstance(error, KeyboardInterrupt):
            return
        if error is None:
            if self.must and all(r.entries.keys() == self.before[r.kind].keys() for r in (ARCHITECTURES, TASKS)):
                raise RegistryError(f"plug-in {self.source} registers nothing; is @register_architecture missing?")
            return
        for registry in (ARCHITECTURES, TASKS):
            registry.entries = self.before[registry.kind]
        if isinstance(error, RegistryError):
            raise RegistryError(f"plug-in {self.source}: {error}") from error
        raise RegistryError(f"plug-in {self.source}: {type(error).__name__}: {error}") from error
