"""The stack that every mixer sits in, so that the mixer is the only thing that differs.

    x = x + mixer(norm(x));  x = x + mlp(norm(x));  a last norm          (pre-norm, Xiong et al. 2020)

Legend: B batch, T tokens, S tokens of a chunk, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bench.contract import State, Traits


@dataclass(frozen=True)
class BlockConfig:
    """Settings of the block around any mixer.

    Attributes:
        mlp_ratio: hidden width of the MLP over the encoder's width.
        mlp_hidden: hidden width itself; wins over `mlp_ratio`. The budget solver sets it for the last percent.
    """

    mlp_ratio: float = 4.0
    mlp_hidden: int | None = None

    def hidden(self, width: int) -> int:
        return self.mlp_hidden if self.mlp_hidden is not None else max(1, round(self.mlp_ratio * width))


class Mixer(nn.Module, ABC):
    """Moves information between tokens, (B, T, D) -> (B, T, D). Subclasses are built for one mode, causal or not."""

    @abstractmethod
    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """The fast path. What stands at padded positions on the way in must not reach real ones."""

    @abstractmethod
    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """The same function in plain operations, slow and easy to read. Tests hold the fast path to it."""

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State: ...

    @abstractmethod
    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        """The next S tokens after `state`. Causal mixers only."""


class MLP(nn.Module):
    """Position-wise: Linear, GELU, Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(nn.functional.gelu(self.up(x_BTD)))


class Block(nn.Module):
    """One mixer and one MLP, each behind a norm and beside a residual."""

    def __init__(self, mixer: Mixer, width: int, hidden: int) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(width)
        self.mixer = mixer
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None, use_reference: bool) -> Tensor:
        mix = self.mixer.reference if use_reference else self.mixer
        x_BTD = x_BTD + mix(self.mixer_norm(x_BTD), keep_BT)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        y_BSD, state = self.mixer.step(self.mixer_norm(x_BSD), state)
        x_BSD = x_BSD + y_BSD
        return x_BSD + self.mlp(self.mlp_norm(x_BSD)), state


class ResidualStack(nn.Module):
    """An encoder (see `bench.contract`) made of `depth` blocks.

    Args:
        make_mixer: called with the layer's index, builds that layer's mixer.
        positions: module adding positions to the input, `(x_BTD, start) -> (B, T, D)`; None for none.
        receptive_field: input tokens that one output can depend on; None for all.

    Attributes:
        use_reference: run every mixer's plain reference in place of its fast path.
    """

    def __init__(
        self,
        make_mixer: Callable[[int], Mixer],
        config: BlockConfig,
        width: int,
        depth: int,
        traits: Traits,
        receptive_field: int | None,
        positions: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.traits = traits
        self.receptive_field = receptive_field
        self.positions = positions
        self.blocks = nn.ModuleList(Block(make_mixer(i), width, config.hidden(width)) for i in range(depth))
        self.norm = nn.LayerNorm(width)
        self.use_reference = False

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if keep_BT is not None:
            # masked_fill, not a product: garbage at padding may be NaN, and NaN times zero is NaN, in masked scores and
            # in gradients of weights too.
            x_BTD = x_BTD.masked_fill(~keep_BT[..., None], 0.0)
        if self.positions is not None:
            x_BTD = self.positions(x_BTD, 0)
        for block in self.blocks:
            x_BTD = block(x_BTD, keep_BT, self.use_reference)
        y_BTD = self.norm(x_BTD)
        return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)

    def _blocks(self) -> Iterator[Block]:
        return (cast(Block, block) for block in self.blocks)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        layers = [block.mixer.initial_state(batch, device, dtype) for block in self._blocks()]
        return {"position": 0, "layers": layers}

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        position = state["position"]
        if self.positions is not None:
            x_BSD = self.positions(x_BSD, position)
        layers = []
        for block, layer_state in zip(self._blocks(), state["layers"], strict=True):
            x_BSD, layer_state = block.step(x_BSD, layer_state)
            layers.append(layer_state)
        return self.norm(x_BSD), {"position": position + x_BSD.shape[1], "layers": layers}
