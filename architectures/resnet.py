"""Residual network (He et al. 2016): the convolutional baseline, in the form that small images are given.

Blocks of two 3 x 3 convolutions with batch norm; each stage after the first begins with a step of two and twice the width.
The first convolution is the front end's (patches of one pixel with a reach of three). Width 64, depth 8 and four stages are
the ResNet-18 of kuangliu/pytorch-cifar.

Differs from the paper: no 7 x 7 stem and no pooling behind it, which small images would not survive.

Legend: B batch, T tokens, D width, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from architectures.blocks import drop
from architectures.grids import Interval, as_image, as_tokens, halved, split_depth, widest_field
from bench.contract import Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class ResNetConfig:
    """Attributes:
    stages, depths: how the blocks are shared out: evenly over `stages`, or as `depths` says.
    mlp_hidden: width between a block's two convolutions, in the first stage; None for the width itself. It doubles with the
        width. The budget solver sets it for the last percent.
    residual: False for a plain network (He et al. 2016, section 3.3).
    dropout: between a block's convolutions (Zagoruyko & Komodakis 2016).
    """

    stages: int = 3
    depths: tuple[int, ...] = ()
    mlp_hidden: int | None = None
    residual: bool = True
    dropout: float = 0.0


class BasicBlock(nn.Module):
    """Two convolutions, each with a batch norm; where the block steps or widens, the shortcut is a 1 x 1 convolution."""

    def __init__(self, width: int, hidden: int, out: int, step: int, config: ResNetConfig) -> None:
        super().__init__()
        self.step, self.dropout = step, config.dropout
        self.first = nn.Conv2d(width, hidden, 3, stride=step, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(hidden)
        self.second = nn.Conv2d(hidden, out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(out)
        self.shortcut: nn.Module | None = None
        if config.residual:
            changes = step > 1 or width != out
            self.shortcut = nn.Identity()
            if changes:
                self.shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride=step, bias=False), nn.BatchNorm2d(out))

    def forward(self, x_BDYX: Tensor) -> Tensor:
        y_BDYX = F.relu(self.first_norm(self.first(x_BDYX)))
        y_BDYX = self.second_norm(self.second(drop(y_BDYX, self.dropout, self.training)))
        return F.relu(y_BDYX if self.shortcut is None else y_BDYX + self.shortcut(x_BDYX))


class ResNet(nn.Module):
    """An encoder of grids (see `bench.contract`). Batch norm keeps means and variances of training batches, the one thing
    that any encoder here remembers between calls; in evaluation they are fixed."""

    def __init__(self, config: ResNetConfig, width: int, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid, out_grid = grid, grid
        self.enter = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        hidden = config.mlp_hidden or width
        for stage, blocks in enumerate(split_depth(depth, config.stages, config.depths)):
            for i in range(blocks):
                steps = stage > 0 and i == 0
                out = 2 * width if steps else width
                hidden = 2 * hidden if steps else hidden
                out_grid = halved(out_grid) if steps else out_grid
                self.blocks.append(BasicBlock(width, hidden, out, 2 if steps else 1, config))
                width = out
        self.out_width = width
        self.traits = TRAITS if out_grid != grid else TRAITS_OF_ONE_STAGE
        self.receptive_field = widest_field(grid, out_grid, self._seen_by)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if keep_BT is not None:
            raise ValueError("an encoder of grids takes whole grids, without padding")
        x_BDYX = F.relu(self.enter(as_image(x_BTD, self.grid)))
        for block in self.blocks:
            x_BDYX = block(x_BDYX)
        return as_tokens(x_BDYX)

    def _seen_by(self, interval: Interval, axis: int) -> Interval:
        """Each block reaches one place further by its second convolution, and by its first one in steps."""
        low, high = interval
        for block in reversed(self.blocks):
            step = cast(BasicBlock, block).step
            low, high = (low - 1) * step - 1, (high - 1 + 1) * step + 2
        return low, high


TRAITS = Traits(
    modes=frozenset({"bidirectional"}),
    layouts=frozenset({"grid"}),
    keeps_length=False,
    time_exponent=1.0,
    memory_exponent=1.0,
    parallel_in_time=True,
    path="linear",
)
TRAITS_OF_ONE_STAGE = Traits(
    modes=TRAITS.modes,
    layouts=TRAITS.layouts,
    time_exponent=1.0,
    memory_exponent=1.0,
    parallel_in_time=True,
    path="linear",
)


@register_architecture(
    "resnet",
    family="convolution",
    config=ResNetConfig,
    summary="residual convolutional network, the CNN of small images",
    reference="He et al. 2016",
    images=True,
)
def resnet(config: ResNetConfig, width: int, depth: int, causal: bool, grid: tuple[int, int] | None = None) -> ResNet:
    if grid is None:
        raise ValueError("resnet needs a grid of rows and columns")
    return ResNet(config, width, depth, grid)
