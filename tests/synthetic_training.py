"""A run folder of kind `train` with planted truth, for tests of `reports` and for looking at the page.

    python -m tests.synthetic_training FOLDER      # writes FOLDER/synthetic-training

Planted: scores with known gaps (one far larger than the noise between seeds, one exactly zero), a probe that breaks down
beyond its training length, an ablation with changes that hurt, help and do nothing, and failures of every kind.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from results.schema import Measurement, Record
from results.store import Run

HOSTILE = '</script><script>alert("x")</script> $\\frac{1}{0}$ <img src=x onerror=alert(1)>'
FAMILIES = {
    "lstm": "recurrent",
    "gru": "recurrent",
    "conv": "convolution",
    "attention": "attention",
    "windowed": "windowed",
}
EVERY = 50  # steps between two looks at the tuning split
BATCH = 16


@dataclass(frozen=True)
class Runner:
    """A competitor and its truth: `score` is the mean primary score on "test"; `ends` maps seeds to how they fail."""

    architecture: str
    score: float
    variant: str = ""
    baseline: bool = False
    speed: float = 1.0
    memory: float = 1.0
    drop: float = 0.0
    grows: bool = False
    ends: dict[int, tuple[str, str]] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    best_lr: float = 1e-3
    search: str = "chosen"
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Planted:
    """A task. `better` and `primary` as in the plan; `tests` maps test splits to the length of their inputs."""

    name: str
    primary: str
    unit: str
    better: str
    start: float
    runners: tuple[Runner, ...]
    length: int = 64
    tests: dict[str, int] = field(default_factory=lambda: {"test": 64})
    noise: float = 0.01
    steps: int = 500
    lrs: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    positions: int = 0
    samples: bool = False
    decode: bool = False
    references: tuple[dict[str, Any], ...] = ()
    target: float | None = None
    family: str = "language"


def reference(label: str, metric: str, value: float, kind: str, splits: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"label": label, "metric": metric, "value": value, "kind": kind, "source": f"planted {kind}",
            "splits": list(splits)}  # fmt: skip


LANGUAGE = Planted(
    "characters", "loss", "nats", "lower", 4.17,
    (
        Runner("lstm", 1.62, speed=3.0),
        Runner("gru", 1.62, speed=2.6),
        Runner("conv", 1.90, speed=0.8),
        Runner("attention", 1.45, memory=2.0, grows=True, best_lr=3e-3),
        Runner("windowed", 1.50, memory=1.4),
        Runner(HOSTILE, 2.2, speed=1.5),
        Runner("lstm", 1.7, variant="exploding", ends={s: ("nan", "loss is nan at step 210") for s in range(9)},
               search="none"),
        Runner("attention", 1.5, variant="huge", ends={1: ("oom", "needs 9.1 GiB, the limit is 8 GiB")}, memory=9.0),
        Runner("conv", 1.8, variant="late", missing=(2,)),
        Runner("gru", 1.8, variant="impossible", missing=tuple(range(9)), problem="no width gives 800,000 parameters"),
    ),
    tests={"test": 256}, length=256, positions=256, samples=True, decode=True,
    references=(reference("uniform over 65 characters", "loss", math.log(65), "chance"),
                reference("published, 10 M parameters", "loss", 1.4697, "published", ("tune", "test"))),
)  # fmt: skip
PROBE = Planted(
    "copying", "accuracy", "", "higher", 0.06,
    (
        Runner("lstm", 0.93, drop=0.18, speed=3.0),
        Runner("gru", 0.93, drop=0.20, speed=2.7),
        Runner("conv", 0.55, drop=0.12),
        Runner("attention", 0.995, drop=0.30),
        Runner("windowed", 0.62, drop=0.15),
    ),
    length=64, tests={"test": 64, "test_128": 128, "test_256": 256, "test_512": 512}, noise=0.004, family="probe",
    references=(reference("chance", "accuracy", 1 / 16, "chance"), reference("perfect", "accuracy", 1.0, "ceiling")),
    target=0.5,
)  # fmt: skip
ABLATION = Planted(
    "changes", "loss", "nats", "lower", 3.0,
    (
        Runner("attention", 1.50, baseline=True, settings={"window": 64, "positions": "rotary"}),
        Runner("attention", 1.90, variant="no_positions", settings={"window": 64, "positions": "none"}),
        Runner("attention", 1.35, variant="wide", speed=1.6, settings={"window": 256, "positions": "rotary"}),
        Runner("attention", 1.50, variant="renamed", settings={"window": 64, "positions": "rotary"}),
        Runner("attention", 1.50, variant="broken", ends={s: ("oom", "needs 12 GiB") for s in range(9)}),
        Runner("lstm", 1.70, baseline=True, speed=3.0, settings={"forget_bias": 1.0}),
        Runner("lstm", 1.78, variant="no_forget_bias", speed=3.0, settings={"forget_bias": 0.0}),
        *(Runner("lstm", 1.70 + 0.02 * i, variant=f"dropout_{i}0", speed=3.0,
                 settings={"forget_bias": 1.0, "dropout": i / 10}) for i in range(1, 6)),
    ),
    references=(reference("entropy of the source", "loss", 1.2, "floor"),), lrs=(1e-3,),
)  # fmt: skip
TASKS = (LANGUAGE, PROBE, ABLATION)
STAGES = ("check", "cost", "tune", "final", "decode")


def make_training(
    root: Path,
    run_id: str = "synthetic-training",
    tasks: Iterable[Planted] = TASKS,
    seeds: tuple[int, ...] = (0, 1, 2),
    stages: tuple[str, ...] = STAGES,
    choices: bool = True,
    suite: str = "lm",
    complete: bool = True,
    change_plan: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Write a complete run folder and return it."""
    tasks = tuple(tasks)
    run = Run.create(root, run_id)
    maker = _Maker(run_id, suite, np.random.default_rng(11))
    records = [r for t in tasks for p in t.runners if not p.problem for r in maker.trials(t, p, seeds, stages)]
    run.records_path.write_text("".join(r.to_json() + "\n" for r in records), encoding="utf-8")
    plan = _plan(run_id, suite, tasks, seeds, records, choices)
    if change_plan:
        change_plan(plan)
    run.write_json("plan.json", plan)
    run.write_json("environment.json", {
        "environment_id": "e1", "device": "cpu", "device_name": "Planted CPU @ 2.0 GHz", "cpu": "Planted CPU",
        "cores": 2, "threads": 2, "memory_bytes": 8 * 2**30, "gpu_memory_bytes": None, "os": "Linux 6.1",
        "python": "3.11.2", "torch": "2.9.0", "debug_build": False, "git_commit": "abc1234", "git_dirty": False,
        "load_at_start": 0.1, "timer_resolution_s": 1e-9, "warnings": [],
    })  # fmt: skip
    statuses = [r.status for r in records]
    run.write_json("summary.json", {
        "ended": "2026-11-23T13:00:00+00:00", "sessions": 1, "wall_s": 3600.0, "measured_s": 3000.0,
        "sections": {"start-up": 12.0, "planning": 3.0}, "interrupted": not complete, "complete": complete,
        "trials": {s: statuses.count(s) for s in sorted(set(statuses))}, "warnings": [],
    })  # fmt: skip
    return run


