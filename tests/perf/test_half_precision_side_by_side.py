"""Attention in bfloat16 on a CPU, as models look (`bench.scaled_dot`) beside torch's own call, both passes, in turns.

    python -m pytest -m perf tests/perf/test_half_precision_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of a few looks; from 256 keys on it is one call.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bench.scaled_dot import scaled_dot
from tests.perf.pairs import report_ratio

pytestmark = pytest.mark.perf
LOOKS, PAIRS = 5, 8


@pytest.mark.parametrize("shape", [(512, 4, 16, 32), (64, 4, 64, 32), (32, 8, 128, 64), (16, 8, 256, 64)], ids=str)
def test_ratio(benchmark: Any, shape: tuple[int, int, int, int]) -> None:
    q, k, v = (torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    weight = torch.randn(shape, dtype=torch.bfloat16)

    def ours() -> None:
        for _ in range(LOOKS):
            torch.autograd.grad(scaled_dot(q, k, v), (q, k, v), weight)

    def torchs() -> None:
        for _ in range(LOOKS):
            torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), (q, k, v), weight)

    report_ratio(f"attention in bfloat16, (batch, heads, keys, width) {shape}", benchmark, ours, torchs, PAIRS)
