"""What only a GPU can show of the training engine: `python -m pytest -m gpu` runs these with all the other GPU checks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from bench.contract import IGNORE
from bench.measure.device import open_device
from bench.measure.energy import open_meter
from bench.measure.memory import measure_training
from bench.models import build_model
from bench.registry import ARCHITECTURES
from bench.training.large_logits import summed_cross_entropy
from bench.training.loop import Training, make_optimizer
from bench.training.losses import loss_sum, predictions
from tests.training.toys import Ragged, recipe

pytestmark = pytest.mark.gpu
NAMES = ("attention", "windowed", "lstm", "gru", "conv1d", "tcn")


class Stopped(Exception):
    pass


class Interrupted(Training):
    def _save_state(self) -> None:
        super()._save_state()
        if self.state.step == 100:
            raise Stopped


def trained(
    name: str, folder: Path | None = None, dtype: str = "bfloat16", kind: type[Training] = Training, **changes: object
) -> Training:
    made = recipe(steps=200, batch=32, lr=1e-2, evaluate_every=50, **changes)
    net = build_model(ARCHITECTURES.get(name), {}, 64, 2, "causal", Ragged.shape, seed=0, device="cuda:0")
    training = kind(net, Ragged(64), made, open_device("cuda:0"), "cuda:0", dtype, folder=folder)
    training.run()
    return training


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns(name: str, dtype: str) -> None:
    training = trained(name, dtype=dtype)
    assert training.state.curves["tune"]["loss"][-1] < 0.5
    assert all(p.dtype == torch.float32 for p in training.model.parameters())
    assert all(math.isfinite(s) and s > 0 for s in training.state.samples)


def test_it_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """In its middle: what it has of the optimiser must be on the GPU too, and steps must follow."""
    whole = trained("attention")
    with pytest.raises(Stopped):
        trained("attention", tmp_path, kind=Interrupted, checkpoint_seconds=1e-9)
    again = trained("attention", tmp_path)
    assert again.state.resumed_at == [100] and again.state.step == 200
    assert again.state.curves["tune"]["loss"][-1] == pytest.approx(whole.state.curves["tune"]["loss"][-1], abs=0.05)


@pytest.mark.slow
def test_compiling_is_booked_apart() -> None:
    training = trained("attention", compile=True)
    assert training.state.first_step_seconds > 10 * max(training.state.samples[-5:])
    assert training.state.seconds < training.state.first_step_seconds + 60


def test_memory_of_training_is_the_allocators() -> None:
    batch = Ragged().train_batch(0, 32, 0)
    batch_on, amount = batch.to("cuda:0"), predictions(batch)

    def make() -> object:
        net = build_model(ARCHITECTURES.get("attention"), {}, 64, 2, "causal", Ragged.shape, device="cuda:0")

        def loss() -> torch.Tensor:
            return loss_sum(net(batch_on.inputs, batch_on.keep_BT), batch_on.targets, Ragged.shape) / amount

        return net, make_optimizer(net, recipe()), loss

    split = measure_training(make, open_device("cuda:0"))  # type: ignore[arg-type]
    assert split.peak.method == "allocator"
    assert split.peak.used >= split.weights + split.gradients + split.optimizer
    assert split.optimizer == 2 * split.weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_logits_are_as_torch_has_them(dtype: torch.dtype) -> None:
    draw = torch.Generator("cuda:0").manual_seed(0)
    logits = torch.randn(3000, 30_000, generator=draw, device="cuda:0").to(dtype)
    targets = torch.randint(30_000, (3000,), generator=draw, device="cuda:0").where(logits[:, 0] > -1, IGNORE)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = summed_cross_entropy(ours, targets, IGNORE, 0.1)
    expected = F.cross_entropy(plain.float(), targets, ignore_index=IGNORE, reduction="sum", label_smoothing=0.1)
    (found / 3000).backward()
    (expected / 3000).backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=2e-2, atol=1e-7)


def test_the_gpu_counts_its_energy() -> None:
    meter = open_meter("cuda:0")
    if meter is None:
        pytest.skip("this GPU has no energy counter")
    before = meter.joules()
    x = torch.randn(4096, 4096, device="cuda:0")
    for _ in range(200):
        x = (x @ x).clamp(-1, 1)
    torch.cuda.synchronize()
    assert meter.joules() > before