def noise(task: Planted, runner: Runner, seed: int) -> float:
    """The seed's own, the same for all competitors (that is what pairs them), and a third as much of the competitor's."""
    shared = np.random.default_rng(seed).normal()
    own = np.random.default_rng([seed, *map(ord, runner.architecture + runner.variant)]).normal()
    return float(task.noise * (shared + own / 3))


class _Maker:
    """Makes the records of a run; one generator, so that a run is the same each time."""

    def __init__(self, run_id: str, suite: str, rng: np.random.Generator) -> None:
        self.run_id, self.suite, self.rng = run_id, suite, rng

    def trials(self, task: Planted, p: Runner, seeds: tuple[int, ...], stages: tuple[str, ...]) -> list[Record]:
        made = []
        if "check" in stages:
            made.append(self._record(task, p, "check", ""))
        if "cost" in stages:
            made.append(self._cost(task, p))
        if "tune" in stages and len(task.lrs) > 1:
            made += [self._try(task, p, i) for i in range(len(task.lrs))]
        if "final" in stages:
            made += [self._final(task, p, seed) for seed in seeds if seed not in p.missing]
        if "decode" in stages and task.decode:
            made += [self._decode(task, p, length) for length in (64, 256, 1024, 4096)]
        return made

    def _record(self, task: Planted, p: Runner, kind: str, stage: str, seed: int = 0, length: int = 0,
                measurements: Iterable[Measurement] = (), status: Any = "ok", reason: str = "", phase: str = "",
                extra: dict[str, Any] | None = None) -> Record:  # fmt: skip
        names = (task.name, p.architecture, p.variant)
        return Record(
            run_id=self.run_id, environment_id="e1", suite=self.suite, kind=kind, architecture=p.architecture,
            trial_id="-".join(map(str, (kind, *(sum(map(ord, n)) for n in names), stage, seed, length))),
            variant=p.variant, task=task.name, decoder="", mode="causal", regime=stage, width=128, depth=4,
            parameters=800_000, batch=BATCH, length=length or task.length, dtype="float32", device="cpu", seed=seed,
            status=status, reason=reason, failed_phase=phase, kernels=("flash",), warnings=(),
            started_at="2026-11-23T12:00:00+00:00", wall_s=30.0, measured_s=25.0, git_commit="abc1234", git_dirty=False,
            measurements=tuple(measurements), extra=extra or {},
        )  # fmt: skip

    def _cost(self, task: Planted, p: Runner) -> Record:
        def held(metric: str, value: float) -> Measurement:
            return Measurement("train", metric, "B", "lower", value=value, method="resident")

        return self._record(task, p, "cost", "", measurements=[
            Measurement("train", "flops_per_token", "FLOP", "lower", value=5e6 * p.memory, method="traced"),
            held("activation_memory", 3e7 * p.memory), held("weight_memory", 3.2e6), held("gradient_memory", 3.2e6),
            held("optimizer_memory", 6.4e6), held("peak_memory", 5e7 * p.memory),
        ])  # fmt: skip

    def _value(self, task: Planted, p: Runner, split: str, seed: int) -> float:
        further = math.log2(task.tests.get(split, task.length) / task.length) if split != "tune" else 0.0
        sign = -1.0 if task.better == "higher" else 1.0
        value = p.score + sign * p.drop * max(0.0, further) + noise(task, p, seed)
        return max(0.06, min(1.0, value)) if task.better == "higher" else value

    def _scores(self, task: Planted, phase: str, split: str, value: float) -> list[Measurement]:
        made = [Measurement(phase, task.primary, task.unit, task.better, value=value, split=split)]  # type: ignore[arg-type]
        if task.primary == "loss":
            made.append(Measurement(phase, "perplexity", "", "lower", value=math.exp(value), split=split))
            made.append(
                Measurement(phase, "bits_per_character", "bits", "lower", value=value / math.log(2), split=split)
            )
        else:
            made.append(Measurement(phase, "loss", "nats", "lower", value=1.2 - value, split=split))
        return made

    def _curves(self, task: Planted, p: Runner, final: float, steps: int) -> dict[str, Any]:
        def part(at: np.ndarray, quantity: str, start: float, end: float, jitter: float) -> dict[str, list[float]]:
            values = end + (start - end) * np.exp(-at / (0.16 * task.steps)) + self.rng.normal(0, jitter, len(at))
            values[-1] = end
            seconds = at * 0.02 * p.speed
            return {"step": at.tolist(), "tokens": (at * BATCH * task.length).tolist(), "seconds": seconds.tolist(),
                    quantity: values.tolist()}  # fmt: skip

        looks, dense = np.arange(0, steps + 1, EVERY), np.arange(10, steps + 1, 10)
        tune = part(looks, task.primary, task.start, final, task.noise / 2)
        train = part(dense, "loss", 4.0, 1.5 if task.primary != "loss" else final - 0.05, 0.02)
        train |= {"lr": [1e-3] * len(dense), "gradient_norm": [0.5] * len(dense)}
        return {"train": train, "tune": tune}

    def _final(self, task: Planted, p: Runner, seed: int) -> Record:
        extra: dict[str, Any] = {"recipe": {"lr": p.best_lr, "batch": BATCH, "steps": task.steps}, "resumed_at": [],
                                 "stopped_by": "steps", "best_step": task.steps, "steps": task.steps, "unstable": [],
                                 "load": 0.0, "skipped": False, "weights": "0" * 64, "checkpoint": ""}  # fmt: skip
        score = self._value(task, p, "tune", seed)
        if seed in p.ends:
            status, reason = p.ends[seed]
            skipped = p.search == "none"
            extra |= {"skipped": skipped, "curves": {} if skipped else self._curves(task, p, score + 0.5, 200)}
            return self._record(
                task, p, "train", "final", seed, status=status, reason=reason, phase="train", extra=extra
            )
        extra["curves"] = self._curves(task, p, score, task.steps)
        if task.positions:
            loss = score + 2.0 / np.sqrt(np.arange(1, task.positions + 1))
            extra["positions"] = {"test": {"loss": loss.tolist(), "count": [100] * task.positions}}
        extra["lengths"] = dict(task.tests)
        if task.samples:
            text = f"ROMEO: {HOSTILE} what light\nthrough yonder {p.architecture} breaks? " * 3
            sampler = "temperature 0.8, top-p 0.95, of all kinds of tokens"
            extra["samples"] = [{"sampler": sampler, "prompt": "ROMEO:\n", "text": text, "tokens": 200,
                                 "tokens_per_second": 350.0}]  # fmt: skip
        seconds = task.steps * 0.02 * p.speed * (1 + 0.01 * seed)
        measurements = self._scores(task, "tune", "tune", score)
        for split in task.tests:
            measurements += self._scores(task, "test", split, self._value(task, p, split, seed))
        tokens = float(task.steps * BATCH * task.length)
        measurements += [
            Measurement("train", "time", "s", "lower", samples=(0.02 * p.speed,) * 9),
            Measurement("train", "train_time", "s", "lower", value=seconds),
            Measurement("train", "eval_time", "s", "lower", value=3.0),
            Measurement("train", "first_step_time", "s", "lower", value=0.4),
            Measurement("train", "tokens_per_second", "tokens/s", "higher", value=tokens / seconds),
            Measurement("train", "steps", "steps", "none", value=float(task.steps)),
            Measurement("train", "tokens", "tokens", "none", value=tokens),
            Measurement("train", "energy", "J", "lower", value=20.0 * seconds, method="rapl"),
        ]
        return self._record(task, p, "train", "final", seed, measurements=measurements, extra=extra)

    def _try(self, task: Planted, p: Runner, index: int) -> Record:
        one = tries(task, p)[index]
        extra = {"recipe": {"lr": one["lr"]}, "curves": {}}
        if one["status"] != "ok":
            return self._record(task, p, "train", "tune", 1000 + index, status=one["status"], reason=one["reason"],
                                phase="train", extra=extra)  # fmt: skip
        measurements = self._scores(task, "tune", "tune", float(one["score"]))
        return self._record(task, p, "train", "tune", 1000 + index, measurements=measurements, extra=extra)

    def _decode(self, task: Planted, p: Runner, length: int) -> Record:
        seconds = 3e-4 * p.speed + (4e-7 * length if p.grows else 0)
        samples = tuple(float(seconds * v) for v in np.exp(self.rng.normal(0, 0.03, 9)))
        return self._record(task, p, "decode", "", length=length, measurements=[
            Measurement("decode", "time", "s", "lower", samples=samples),
            Measurement("decode", "state_memory", "B", "lower", value=1024.0 * (length if p.grows else 64)),
        ])  # fmt: skip


