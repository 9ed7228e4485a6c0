"""Where a token stands: added to the input (sin/cos, learned), turned into queries and keys (rotary), or added to scores
(relative bias).

Legend: B batch, T tokens, D width, H heads, K width of a head, J keys, R buckets of distances, U distances.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from architectures.blocks import GPT2_STD
from bench.contract import Traits


class SinusoidalPositions(nn.Module):
    """Sines and cosines of geometric wavelengths (Vaswani et al. 2017, section 3.5). Sines first, then cosines."""

    def forward(self, x_BTD: Tensor, start: int) -> Tensor:
        T, D = x_BTD.shape[1:]
        angle_TF = _angles(start, T, (D + 1) // 2, x_BTD.device)
        table_TD = torch.cat([angle_TF.sin(), angle_TF.cos()], dim=-1)[:, :D]
        return x_BTD + table_TD.to(x_BTD.dtype)


class LearnedPositions(nn.Module):
    """One learned vector a position, up to `max_length`, which begins as large as embedded tokens do (Gehring et al. 2017,
    section 3.1): `std` 1 beside tokens of variance 1; far smaller ones stay unheard in a short training."""

    def __init__(self, max_length: int, width: int, std: float) -> None:
        super().__init__()
        self.table_LD = nn.Parameter(torch.randn(max_length, width) * std)

    def forward(self, x_BTD: Tensor, start: int) -> Tensor:
        stop = start + x_BTD.shape[1]
        if stop > self.table_LD.shape[0]:
            raise ValueError(
                f"length {stop} is past the {self.table_LD.shape[0]} learned positions; set max_length or other positions"
            )
        return x_BTD + self.table_LD[start:stop]


def input_positions(
    kind: str, max_length: int, width: int, init: str, traits: Traits
) -> tuple[nn.Module | None, Traits]:
    """What adds positions of this kind to a stack's input, (x_BTD, start) -> (B, T, D), and the stack's traits with it; None
    for kinds that are not added there. `init` is the block's: with "gpt2" tokens, and so learned positions, begin small."""
    if kind == "sinusoidal":
        return SinusoidalPositions(), traits
    if kind == "learned":
        std = GPT2_STD if init == "gpt2" else 1.0
        return LearnedPositions(max_length, width, std), replace(traits, max_length=max_length)
    return None, traits


def rotate(x_BHTK: Tensor, start: int, base: float = 10_000.0) -> Tensor:
    """Rotary positions (Su et al. 2021): turn pairs (i, i + K/2) by position x frequency, so that q.k depends on i - j.

    Angles in float32 whatever the input: bf16 has no room for positions past 256.
    """
    T, K = x_BHTK.shape[2:]
    cos_TF, sin_TF = _rotary_tables(start, T, K // 2, x_BHTK.device, x_BHTK.dtype, base)
    a_BHTF, b_BHTF = x_BHTK.chunk(2, dim=-1)
    return torch.cat([a_BHTF * cos_TF - b_BHTF * sin_TF, b_BHTF * cos_TF + a_BHTF * sin_TF], dim=-1)


@lru_cache(maxsize=2)
def _rotary_tables(
    start: int, length: int, frequencies: int, device: torch.device, dtype: torch.dtype, base: float
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (T, F); made once for queries, keys and all layers of a pass."""
    angle_TF = _angles(start, length, frequencies, device, base)
    return angle_TF.cos().to(dtype), angle_TF.sin().to(dtype)


def _angles(start: int, length: int, frequencies: int, device: torch.device, base: float = 10_000.0) -> Tensor:
    """Position times frequency, (T, F) in float32; frequencies fall from 1 to about 1 / base."""
    f_F = torch.exp(torch.arange(frequencies, device=device) * (-math.log(base) / frequencies))
    t_T = torch.arange(start, start + length, device=device, dtype=torch.float32)
    return t_T[:, None] * f_F


BUCKETS = 32
MAX_DISTANCE = 128


class RelativeBias(nn.Module):
    """A learned number for each head and distance i - j, added to the scores (T5, Raffel et al. 2020, section 2.1).

    Differs from T5: a table for each mixer, where T5 shares one among all layers. T5 leaves scores unscaled besides,
    which here is the setting `scale`.
    """

    def __init__(self, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.table_RH = nn.Parameter(torch.randn(BUCKETS, heads) * 0.02)

    def forward(self, i: int, T: int, j: int, J: int) -> Tensor:
        """The bias of queries i .. i + T - 1 and keys j .. j + J - 1, (1, H, T, J)."""
        # A T x J bias has only T + J - 1 distances: look those up, largest first, and lay a window of J over them for
        # each query. The last query's begins at the largest distance, so windows come in falling order of queries.
        distance_U = torch.arange(i - j + T - 1, i - j - J, -1, device=self.table_RH.device)
        bias_HU = self.table_RH[bucket(distance_U, self.causal)].T
        return bias_HU.unfold(1, J, 1).flip(1)[None]


def bucket(distance: Tensor, causal: bool) -> Tensor:
    """The row of T5's table for distances i - j of query and key; positive is the past.

    Causal: 16 rows for distances 0 to 15, then 16 that widen with the logarithm up to 128, and all beyond in the last.
    Bidirectional: half as many of each for the past, then the same for the future (whose first row, distance 0, no pair
    uses: T5 has it so).
    """
    rows = BUCKETS if causal else BUCKETS // 2
    exact = rows // 2
    far = distance.clamp(min=0) if causal else distance.abs()
    log = (far.clamp(min=exact).float() / exact).log() / math.log(MAX_DISTANCE / exact)
    # Some borders fall on whole distances: the slack, far less than one distance, keeps rounding from moving those.
    row_far = exact + (log * (rows - exact) + 1e-4).long()
    row = torch.where(far < exact, far, row_far.clamp(max=rows - 1))
    return row if causal else row + rows * (distance < 0)
