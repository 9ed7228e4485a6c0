"""Our training loop beside nanoGPT's own, the same recipe on the same text, in turns within one run.

    python -m pytest -m perf tests/perf/test_training_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of ten steps, ours over plain.
Aim: at most 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contract import Places
from bench.measure.device import CPUDevice
from bench.models import build_model, build_task
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.pairs import report_ratio
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

    def our_steps() -> None:
        target = ours.state.step + STRETCH
        while ours.state.step < target:  # the first stretch is one step only
            ours._stretch(target - ours.state.step)

    report_ratio(f"{name}, {STRETCH} steps", benchmark, our_steps, lambda: plain.run(STRETCH), PAIRS)