def tries(task: Planted, p: Runner) -> list[dict[str, Any]]:
    """Tries as the plan lists them; a search of kind "none" fails throughout."""
    made = []
    for i, lr in enumerate(task.lrs):
        away = abs(math.log(lr / p.best_lr))
        one = {"trial_id": f"try-{i}", "lr": lr, "status": "ok", "reason": "",
               "score": p.score + (0.08 if task.better == "lower" else -0.08) * away}  # fmt: skip
        if p.search == "none" or (p.architecture == "gru" and i == len(task.lrs) - 1):
            one |= {"status": "nan", "score": None, "reason": "loss is nan at step 40"}
        made.append(one)
    return made


def _choice(task: Planted, p: Runner) -> dict[str, Any]:
    who = {"task": task.name, "architecture": p.architecture, "variant": p.variant, "reason": ""}
    if len(task.lrs) < 2:
        return {**who, "status": "single", "tries": [], "chosen": {"lr": task.lrs[0]}}
    if p.search == "none":
        return {**who, "status": "none", "reason": "all 3 tries failed", "tries": tries(task, p), "chosen": None}
    ok = [t for t in tries(task, p) if t["status"] == "ok"]
    best = (max if task.better == "higher" else min)(ok, key=lambda t: t["score"])
    return {**who, "status": "chosen", "tries": tries(task, p), "chosen": {"lr": best["lr"]}}


