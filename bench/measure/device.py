"""One interface to what differs between devices: waiting, timing, peak memory, running out of memory.

What only a GPU can run is in `CUDADevice`; tests drive the callers with a fake of the same shape.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch


@dataclass(frozen=True)
class Peak:
    """Bytes over the baseline. `reserved` is the allocator's, None where there is none."""

    used: int
    reserved: int | None
    method: str


class Device(Protocol):
    name: str
    """As torch names it: "cpu", "cuda:0"."""

    def seconds(self, step: Callable[[], object]) -> float:
        """Run `step` once, to its end on the device, and return how long it took."""
        ...

    def peak(self, step: Callable[[], object]) -> Peak:
        """Run `step` once and return the most memory it held over what was held before."""
        ...

    def release(self) -> None:
        """Give free memory back, so that the next baseline is low."""
        ...


class CPUDevice:
    """Wall clock, and the resident set's high-water mark (Linux; elsewhere the peak is not measured)."""

    name = "cpu"

    def seconds(self, step: Callable[[], object]) -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def peak(self, step: Callable[[], object]) -> Peak:
        self.release()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to VmRSS, see proc(5)
        except OSError:
            step()
            return Peak(0, None, "unavailable")
        before = _status_bytes("VmRSS")
        step()
        return Peak(max(0, _status_bytes("VmHWM") - before), None, "resident")

    def release(self) -> None:
        gc.collect()
        # Where there is no glibc, the baseline includes freed memory, and the peak is a lower bound.
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


class CUDADevice:
    """CUDA events on the current stream, and the caching allocator's counters."""

    def __init__(self, name: str) -> None:
        self.name = name
        torch.cuda.set_device(torch.device(name))
        # float32 means float32, for products and convolutions alike: by default torch rounds only the latter to tf32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        # cuDNN's attention plans anew for each shape, for tens of milliseconds: a token more at every step of decoding. From
        # torch 2.11 on it comes first on some cards. Who asks for it by name (`architectures.sdpa`) still gets it.
        torch.backends.cuda.enable_cudnn_sdp(False)

    def seconds(self, step: Callable[[], object]) -> float:
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        step()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    def peak(self, step: Callable[[], object]) -> Peak:
        self.release()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        used, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        step()
        torch.cuda.synchronize()
        return Peak(torch.cuda.max_memory_allocated() - used, torch.cuda.max_memory_reserved() - reserved, "allocator")

    def release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


def open_device(name: str) -> Device:
    """ "cpu", "cuda", "cuda:N", or "auto": a GPU where there is one.

    Raises ValueError where torch cannot use it; the message names the fix.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return CPUDevice()
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise ValueError(f"device '{name}': use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise ValueError(f"device '{name}': this torch ({torch.__version__}) sees no GPU; use --device cpu")
    name = name if ":" in name else "cuda:0"
    if int(name.split(":")[1]) >= torch.cuda.device_count():
        raise ValueError(f"device '{name}': there are {torch.cuda.device_count()} GPUs, counted from 0")
    return CUDADevice(name)


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when an allocation fails, on either kind of device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text
        for sign in ("DefaultCPUAllocator", "not enough memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
    )


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
