"""A run folder with planted truth, for tests of `reports` and for looking at the page.

    python -m tests.synthetic_run FOLDER      # writes FOLDER/synthetic

Planted: exact exponents with an offset, a crossing of attention and windowed at a known length, an out-of-memory tail
with skipped rows, a time limit, one outlying cell, an exact tie in memory, unstable cells, and a hostile name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from results.schema import Measurement, Record
from results.store import Run

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
PATH_LENGTHS = (4, 8, 16, 32, 64)
HOSTILE = '</script><script>alert("x")</script> $\\frac{1}{0}$ <img src=x onerror=alert(1)>'
ROOF = 4e12


@dataclass(frozen=True)
class Planted:
    """One architecture and its truth: seconds of a forward pass at batch 1 are overhead + linear * T + power * T^p."""

    name: str
    family: str
    overhead: float
    linear: float
    power: float
    exponent: float
    parallel: bool = True
    path: str = "constant"
    memory_exponent: float = 1.0
    window: int = 0
    oom_from: int | None = None
    timeout_from: int | None = None

    def seconds(self, length: int, batch: int = 1) -> float:
        """A sequential step costs the same for a small batch as for one sequence."""
        work = self.linear * length + self.power * length**self.exponent
        return self.overhead + work * (batch if self.parallel else 1)

    def mixing(self, length: int) -> float:
        """Token-to-token FLOPs at batch 1."""
        if self.family == "attention":
            return 4.0 * 4 * 128 * length**2
        if self.family == "windowed":
            return 4.0 * 4 * 128 * length * min(length, self.window)
        return 0.0

    def flops(self, length: int) -> float:
        return 1.6e6 * length + self.mixing(length)

    def span(self, length: int) -> float:
        return 40.0 if self.parallel else 7.0 + 11.0 * length

    def path_length(self, length: int) -> float:
        if self.path == "constant":
            return 12.0
        if self.path == "logarithmic":
            return 5.0 + 9.0 * math.ceil(math.log2(length))
        return 7.0 + 11.0 * length if not self.parallel else 9.0 * math.ceil(length / 4)

    def activation(self, length: int) -> float:
        return 2e5 * length + (64.0 * length**2 if self.memory_exponent == 2 else 0.0)


# attention and windowed cross in forward time where 1e-9 T^2 = 2e-6 T, at T = 2,000.
ARCHITECTURES = (
    Planted("lstm", "recurrent", 1e-4, 4.0e-5, 0, 1, parallel=False, path="linear"),
    Planted("gru", "recurrent", 1e-4, 3.6e-5, 0, 1, parallel=False, path="linear", timeout_from=8192),
    Planted("rnn", "recurrent", 1e-4, 2.0e-5, 0, 1, parallel=False, path="linear"),
    Planted("conv", "convolution", 2e-4, 2.0e-6, 0, 1, path="linear"),
    Planted("dilated_conv", "convolution", 3e-4, 2.4e-6, 0, 1, path="logarithmic"),
    Planted("attention", "attention", 2e-4, 0, 1e-9, 2),
    Planted("attention_naive", "attention", 2e-4, 0, 3e-9, 2, memory_exponent=2.0, oom_from=4096),
    Planted("windowed", "windowed", 2e-4, 2.0e-6, 0, 1, path="linear", window=64),
    Planted("windowed_naive", "windowed", 4e-4, 5.0e-6, 0, 1, path="linear", window=64),
)
CROSSING = 2000.0


def make_run(
    root: Path,
    run_id: str = "synthetic",
    architectures: Iterable[Planted] = ARCHITECTURES,
    lengths: tuple[int, ...] = LENGTHS,
    seeds: tuple[int, ...] = (0, 1, 2),
    noise: float = 0.02,
    samples: int = 9,
    kinds: tuple[str, ...] = ("cell", "graph", "path", "decode", "roof"),
    outlier: bool = True,
    all_fail: bool = False,
    created: str = "2026-11-23T12:00:00+00:00",
    change_plan: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Write a complete run folder and return it. `noise` is the relative spread of one sample."""
    architectures = tuple(architectures)
    run = Run.create(root, run_id)
    rng = np.random.default_rng(7)
    records: list[Record] = []
    for planted in architectures:
        if "cell" in kinds:
            records += _cells(run_id, planted, lengths, seeds, noise, samples, rng, outlier, all_fail)
        if all_fail:
            continue
        if "graph" in kinds:
            records += [_graph(run_id, planted, length) for length in lengths]
        if "path" in kinds:
            records += [_path(run_id, planted, length) for length in PATH_LENGTHS]
        if "decode" in kinds:
            records += [_decode(run_id, planted, length, seed, rng) for length in lengths[::2] for seed in seeds]
    if "roof" in kinds and not all_fail:
        records += [_roof(run_id, seed, rng) for seed in seeds]
    # One file in one write: the store's append syncs every line, which a generator does not need.
    run.records_path.write_text("".join(r.to_json() + "\n" for r in records), encoding="utf-8")
    plan = _plan(run_id, architectures, lengths, seeds, len(records), created)
    if change_plan:
        change_plan(plan)
    run.write_json("plan.json", plan)
    run.write_json("environment.json", _environment())
    statuses = [r.status for r in records]
    run.write_json("summary.json", {
        "started": created, "ended": created, "wall_s": 700.0, "measured_s": 560.0,
        "sections": {"start-up": 12.0, "planning": 3.0, "tracing": 60.0, "trials outside measured steps": 65.0},
        "trials": {s: statuses.count(s) for s in sorted(set(statuses))}, "interrupted": False, "complete": True,
        "warnings": [],
    })  # fmt: skip
    return run