def _plan(run_id: str, suite: str, tasks: tuple[Planted, ...], seeds: tuple[int, ...], records: list[Record],
          choices: bool) -> dict[str, Any]:  # fmt: skip
    names = list(dict.fromkeys(p.architecture for t in tasks for p in t.runners))
    plan: dict[str, Any] = {
        "schema": 1, "run_id": run_id, "suite": suite, "kind": "train", "preset": "quick", "device": "cpu",
        "dtype": "float32", "mode": "causal", "match": "parameters", "target": 800_000, "title": "A planted comparison",
        "created": "2026-11-23T12:00:00+00:00", "command": f"python run_all.py --suite {suite} --preset quick",
        "seeds": list(seeds), "expected_trials": len(records), "trial_ids": [r.trial_id for r in records], "spec": {},
        "tasks": [_task(t, seeds) for t in tasks],
        "architectures": [
            {"name": n, "family": FAMILIES.get(n, "other"), "order": i, "summary": f"a planted {n}"[:60],
             "source": "built-in", "reference": "Planted et al. 2026", "width": 128, "depth": 4, "parameters": 800_000,
             "config": {}, "receptive_field": None, "traits": {}, "settings": {}}
            for i, n in enumerate(names)
        ],
        "competitors": [
            {"task": t.name, "architecture": p.architecture, "variant": p.variant, "baseline": p.baseline or not p.variant,
             "width": 128, "depth": 4, "parameters": 800_000 + 1000 * i, "embedding_parameters": 8_320,
             "settings": p.settings, "receptive_field": 64 if p.architecture == "conv" else None, "problem": p.problem}
            for t in tasks for i, p in enumerate(t.runners)
        ],
    }  # fmt: skip
    if choices:
        plan["choices"] = [_choice(t, p) for t in tasks for p in t.runners if not p.problem]
    return plan


def _task(t: Planted, seeds: tuple[int, ...]) -> dict[str, Any]:
    recipe: dict[str, Any] = {"batch": BATCH, "steps": t.steps, "lr": 1e-3, "clip": 1.0}
    return {
        "name": t.name, "family": t.family, "summary": f"a planted task, {t.name}", "reference": "Planted 2026",
        "settings": {"length": t.length}, "length": t.length, "splits": ["tune", *t.tests],
        "primary": {"metric": t.primary, "unit": t.unit, "better": t.better}, "references": list(t.references),
        "facts": {"source": "planted text", "licence": "public domain", "tokenizer": "characters",
                  "characters": {"train": 1_003_854, "tune": 55_770, "test": 55_770}},
        "fingerprint": "f" * 16, "recipe": recipe | ({"target": t.target} if t.target is not None else {}),
        "search": {"lr": list(t.lrs), "steps": None}, "seeds": len(seeds),
    }  # fmt: skip


if __name__ == "__main__":
    print(make_training(Path(sys.argv[1])).folder)
