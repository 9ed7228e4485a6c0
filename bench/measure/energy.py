"""Energy counters of the machine, where it has any that may be read: the GPU's by NVML, the processor's by RAPL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """`joules()` grows with time. `method` names the counter and what is in it."""

    method: str
    joules: Callable[[], float]


def open_meter(device: str, rapl: Path = RAPL) -> Meter | None:
    """The meter of a device as torch names it; None where the machine does not tell."""
    return _gpu_meter(device) if device.startswith("cuda") else _processor_meter(rapl)


def _gpu_meter(device: str) -> Meter | None:
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (pynvml.NVMLError, AttributeError):
        return None
    return Meter("NVML, whole GPU", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)


def _processor_meter(rapl: Path) -> Meter | None:
    # Zones of whole packages only: others ("psys", "dram", cores) lie in or around them.
    packages = [z for z in sorted(rapl.glob("intel-rapl:*")) if _text(z / "name").startswith("package")]
    counters = [_Counter(zone) for zone in packages if _text(zone / "energy_uj")]
    if not counters:
        return None
    return Meter("RAPL, whole processor package", lambda: sum(counter.joules() for counter in counters))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # newer kernels let root alone read the counters
        return ""


class _Counter:
    """One package's counter, which starts over at its largest value: must be read more often than that (minutes)."""

    def __init__(self, zone: Path) -> None:
        self.path = zone / "energy_uj"
        self.range = int((zone / "max_energy_range_uj").read_text())
        self.last = int(self.path.read_text())
        self.total = 0

    def joules(self) -> float:
        now = int(self.path.read_text())
        self.total += (now - self.last) % (self.range + 1)
        self.last = now
        return self.total / 1e6
