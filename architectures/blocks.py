"""The stack that every mixer sits in, so that the mixer is the only thing that differs.

    x = x + mixer(norm(x));  x = x + mlp(norm(x));  a last norm          (pre-norm, Xiong et al. 2020)

Each part can be changed or taken away by a setting, to see what it is worth.

Legend: B batch, T tokens, S tokens of a chunk, D width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Between, State, Traits


@dataclass(frozen=True)
class BlockConfig:
    """Settings of the block around any mixer.

    Attributes:
        mlp_ratio: hidden width of the MLP over the encoder's width.
        mlp_hidden: hidden width itself; wins over `mlp_ratio`. The budget solver sets it for the last percent.
        mlp: False for blocks that are the mixer alone.
        norm: where LayerNorm stands. "pre": x + f(norm(x)), and one at the end (Xiong et al. 2020). "post":
            norm(x + f(x)), and none at the end (Vaswani et al. 2017). "none": nowhere.
        residual: False for f(norm(x)) in place of x + f(norm(x)).
        dropout: share of numbers set to zero in training, where Vaswani et al. 2017 (section 5.4) and GPT-2 do it: in
            what mixer and MLP give, before it is added, and once in the input with its positions.
        mlp_dropout: the same share of what stands between an MLP's two layers, as tensor2tensor and fairseq have it.
        init: "torch": each layer's own default, uniform, narrower the wider its input. "gpt2": see `init_as_gpt2`.
    """

    mlp_ratio: float = 4.0
    mlp_hidden: int | None = None
    mlp: bool = True
    norm: Literal["pre", "post", "none"] = "pre"
    residual: bool = True
    dropout: float = 0.0
    mlp_dropout: float = 0.0
    init: Literal["torch", "gpt2"] = "torch"

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

    def output_layer(self) -> nn.Linear | nn.Conv1d | None:
        """The layer whose output is the mixer's, for `init_as_gpt2`; None where the mixer ends in something else."""
        return None


class MLP(nn.Module):
    """Position-wise: Linear, GELU, Linear."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(drop(F.gelu(self.up(x_BTD)), self.dropout, self.training))


Within = Callable[[Tensor], Tensor] | None
"""What happens between a block's mixer and its MLP; None for nothing."""


class Block(nn.Module):
    """One mixer and one MLP, by default each behind a norm and beside a residual."""

    def __init__(self, mixer: Mixer, width: int, config: BlockConfig) -> None:
        super().__init__()
        self.post, self.residual, self.dropout = config.norm == "post", config.residual, config.dropout
        check_share("dropout", config.dropout)
        check_share("mlp_dropout", config.mlp_dropout)
        self.mixer_norm = nn.Identity() if config.norm == "none" else nn.LayerNorm(width)
        self.mixer = mixer
        self.mlp: MLP | None = None
        if config.mlp:
            self.mlp_norm = nn.Identity() if config.norm == "none" else nn.LayerNorm(width)
            self.mlp = MLP(width, config.hidden(width), config.mlp_dropout)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None, use_reference: bool, between: Within) -> Tensor:
        mix = self.mixer.reference if use_reference else self.mixer
        y_BTD = mix(self._before(x_BTD, self.mixer_norm), keep_BT)
        x_BTD = self._after(x_BTD, y_BTD, self.mixer_norm)
        return self._mlp(x_BTD if between is None else between(x_BTD))

    def step(self, x_BSD: Tensor, state: State, between: Within) -> tuple[Tensor, State]:
        y_BSD, state = self.mixer.step(self._before(x_BSD, self.mixer_norm), state)
        x_BSD = self._after(x_BSD, y_BSD, self.mixer_norm)
        return self._mlp(x_BSD if between is None else between(x_BSD)), state

    def _mlp(self, x_BTD: Tensor) -> Tensor:
        if self.mlp is None:
            return x_BTD
        return self._after(x_BTD, self.mlp(self._before(x_BTD, self.mlp_norm)), self.mlp_norm)

    def _before(self, x_BTD: Tensor, norm: nn.Module) -> Tensor:
        """What a mixer or an MLP reads."""
        return x_BTD if self.post else norm(x_BTD)

    def _after(self, x_BTD: Tensor, y_BTD: Tensor, norm: nn.Module) -> Tensor:
        """The block's new x, from the old one and what the mixer or the MLP gave."""
        y_BTD = drop(y_BTD, self.dropout, self.training)
        y_BTD = x_BTD + y_BTD if self.residual else y_BTD
        return norm(y_BTD) if self.post else y_BTD


