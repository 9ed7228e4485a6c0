"""What encoders of images share: stages that halve the grid and double the width, and how far an output sees.

Legend: B batch, T tokens, D width, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Interval = tuple[int, int]


def split_depth(depth: int, stages: int, depths: Sequence[int]) -> tuple[int, ...]:
    """Blocks of each stage: `depths` where given, else `depth` shared out evenly, the later stages getting what is over.

    Raises ValueError where these do not agree.
    """
    if depths:
        if sum(depths) != depth or min(depths) < 1:
            raise ValueError(f"depths {tuple(depths)} are {sum(depths)} blocks, the depth is {depth}; make them equal")
        return tuple(depths)
    if not 1 <= stages <= depth:
        raise ValueError(f"stages {stages}: use 1 to the depth, {depth}")
    return tuple(depth // stages + (i >= stages - depth % stages) for i in range(stages))


def as_image(x_BTD: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, D, Y, X), a view whose memory is channels-last, which convolutions like."""
    return x_BTD.view(len(x_BTD), *grid, -1).permute(0, 3, 1, 2)


def as_tokens(x_BDYX: Tensor) -> Tensor:
    """(B, T, D), row by row."""
    return x_BDYX.flatten(2).transpose(1, 2)


def halved(grid: tuple[int, int]) -> tuple[int, int]:
    """The grid after a step of two, rounded up."""
    return -(-grid[0] // 2), -(-grid[1] // 2)


def widest_field(sizes: tuple[int, int], outputs: tuple[int, int], walk: Callable[[Interval, int], Interval]) -> int:
    """Most tokens that one output depends on, where rows and columns are looked at apart.

    Args:
        sizes: rows and columns of the tokens. outputs: those of what comes out.
        walk: from an interval of places along one axis of the output (and 0 for rows or 1 for columns) to the interval of
            input places that it depends on; it may reach past the edge.
    """
    reach = []
    for axis in (0, 1):
        intervals = [walk((at, at + 1), axis) for at in range(outputs[axis])]
        reach.append(max(min(high, sizes[axis]) - max(low, 0) for low, high in intervals))
    return reach[0] * reach[1]
