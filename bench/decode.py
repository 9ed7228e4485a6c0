"""Token by token from a state: greedy, by temperature, among the k likeliest, among those that make up p.

Legend: B batch, S tokens of a chunk, C vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.models import SequenceModel
from bench.sampler import Sampler


def probabilities(logits_BC: Tensor, sampler: Sampler) -> Tensor:
    """What the next token is drawn from, (B, C), in float64 on the CPU: the same draw on every device."""
    logits_BC = logits_BC.detach().double().cpu()
    if sampler.temperature == 0:
        return torch.nn.functional.one_hot(logits_BC.argmax(-1), logits_BC.shape[-1]).double()
    logits_BC = logits_BC / sampler.temperature
    if 0 < sampler.top_k < logits_BC.shape[-1]:
        kth_B1 = logits_BC.topk(sampler.top_k, dim=-1).values[:, -1:]
        logits_BC = logits_BC.masked_fill(logits_BC < kth_B1, -math.inf)
    p_BC = logits_BC.softmax(-1)
    if sampler.top_p < 1:
        sorted_BC, order_BC = p_BC.sort(dim=-1, descending=True, stable=True)
        before_BC = sorted_BC.cumsum(-1) - sorted_BC  # the likeliest token is always kept
        kept_BC = torch.zeros_like(p_BC, dtype=torch.bool).scatter(-1, order_BC, before_BC < sampler.top_p)
        p_BC = p_BC.masked_fill(~kept_BC, 0.0)
        p_BC = p_BC / p_BC.sum(-1, keepdim=True)
    return p_BC


@torch.no_grad()
def generate(
    model: SequenceModel, prompt_BS: Tensor, tokens: int, sampler: Sampler, generator: torch.Generator
) -> Tensor:
    """`tokens` ids after the prompt, (B, tokens), or fewer where the encoder's longest length ends it.

    The prompt is read in one pass, every later token is one step from the state.
    """
    model.eval()
    limit = model.encoder.traits.max_length  # type: ignore[union-attr]
    if limit is not None:
        tokens = min(tokens, int(limit) - prompt_BS.shape[1])  # type: ignore[arg-type]
    device = next(model.parameters()).device
    state = model.initial_state(prompt_BS.shape[0], device, torch.float32)
    chunk_BS, found = prompt_BS.to(device), []
    for _ in range(max(0, tokens)):
        logits_BSC, state = model.step(chunk_BS, state)
        chunk_BS = torch.multinomial(probabilities(logits_BSC[:, -1], sampler), 1, generator=generator).to(device)
        found.append(chunk_BS.cpu())
    return torch.cat(found, dim=1) if found else torch.empty(prompt_BS.shape[0], 0, dtype=torch.int64)
