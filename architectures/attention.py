"""Multi-head self-attention (Vaswani et al. 2017) through a fused kernel: all tokens see all (before them, if causal).

Differs from the paper: pre-norm (the shared block), rotary positions by default; sin/cos, learned, relative and none by
setting.

With relative positions memory is quadratic: the bias goes into the fused kernel as a mask of H x T x T numbers, and that
is also what its gradient comes back as.

Legend: B batch, T tokens, H heads, K width of a head.
"""

from dataclasses import replace

import torch
from torch import Tensor

from architectures.blocks import ResidualStack
from architectures.heads import HeadConfig, HeadMixer, head_stack
from architectures.sdpa import attend
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


class AttentionMixer(HeadMixer):
    """Every pair of tokens, work T ** 2, memory T: the fused kernel never stores the scores (but see relative positions)."""

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return j <= i if self.causal else torch.ones_like(i + j, dtype=torch.bool)

    def first_needed(self, position: int) -> int:
        return 0

    def mix(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        T = q_BHTK.shape[2]
        if self.relative is not None:  # a mask of numbers must hold causality too: kernels take one or the other
            bias = self.biased(self.mask(0, T, 0, T, q_BHTK.device, keep_BT), 0, 0, q_BHTK.dtype)
            return attend(q_BHTK, k_BHTK, v_BHTK, bias, scale=self.scale, dropout=self.dropout_now)
        mask = None if keep_BT is None else keep_BT[:, None, None, :].expand(-1, 1, T, -1)
        return attend(q_BHTK, k_BHTK, v_BHTK, mask, self.causal, self.scale, self.dropout_now)


TRAITS = Traits(modes=BOTH_MODES, time_exponent=2.0, memory_exponent=1.0, parallel_in_time=True, path="constant")


@register_architecture(
    "attention",
    family="attention",
    config=HeadConfig,
    summary="multi-head self-attention through a fused kernel",
    reference="Vaswani et al. 2017; Dao et al. 2022",
)
def attention(config: HeadConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    traits = replace(TRAITS, memory_exponent=2.0) if config.positions == "relative" else TRAITS
    return head_stack(lambda layer: AttentionMixer(config, width, causal), config, width, depth, traits, None)