def check_share(name: str, share: float) -> None:
    """Raises ValueError where a setting is no share to be dropped."""
    if not 0 <= share < 1:
        raise ValueError(f"{name} {share}: use a share from 0 to below 1")


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout (Srivastava et al. 2014). No operation at all where nothing is dropped, so that none is counted or timed."""
    return F.dropout(x, share) if share and training else x


class ResidualStack(nn.Module):
    """An encoder (see `bench.contract`) made of `depth` blocks.

    Args:
        make_mixer: called with the layer's index, builds that layer's mixer.
        positions: module adding positions to the input, `(x_BTD, start) -> (B, T, D)`; None for none.
        receptive_field: input tokens that one output can depend on; None for all.

    Attributes:
        use_reference: run every mixer's plain reference in place of its fast path.
        block: what it is a stack of.
    """

    block: type[Block] = Block

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
        self.blocks = nn.ModuleList(self.block(make_mixer(i), width, config) for i in range(depth))
        self.norm = nn.LayerNorm(width) if config.norm == "pre" else nn.Identity()
        self.dropout = config.dropout
        self.use_reference = False
        if config.init == "gpt2":
            init_as_gpt2(list(self._blocks()))

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None, between: Between | None = None) -> Tensor:
        """`between` is called within each block, behind the mixer: see `bench.contract.Layered`."""
        if keep_BT is not None:
            # masked_fill, not a product: garbage at padding may be NaN, and NaN times zero is NaN, in masked scores and
            # in gradients of weights too.
            x_BTD = x_BTD.masked_fill(~keep_BT[..., None], 0.0)
        x_BTD = self._enter(x_BTD, 0)
        between, leave = self._around(x_BTD, between)
        for i, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, keep_BT, self.use_reference, None if between is None else partial(between, i))
        y_BTD = leave(x_BTD)
        return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)

    def _enter(self, x_BTD: Tensor, start: int) -> Tensor:
        x_BTD = x_BTD if self.positions is None else self.positions(x_BTD, start)
        return drop(x_BTD, self.dropout, self.training)

    def _around(
        self, entered_BTD: Tensor, between: Between | None
    ) -> tuple[Between | None, Callable[[Tensor], Tensor]]:
        """What happens within the blocks and behind the last one, where `entered_BTD` went in."""
        return between, self.norm

    def _blocks(self) -> Iterator[Block]:
        return (cast(Block, block) for block in self.blocks)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        layers = [block.mixer.initial_state(batch, device, dtype) for block in self._blocks()]
        return {"position": 0, "layers": layers}

    def step(self, x_BSD: Tensor, state: State, between: Between | None = None) -> tuple[Tensor, State]:
        position = state["position"]
        x_BSD = self._enter(x_BSD, position)
        between, leave = self._around(x_BSD, between)
        layers = []
        for i, (block, layer_state) in enumerate(zip(self._blocks(), state["layers"], strict=True)):
            x_BSD, layer_state = block.step(x_BSD, layer_state, None if between is None else partial(between, i))
            layers.append(layer_state)
        return leave(x_BSD), {"position": position + x_BSD.shape[1], "layers": layers}


GPT2_STD = 0.02


@torch.no_grad()
def init_as_gpt2(blocks: list[Block]) -> None:
    """GPT-2's initial values (Radford et al. 2019), as nanoGPT has them: weights of linear layers and convolutions from
    N(0, 0.02), biases 0, and the layers that add to the residual stream divided by the root of how many they are, so
    that the stream is as large at the end of a deep encoder as of a shallow one.

    Recurrent cores keep torch's values: 0.02 would all but cut the recurrence. So a mixer that ends in one
    (`output_layer` None) is not divided either, but counts. Norms begin as the identity with either setting.
    """
    for block in blocks:
        for module in block.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                nn.init.normal_(module.weight, std=GPT2_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    outputs = [block.mixer.output_layer() for block in blocks]
    outputs += [block.mlp.down for block in blocks if block.mlp is not None]
    for layer in outputs:
        if layer is not None:
            layer.weight /= math.sqrt(len(outputs))
