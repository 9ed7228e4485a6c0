"""Each built-in mixer beside the plain library call at the same shape, forward + backward, in turns within one run.

    python -m pytest -m perf tests/perf --benchmark-columns=median,iqr,rounds --benchmark-json=perf.json

A benchmark, not a test: nothing here fails for being slow. The ratio (ours over plain, median of pairs, with its 95 %
bootstrap interval) is printed and kept in the JSON as `extra_info`. Aim: at most 1.05 for attention, lstm and conv1d; at
most 1/8 for windowed attention with 256 tokens in sight against full attention at 16,384.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
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


def lstm_mixer(width: int) -> nn.Module:
    return build_encoder(ARCHITECTURES.get("lstm"), {}, width, 1, True).blocks[0].mixer


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


def in_turns(ours: Callable[[], None], plain: Callable[[], None], pairs: int) -> tuple[list[float], list[float]]:
    """Times of both, taken pair by pair so that drift falls on both; each pair in the other order than the last."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):
        ours()
        plain()
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 else (1, 0):
            start = time.perf_counter()
            (ours, plain)[side]()
            times[side].append(time.perf_counter() - start)
    return times


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, int, int], int]] = {
    "attention / SDPA, T 2048": (lambda: AttentionMixer(PLAIN, 64, True), lambda: PlainAttention(64, 4), (1, 2048, 64), 60),
    "attention / SDPA, 8 x 512": (
        lambda: AttentionMixer(PLAIN, 256, True), lambda: PlainAttention(256, 4), (8, 512, 256), 60,
    ),
    "lstm / nn.LSTM, T 2048": (
        lambda: lstm_mixer(64), lambda: First(nn.LSTM(64, 64, batch_first=True)), (1, 2048, 64), 100,
    ),
    "lstm / nn.LSTM, 16 x 256": (
        lambda: lstm_mixer(256), lambda: First(nn.LSTM(256, 256, batch_first=True)), (16, 256, 256), 40,
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
    ours, plain = in_turns(step(make_ours(), x), step(make_plain(), x), pairs)
    ratios = np.array(ours) / np.array(plain)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    summary = {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), "pairs": pairs}
    benchmark.extra_info.update(summary, ours_s=float(np.median(ours)), plain_s=float(np.median(plain)))
    print(f"\n{name}: {summary['ratio']:.3f} [{low:.3f}; {high:.3f}] over {pairs} pairs")
    benchmark.pedantic(lambda: None, rounds=1)  # the figures are in extra_info: pairs, which pytest-benchmark has not
    assert np.isfinite(ratios).all()
