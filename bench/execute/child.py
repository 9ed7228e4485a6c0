"""The child's side: load the plug-ins, answer calls until the parent goes away.

Messages to the parent are tuples: ("phase", name), ("measurement", Measurement), ("note", key, value), ("extra", key,
value), ("progress", done, of, words) and ("beat",) while a call is under way (and once ("measured", seconds)), ("left",
threads) where some outlive it, then ("done", result) or ("failed", status, reason, traceback). The number of the call stands
before each.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.execute import lifeline
from bench.execute.failures import NotFinite, RankFailed, Send, Unsupported


@dataclass(frozen=True)
class Workplace:
    """Folders that trials may read and write, as text; "" where there is none.

    Attributes:
        local: the user's local copies of data sets. cache: what can be made again. run: the run's own folder.
    """

    local: str = ""
    cache: str = ""
    run: str = ""


NOWHERE = Workplace()
_workplace = NOWHERE
_registered: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # packages and plug-ins


class _Speaker:
    """The way to the parent. Two threads speak (work and heartbeat), so a message is sent whole before the next."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.owner = os.getpid()
        self.lock = threading.Lock()
        self.call = 0

    def send(self, *message: Any) -> None:
        if os.getpid() != self.owner:
            os._exit(1)  # a copy that a plug-in forked has come back from its call: one answer is enough
        with self.lock:
            self.pipe.send((self.call, *message))

    def beat(self) -> None:
        self.send("beat")


def main(
    pipe: Connection,
    far_end: Connection,
    packages: tuple[str, ...],
    plugins: tuple[str, ...],
    log: str,
    workplace: Workplace,
) -> None:
    """Runs in the child until the pipe closes. A plug-in that cannot be loaded fails every call with its reason."""
    global _workplace, _registered
    _workplace, _registered = workplace, (packages, plugins)
    lifeline.settle()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    gc.freeze()  # what was imported before the fork is never garbage: collections then take no time, and copy no pages
    _redirect_output(log)
    speaker = _Speaker(pipe)
    lifeline.hold(far_end, speaker.beat)
    problem: BaseException | None = None
    try:
        notes = register(packages, plugins)
    except BaseException as error:
        problem, notes = error, []
    while True:
        try:
            speaker.call, name, payload = pipe.recv()
        except (EOFError, OSError):
            lifeline.end_family()
        before = lifeline.own_threads()
        last: tuple[Any, ...]
        try:
            if problem is not None:
                raise problem
            for note in notes:
                speaker.send("note", "plug-in", note)
            last = ("done", CALLS[name](payload, speaker.send))
        except BaseException as error:
            last = ("failed", *describe_failure(error))
        if left := lifeline.own_threads() - before:
            speaker.send("left", len(left))
        speaker.send(*last)


def register(packages: tuple[str, ...], plugins: tuple[str, ...]) -> list[str]:
    """Load everything that registers something. Returns one sentence for each installed plug-in that failed."""
    for package in packages:
        importlib.import_module(package)
    from bench.registry import load_entry_points, load_plugin

    notes = load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)
    return notes


def describe_failure(error: BaseException) -> tuple[str, str, str]:
    """Status, one line of reason, and the trace for `--debug`."""
    from bench.conformance import ContractBroken
    from bench.contract import DataMissing
    from bench.measure.device import is_out_of_memory
    from bench.measure.graph import Untraceable
    from bench.measure.path import NotConnected
    from bench.measure.timing import OverTime
    from bench.registry import RegistryError

    if isinstance(error, RankFailed):
        return error.end
    trace = "".join(traceback.format_exception(error))
    first_line = next(iter(str(error).strip().splitlines()), "")[:600]
    if isinstance(error, OverTime):
        return "timeout", first_line, trace
    if is_out_of_memory(error):
        asked = re.search(r"allocate (\d+) bytes", str(error))  # torch on CPU; on CUDA its own words are clearer
        words = f"asked for {int(asked[1]) / 2**30:.1f} GiB more" if asked else first_line
        return "oom", f"out of memory: {words}", trace
    if isinstance(error, NotFinite):
        return "nan", first_line, trace
    if isinstance(error, (Untraceable, NotConnected, Unsupported)):
        return "unsupported", first_line, trace
    if isinstance(error, (RegistryError, ContractBroken, DataMissing)):
        return "error", first_line, trace
    return "error", f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__, trace


