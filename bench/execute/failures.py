"""What trials raise to end with a status of their own, and how they speak to the parent."""

from __future__ import annotations

from collections.abc import Callable

Send = Callable[..., None]


class NotFinite(Exception):
    """Outputs, losses or gradients with NaN or infinity."""


class Unsupported(Exception):
    """What was asked for is not something this encoder does."""
