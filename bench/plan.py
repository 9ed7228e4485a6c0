"""A suite to trials: every cell that the report will have, in the order in which they are run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.spec import ScalingSpec
from bench.trial import Trial

# In double precision a recurrence's Jacobian over more steps than this may underflow to the zero that means "no path".
MAX_PATH_LENGTH_SEQUENTIAL = 512


# A speed-up compares times of one visit: the first round has it, on a CPU.
ONCE = ("forward_1_thread",)
# Bytes do not depend on the seed, and one pass is enough: a trial of its own, which goes on where timing is too slow.
MEMORY = "memory"
# On a GPU kernels are named by the profiler, in a child of its own, and not for loops of a million launches.
MAX_KERNELS_LENGTH = 4096


@dataclass(frozen=True)
class Sized:
    """An architecture as it will be run, or the reason why it cannot be."""

    name: str
    hash: str
    problem: str = ""
    status: str = "ok"
    width: int = 0
    depth: int = 0
    parameters: int = 0
    config: dict[str, Any] | None = None
    parallel_in_time: bool = True


@dataclass(frozen=True)
class Plan:
    """Trials in stages: a stage begins when the one before it has ended."""

    checks: tuple[Trial, ...]
    counts: tuple[Trial, ...]
    timed: tuple[Trial, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        return (*self.checks, *self.counts, *self.timed)


def plan_scaling(spec: ScalingSpec, architectures: list[Sized], device: str, memory: int, machine_hash: str) -> Plan:
    """Every trial of a scaling suite.

    Args:
        memory: bytes that one trial may take.
        machine_hash: source hash of what measures the machine itself.
    """
    # On a CPU each architecture has a child of its own, so that none can disturb another; a failure ends that child. On
    # a GPU one child serves all until it fails: each would hold a context and cached memory on the device.
    on_cpu = device == "cpu"

    def trial(kind: Any, sized: Sized, **fields: Any) -> Trial:
        own = (sized.name or "machine") if on_cpu else ""
        return Trial(
            kind=kind, architecture=sized.name, task=spec.task, mode=spec.mode, width=sized.width, depth=sized.depth,
            parameters=sized.parameters, dtype=spec.dtype, device=device, settings=sized.config or {},
            seconds=spec.seconds, limit=spec.limit, timeout=spec.timeout, memory=memory, source=sized.hash,
            silence=spec.silence, device_memory=spec.device_memory_share,
            **{"regime": "", "batch": 1, "seed": 0, "phases": (), "worker": own or "device", **fields},
        )  # fmt: skip

    checks = [trial("check", a, length=0) for a in architectures]
    counts: list[Trial] = []
    phases = ("forward", "forward_backward") if "forward_backward" in spec.phases else ("forward",)
    for a in architectures:
        counts += [trial("graph", a, length=n, phases=phases) for n in spec.lengths]
        for index, n in enumerate(spec.path_lengths):
            if a.parallel_in_time or n <= MAX_PATH_LENGTH_SEQUENTIAL:
                counts.append(trial("path", a, length=n, phases=("field", "layers") if index == 0 else ("layers",)))
    timed: list[Trial] = []
    machine = Sized("", machine_hash)
    for seed in range(spec.seeds):
        cells = list(_cells(spec, architectures, trial, seed, on_cpu))
        shuffle = random.Random(f"order {seed}")
        shuffle.shuffle(cells)
        if seed == 0:  # the first round finds where each architecture stops, so it goes up in length
            cells.sort(key=lambda t: t.length)
        sides = ("all_threads", "one_thread") if device == "cpu" else ("all_threads",)
        timed.append(trial("roof", machine, length=0, seed=seed, phases=sides))
        timed += cells
    return Plan(tuple(checks), tuple(counts), tuple(timed))


def _cells(spec: ScalingSpec, architectures: list[Sized], trial: Any, seed: int, on_cpu: bool) -> Iterable[Trial]:
    phases = tuple(p for p in spec.phases if p != MEMORY and (p not in ONCE or (seed == 0 and on_cpu)))
    for a in architectures:
        for name, regime in spec.regimes.items():
            for length in spec.lengths:
                batch = regime.batch_at(length)
                if batch is None:
                    continue
                if phases:
                    yield trial("cell", a, regime=name, batch=batch, length=length, seed=seed, phases=phases)
                if MEMORY in spec.phases and seed == 0:
                    yield trial("cell", a, regime=name, batch=batch, length=length, phases=(MEMORY,))
                if not on_cpu and seed == spec.seeds - 1 and length <= MAX_KERNELS_LENGTH:
                    yield trial(
                        "cell", a, regime=name, batch=batch, length=length, phases=("kernels",), worker="kernels"
                    )
        if spec.mode == "causal":
            for length in spec.decode_lengths:
                yield trial("decode", a, length=length, seed=seed, phases=("decode",))


def run_id(suite: str, preset: str, trials: Iterable[Trial], environment_id: str) -> str:
    """The same plan on the same machine has the same id, so that the same command goes on where it stopped.

    Source hashes are left out: after a change of source the run goes on, and only what the change made stale is run again.
    """
    digest = hashlib.sha256(environment_id.encode())
    for t in trials:
        digest.update(
            repr((t.kind, t.architecture, t.regime, t.length, t.seed, t.phases, t.width, t.settings)).encode()
        )
        digest.update(repr((t.batch, t.seconds, t.limit, t.timeout, t.dtype, t.device, t.mode, t.depth)).encode())
    return f"{suite}-{preset}-{digest.hexdigest()[:8]}"
