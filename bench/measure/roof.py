"""What the machine can do in this run: the rate of a large matrix product and of a large copy.

Achieved FLOP/s are shown as a share of this measured roof, never of a data sheet.
"""

from __future__ import annotations

import torch

from bench.measure.device import Device
from bench.measure.timing import Times, sample_times

CPU_SIZE, CUDA_SIZE = 1024, 8192
CPU_BYTES, CUDA_BYTES = 256 << 20, 2 << 30  # past the last cache


def matmul_rate(device: Device, dtype: torch.dtype, seconds: float, limit: float) -> tuple[list[float], Times]:
    """FLOP/s of square matrix products, one sample a product."""
    n = CPU_SIZE if device.name == "cpu" else CUDA_SIZE
    a, b = (torch.randn(n, n, device=device.name, dtype=dtype) for _ in range(2))
    out = torch.empty(n, n, device=device.name, dtype=dtype)
    times = sample_times(lambda: torch.mm(a, b, out=out), device, seconds=seconds, limit=limit)
    return [2 * n**3 / t for t in times.samples], times


def copy_rate(device: Device, seconds: float, limit: float) -> tuple[list[float], Times]:
    """Bytes/s of a copy in the device's memory, read and written bytes both counted."""
    size = CPU_BYTES if device.name == "cpu" else CUDA_BYTES
    source = torch.ones(size, dtype=torch.uint8, device=device.name)
    target = torch.empty_like(source)
    times = sample_times(lambda: target.copy_(source), device, seconds=seconds, limit=limit)
    return [2 * size / t for t in times.samples], times
