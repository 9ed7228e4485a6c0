"""Architectures that pass every check and fail while training, each with a known end."""

import os

import torch
from torch import Tensor, nn

from bench.contract import Traits
from bench.registry import register_architecture

TRAITS = Traits(
    modes=frozenset({"causal"}), time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear"
)
FROM = 8  # training passes that go well: past those of the checks and of measuring memory


class Base(nn.Module):
    traits = TRAITS
    receptive_field: int | None = 1

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.passes = 0

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        self.passes += self.training
        y_BTD = self.linear(x_BTD)
        y_BTD = self.fault(y_BTD) if self.passes > FROM else y_BTD
        return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)

    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD


@register_architecture("nan_later", family="other", summary="its outputs are not numbers any more after a while")
class NanLater(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD * torch.nan


@register_architecture("dies_later", family="other", summary="its process ends itself after a while")
class DiesLater(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        os._exit(7)


@register_architecture("raises_later", family="other", summary="a bug after a while")
class RaisesLater(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        raise KeyError("a bug in the plug-in")


@register_architecture("grows_later", family="other", summary="takes memory without end after a while")
class GrowsLater(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        self.hoard = [torch.zeros(64, 1024, 1024) for _ in range(10_000)]
        return y_BTD


@register_architecture("well", family="other", summary="nothing is wrong with it")
class Well(Base):
    pass