def _describe(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """The registry and the environment, as plain data: the parent itself never imports torch."""
    from bench.measure.device import open_device
    from bench.measure.environment import environment
    from bench.registry import ARCHITECTURES, TASKS
    from bench.source import source_hash

    device = open_device(payload["device"]).name if payload.get("device") else ""
    if device.startswith("cuda"):  # where a trial spreads over several, they follow one another
        open_device(f"cuda:{int(device.split(':')[1]) + payload.get('devices', 1) - 1}")
    return {
        "architectures": [_entry(e) for e in ARCHITECTURES.entries.values()],
        "tasks": [_entry(e) for e in TASKS.entries.values()],
        "engine_hash": source_hash("bench.execute.measurements"),
        "training_hash": source_hash("bench.training.trials"),
        "environment": environment(device) if device else {},
    }


def _entry(entry: Any) -> dict[str, Any]:
    from bench.source import source_hash

    return {
        "name": entry.name,
        "family": entry.family,
        "summary": entry.summary,
        "reference": entry.reference,
        "source": entry.source,
        "order": entry.order,
        "settings": [field.name for field in dataclasses.fields(entry.config)],
        "images": getattr(entry, "images", False),
        "hash": source_hash(entry.build.__module__),
    }


def _size(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """Solve one architecture's width; its traits and receptive field from a build on the meta device.

    With `shape`, the width at which the whole model for such a task is as large as asked for.
    """
    from bench.budget import solve
    from bench.models import build_encoder, build_for, count_parameters, make_config, shape_from
    from bench.registry import ARCHITECTURES

    entry = ARCHITECTURES.get(payload["architecture"])
    shape = shape_from(payload["shape"]) if "shape" in payload else None
    writer = shape.decoder if shape is not None else None
    # One stack that reads and writes is causal, whatever encoders are.
    mode = "causal" if writer is not None and writer.kind == "prefix" else payload["mode"]
    causal = mode == "causal"
    if shape is not None and shape.patches is not None:
        shape = shape.patched(shape.patches)
    grid = shape.grid if shape is not None else None
    if entry.images and grid is None:
        raise Unsupported(f"'{entry.name}' is made for images; this suite has sequences")
    sizing = solve(entry, payload["settings"], payload["depth"], causal, payload["match"], payload["target"], shape)
    encoder: Any = build_encoder(entry, sizing.settings, sizing.width, sizing.depth, causal, device="meta", grid=grid)
    layers = count_parameters(encoder)
    if shape is not None and writer is not None:
        model: Any = build_for(
            entry, sizing.settings, sizing.width, sizing.depth, payload["mode"], shape, device="meta"
        )
        layers = model.layer_parameters
    traits = encoder.traits
    if mode not in traits.modes:
        way = "; it can write as a decoder-only model: recipe.decoder=prefix" if writer is not None else ""
        raise Unsupported(f"'{entry.name}' is {' and '.join(sorted(traits.modes))} only, not {mode}{way}")
    if (
        "sequence" not in traits.layouts
        and shape is not None
        and shape.patches is not None
        and shape.patches.class_token
    ):
        raise Unsupported(f"'{entry.name}' takes a grid of rows and columns, in which a class token has no place")
    if shape is not None and shape.output == "token" and not traits.keeps_length:
        raise Unsupported(f"'{entry.name}' merges tokens; this task wants one output a token")
    return {
        "width": sizing.width,
        "depth": sizing.depth,
        "parameters": sizing.parameters,
        "grid": grid,
        "shape": {"length": shape.length} if shape is not None else {},
        "encoder_parameters": count_parameters(encoder),
        "embedding_parameters": sizing.parameters - layers,
        "budget_error": sizing.error,
        "config": sizing.settings,
        "settings": dataclasses.asdict(make_config(entry, sizing.settings)),
        "receptive_field": encoder.receptive_field,
        "streaming": hasattr(encoder, "initial_state") and hasattr(encoder, "step"),
        "traits": {
            "modes": sorted(traits.modes),
            "layouts": sorted(traits.layouts),
            "keeps_length": traits.keeps_length,
            "time_exponent": traits.time_exponent,
            "memory_exponent": traits.memory_exponent,
            "parallel_in_time": traits.parallel_in_time,
            "path": traits.path,
            "max_length": traits.max_length,
        },
    }


def _trial(trial: Any, send: Send) -> dict[str, Any]:
    from bench.measure.environment import throttling

    if trial.device != "cpu":  # of several devices each process has a limit of its own, see bench.execute.ranks
        limit_device_memory(trial.device, trial.device_memory)
    elif trial.memory:
        _limit_memory(trial.memory)
    if trial.training is None:
        from bench.execute.measurements import run_trial

        result = run_trial(trial, send)
    elif trial.kind == "train" and trial.devices > 1:
        from bench.execute.ranks import launch

        result = launch(trial, send, *_registered, _workplace)
    else:
        from bench.training.trials import run_training_trial

        result = run_training_trial(trial, send, *folders(_workplace))
    if held_down := throttling(trial.device):
        send("note", "throttling", held_down)
    return result


def _task(payload: dict[str, Any], send: Send) -> dict[str, Any]:
    """One task with its data, as plain data for the plan."""
    from bench.training.trials import describe_task

    return describe_task(payload["name"], payload["settings"], payload["mode"], payload["patches"], _places())


def folders(workplace: Workplace) -> tuple[Any, Path | None]:
    """Where data are, and the run's folder."""
    from bench.contract import Places

    places = Places(Path(workplace.local) if workplace.local else None, Path(workplace.cache))
    return places, Path(workplace.run) if workplace.run else None


def _places() -> Any:
    return folders(_workplace)[0]


def _translate(payload: dict[str, Any], send: Send) -> list[dict[str, Any]]:
    from bench.training.translate import translate

    return translate(payload, _places())


def _probe(payload: dict[str, Any], send: Send) -> Any:
    """A short look at what a trial takes, for a forecast."""
    from bench.forecast import probe

    trial = payload["trial"]
    if trial.training is not None:
        return probe.probe_training(trial, _places(), payload["counted"])
    return probe.probe_scaling(trial, payload["sizes"])


CALLS: dict[str, Callable[[Any, Send], Any]] = {
    "describe": _describe,
    "size": _size,
    "task": _task,
    "probe": _probe,
    "trial": _trial,
    "translate": _translate,
}


def _limit_memory(extra: int) -> None:
    """Let the address space grow by `extra` bytes at most: torch then raises, and the trial ends with a clean reason.

    Not on CUDA, whose driver maps far more than it uses. The parent watches the resident set all the same.
    """
    try:
        import resource  # not on Windows

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        pass  # not Linux: the parent's watch is what is left


def limit_device_memory(device: str, share: float) -> None:
    """Let torch's allocator take this share of the device's memory at most; past it, it raises as for a full device."""
    import torch

    torch.cuda.set_per_process_memory_fraction(share, torch.device(device))


def _redirect_output(log: str) -> None:
    """What plug-ins and libraries print goes to a file, not into the progress display."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # a full disk: what they print is no part of a result
        target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
