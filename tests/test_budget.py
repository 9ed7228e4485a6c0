"""Equal budgets: at which length FLOPs are made equal."""

from __future__ import annotations

from bench.budget import FLOPS_LENGTH, solve
from bench.contract import TaskShape
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
