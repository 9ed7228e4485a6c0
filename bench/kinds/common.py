"""What every kind of suite is given, and what it must offer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from bench.allowance import Part
from bench.execute.runner import Stage
from bench.execute.worker import Answer, Pool
from bench.forecast.estimate import Forecast
from bench.registry import RegistryError, did_you_mean, registered
from bench.spec import Spec, SpecError, SuiteFile
from bench.trial import Trial
from results.store import Run


@dataclass(frozen=True)
class Context:
    """One suite at one preset on one machine.

    Attributes:
        known: the registry and the environment, as a child described them; `memory`, where trials run on other machines.
        created: when the command began, ISO 8601. command: what reproduces the run.
        pretrained: folder of a run whose encoders are the place to start from; None to start from nothing.
        budget: what was cut for lack of time, see bench.allowance.entry; empty where nothing was.
        plugins: files and modules that were registered.
        devices: that one training spreads over. at_once: trainings that may share a device, and so its memory.
    """

    suite: SuiteFile
    preset: str
    spec: Spec
    known: dict[str, Any]
    pool: Pool
    device: str
    command: str
    created: str
    pretrained: Path | None = None
    budget: dict[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    devices: int = 1
    at_once: int = 1

    @property
    def memory_limit(self) -> int:
        """Bytes that a trial may take: a share of the machine's where it runs."""
        return int((self.known.get("memory") or machine_memory()) * self.spec.memory_share) >> 28 << 28

    def plan_head(self, run: Run) -> dict[str, Any]:
        """What the plan of every kind of suite says."""
        spec = self.spec
        return {
            "schema": 1,
            "run_id": run.run_id,
            "suite": self.suite.suite,
            "kind": self.suite.kind,
            "preset": self.preset,
            "device": self.device,
            "dtype": spec.dtype,
            "mode": spec.mode,
            "match": spec.match,
            "target": spec.target,
            "created": run.created or self.created,
            "command": self.command,
            "plugins": list(self.plugins),
            **({"budget": self.budget} if self.budget else {}),
            "spec": spec.model_dump(mode="json"),
        }


class Prepared(Protocol):
    """A suite whose settings are checked and whose architectures are sized: all that is known before anything runs."""

    run_id: str
    expected: int
    problem: str
    """Why nothing at all can be run; empty where something can."""

    @property
    def left_out(self) -> list[str]:
        """What was cut for lack of time, in words."""
        ...

    def headline(self) -> str:
        """What is about to be run, in a few words."""
        ...

    def describe(self) -> list[str]:
        """The plan in lines, for --dry-run."""
        ...

    def write_plan(self, run: Run) -> None: ...

    def planned(self) -> list[Trial]:
        """Every trial in order; what a choice will decide stands as the first of its candidates."""
        ...

    def forecast(self) -> Forecast:
        """What trials take, by short looks at them. Asked for once, before `close`."""
        ...

    def close(self) -> None:
        """End the children that planning has left for the forecast."""
        ...

    @property
    def whole(self) -> Part:
        """Rounds, tasks and lengths of the plan."""
        ...

    def reduced(self, part: Part, budget: dict[str, Any]) -> Prepared:
        """The same run with a part of its plan, which will say so."""
        ...

    def stages(self, run: Run) -> Iterator[Stage]:
        """Trials in stages; a later stage may depend on the records of those before it."""
        ...


def architecture_entries(context: Context, wanted: tuple[str, ...] | str, named: list[str]) -> list[dict[str, Any]]:
    """Registry entries of the wanted architectures, in the registry's order.

    Args:
        named: further names that stand in the settings, to be checked for mistakes.
    """
    entries = {e["name"]: e for e in context.known["architectures"]}
    names = [n for n, e in entries.items() if not e["images"]] if isinstance(wanted, str) else list(wanted)
    for name in [*names, *named]:
        if name not in entries:
            raise RegistryError(f"no architecture '{name}'; {did_you_mean(name, list(entries))}")
    return [e for e in entries.values() if e["name"] in names]


def task_entry(context: Context, name: str) -> dict[str, Any]:
    entries = {t["name"]: t for t in context.known["tasks"]}
    if registered(name) not in entries:
        raise RegistryError(f"no task '{registered(name)}'; {did_you_mean(registered(name), list(entries))}")
    return entries[registered(name)]


class Sizer:
    """Asks a child to solve widths: a constructor that raises or exits costs its own architecture only."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.worker = pool.start()

    def size(self, entry: dict[str, Any], request: dict[str, Any], set_by: str) -> Answer:
        """Raises SpecError where a setting of a built-in is what is wrong: before anything runs.

        Args:
            set_by: whose settings they are, for the message; "" where nothing was set.
        """
        if not self.worker.alive():
            self.worker = self.pool.start()
        answer = self.worker.call("size", {"architecture": entry["name"], **request}, timeout=120)
        if answer.status != "ok" and set_by and entry["source"] == "built-in":
            raise SpecError(answer.reason if set_by in answer.reason else f"{set_by}: {answer.reason}")
        return answer

    def close(self) -> None:
        self.worker.close()


def machine_memory() -> int:
    """Bytes of the machine, or of the container where that has less.

    All memory, not what is free just now: a trial's limit is part of what it is, and must not change by itself.
    """
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total
