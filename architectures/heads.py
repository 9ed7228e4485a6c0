"""What every attention mixer shares: projections, heads, positions, the plain reference and streaming.

A mixer says in one line which tokens see which (`sees`). From that line come the reference (a full masked softmax), the
masks of streaming, and the masks of the fast paths; so they cannot disagree on what is computed.

Legend: B batch, T tokens, S tokens of a chunk, J keys, D width, H heads, K = D / H.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from architectures.blocks import BlockConfig, Mixer, ResidualStack, check_share, drop
from architectures.cache import KVCache
from architectures.positions import RelativeBias, input_positions, rotate
from architectures.sdpa import attend
from bench.contract import Traits


@dataclass(frozen=True)
class HeadConfig(BlockConfig):
    """Attributes:
    heads: attention heads; the width must divide by it.
    positions: how order gets in. Learned ones stop at `max_length`; "relative" is T5's bias, see `RelativeBias`.
    attention_dropout: share of attention weights set to zero in training, as tensor2tensor and GPT-2 have it. Fused kernels
        of GPUs do it in place; on a CPU torch stores all weights for it. FlexAttention cannot, so windows go by blocks.
    scale: False for scores that are not divided by sqrt(K) (Vaswani et al. 2017, section 3.2.1, say why they are).
    """

    heads: int = 4
    positions: Literal["none", "sinusoidal", "learned", "rotary", "relative"] = "rotary"
    max_length: int = 4096
    attention_dropout: float = 0.0
    scale: bool = True


class HeadMixer(Mixer):
    """Multi-head attention (Vaswani et al. 2017) over the tokens that `sees` allows."""

    def __init__(self, config: HeadConfig, width: int, causal: bool) -> None:
        super().__init__()
        if width % config.heads:
            raise ValueError(f"width {width} does not divide by {config.heads} heads")
        if config.positions == "rotary" and (width // config.heads) % 2:
            raise ValueError(f"rotary positions need an even head width, got {width // config.heads}")
        self.heads = config.heads
        self.head_width = width // config.heads
        self.rotary = config.positions == "rotary"
        self.scale = None if config.scale else 1.0  # None: 1 / sqrt(K), which kernels know
        self.causal = causal
        check_share("attention_dropout", config.attention_dropout)
        self.attention_dropout = config.attention_dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.relative = RelativeBias(config.heads, causal) if config.positions == "relative" else None

    @property
    def dropout_now(self) -> float:
        """Share of the weights that is dropped in this pass."""
        return self.attention_dropout if self.training else 0.0

    @abstractmethod
    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        """True where the token at position i may look at the token at position j. Broadcasts."""

    @abstractmethod
    def first_needed(self, position: int) -> int:
        """The first token that a token at `position` or later can see: streaming forgets those before."""

    @abstractmethod
    def mix(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        """The fast path of softmax attention under `sees`, (B, H, T, K). Never stores a T x T array, a relative bias of
        full attention apart."""

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        # Padding is on the right: a causal encoder's real tokens never see it, so fused kernels need no mask.
        return self._merge(self.mix(*self._project(x_BTD, 0), None if self.causal else keep_BT))

    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        return self._merge(self.materialised(*self._project(x_BTD, 0), keep_BT))

    def materialised(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        """Attention as in the paper: all scores stored, masked, normalised, applied."""
        return drop(self._shares(q_BHTK, k_BHTK, keep_BT), self.attention_dropout, self.training) @ v_BHTK

    def weights(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """What each token (row) takes of every other, (B, H, T, T); rows sum to 1."""
        q_BHTK, k_BHTK, _ = self._project(x_BTD, 0)
        return self._shares(q_BHTK, k_BHTK, keep_BT)

    def _shares(self, q_BHTK: Tensor, k_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        T = q_BHTK.shape[2]
        scale = 1 / math.sqrt(self.head_width) if self.scale is None else self.scale
        scores_BHTT = q_BHTK @ k_BHTK.transpose(-1, -2) * scale
        if self.relative is not None:
            scores_BHTT = scores_BHTT + self.relative(0, T, 0, T)
        mask = self.mask(0, T, 0, T, q_BHTK.device, keep_BT)
        scores_BHTT = scores_BHTT.masked_fill(~mask, -math.inf)
        return scores_BHTT.softmax(dim=-1)

    def mask(
        self, i: int, i_stop: int, j: int, j_stop: int, device: torch.device, keep_BT: Tensor | None = None
    ) -> Tensor:
        """`sees` for queries i..i_stop and keys j..j_stop: (T, J), or (B, 1, T, J) with padding.

        A token always sees itself, so that no row is empty (its softmax would be NaN); padded rows are zeroed later.
        """
        i_T1 = torch.arange(i, i_stop, device=device)[:, None]
        j_1J = torch.arange(j, j_stop, device=device)[None]
        sees_TJ = self.sees(i_T1, j_1J)
        if keep_BT is None:
            return sees_TJ
        return (sees_TJ & keep_BT[:, None, None, j:j_stop]) | (i_T1 == j_1J)

    def biased(self, mask: Tensor, i: int, j: int, dtype: torch.dtype) -> Tensor:
        """What a fused kernel takes as the mask of queries from i and keys from j: `mask` (..., T, J) itself, or the
        relative bias with -inf where `mask` is False."""
        if self.relative is None:
            return mask
        T, J = mask.shape[-2:]
        return self.relative(i, T, j, J).to(dtype).masked_fill(~mask, -math.inf)

    def output_layer(self) -> nn.Linear:
        return self.out

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> KVCache:
        return KVCache.empty(batch, self.heads, self.head_width, device, dtype)

    def step(self, x_BSD: Tensor, state: KVCache) -> tuple[Tensor, KVCache]:
        start, S = state.stop, x_BSD.shape[1]
        q, k, v = self._project(x_BSD, start)
        if start == 0:  # the first chunk is a parallel pass
            y_BHSK = self.mix(q, k, v, None)
            state = state.append(k, v)
        else:
            outputs = []
            # Pieces bound the mask to piece x (piece + what is remembered), whatever the length of the chunk.
            for at in range(0, S, STEP_PIECE):
                piece = slice(at, min(at + STEP_PIECE, S))
                state = state.append(k[:, :, piece], v[:, :, piece])
                first = start + at
                k_BHJK, v_BHJK = state.tensors()
                mask = None
                # One token after all it remembers needs no mask: `first_needed` has dropped the rest.
                if piece.stop - at > 1 or self.relative is not None:
                    mask = self.mask(first, state.stop, state.start, state.stop, q.device)
                    mask = self.biased(mask, first, state.start, q.dtype)
                outputs.append(attend(q[:, :, piece], k_BHJK, v_BHJK, mask, scale=self.scale, dropout=self.dropout_now))
                state = state.drop_before(self.first_needed(state.stop))
            y_BHSK = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        return self._merge(y_BHSK), state.drop_before(self.first_needed(state.stop))

    def _project(self, x_BTD: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(B, T, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)  # each B H T K
        return (rotate(q, start), rotate(k, start), v) if self.rotary else (q, k, v)

    def _merge(self, y_BHTK: Tensor) -> Tensor:
        return self.out(y_BHTK.transpose(1, 2).flatten(2))


STEP_PIECE = 256


def head_stack(
    make_mixer: Callable[[int], HeadMixer],
    config: HeadConfig,
    width: int,
    depth: int,
    traits: Traits,
    receptive_field: int | None,
) -> ResidualStack:
    """A stack of attention mixers, with positions at the input where the configuration asks for them."""
    positions, traits = input_positions(config.positions, config.max_length, width, config.init, traits)
    return ResidualStack(make_mixer, config, width, depth, traits, receptive_field, positions)
