"""Swin Transformer (Liu et al. 2021): attention within windows, shifted in every other block; between stages four tokens
become one of twice the width.

Differs from the paper: windows of 4 x 4 by default, for small images; no stochastic depth; LayerNorm with torch's epsilon.
With window 7, depths (2, 2, 6, 2), width 96, 3 heads and patches of 4 it is Swin-T, to the parameter.

Legend: B batch, T tokens, D width, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from architectures.blocks import Block, BlockConfig, drop, init_as_gpt2
from architectures.grids import Interval, halved, split_depth, widest_field
from architectures.window2d import GridWindowMixer
from bench.contract import Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class SwinConfig(BlockConfig):
    """Attributes:
    window: rows and columns of a window.
    heads: of the first stage; they double with the width.
    stages, depths: how the blocks are shared out: evenly over `stages`, or as `depths` says.
    shift: False for windows that never move, so that nothing crosses their borders.
    merge: False for stages that keep grid and width.
    bias: the learned relative position bias.
    """

    window: int = 4
    heads: int = 2
    stages: int = 2
    depths: tuple[int, ...] = ()
    shift: bool = True
    merge: bool = True
    bias: bool = True


class PatchMerging(nn.Module):
    """Four neighbours side by side, a norm, and a linear map of 4 D numbers to 2 D. An odd side is filled up with zeros."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, _, D = x_BTD.shape
        Y, X = self.grid
        x_BYXD = F.pad(x_BTD.view(B, Y, X, D), (0, 0, 0, X % 2, 0, Y % 2))
        y, x = halved(self.grid)
        x_BTD = x_BYXD.view(B, y, 2, x, 2, D).permute(0, 1, 3, 4, 2, 5).reshape(B, y * x, 4 * D)
        return self.reduce(self.norm(x_BTD))


class Swin(nn.Module):
    """An encoder of grids (see `bench.contract`)."""

    def __init__(self, config: SwinConfig, width: int, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        depths = split_depth(depth, config.stages, config.depths)
        self.depths, self.grids, self.merge = depths, [grid], config.merge
        self.enter = nn.LayerNorm(width)
        self.dropout, self.use_reference = config.dropout, False
        self.blocks, self.mergers = nn.ModuleList(), nn.ModuleList()
        heads = config.heads
        for stage, blocks in enumerate(depths):
            if stage and config.merge:
                self.mergers.append(PatchMerging(width, grid))
                grid, width, heads = halved(grid), 2 * width, 2 * heads
                self.grids.append(grid)
            hidden = None if config.mlp_hidden is None else config.mlp_hidden * 2 ** len(self.mergers)
            own = replace(config, mlp_hidden=hidden)
            for i in range(blocks):
                shifted = config.shift and i % 2 == 1
                mixer = GridWindowMixer(width, heads, grid, config.window, shifted, config.bias)
                self.blocks.append(Block(mixer, width, own))
        self.out_width = width
        self.norm = nn.LayerNorm(width) if config.norm == "pre" else nn.Identity()
        self.traits = replace(TRAITS, keeps_length=len(self.grids) == 1)
        self.receptive_field = widest_field(self.grids[0], self.grids[-1], self._seen_by)
        if config.init == "gpt2":
            init_as_gpt2(list(cast(Iterator[Block], iter(self.blocks))))

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        x_BTD = drop(self.enter(x_BTD), self.dropout, self.training)
        block = iter(self.blocks)
        for stage, blocks in enumerate(self.depths):
            if stage and self.merge:
                x_BTD = self.mergers[stage - 1](x_BTD)
            for _ in range(blocks):
                x_BTD = next(block)(x_BTD, keep_BT, self.use_reference, None)
        return self.norm(x_BTD)

    def _seen_by(self, interval: Interval, axis: int) -> Interval:
        """Input places along one axis that places of the output depend on, found by walking borders down the layers."""
        low, high = interval
        block = len(self.blocks)
        for stage in reversed(range(len(self.depths))):
            side = self.grids[stage if self.merge else 0][axis]
            for _ in range(self.depths[stage]):
                block -= 1
                mixer = cast(GridWindowMixer, cast(Block, self.blocks[block]).mixer)
                size, shift = mixer.window[axis], mixer.shift[axis]
                low = (low + (size - shift) % size) // size * size - (size - shift) % size
                high = -(-(high + (size - shift) % size) // size) * size - (size - shift) % size
                low, high = max(0, low), min(side, high)
            if stage and self.merge:
                low, high = 2 * low, 2 * high
        return low, high


TRAITS = Traits(
    modes=frozenset({"bidirectional"}),
    layouts=frozenset({"grid"}),
    time_exponent=1.0,
    memory_exponent=1.0,
    parallel_in_time=True,
    path="linear",
)


@register_architecture(
    "swin",
    family="windowed",
    config=SwinConfig,
    summary="Swin: attention in shifted windows of a grid, tokens merged between stages",
    reference="Liu et al. 2021",
    images=True,
)
def swin(config: SwinConfig, width: int, depth: int, causal: bool, grid: tuple[int, int] | None = None) -> Swin:
    if grid is None:
        raise ValueError("swin needs a grid of rows and columns")
    return Swin(config, width, depth, grid)
