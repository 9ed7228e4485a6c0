"""Where the memory of a training step goes: weights, gradients, optimiser state, activations, and the peak.

Activation bytes are exact and need no GPU: every tensor that autograd saves for backward passes through a hook, and each
storage is counted once, parameters left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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


class SavedBytes:
    """Counts, while entered, the bytes of storage that autograd saves for backward; parameters are left out."""

    def __init__(self, encoder: nn.Module) -> None:
        self.parameters = {_storage(p) for p in encoder.parameters()}
        self.seen: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        # What is saved stays alive until backward, so an address stands for one storage only.
        if _storage(tensor) not in self.parameters:
            self.seen[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    def __enter__(self) -> SavedBytes:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    @property
    def total(self) -> int:
        return sum(self.seen.values())


def measure_memory(encoder: nn.Module, x_BTD: Tensor, grad_BTD: Tensor, device: Device) -> MemorySplit:
    """Memory of one forward and backward pass, in a pass of its own (nothing is timed here).

    The same pass gives both: the hooks keep numbers, no tensors, so they do not raise the peak.
    """
    saved = SavedBytes(encoder)

    def step() -> None:
        with saved:
            y_BTD = encoder(x_BTD)
        y_BTD.backward(grad_BTD)

    encoder.zero_grad(set_to_none=True)
    peak = device.peak(step)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.0)
    optimizer.step()
    split = MemorySplit(
        weights=_bytes(list(encoder.parameters())),
        gradients=_gradient_bytes(encoder),
        optimizer=_state_bytes(optimizer),
        activations=saved.total,
        peak=peak,
    )
    encoder.zero_grad(set_to_none=True)
    return split


def measure_training(
    make: Callable[[], tuple[nn.Module, torch.optim.Optimizer, Callable[[], Tensor]]], device: Device
) -> MemorySplit:
    """Memory of training, from nothing to the end of a second step: weights, gradients and optimiser state included.

    Args:
        make: builds a model, its optimiser and a function that gives the loss of one batch.
    """
    split: list[MemorySplit] = []

    def build_and_step() -> None:
        model, optimizer, loss = make()
        model.train()
        for _ in range(2):  # state that the optimiser makes in the first step is there in the second one's passes
            with SavedBytes(model) as saved:
                value = loss()
            value.backward()
            gradients = _gradient_bytes(model)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        split.append(
            MemorySplit(
                _bytes(list(model.parameters())), gradients, _state_bytes(optimizer), saved.total, Peak(0, None, "")
            )
        )

    peak = device.peak(build_and_step)
    return replace(split[0], peak=peak)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _gradient_bytes(module: nn.Module) -> int:
    return _bytes([p.grad for p in module.parameters() if p.grad is not None])


def _state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Its tensors but for counters of steps."""
    return _bytes([v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor) and v.dim() > 0])


def _bytes(tensors: list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
