"""Who depends on whom, by the Jacobian: receptive field, and how many layers connect the two ends of a sequence.

Exact zeros mean "does not depend", so everything runs in float64, at small width, on the CPU. NaN planted in an input
would be quicker but is wrong: an additive mask turns -inf into NaN and claims dependence where there is none.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

MAX_LAYERS = 512


class NotConnected(Exception):
    """No depth up to MAX_LAYERS lets the last output depend on the first input."""


def depends_on(encoder: nn.Module, length: int, width: int, output: int) -> torch.Tensor:
    """Which inputs the output at one position depends on, (T,) of bool. The encoder is in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    x_BTD = torch.randn(1, length, width, dtype=torch.float64, generator=generator, requires_grad=True)
    # A random direction: after a last LayerNorm the plain sum of a row is constant, and its gradient zero.
    direction_D = torch.randn(width, dtype=torch.float64, generator=generator)
    (grad_BTD,) = torch.autograd.grad(encoder(x_BTD)[0, output] @ direction_D, x_BTD)
    return (grad_BTD[0] != 0).any(-1)


def receptive_field(encoder: nn.Module, length: int, width: int, outputs: range) -> int:
    """The widest span of inputs, first to last, that any of `outputs` depends on, in tokens."""
    widest = 0
    for output in outputs:
        seen = depends_on(encoder, length, width, output).nonzero().flatten()
        if len(seen):
            widest = max(widest, int(seen[-1] - seen[0]) + 1)
    return widest


def layers_to_connect(build: Callable[[int], nn.Module], length: int, width: int) -> int:
    """The fewest layers with which the last output depends on the first input.

    Args:
        build: called with a depth, returns such an encoder in float64 on the CPU.

    Raises:
        NotConnected: not with MAX_LAYERS either.
    """

    def connected(depth: int) -> bool:
        return bool(depends_on(build(depth), length, width, length - 1)[0])

    low, high = 0, 1
    while not connected(high):
        low, high = high, 2 * high
        if high > MAX_LAYERS:
            raise NotConnected(f"the last of {length:,} tokens does not depend on the first with {low:,} layers")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if connected(middle) else (middle, high)
    return high
