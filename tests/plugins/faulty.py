"""Architectures with planted faults, each with a known end. `honest` has none: the run must go on to it."""

import os

import torch
from torch import Tensor, nn

from bench.contract import Traits
from bench.registry import register_architecture

TRAITS = Traits(
    modes=frozenset({"causal"}), time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear"
)
FROM = 201  # faults in running show at this length and after: past the contract check, which goes to 200 tokens


class Base(nn.Module):
    traits = TRAITS
    receptive_field: int | None = 1

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        return self.fault(self.linear(x_BTD))

    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD


def faulty(name: str):
    return register_architecture(name, family="other", summary=f"a planted fault: {name}")


@faulty("raises")
class Raises(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        raise KeyError("a bug in the plug-in")


@faulty("raises_when_built")
class RaisesWhenBuilt(Base):
    def __init__(self, *args: object) -> None:
        raise ZeroDivisionError("a bug in the constructor")


@faulty("leaks")
class Leaks(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD + y_BTD.mean(1, keepdim=True)


@faulty("wrong_shape")
class WrongShape(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD[:, :-1]


@faulty("allocates")
class Allocates(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        held = []
        while y_BTD.shape[1] >= FROM and y_BTD.device.type == "cpu":
            held.append(torch.ones(1 << 24))
        return y_BTD


@faulty("exits")
class Exits(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        if y_BTD.shape[1] >= FROM and y_BTD.device.type == "cpu":
            os._exit(7)
        return y_BTD


@faulty("not_finite")
class NotFiniteAtLength(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD * torch.nan if y_BTD.shape[1] >= FROM else y_BTD


@faulty("hangs")
class Hangs(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        while y_BTD.shape[1] >= FROM and y_BTD.device.type == "cpu":
            pass
        return y_BTD


@faulty("honest")
class Honest(Base):
    pass
