"""Which kernels really ran: the operations that did an encoder's heavy work in one forward pass, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Heavy work has one of these in its name; the rest (adds, views, norms, the linear layers) every encoder has.
TELLING = re.compile(
    "attention|flex|flash|sdpa|fmha|rnn|lstm|gru|conv|fprop|winograd|implicit|cudnn|bmm|softmax", re.IGNORECASE
)
# Matrix products tell only where nothing else does: a recurrence that the library runs step by step.
STEPWISE = ("addmm", "mm")
MOST_OPERATIONS = 2_000  # names repeat; a long loop need not be watched to its end


class _Enough(Exception):
    pass


class _Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        self.count[name] = self.count.get(name, 0) + 1
        if sum(self.count.values()) > MOST_OPERATIONS:
            raise _Enough
        return func(*args, **(kwargs or {}))


def kernels_of(step: Callable[[], object], device: str) -> tuple[tuple[str, ...], int]:
    """Names of the heavy operations of one call of `step`, of torch's operators on CPU, of GPU kernels on CUDA; and how
    many operations or kernels there were in all (on CPU no more than MOST_OPERATIONS are watched).

    On CUDA the profiler may slow what is timed after it in the same process: use a process of its own.
    """
    if device == "cpu":
        names = _Names()
        try:
            with names:
                step()
        except _Enough:
            pass
        return telling(names.count), sum(names.count.values())
    # A dispatch mode would switch torch.compile off, and FlexAttention with it; the profiler only watches.
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        step()
        torch.cuda.synchronize()
    count = {event.key: event.count for event in profile.key_averages() if event.device_type.name == "CUDA"}
    return telling(count), sum(count.values())


def telling(count: dict[str, int]) -> tuple[str, ...]:
    """The names worth recording, sorted; a product of matrices many times over is what a step-by-step loop looks like."""
    named = sorted({name[:80] for name in count if TELLING.search(name)})
    if named:
        return tuple(named)
    return tuple(f"{name}, step by step" for name in STEPWISE if count.get(name, 0) > 16)
