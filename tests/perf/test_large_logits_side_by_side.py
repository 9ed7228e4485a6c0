"""Training steps whose cross-entropy is made in chunks beside steps with `F.cross_entropy`, in turns.

    python -m pytest -m perf tests/perf/test_large_logits_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of a few steps, in chunks over at once.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.contract import DecoderPlan, Places
from bench.measure.device import CPUDevice
from bench.models import build_task, build_writer
from bench.registry import ARCHITECTURES, TASKS
from bench.training import losses
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.pairs import report_ratio

pytestmark = [
    pytest.mark.perf,
    pytest.mark.skipif(not os.environ.get("SEQBENCH_DATA"), reason="SEQBENCH_DATA names no folder with Multi30k"),
]
STEPS, PAIRS = 2, 6


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("vocabulary", "batch", "width", "depth"),
    [(8000, 128, 256, 3), (10000, 512, 128, 4)],
    ids=["published ladder", "published tiny"],
)
def test_ratio(benchmark: Any, tmp_path: Path, vocabulary: int, batch: int, width: int, depth: int) -> None:
    settings = {"tokenizer": "word", "vocabulary": vocabulary, "joint": False, "lowercase": True}
    places = Places(Path(os.environ["SEQBENCH_DATA"]), tmp_path)
    task = build_task(TASKS.get("multi30k"), settings, "bidirectional", places)
    recipe = Recipe(
        batch=batch, steps=10_000, lr=1e-3, dropout=0.2, evaluate_every=10_000, cross="dot", label_smoothing=0.1
    )
    shape = replace(task.shape, decoder=DecoderPlan(**recipe.decoder_plan))
    model = build_writer(ARCHITECTURES.get("attention"), {"dropout": 0.2}, width, depth, "bidirectional", shape, "mean")
    training = Training(model, task, recipe, CPUDevice())

    def steps() -> None:
        for number in range(STEPS):
            training.rehearse(number)

    def at_once() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses, "LARGE", math.inf)
            steps()

    report_ratio(f"in chunks over at once, {STEPS} steps", benchmark, steps, at_once, PAIRS)