def _record(run_id: str, kind: str, name: str, length: int, seed: int, regime: str = "", batch: int = 1,
            measurements: Iterable[Measurement] = (), status: Any = "ok", reason: str = "", failed_phase: str = "",
            **extra: Any) -> Record:  # fmt: skip
    return Record(
        run_id=run_id, trial_id=f"{kind}-{abs(hash(name)) % 10**8}-{regime}-{length}-{seed}", environment_id="e1",
        suite="scaling", kind=kind, architecture=name, variant="", task="random_vectors", decoder="", mode="causal",
        regime=regime, width=128, depth=4, parameters=800_000, batch=batch, length=length, dtype="float32",
        device="cpu", seed=seed, status=status, reason=reason, failed_phase=failed_phase, kernels=(), warnings=(),
        started_at="2026-11-23T12:00:00+00:00", wall_s=1.0, measured_s=0.8, git_commit="abc1234", git_dirty=False,
        measurements=tuple(measurements), extra=extra,
    )  # fmt: skip


def _timing(phase: str, seconds: float, rng: np.random.Generator, noise: float, count: int) -> Measurement:
    drawn = seconds * np.exp(rng.normal(0, noise, count))
    return Measurement(phase, "time", "s", "lower", samples=tuple(float(v) for v in drawn))


def _bytes(metric: str, value: float, phase: str = "forward_backward") -> Measurement:
    return Measurement(phase, metric, "B", "lower", value=float(value), method="resident")


