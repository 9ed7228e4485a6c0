"""Where the memory of a training step goes: weights, gradients, optimiser state, activations, and the peak.

Activation bytes are exact and need no GPU: every tensor that autograd saves for backward passes through a hook, and each
storage is counted once, parameters left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.measure.device import Device, Peak


@dataclass(frozen=True)
class MemorySplit:
    """Bytes. `optimizer` is AdamW's state, which any Adam-like training will hold."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: Peak


def saved_bytes(encoder: nn.Module, x_BTD: Tensor) -> int:
    """Bytes of storage that one forward pass keeps for backward, the encoder's parameters left out."""
    parameters = {_storage(p) for p in encoder.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in parameters:
            seen[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y_BTD = encoder(x_BTD)
    del y_BTD
    return sum(seen.values())


def measure_memory(encoder: nn.Module, x_BTD: Tensor, grad_BTD: Tensor, device: Device) -> MemorySplit:
    """Memory of a forward and backward pass, in passes of their own (nothing is timed here).

    The activation pass comes first and warms up, so that kernel workspaces are not taken for the step's own peak.
    """
    activations = saved_bytes(encoder, x_BTD)

    def step() -> None:
        encoder(x_BTD).backward(grad_BTD)

    encoder.zero_grad(set_to_none=True)
    peak = device.peak(step)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.0)
    optimizer.step()
    state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor) and v.dim() > 0]
    split = MemorySplit(
        weights=_bytes(list(encoder.parameters())),
        gradients=_bytes([p.grad for p in encoder.parameters() if p.grad is not None]),
        optimizer=_bytes(state),
        activations=activations,
        peak=peak,
    )
    encoder.zero_grad(set_to_none=True)
    return split


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensors: list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
