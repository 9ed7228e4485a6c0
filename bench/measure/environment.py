"""The machine and the software, and what about them makes timings doubtful. Nothing personal: no host or user name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.capabilities import bfloat16_recurrences
from bench.measure.cores import usable_cores

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("bench", "architectures", "tasks", "run_all.py")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
PACKAGES = (
    *("torch", "triton", "numpy", "scipy", "pandas", "pydantic", "scikit-learn", "datasets", "tokenizers", "sacrebleu"),
    *("jupyterlab-language-pack-fr-FR", "nvidia-ml-py", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    *("nvidia-cublas-cu12", "nvidia-cublas"),
)
VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "KMP_AFFINITY", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF"),
    *("PYTORCH_ALLOC_CONF", "TORCH_CUDNN_SDPA_DEPRIORITIZED"),
    *("GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE"),  # how a CPU gets its memory
)
# What makes two environments the same for timing; load and git state are recorded but not part of it.
IDENTITY = (
    "device_name",
    "cpu",
    "cores",
    "threads",
    "memory_bytes",
    "os",
    "python",
    "torch",
    "cuda",
    "cudnn",
    "tf32",
    "driver",
)


def environment(device: str) -> dict[str, Any]:
    """Everything that goes into environment.json, see docs/run_format.md."""
    on_cuda = device.startswith("cuda")
    commit, dirty = git_state()
    found: dict[str, Any] = {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if on_cuda else cpu_name(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory if on_cuda else None,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "driver": _driver() if on_cuda else None,
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32) if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "debug_build": bool(torch.version.debug),
        "git_commit": commit,
        "git_dirty": dirty,
        "load_at_start": other_load(),
        "timer_resolution_s": time.get_clock_info("perf_counter").resolution,
    }
    found |= {
        "packages": versions(),
        "threads_between_operations": torch.get_num_interop_threads(),
        "determinism": _determinism(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "clocks": clocks(device),
    }
    identity = json.dumps({key: found[key] for key in IDENTITY}, sort_keys=True)
    found["environment_id"] = hashlib.sha256(identity.encode()).hexdigest()[:12]
    found["warnings"] = _warnings(found)
    return found


def versions() -> dict[str, str]:
    """Of every package that can change a number, those that are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _determinism() -> dict[str, Any]:
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def clocks(device: str) -> dict[str, Any]:
    """MHz of now and at most, where they can be read; and how the CPU's is governed."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # containers and virtual machines often do not tell, each in a way of its own
        frequency = psutil.cpu_freq()
        found["cpu_mhz"], found["cpu_most_mhz"] = round(frequency.current), round(frequency.max) or None
    with contextlib.suppress(OSError):
        found["cpu_governor"] = GOVERNOR.read_text().strip()
    if device.startswith("cuda"):
        import pynvml

        with contextlib.suppress(pynvml.NVMLError, AttributeError):
            handle = _handle(device)
            for name, clock in (("sm", pynvml.NVML_CLOCK_SM), ("memory", pynvml.NVML_CLOCK_MEM)):
                found[f"gpu_{name}_mhz"] = pynvml.nvmlDeviceGetClockInfo(handle, clock)
                found[f"gpu_{name}_most_mhz"] = pynvml.nvmlDeviceGetMaxClockInfo(handle, clock)
            found["gpu_power_limit_w"] = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
    return found


def _handle(device: str) -> Any:
    """The driver's name of a device of torch's: by identity, since CUDA_VISIBLE_DEVICES renumbers torch's devices only."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_state() -> tuple[str, bool]:
    """The checkout's commit and whether its source differs from it, new files included; ("", False) outside git."""
    try:
        run = lambda *a: subprocess.run(["git", *a], cwd=ROOT, capture_output=True, text=True, timeout=10)  # noqa: E731
        commit = run("rev-parse", "HEAD")
        if commit.returncode:
            return "", False
        changed = run("status", "--porcelain", "--untracked-files=no").stdout.strip()
        return commit.stdout.strip(), bool(changed or new_files())
    except (OSError, subprocess.TimeoutExpired):
        return "", False


def new_files() -> list[str]:
    """Source that git does not know, as paths in the checkout. Raises OSError or subprocess.TimeoutExpired."""
    listed = ["git", "ls-files", "-z", "--others", "--exclude-standard", "--", *SOURCE]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, timeout=10).stdout
    return [os.fsdecode(name) for name in found.split(b"\0") if name]


def other_load(seconds: float = 0.2) -> float:
    """Cores kept busy by anything at all while this process sleeps: what a trial would have to share with."""
    return round(psutil.cpu_percent(interval=seconds) / 100 * (psutil.cpu_count() or 1), 2)


def throttling(device: str) -> str:
    """Why the GPU's clocks are held down, in words; "" where they are not, or where nobody tells."""
    if not device.startswith("cuda"):
        return ""
    import pynvml

    try:
        handle = _handle(device)
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
        temperature = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    except (pynvml.NVMLError, AttributeError):
        return ""
    names = {
        0x08: "hardware slowdown",
        0x20: "software thermal limit",
        0x40: "hardware thermal limit",
        0x80: "power brake",
    }
    held = [name for bit, name in names.items() if reasons & bit]
    return f"GPU clocks held down ({', '.join(held)}) at {temperature} C" if held else ""


def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        return version if isinstance(version, str) else version.decode()
    except pynvml.NVMLError:
        return None


def _warnings(found: dict[str, Any]) -> list[str]:
    warnings = []
    if found["load_at_start"] > 0.25:
        warnings.append(f"other programs kept {found['load_at_start']:.1f} cores busy when the run began")
    if found["debug_build"]:
        warnings.append("this is a debug build of torch: timings are not representative")
    if os.environ.get("CUDA_LAUNCH_BLOCKING") == "1" and found["device"] != "cpu":
        warnings.append("CUDA_LAUNCH_BLOCKING=1: kernels are launched one by one")
    if GOVERNOR.exists() and (mode := GOVERNOR.read_text().strip()) not in ("performance", "schedutil"):
        warnings.append(f"the CPU's frequency governor is '{mode}': clocks may vary while measuring")
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None and not battery.power_plugged:
        warnings.append("running on battery: clocks may be held down")
    if found["device"] != "cpu" and not bfloat16_recurrences():
        warnings.append(
            f"torch {found['torch']} with cuDNN {found['cudnn']} has no recurrences in bfloat16: where that is asked for, "
            "recurrent networks run in float32"
        )
    if throttled := throttling(found["device"]):
        warnings.append(throttled)
    return warnings
