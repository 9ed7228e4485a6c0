"""`F.scaled_dot_product_attention`, around what torch is slow at.

Fused kernels on a GPU want heads whose width is a multiple of 8 (with a mask, or in float32, they refuse others, and torch
would store all scores): narrower ones are padded with zeros, which changes no score.

On a CPU the backward pass in bfloat16 is slower than in float32 where keys are few (6.7 times at 16 of them, even at 256,
faster from 512 on), and in float16 everywhere (docs/decisions/028): training looks at few keys in float32.

Legend: B batch, T queries, J keys, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

HEAD_STEP = 8  # of a head's width
FEW = 256  # keys; below this float32 is the faster
HALVES = (torch.bfloat16, torch.float16)


def scaled_dot(
    q_BHTK: Tensor,
    k_BHJK: Tensor,
    v_BHJK: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale q k) v, (B, H, T, K), in the number format that torch would give it; arguments as torch has them."""
    if q_BHTK.is_cuda and q_BHTK.shape[3] % HEAD_STEP:
        return with_wider_heads(scaled_dot, q_BHTK, k_BHJK, v_BHJK, mask, causal, scale, dropout)
    few = q_BHTK.device.type == "cpu" and k_BHJK.shape[2] < FEW
    trains = torch.is_grad_enabled() and q_BHTK.requires_grad
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else q_BHTK.dtype
    if not (few and trains and dtype in HALVES):
        return F.scaled_dot_product_attention(q_BHTK, k_BHJK, v_BHJK, mask, dropout, causal, scale=scale)
    mask = mask.float() if mask is not None and mask.is_floating_point() else mask
    with torch.autocast("cpu", enabled=False):
        y_BHTK = F.scaled_dot_product_attention(
            q_BHTK.float(), k_BHJK.float(), v_BHJK.float(), mask, dropout, causal, scale=scale
        )
    return y_BHTK.to(dtype)


def with_wider_heads(
    attend: Callable[..., Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    dropout: float = 0.0,
) -> Tensor:
    """What `attend` gives for heads padded to a multiple of HEAD_STEP, cut to the width that they had."""
    width = q.shape[3]
    q, k, v = (F.pad(t, (0, -width % HEAD_STEP)) for t in (q, k, v))
    return attend(q, k, v, mask, causal, width**-0.5 if scale is None else scale, dropout)[..., :width]
