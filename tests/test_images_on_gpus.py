"""What only a GPU can show of images: `python -m pytest -m gpu` runs these with all the other GPU checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.conformance import Subject
from bench.contract import PatchPlan, Places
from bench.measure.device import open_device
from bench.models import build_model, build_task
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from results.predictions import load_pictures
from tests.command import run_all_anew
from tests.test_faults import only_run, records

pytestmark = pytest.mark.gpu


def digits(tmp_path: Path, **settings: Any) -> Any:
    return build_task(TASKS.get("digits"), settings, "bidirectional", Places(None, tmp_path))


def test_images_are_changed_alike_on_every_device(tmp_path: Path) -> None:
    task = digits(tmp_path, size=16, crop=2, flip=True, cutout=4, randaugment=2, mixup=0.3)
    batch = task.train_batch(3, 64, 0)
    here, there = task.prepare(batch, (3, 0)), task.prepare(batch.to("cuda:0"), (3, 0))
    assert there.inputs.is_cuda and torch.equal(here.targets, there.targets.cpu())
    assert (here.inputs - there.inputs.cpu()).abs().mean() < 1e-3  # single pixels may round to another level


@pytest.mark.parametrize("name", [e.name for e in ARCHITECTURES.entries.values() if e.images])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns(name: str, dtype: str, tmp_path: Path) -> None:
    task = digits(tmp_path)
    recipe = Recipe(batch=64, steps=300, lr=3e-3, warmup=20, pooling="mean", patch=1, patch_reach=3, evaluate_every=100)
    shape = task.shape.patched(PatchPlan(**recipe.patch_plan))
    model = build_model(ARCHITECTURES.get(name), {}, 32, 4, "bidirectional", shape, "mean", device="cuda:0")
    training = Training(model, task, recipe, open_device("cuda:0"), "cuda:0", dtype, shape=shape)
    training.run()
    assert training.outcome("test").accuracy > 0.8


@pytest.mark.parametrize("grid", [(8, 8), (7, 9)])
def test_windows_of_a_grid_equal_their_reference(grid: tuple[int, int]) -> None:
    encoder: Any = Subject(ARCHITECTURES.get("swin"), {}, "bidirectional", 32, 4, grid).build().float().cuda()
    x_BTD = torch.randn(2, grid[0] * grid[1], 32, device="cuda:0")
    with torch.no_grad():
        fast = encoder(x_BTD)
        encoder.use_reference = True
        assert torch.allclose(fast, encoder(x_BTD), atol=1e-3)


def test_no_picture_is_missing(tmp_path: Path) -> None:
    """Pictures need gradients in double precision, which fused kernels and cuDNN's recurrences do not give."""
    names = "gru,vit,swin,resnet"
    done = run_all_anew("--suite", "image", "--preset", "smoke", "--device", "cuda:0", "--tasks", "digits",
                        "--architectures", names, "--out", str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    finals = [r for r in records(tmp_path) if r.kind == "train" and r.regime == "final"]
    assert {r.architecture for r in finals} == set(names.split(","))
    assert all(r.kernels for r in records(tmp_path) if r.kind == "cost")
    for r in finals:
        assert not [w for w in r.warnings if "picture" in w]
        kept = load_pictures(only_run(tmp_path).folder, r.trial_id)
        assert kept["field"] and kept["field_before"] and kept["reach"]
