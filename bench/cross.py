"""How a decoder's layer looks at the encoded source: by several heads, additively, or not at all. The same for every
architecture, whose own layers stand around it.

Legend: B batch, S source tokens, U target tokens, D width, H heads, K width of a head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import DecoderPlan
from bench.scaled_dot import scaled_dot

Keys = tuple[Tensor, Tensor]
"""What a layer keeps of a source, made once and looked at for every target token."""


class CrossAttention(nn.Module, ABC):
    """x + out(look(norm(x), source)): a residual branch of its own, normalised first (Xiong et al. 2020)."""

    def __init__(self, width: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout, self.attention_dropout = dropout, attention_dropout

    @property
    def dropout_now(self) -> float:
        """Share of the weights that is dropped in this pass."""
        return self.attention_dropout if self.training else 0.0

    @abstractmethod
    def keys(self, memory_BSD: Tensor) -> Keys: ...

    @abstractmethod
    def look(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        """What each target token takes from the source, (B, U, D)."""

    @abstractmethod
    def shares(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        """How much it takes of each source token, (B, H, U, S); rows sum to 1."""

    def forward(self, x_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> tuple[Tensor, Tensor]:
        """The new x, and what was taken from the source."""
        y_BUD = self.out(self.look(self.query(self.norm(x_BUD)), keys, keep_BS))
        dropped = F.dropout(y_BUD, self.dropout) if self.dropout and self.training else y_BUD
        return x_BUD + dropped, y_BUD

    def shares_of(self, x_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        """`shares` of what a layer has so far."""
        return self.shares(self.query(self.norm(x_BUD)), keys, keep_BS)


class DotAttention(CrossAttention):
    """Scaled dot products in several heads (Vaswani et al. 2017), through the fused kernel."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__(width, dropout, attention_dropout)
        if width % heads:
            raise ValueError(f"width {width} does not divide by {heads} heads")
        self.heads = heads
        self.kv = nn.Linear(width, 2 * width)

    def keys(self, memory_BSD: Tensor) -> Keys:
        k_BSD, v_BSD = self.kv(memory_BSD).chunk(2, dim=-1)
        return self._split(k_BSD), self._split(v_BSD)

    def look(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        q_BHUK = self._split(q_BUD)
        mask = None if keep_BS is None else keep_BS[:, None, None, :].expand(-1, 1, q_BUD.shape[1], -1)
        return scaled_dot(q_BHUK, *keys, mask, dropout=self.dropout_now).transpose(1, 2).flatten(2)

    def shares(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        q_BHUK = self._split(q_BUD)
        scores_BHUS = q_BHUK @ keys[0].transpose(-1, -2) / q_BHUK.shape[-1] ** 0.5
        return _softmax(scores_BHUS, None if keep_BS is None else keep_BS[:, None, None, :])

    def _split(self, x_BSD: Tensor) -> Tensor:
        return x_BSD.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AdditiveAttention(CrossAttention):
    """v . tanh(W q + U k) (Bahdanau et al. 2015), asked by the layer's own output of now, where the paper asks by the
    recurrent state before it: so that all target tokens can be trained at once. Keeps U x S x D numbers for backward."""

    def __init__(self, width: int, dropout: float, attention_dropout: float) -> None:
        super().__init__(width, dropout, attention_dropout)
        self.key = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def keys(self, memory_BSD: Tensor) -> Keys:
        return self.key(memory_BSD), memory_BSD

    def look(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        shares_BUS = self.shares(q_BUD, keys, keep_BS)[:, 0]
        return (F.dropout(shares_BUS, self.dropout_now) if self.dropout_now else shares_BUS) @ keys[1]

    def shares(self, q_BUD: Tensor, keys: Keys, keep_BS: Tensor | None) -> Tensor:
        scores_BUS = self.score(torch.tanh(q_BUD[:, :, None] + keys[0][:, None])).squeeze(-1)
        return _softmax(scores_BUS[:, None], None if keep_BS is None else keep_BS[:, None, None, :])


def _softmax(scores: Tensor, keep: Tensor | None) -> Tensor:
    return (scores if keep is None else scores.masked_fill(~keep, -torch.inf)).softmax(-1)


def make_cross(plan: DecoderPlan, width: int) -> CrossAttention:
    """The plan's cross-attention; not for plans without."""
    if plan.cross == "dot":
        return DotAttention(width, plan.heads, plan.dropout, plan.attention_dropout)
    return AdditiveAttention(width, plan.dropout, plan.attention_dropout)
