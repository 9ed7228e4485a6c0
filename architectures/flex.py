"""Band attention through FlexAttention (Dong et al. 2024), for CUDA: blocks out of the band are never computed.

The block mask is built from the band's two borders, not from a T x T mask (which at 65,536 tokens would be 4 GiB).

Legend: B batch, T tokens, H heads, K width of a head, Q blocks of queries, J blocks of keys.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
FLEX_MIN_HEAD_WIDTH = 16  # FlexAttention's kernels take no narrower heads


def flex_band(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, left: int, right: int, scale: float | None = None
) -> Tensor:
    """softmax attention over keys i - left .. i + right of each query i, (B, H, T, K). `scale` None is 1 / sqrt(K).

    Raises an error when compilation gives up, rather than run FlexAttention uncompiled, which would store T x T scores.
    """
    mask = band_block_mask(q_BHTK.shape[2], left, right, q_BHTK.device)
    return _compiled()(q_BHTK, k_BHTK, v_BHTK, block_mask=mask, scale=scale)


@cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention  # slow to import, and only CUDA runs need it

    # Set once, not around each call: entering a patch takes as long as launching several kernels.
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(flex_attention)


@lru_cache(maxsize=4)  # at a million tokens one takes a gigabyte
def band_block_mask(length: int, left: int, right: int, device: torch.device) -> Any:
    """The band as a `BlockMask`: for each block of queries, key blocks partly and wholly inside."""
    from torch.nn.attention.flex_attention import BlockMask

    Q = -(-length // BLOCK)
    start_Q1 = torch.arange(Q, device=device)[:, None] * BLOCK
    start_1J = torch.arange(Q, device=device)[None] * BLOCK
    # i - j and j - i of a block pair lie within BLOCK - 1 of the difference of their starts.
    touched_QJ = (start_Q1 - start_1J - (BLOCK - 1) <= left) & (start_1J - start_Q1 - (BLOCK - 1) <= right)
    whole_QJ = (start_Q1 - start_1J + (BLOCK - 1) <= left) & (start_1J - start_Q1 + (BLOCK - 1) <= right)
    whole_QJ &= start_1J + BLOCK <= length
    partial = _ordered(touched_QJ & ~whole_QJ)
    whole = _ordered(whole_QJ)
    return BlockMask.from_kv_blocks(
        *partial, *whole, BLOCK_SIZE=BLOCK, mask_mod=_band(left, right), seq_lengths=(length, length)
    )


@cache
def _band(left: int, right: int) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Which keys j a query i sees. One function a band: compiled code is kept for the function, whatever the length."""

    def sees(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i - j <= left) & (j - i <= right)

    return sees


def _ordered(pairs_QJ: Tensor) -> tuple[Tensor, Tensor]:
    """How many key blocks each query block has, and their indices, those first: (1, 1, Q) and (1, 1, Q, J)."""
    count_Q = pairs_QJ.sum(1).to(torch.int32)
    index_QJ = pairs_QJ.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return count_Q[None, None], index_QJ[None, None]
