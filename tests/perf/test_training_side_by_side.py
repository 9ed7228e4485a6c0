"""Our training loop beside nanoGPT's own, the same recipe on the same text, in turns within one run.

    python -m pytest -m perf tests/perf/test_training_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of seconds a step, ours over plain, median of pairs of
stretches with its 95 % bootstrap interval. Aim: at most 1.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contract import Places
from bench.measure.device import CPUDevice
from bench.models import build_model, build_task
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.plain_gpt import PlainLoop

pytestmark = pytest.mark.perf
STEPS, STRETCH, PAIRS = 2000, 10, 40


@pytest.mark.timeout(900)
def test_ratio(benchmark: Any, tmp_path: Path) -> None:
    local = os.environ.get("SEQBENCH_DATA")
    name = "char_lm" if local else "docs_lm"
    task = build_task(TASKS.get(name), {"context": 64}, "causal", Places(Path(local) if local else None, tmp_path))
    recipe = Recipe(batch=12, steps=STEPS, lr=1e-3, warmup=100, evaluate_every=STEPS)
    settings = {"positions": "learned", "max_length": 64, "init": "gpt2"}
    model = build_model(ARCHITECTURES.get("attention"), settings, 128, 4, "causal", task.shape, "last")
    ours = Training(model, task, recipe, CPUDevice())
    ids = torch.cat([task.train_batch(i, 64, 0).inputs.flatten() for i in range(200)])
    plain = PlainLoop(ids, task.shape.vocabulary, 64, 12, STEPS)
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(-1, PAIRS):
        for side in (0, 1) if pair % 2 else (1, 0):
            start = time.perf_counter()
            if side == 0:
                for _ in range(STRETCH):  # the first stretch is one step only
                    before = ours.state.step
                    ours._stretch(STRETCH)
                    if ours.state.step - before == STRETCH:
                        break
            else:
                plain.run(STRETCH)
            if pair >= 0:
                times[side].append((time.perf_counter() - start) / STRETCH)
    ratios = np.array(times[0]) / np.array(times[1])
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    found = {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), "pairs": PAIRS}
    milliseconds = [1e3 * float(np.median(t)) for t in times]
    benchmark.extra_info.update(found, ours_ms=milliseconds[0], plain_ms=milliseconds[1])
    print(f"\n{name}: ours {milliseconds[0]:.1f} ms a step, plain {milliseconds[1]:.1f} ms; ratio {found['ratio']:.3f} "
          f"[{low:.3f}; {high:.3f}] over {PAIRS} pairs")  # fmt: skip
    benchmark.pedantic(lambda: None, rounds=1)
    assert np.isfinite(ratios).all()
