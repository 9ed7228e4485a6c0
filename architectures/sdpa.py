"""Scaled dot-product attention on the fastest kernel of the device, found by timing.

On an H100 in bf16 cuDNN's kernel was 1.5 times faster than flash at 64k tokens, on other cards it is the reverse, so
for long sequences the choice is measured: once for each shape, forward and backward where gradients are needed. Short
ones come in many shapes (padded batches), and take the first kernel of a fixed order that accepts them.

A mask with a gradient (a learned bias) leaves no choice: of the fused kernels only the memory-efficient one gives it.

Legend: B batch, T queries, J keys, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.scaled_dot import HEAD_STEP, scaled_dot, with_wider_heads

# Never MATH here: it stores the scores, which is what `attention_naive` is there to show.
CANDIDATES = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)

# Where the mask is learned T x J numbers are stored in any case, so MATH may serve what no kernel takes.
LEARNED_MASK = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

TIMED_FROM = 1024  # tokens
IN_ORDER = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]

Key = tuple[object, ...]
_chosen: dict[Key, SDPBackend] = {}


def attend(
    q_BHTK: Tensor,
    k_BHJK: Tensor,
    v_BHJK: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale q k) v, (B, H, T, K). `scale` None is 1 / sqrt(K); `dropout` is the share of weights set to zero.

    `mask` is True where a query may look, or holds numbers to add to the scores, -inf where it may not. `causal` is the
    causal mask without storing it; it needs T == J and no other mask.
    """
    if q_BHTK.is_cuda and q_BHTK.shape[3] % HEAD_STEP:
        return with_wider_heads(attend, q_BHTK, k_BHJK, v_BHJK, mask, causal, scale, dropout)
    product = partial(scaled_dot, q_BHTK, k_BHJK, v_BHJK, mask, causal, scale, dropout)
    if not q_BHTK.is_cuda:
        return product()
    if mask is not None and mask.requires_grad:
        with sdpa_kernel(LEARNED_MASK):
            return product()
    # Streaming steps (few queries) see another number of keys each time: nothing to learn from timing one.
    if q_BHTK.shape[2] != k_BHJK.shape[2] or torch.compiler.is_compiling():
        return product()
    if q_BHTK.shape[2] < TIMED_FROM:
        with sdpa_kernel(IN_ORDER, set_priority=True):
            return product()
    needs_grad = torch.is_grad_enabled() and q_BHTK.requires_grad
    kind = None if mask is None else mask.dtype  # nothing, where to look, or numbers to add
    key = (q_BHTK.shape, k_BHJK.shape, q_BHTK.dtype, q_BHTK.device, kind, causal, needs_grad, dropout > 0)
    if key not in _chosen:
        qkv = (q_BHTK, k_BHJK, v_BHJK)
        _chosen[key] = fastest(CANDIDATES, lambda b: _time(b, *qkv, mask, causal, dropout, needs_grad))
    with sdpa_kernel(_chosen[key]):
        return product()


def fastest(candidates: tuple[SDPBackend, ...], seconds: Callable[[SDPBackend], float]) -> SDPBackend:
    """The candidate with the least time. One that raises (refuses the shape or dtype, or has no memory) is passed over.

    Raises RuntimeError with every candidate's refusal where none is left.
    """
    times: dict[SDPBackend, float] = {}
    refusals = []
    for candidate in candidates:
        try:
            times[candidate] = seconds(candidate)
        except RuntimeError as error:  # torch.OutOfMemoryError is one too
            refusals.append(f"{candidate.name}: {str(error).splitlines()[0]}")
    if not times:
        raise RuntimeError("no fused attention kernel takes this shape; " + "; ".join(refusals))
    return min(times, key=lambda candidate: times[candidate])


def _time(
    backend: SDPBackend,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    dropout: float,
    needs_grad: bool,
) -> float:
    """Milliseconds of the second of two runs; the first loads the kernel."""
    q, k, v = (t.detach().requires_grad_(needs_grad) for t in (q, k, v))
    grad_BHTK = torch.randn_like(q) if needs_grad else None
    elapsed = 0.0
    # Whoever counts what autograd saves must not count this: hooks of ours lie over theirs.
    unseen = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with sdpa_kernel(backend), unseen, nullcontext() if needs_grad else torch.no_grad():
        for _ in range(2):
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            y_BHTK = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
            if grad_BHTK is not None:
                torch.autograd.grad(y_BHTK, (q, k, v), grad_BHTK)
            stop.record()
            stop.synchronize()
            elapsed = start.elapsed_time(stop)
    return elapsed
