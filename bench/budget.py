"""Equal budgets: solve each architecture's width (and the MLP's hidden width, for the last percent).

Everything is built on the meta device: no memory, no arithmetic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from bench.contract import TaskShape
from bench.models import build_encoder, build_for, count_parameters
from bench.registry import Entry
from bench.spec import Match

WIDTH_STEP = 8  # kernels want widths that are multiples of 8, heads and rotary pairs divide them
MAX_WIDTH_STEP = 256
MAX_WIDTH = 16_384
# Tokens at which equal FLOPs are solved where a task's inputs are not shorter: past the usual windows, short enough to trace
# a recurrence.
FLOPS_LENGTH = 512


@dataclass(frozen=True)
class Sizing:
    """What the solver found. `settings` is the architecture's, with `mlp_hidden` set where it has one."""

    width: int
    depth: int
    parameters: int
    settings: dict[str, Any]
    error: float
    """(reached - target) / target of the matched quantity; 0 where width is matched."""


class BudgetError(ValueError):
    """No width fits; the message says what was tried."""


def solve(
    entry: Entry,
    settings: dict[str, Any],
    depth: int,
    causal: bool,
    match: Match,
    target: int,
    shape: TaskShape | None = None,
) -> Sizing:
    """The sizing whose parameters (or forward FLOPs) come closest to `target`.

    Where `shape` is given, parameters are those of the whole model, embedding and head included: a wide encoder pays for
    its wide embedding. FLOPs are the encoder's in either case, over as many tokens as the task's longest input has, and no
    more than FLOPS_LENGTH. With match="width", `target` is the width itself.

    A width is the multiple of 8 that comes closest; where the configuration has `mlp_hidden` and leaves it unset, that
    then closes most of what is left.
    """

    grid = shape.grid if shape is not None else None
    longest = shape.length if shape is not None and shape.length else FLOPS_LENGTH
    length = min(FLOPS_LENGTH, longest) if grid is None else grid[0] * grid[1]  # of an image its own

    def build(width: int, extra: dict[str, Any]) -> Any:
        return build_encoder(entry, {**settings, **extra}, width, depth, causal, device="meta", grid=grid)

    def cost(width: int, **extra: Any) -> int:
        if match == "flops":
            from bench.measure.graph import trace  # torch's dispatch machinery, not needed for the other tracks

            return trace(build(width, extra), length, width, backward=False).flops
        return parameters_of(width, extra)

    def parameters_of(width: int, extra: dict[str, Any]) -> int:
        if shape is None:
            return count_parameters(build(width, extra))
        mode: Any = "causal" if causal else "bidirectional"
        merged = {**settings, **extra}
        return count_parameters(build_for(entry, merged, width, depth, mode, shape, device="meta"))

    if match == "width":
        return Sizing(target, depth, parameters_of(target, {}), dict(settings), 0.0)

    unit = _width_unit(lambda width: parameters_of(width, {}))  # heads of cross-attention divide it too
    width = _closest(lambda n: cost(n * unit), target, MAX_WIDTH // unit) * unit
    extra: dict[str, Any] = {}
    has_hidden = any(field.name == "mlp_hidden" for field in dataclasses.fields(entry.config))
    # Where the block has no MLP its hidden width changes nothing.
    if has_hidden and settings.get("mlp_hidden") is None and settings.get("mlp", True):
        # At larger sizes multiples of 8 are fine enough and faster; small encoders need single units to get within 1 %.
        for step in (WIDTH_STEP, 1):
            hidden = step * _closest(
                partial(lambda s, n: cost(width, mlp_hidden=n * s), step), target, 8 * width // step
            )
            extra = {"mlp_hidden": hidden}
            if abs(cost(width, **extra) / target - 1) <= 0.005:
                break
    reached = cost(width, **extra)
    error = reached / target - 1
    if abs(error) > 0.25:
        raise BudgetError(
            f"architecture '{entry.name}': no width gives {target:,} {match} at depth {depth}; "
            f"the closest, {width}, gives {reached:,}. Change the target or the depth"
        )
    return Sizing(width, depth, parameters_of(width, extra), {**settings, **extra}, error)


def _width_unit(build: Callable[[int], object]) -> int:
    """WIDTH_STEP, or its first multiple whose own multiples the settings allow (six heads need 24, eight rotary ones 16)."""
    for unit in range(WIDTH_STEP, MAX_WIDTH_STEP, WIDTH_STEP):
        try:
            build(unit)
            build(3 * unit)
            return unit
        except ValueError:
            continue
    build(MAX_WIDTH_STEP)  # raises what is wrong at any width
    return MAX_WIDTH_STEP


def _closest(cost: Callable[[int], int], target: int, most: int) -> int:
    """The n in 1..most whose cost, increasing in n, comes closest to target."""
    cost = lru_cache(maxsize=None)(cost)
    low, high = 1, 2
    while high < most and cost(high) < target:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    return min((low, high), key=lambda n: abs(cost(n) - target))
