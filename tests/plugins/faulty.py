"""Architectures with planted faults, each with a known end. `honest` has none: the run must go on to it."""

import os

import torch
from torch import Tensor, nn

from bench.contract import Traits
from bench.registry import register_architecture

TRAITS = Traits(
    modes=frozenset({"causal"}), time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear"
)
FROM = 201  # faults in running show at this length and after


def at_work(x_BTD: Tensor) -> bool:
    """In a long pass that is measured: the contract's checks, which come before, run in float64."""
    return x_BTD.shape[1] >= FROM and x_BTD.device.type == "cpu" and x_BTD.dtype == torch.float32


def without_padding(y_BTD: Tensor, keep_BT: Tensor | None) -> Tensor:
    return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)


class Base(nn.Module):
    traits = TRAITS
    receptive_field: int | None = 1

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        return without_padding(self.fault(self.linear(x_BTD)), keep_BT)

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
        while at_work(y_BTD):
            held.append(torch.ones(1 << 24))
        return y_BTD


@faulty("exits")
class Exits(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        if at_work(y_BTD):
            os._exit(7)
        return y_BTD


@faulty("not_finite")
class NotFiniteAtLength(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD * torch.nan if y_BTD.shape[1] >= FROM else y_BTD


@faulty("hangs")
class Hangs(Base):
    def fault(self, y_BTD: Tensor) -> Tensor:
        while at_work(y_BTD):
            pass
        return y_BTD


@faulty("fills_padding")
class FillsPadding(Base):
    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        return self.linear(x_BTD)


@faulty("mixes_the_batch")
class MixesTheBatch(Base):
    """As a recurrence that takes the batch for the time."""

    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD + y_BTD.cumsum(0)


@faulty("sees_far")
class SeesFar(Base):
    """Blocks of 256 tokens that look one block too far ahead."""

    def fault(self, y_BTD: Tensor) -> Tensor:
        later_BTD = y_BTD[:, 256::256].cumsum(1)
        return torch.cat([y_BTD[:, :1] + later_BTD.sum(1, keepdim=True), y_BTD[:, 1:]], dim=1)


@faulty("norms_over_tokens")
class NormsOverTokens(Base):
    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__(config, width, depth, causal)
        self.norm = nn.BatchNorm1d(width)

    def fault(self, y_BTD: Tensor) -> Tensor:
        return self.norm(y_BTD.transpose(1, 2)).transpose(1, 2)


@faulty("gated")
class Gated(Base):
    """Nothing is wrong: what it adds is behind a gate that begins at zero, and part of it is not learnt."""

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__(config, width, depth, causal)
        self.gate = nn.Parameter(torch.zeros(()))
        self.features = nn.Parameter(torch.randn(width, width), requires_grad=False)

    def fault(self, y_BTD: Tensor) -> Tensor:
        return y_BTD @ self.features * self.gate


@faulty("honest")
class Honest(Base):
    pass