def _cells(run_id: str, p: Planted, lengths: tuple[int, ...], seeds: tuple[int, ...], noise: float, samples: int,
           rng: np.random.Generator, outlier: bool, all_fail: bool) -> list[Record]:  # fmt: skip
    records = []
    for regime, tokens in (("batch1", 0), ("tokens", 8192)):
        for seed in seeds:
            for length in lengths:
                batch = max(1, tokens // length)
                limit = p.oom_from or p.timeout_from or math.inf
                if all_fail or length >= limit:
                    status = "oom" if all_fail or p.oom_from else "timeout"
                    skipped = not all_fail and length > limit
                    reason = "needs 9.1 GiB, the limit is 8 GiB" if status == "oom" else "passed 60 s"
                    if skipped:
                        reason = f"skipped: length {limit:g} ended {status}"
                    asked = (run_id, "cell", p.name, length, seed, regime, batch)
                    failed: dict[str, Any] = {"status": status, "reason": reason, "failed_phase": "forward_backward"}
                    records.append(_record(*asked, **failed, skipped=skipped))
                    continue
                work = p.seconds(length, batch)
                round_effect = float(np.exp(rng.normal(0, noise / 2)))
                strange = 3.0 if outlier and p.name == "conv" and length == 512 and regime == "batch1" else 1.0
                forward = work * round_effect * strange
                threads = 1.7 if p.parallel and length >= 512 else 1.05
                memory = p.activation(length) * batch
                unstable = ["forward"] if p.name == "rnn" and length == 64 else []
                records.append(
                    _record(
                        run_id, "cell", p.name, length, seed, regime, batch, unstable=unstable, load=0.05,
                        measurements=[
                            _timing("forward", forward, rng, noise, samples),
                            _timing("forward_backward", 3 * forward, rng, noise, samples),
                            _timing("forward_1_thread", threads * forward, rng, noise, samples),
                            _bytes("activation_memory", memory),
                            _bytes("weight_memory", 3.2e6),
                            _bytes("gradient_memory", 3.2e6),
                            _bytes("optimizer_memory", 6.4e6),
                            _bytes("peak_memory", 1.28e7 + memory * 1.2),
                        ],
                    )
                )  # fmt: skip
    return records


def _count(phase: str, metric: str, value: float, unit: str) -> Measurement:
    return Measurement(phase, metric, unit, "none", value=float(value), method="traced")


def _graph(run_id: str, p: Planted, length: int) -> Record:
    flops, span = p.flops(length), p.span(length)
    return _record(run_id, "graph", p.name, length, 0, measurements=[
        _count("forward", "flops", flops, "FLOP"),
        _count("forward", "mixing_flops", p.mixing(length), "FLOP"),
        _count("forward", "span", span, "operations"),
        _count("forward", "operations", 3 * span, "operations"),
        _count("forward_backward", "flops", 3 * flops, "FLOP"),
        _count("forward_backward", "span", 2 * span, "operations"),
        _count("forward_backward", "operations", 7 * span, "operations"),
    ])  # fmt: skip


def _path(run_id: str, p: Planted, length: int) -> Record:
    return _record(run_id, "path", p.name, length, 0, measurements=[
        _count("forward", "layers_to_connect", 1, "layers"),
        _count("forward", "path_length", p.path_length(length), "operations"),
        _count("forward", "receptive_field", length, "tokens"),
    ])  # fmt: skip


def _decode(run_id: str, p: Planted, length: int, seed: int, rng: np.random.Generator) -> Record:
    grows = p.family == "attention"
    state = 1024.0 * (length if grows else 64)
    return _record(run_id, "decode", p.name, length, seed, measurements=[
        _timing("decode", 3e-4 + (2e-7 * length if grows else 0), rng, 0.02, 7),
        _bytes("state_memory", state, "decode"),
    ])  # fmt: skip


def _roof(run_id: str, seed: int, rng: np.random.Generator) -> Record:
    def rate(phase: str, metric: str, unit: str, value: float) -> Measurement:
        drawn = value * np.exp(rng.normal(0, 0.02, 5))
        return Measurement(phase, metric, unit, "higher", samples=tuple(float(v) for v in drawn))

    return _record(run_id, "roof", "", 0, seed, measurements=[
        rate("all_threads", "matmul_throughput", "FLOP/s", ROOF),
        rate("one_thread", "matmul_throughput", "FLOP/s", ROOF / 1.9),
        rate("all_threads", "copy_bandwidth", "B/s", 1.2e10),
    ])  # fmt: skip


def _plan(run_id: str, architectures: tuple[Planted, ...], lengths: tuple[int, ...], seeds: tuple[int, ...],
          expected: int, created: str) -> dict[str, Any]:  # fmt: skip
    return {
        "schema": 1, "run_id": run_id, "suite": "scaling", "preset": "quick", "created": created,
        "command": "python run_all.py --suite scaling --preset quick", "device": "cpu", "dtype": "float32",
        "mode": "causal", "lengths": list(lengths), "seeds": list(seeds), "match": "parameters",
        "expected_trials": expected, "spec": {},
        "regimes": [{"name": "batch1", "title": "batch 1"},
                    {"name": "tokens", "title": "8,192 tokens a batch", "tokens": 8192}],
        "architectures": [
            {
                "name": p.name, "family": p.family, "order": i, "summary": f"a planted {p.family} architecture",
                "source": "built-in", "reference": "Planted et al. 2026", "width": 128, "depth": 4,
                "parameters": 800_000, "config": {}, "receptive_field": None,
                "traits": {"modes": ["causal"], "layouts": ["sequence"], "keeps_length": True,
                           "time_exponent": float(p.exponent), "memory_exponent": p.memory_exponent,
                           "parallel_in_time": p.parallel, "path": p.path, "max_length": None},
            }
            for i, p in enumerate(architectures)
        ],
    }  # fmt: skip


def _environment() -> dict[str, Any]:
    return {
        "environment_id": "e1", "device": "cpu", "device_name": "Planted CPU @ 2.0 GHz", "cpu": "Planted CPU",
        "cores": 2, "threads": 2, "memory_bytes": 8 * 2**30, "gpu_memory_bytes": None, "os": "Linux 6.1",
        "python": "3.11.2", "torch": "2.9.0", "cuda": None, "driver": None, "debug_build": False,
        "git_commit": "abc1234", "git_dirty": True, "load_at_start": 0.1, "timer_resolution_s": 1e-9,
        "warnings": ["other processes used 0.4 cores when the run started"],
    }  # fmt: skip


if __name__ == "__main__":
    target = Path(sys.argv[1])
    hostile = Planted(HOSTILE, "other", 5e-4, 1e-5, 0, 1)
    print(make_run(target, architectures=(*ARCHITECTURES, hostile)).folder)
