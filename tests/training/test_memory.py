"""Memory of training, against sizes that can be worked out."""

from __future__ import annotations

import torch
from torch import nn

from bench.measure.device import CPUDevice
from bench.measure.memory import measure_training
from bench.training.loop import make_optimizer
from tests.training.toys import recipe


def test_known_sizes() -> None:
    x = torch.randn(100, 64)

    def make() -> tuple[nn.Module, torch.optim.Optimizer, object]:
        net = nn.Linear(64, 32)
        return net, make_optimizer(net, recipe()), lambda: net(x).square().sum()

    split = measure_training(make, CPUDevice())  # type: ignore[arg-type]
    weights = 4 * (64 * 32 + 32)
    assert (split.weights, split.gradients, split.optimizer) == (weights, weights, 2 * weights)
    assert split.activations == 4 * (
        100 * 64 + 100 * 32
    )  # the input, for the weights' gradient; the output, for its square
