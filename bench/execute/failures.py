"""What trials raise to end with a status of their own, and how they speak to the parent."""

from __future__ import annotations

from collections.abc import Callable

Send = Callable[..., None]


class NotFinite(Exception):
    """Outputs, losses or gradients with NaN or infinity."""


class Unsupported(Exception):
    """What was asked for is not something this encoder does."""


class RankFailed(Exception):
    """One process of a training that spreads over several devices ended badly; `end` is a status, its reason and a trace."""

    def __init__(self, status: str, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.end = status, reason, trace
