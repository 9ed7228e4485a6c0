"""Compact Convolutional Transformer (Hassani et al. 2021): convolutions make the tokens, attention mixes them, and a
learned weighted mean over tokens takes the class token's place.

The first convolution is the front end's (patches of one pixel with a reach of three); here follow ReLU and pooling, further
convolutions where asked for, learned positions, the Transformer, and the weighted mean: one token comes out.

Differs from the paper: no stochastic depth, dropout by setting, no bias in the weighing (a softmax does not see it).

Legend: B batch, T tokens, D width, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.grids import as_image, as_tokens, halved
from architectures.vit import TRAITS, ViTConfig, vit
from bench.registry import register_architecture


@dataclass(frozen=True)
class CCTConfig(ViTConfig):
    """`convolutions`: how many make the tokens, the front end's counted; each is followed by ReLU and pooling by two.
    `positions`: a learned vector added to each token."""

    mlp_ratio: float = 2.0
    convolutions: int = 1
    positions: bool = True


class CCT(nn.Module):
    """An encoder of grids (see `bench.contract`)."""

    def __init__(self, config: CCTConfig, width: int, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        if config.convolutions < 1:
            raise ValueError("convolutions: the front end's own is one, so use 1 or more")
        self.grid = grid
        more = config.convolutions - 1
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(more))
        for _ in range(config.convolutions):
            grid = halved(grid)
        self.positions_TD = nn.Parameter(torch.randn(grid[0] * grid[1], width) * 0.02) if config.positions else None
        self.stack = vit(config, width, depth, False, grid)
        self.weigh = nn.Linear(width, 1, bias=False)  # the softmax over tokens would not see a bias
        self.traits = replace(TRAITS, layouts=frozenset({"grid"}), keeps_length=False)
        self.receptive_field = None

    @property
    def blocks(self) -> nn.ModuleList:
        return self.stack.blocks

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if keep_BT is not None:
            raise ValueError("an encoder of grids takes whole grids, without padding")
        x_BDYX = _pooled(as_image(x_BTD, self.grid))
        for convolution in self.convolutions:
            x_BDYX = _pooled(convolution(x_BDYX))
        x_BTD = as_tokens(x_BDYX)
        if self.positions_TD is not None:
            x_BTD = x_BTD + self.positions_TD
        x_BTD = self.stack(x_BTD)
        share_BT1 = self.weigh(x_BTD).softmax(1)
        return (share_BT1 * x_BTD).sum(1, keepdim=True)


def _pooled(x_BDYX: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(x_BDYX), 3, stride=2, padding=1)


@register_architecture(
    "cct",
    family="attention",
    config=CCTConfig,
    summary="Compact Convolutional Transformer: tokens from convolutions, then attention",
    reference="Hassani et al. 2021",
    images=True,
)
def cct(config: CCTConfig, width: int, depth: int, causal: bool, grid: tuple[int, int] | None = None) -> CCT:
    if grid is None:
        raise ValueError("cct needs a grid of rows and columns")
    return CCT(config, width, depth, grid)
