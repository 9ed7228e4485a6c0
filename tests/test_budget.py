"""Equal budgets: at which length FLOPs are made equal, and widths that heads of cross-attention divide."""

from __future__ import annotations

import pytest

from bench.budget import FLOPS_LENGTH, solve
from bench.contract import DecoderPlan, TaskShape
from bench.measure.graph import trace
from bench.models import build_encoder
from bench.registry import ARCHITECTURES

TARGET = 200_000_000


def test_flops_are_equal_at_the_length_of_the_task() -> None:
    """At 64 tokens attention has hardly any pairs to pay for, and may be wider than at 512."""
    entry = ARCHITECTURES.get("attention")
    found = {}
    for longest in (64, FLOPS_LENGTH, 4096):
        shape = TaskShape(length=longest, longest=longest, outputs=2, output="sequence", vocabulary=50)
        sizing = solve(entry, {}, 2, True, "flops", TARGET * min(longest, FLOPS_LENGTH) // FLOPS_LENGTH, shape)
        length = min(longest, FLOPS_LENGTH)
        encoder = build_encoder(entry, sizing.settings, sizing.width, 2, True, device="meta")
        flops = trace(encoder, length, sizing.width, backward=False).flops
        assert abs(flops / (TARGET * length / FLOPS_LENGTH) - 1) < 0.02
        found[longest] = sizing.parameters
    assert found[64] > 1.1 * found[FLOPS_LENGTH]
    assert found[4096] == found[FLOPS_LENGTH]
    assert solve(entry, {}, 2, True, "flops", TARGET).width == solve(entry, {}, 2, True, "flops", TARGET, shape).width


@pytest.mark.parametrize(("heads", "unit"), [(4, 8), (6, 24), (16, 16)])
@pytest.mark.parametrize("name", ["gru", "attention"])
def test_widths_are_multiples_of_the_heads_that_look_at_the_source(name: str, heads: int, unit: int) -> None:
    shape = TaskShape(8, 8, 50, "token", vocabulary=50, target_length=9, decoder=DecoderPlan(cross="dot", heads=heads))
    assert solve(ARCHITECTURES.get(name), {}, 2, False, "parameters", 600_000, shape).width % unit == 0
