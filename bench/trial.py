"""One trial: what is asked of a child process, and what goes back. Plain data, no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from results.schema import PROTOCOL_VERSION

BEAM = "beam_"  # begins the phase that times a search with so many beams
Kind = Literal["check", "cell", "graph", "path", "decode", "roof", "cost", "train"]


@dataclass(frozen=True)
class Trial:
    """A resolved trial; nothing in it is left to be found out later.

    Attributes:
        phases: what to measure, in order. A phase that ran out at a shorter length is left out.
        settings: the architecture's configuration, the solved `mlp_hidden` included.
        seconds: how long to repeat each timing. limit: longest that one call may take.
        timeout: seconds after which the child is killed. memory: bytes it may take over its start.
        silence: seconds without a sign of life after which it is killed as hung. device_memory: share of the device's it may
            take.
        source: hash of the source it runs. fingerprint: hash of the data it uses.
        grid: rows and columns of the tokens, where they are an image's; empty otherwise.
        variant: name of what an ablation changes, "" for nothing. decoder: in words, "" where nothing is written.
        task_settings: the task's own. training: recipe and more, for kinds that train (see bench.training.trials).
        worker: trials with the same name share a child, as long as none of them fails.
    """

    kind: Kind
    architecture: str
    task: str
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
    phases: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.1
    limit: float = 1.0
    timeout: float = 60.0
    memory: int = 0
    silence: float = 0.0
    device_memory: float = 1.0
    source: str = ""
    worker: str = ""
    grid: tuple[int, ...] = ()
    variant: str = ""
    decoder: str = ""
    fingerprint: str = ""
    task_settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] | None = None

    @cached_property
    def trial_id(self) -> str:
        """Same id, same result wanted: everything that decides what is measured, and the protocol that measures it."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        content = {**own, "worker": "", "silence": 0, "protocol": PROTOCOL_VERSION}
        if self.kind == "train" and self.training is not None:  # limits and saving are no part of what it finds
            recipe = {**self.training["recipe"], "checkpoint_seconds": 0}
            unlimited = {"timeout": 0, "memory": 0, "device_memory": 0, "seconds": 0, "limit": 0}
            content |= {**unlimited, "training": {**self.training, "recipe": recipe}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]

    def to_json(self) -> str:
        """One line, no newline at its end."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Trial:
        """Read one line. Raises ValueError, TypeError or KeyError where it is no trial."""
        raw = json.loads(line)
        return cls(**{**raw, "phases": tuple(raw["phases"]), "grid": tuple(raw.get("grid") or ())})

    @property
    def devices(self) -> int:
        """That its training spreads over."""
        return int((self.training or {}).get("devices", 1))

    def without(self, phases: set[str]) -> Trial:
        return replace(self, phases=tuple(p for p in self.phases if p not in phases))

    def phases_on(self, threads: int) -> tuple[str, ...]:
        """Those worth their time with so many threads: where there is one, `forward` has measured one thread."""
        same = threads == 1 and "forward" in self.phases
        return self.without({"forward_1_thread"}).phases if same else self.phases


def beam_phase(beam: int) -> str:
    return f"{BEAM}{beam}"


def beams_of(phases: tuple[str, ...]) -> list[int]:
    """The beams that phases ask for."""
    return [int(phase.removeprefix(BEAM)) for phase in phases if phase.startswith(BEAM)]
