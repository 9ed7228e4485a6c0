"""What the installed libraries can do on a GPU, where that decides how an architecture runs."""

from __future__ import annotations

from functools import cache

import torch


@cache
def bfloat16_recurrences() -> bool:
    """Whether cuDNN (9.13) and torch (2.10) are new enough for recurrences in bfloat16; torch falls back to a loop of small
    kernels where they are not."""
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return (major, minor) >= (2, 10) and (torch.backends.cudnn.version() or 0) >= 91300
