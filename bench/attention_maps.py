"""Which token looks at which: attention weights of every layer that has them, for one input.

Legend: B batch, T tokens, D width, H heads.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Looks(Protocol):
    """A mixer whose outputs are weighted means over tokens."""

    def weights(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """Shares (B, H, T, T) that each token (row) takes of every other; rows sum to 1."""
        ...


def looking(model: nn.Module) -> list[nn.Module]:
    """The mixers of a model that look. `weights` is an everyday name, for a parameter as well: it must be a method."""
    return [m for m in model.modules() if isinstance(m, Looks) and callable(m.weights)]


def attention_maps(model: nn.Module, *inputs: Tensor | None) -> list[Tensor]:
    """Weights (B, H, T, T) of each such layer in order, from one pass of the model over `inputs`; empty where there is none.

    The pass itself takes the layers' fast path; weights are worked out beside it from the same inputs.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(module, Looks)
        found.append(module.weights(*args).detach())

    handles = [m.register_forward_pre_hook(note) for m in looking(model)]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found
