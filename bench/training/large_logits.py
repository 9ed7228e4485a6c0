"""Cross-entropy over logits too large for a cache: its gradient is made chunk by chunk while the loss is.

`F.cross_entropy` and its backward pass make several arrays as large as the logits (more with label smoothing), each of new
memory; here there is one, the gradient. As Liger (Hsu et al. 2024) does for a GPU, but without the head's own product, which
stays in the model.

Legend: N predictions, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**20  # logits at once on a CPU: 4 MiB of them stay in the cache
CHUNK_ON_GPU = 2**25  # there a launch must be worth it
LARGE = 2**22  # logits from which on it pays


def summed_cross_entropy(logits_NC: Tensor, targets_N: Tensor, ignore: int, smoothing: float = 0.0) -> Tensor:
    """`F.cross_entropy` with `reduction="sum"`: a float32 scalar, from logits of any number format.

    Its gradient can be asked for once: a second time raises RuntimeError.
    """
    found: Tensor = _SummedCrossEntropy.apply(logits_NC, targets_N, ignore, smoothing)
    return found


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NC: Tensor, targets_N: Tensor, ignore: int, smoothing: float) -> Tensor:
        N, C = logits_NC.shape
        rows = max(1, (CHUNK if logits_NC.device.type == "cpu" else CHUNK_ON_GPU) // C)
        gradient_NC = torch.empty_like(logits_NC) if ctx.needs_input_grad[0] else None
        losses = []
        for first in range(0, N, rows):
            part = slice(first, first + rows)
            keep_n1 = (targets_N[part] != ignore)[:, None]
            target_n1 = targets_N[part, None].where(keep_n1, 0)
            log_p_nC = logits_NC[part].float().log_softmax(1)
            loss_n1 = log_p_nC.gather(1, target_n1) * (smoothing - 1)
            if smoothing:
                loss_n1 -= log_p_nC.mean(1, keepdim=True) * smoothing
            losses.append(loss_n1.where(keep_n1, 0.0).sum())
            if gradient_NC is not None:
                p_nC = log_p_nC.exp_()
                if smoothing:
                    p_nC -= smoothing / C
                p_nC.scatter_add_(1, target_n1, p_nC.new_full(target_n1.shape, smoothing - 1))
                torch.mul(p_nC, keep_n1, out=gradient_NC[part])
        if gradient_NC is not None:
            ctx.save_for_backward(gradient_NC)  # so that whoever counts what is kept for backward counts it
        ctx.asked = False
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, over: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.asked:
            raise RuntimeError("the gradient of this loss was asked for twice")
        ctx.asked = True
        (gradient_NC,) = ctx.saved_tensors
        return gradient_NC.mul_(over), None, None, None
