"""The encoder contract for architectures of images, whose tokens stand in rows and columns: see `bench.conformance`.

They take a whole grid and no padding, and may give fewer and wider tokens than they are given. All are bidirectional.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from bench.conformance import TOLERANCE, ContractBroken, Subject, check_gradients, check_seeds
from bench.contract import out_width
from bench.measure.graph import trace

IMAGES = 8
"""Dependence is looked for in several images: at a single one, ReLU and pooling hide some inputs."""


def tokens(subject: Subject) -> int:
    rows, columns = cast(tuple[int, int], subject.grid)
    return rows * columns


def check_shape(subject: Subject) -> None:
    """(B, T, D) in; (B, T, D) out, or fewer tokens of the stated width; finite, nothing remembered between calls."""
    encoder: Any = subject.build()
    x_BTD = subject.inputs(2, tokens(subject))
    with torch.no_grad():
        y_BTD, again_BTD = encoder(x_BTD), encoder(x_BTD)
    if not isinstance(y_BTD, Tensor) or y_BTD.dim() != 3:
        raise ContractBroken(f"forward gives {type(y_BTD).__name__}, the contract asks for one tensor (B, T, D)")
    width = out_width(encoder, subject.width)
    if len(y_BTD) != 2 or y_BTD.shape[2] != width:
        raise ContractBroken(f"wrong shape: {tuple(y_BTD.shape)} out, the batch is 2 and the stated width {width}")
    keeps = y_BTD.shape == x_BTD.shape
    if encoder.traits.keeps_length and not keeps:
        raise ContractBroken(
            f"wrong shape: {tuple(x_BTD.shape)} in, {tuple(y_BTD.shape)} out, and it says it merges none"
        )
    if not encoder.traits.keeps_length and y_BTD.shape[1] >= x_BTD.shape[1] and tokens(subject) > 16:
        raise ContractBroken("says that it merges tokens, and gives as many as it is given")
    if not torch.isfinite(y_BTD).all():
        raise ContractBroken("outputs are NaN or infinite on standard normal inputs")
    if not torch.equal(y_BTD, again_BTD):
        raise ContractBroken(
            "the same input twice gives two outputs: state is kept on the module, or chance is at work"
        )


def check_depends_on_all(subject: Subject) -> None:
    """Every token of the grid changes some output, and the first output depends on later tokens too."""
    encoder: Any = subject.build()
    x_BTD = subject.inputs(IMAGES, tokens(subject)).requires_grad_()
    y_BTD = encoder(x_BTD)
    generator = torch.Generator().manual_seed(2)
    projected_T = (y_BTD * torch.randn(y_BTD.shape, dtype=torch.float64, generator=generator)).sum((0, 2))
    seen_T = _reached(projected_T.sum(), x_BTD)
    if not seen_T.all():
        raise ContractBroken(f"no output depends on the token at place {int((~seen_T).nonzero()[0])}")
    if tokens(subject) > 1 and not _reached(projected_T[0], x_BTD)[1:].any():
        raise ContractBroken("claims to be bidirectional, but its first output depends on no later input")


def _reached(output: Tensor, x_BTD: Tensor) -> Tensor:
    """Which tokens a number depends on in some image of the batch, (T,) of bool."""
    return torch.autograd.grad(output, x_BTD, retain_graph=True)[0].abs().amax((0, 2)) > 0


def dependence(encoder: Any, length: int, width: int) -> Tensor:
    """(outputs, inputs) of bool: which output depends on which input, by Jacobian, in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    x_BTD = torch.randn(IMAGES, length, width, dtype=torch.float64, generator=generator, requires_grad=True)
    y_BTD = encoder(x_BTD)
    weight_D = torch.randn(y_BTD.shape[2], dtype=torch.float64, generator=generator)
    return torch.stack([_reached(y, x_BTD) for y in (y_BTD @ weight_D).sum(0)])


def check_field(subject: Subject) -> None:
    """The most tokens that one output depends on are the declared ones; None means all."""
    encoder: Any = subject.build()
    found = int(dependence(encoder, tokens(subject), subject.width).sum(1).max())
    declared = encoder.receptive_field
    if found != (tokens(subject) if declared is None else declared):
        raise ContractBroken(f"receptive field is {found} tokens, declared {declared} (of {tokens(subject)})")


def check_costs(subject: Subject) -> None:
    """Counted work grows as the traits say when the grid doubles in rows and columns, and the span says what they say."""
    rows, columns = cast(tuple[int, int], subject.grid)
    counts = []
    for times in (4, 8):
        larger = replace(subject, grid=(rows * times, columns * times))
        counts.append(trace(larger.build("meta"), tokens(larger), subject.width, backward=False))
    short, long = counts
    traits = subject.traits
    mixing = short.mixing_flops and traits.time_exponent != 1
    work = (short.mixing_flops, long.mixing_flops) if mixing else (short.flops, long.flops)
    exponent = math.log(work[1] / work[0], 4)
    if abs(exponent - traits.time_exponent) > 0.1:
        raise ContractBroken(f"work grows as T^{exponent:.2f}, the traits say T^{traits.time_exponent:g}")
    if (long.span == short.span) != traits.parallel_in_time:
        raise ContractBroken(f"the span goes from {short.span} to {long.span} as the grid grows")


def check_reference(subject: Subject) -> None:
    """The fast path equals the plain reference: outputs and all gradients."""
    fast: Any = subject.build()
    if not hasattr(fast, "use_reference"):
        return
    results = []
    for use_reference in (False, True):
        fast.use_reference = use_reference
        fast.zero_grad()
        x_BTD = subject.inputs(2, tokens(subject)).requires_grad_()
        y_BTD = fast(x_BTD)
        generator = torch.Generator().manual_seed(2)
        y_BTD.backward(torch.randn(y_BTD.shape, dtype=torch.float64, generator=generator))
        results.append([y_BTD.detach(), x_BTD.grad, *(p.grad.clone() for p in fast.parameters())])
    for ours, plain in zip(*results, strict=True):
        error = (ours - plain).abs().max() / max(1.0, float(plain.abs().max()))
        if error > TOLERANCE:
            raise ContractBroken(f"fast path and reference differ by {error:.2g} on a grid of {subject.grid}")


def check_gradients_of_grid(subject: Subject) -> None:
    check_gradients(subject, tokens(subject))


def check_seeds_of_grid(subject: Subject) -> None:
    check_seeds(subject, tokens(subject))


QUICK_CHECKS_OF_GRIDS: dict[str, Callable[[Subject], None]] = {
    "shape": check_shape,
    "dependence": check_depends_on_all,
    "gradients": check_gradients_of_grid,
}
