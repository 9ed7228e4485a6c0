"""Each built-in mixer beside the plain library call at the same shape, forward + backward, in turns within one run.

    python -m pytest -m perf tests/perf --benchmark-columns=median,iqr,rounds --benchmark-json=perf.json

A benchmark, not a test: nothing here fails for being slow. The ratio (ours over plain, median of pairs, with its 95 %
bootstrap interval) is printed and kept in the JSON as `extra_info`. Aim: at most 1.05 for attention, lstm and conv1d; below
1 for gru (`architectures/gru_cpu.py`); at most 1/8 for windowed attention with 256 tokens in sight against full attention at
16,384.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.attention import AttentionMixer
from architectures.convolution import ConvMixer
from architectures.heads import HeadConfig
from architectures.windowed import WindowConfig, WindowedMixer
from bench.models import build_encoder
from bench.registry import ARCHITECTURES
from tests.perf.pairs import report_ratio

pytestmark = pytest.mark.perf

PLAIN = HeadConfig(heads=4, positions="none")


class PlainAttention(nn.Module):
    """What a user would write: one projection, the fused call, one projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class First(nn.Module):
    """The outputs of a recurrent module, without its state."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[0]


class PlainConv(nn.Module):
    """nn.Conv1d on (B, T, D), as long on both sides: the same arithmetic, without causality."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


def recurrent_mixer(name: str, width: int) -> nn.Module:
    return build_encoder(ARCHITECTURES.get(name), {}, width, 1, True).blocks[0].mixer


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward + backward, weights' and input's gradients."""
    x = x.clone().requires_grad_()
    grad = torch.randn_like(module(x))

    def run() -> None:
        module(x).backward(grad)
        x.grad = None
        for p in module.parameters():
            p.grad = None

    return run


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, int, int], int]] = {
    "attention / SDPA, T 2048": (lambda: AttentionMixer(PLAIN, 64, True), lambda: PlainAttention(64, 4), (1, 2048, 64), 60),
    "attention / SDPA, 8 x 512": (
        lambda: AttentionMixer(PLAIN, 256, True), lambda: PlainAttention(256, 4), (8, 512, 256), 60,
    ),
    "lstm / nn.LSTM, T 2048": (
        lambda: recurrent_mixer("lstm", 64), lambda: First(nn.LSTM(64, 64, batch_first=True)), (1, 2048, 64), 100,
    ),
    "lstm / nn.LSTM, 16 x 256": (
        lambda: recurrent_mixer("lstm", 256), lambda: First(nn.LSTM(256, 256, batch_first=True)), (16, 256, 256), 40,
    ),
    "gru / nn.GRU, T 1024": (
        lambda: recurrent_mixer("gru", 128), lambda: First(nn.GRU(128, 128, batch_first=True)), (1, 1024, 128), 40,
    ),
    "gru / nn.GRU, 12 x 64": (
        lambda: recurrent_mixer("gru", 120), lambda: First(nn.GRU(120, 120, batch_first=True)), (12, 64, 120), 100,
    ),
    "gru / nn.GRU, 16 x 256": (
        lambda: recurrent_mixer("gru", 256), lambda: First(nn.GRU(256, 256, batch_first=True)), (16, 256, 256), 20,
    ),
    "conv1d / nn.Conv1d, T 4096": (lambda: ConvMixer(64, 7, 1, True), lambda: PlainConv(64, 7), (1, 4096, 64), 100),
    "conv1d / nn.Conv1d, 8 x 512": (lambda: ConvMixer(256, 7, 1, True), lambda: PlainConv(256, 7), (8, 512, 256), 60),
    "windowed 256 / full SDPA causal, T 16384": (
        lambda: WindowedMixer(WindowConfig(heads=4, positions="none", window=256), 64, True),
        lambda: PlainAttention(64, 4), (1, 16_384, 64), 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.timeout(600)
def test_ratio(name: str, benchmark: Any) -> None:
    make_ours, make_plain, shape, pairs = CASES[name]
    torch.manual_seed(0)
    x = torch.randn(shape)
    report_ratio(name, benchmark, step(make_ours(), x), step(make_plain(), x), pairs)
