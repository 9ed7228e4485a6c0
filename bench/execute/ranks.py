"""A training over several devices of one machine: one process each, started and watched by torch's elastic launcher.

As with torchrun, the end of one process is the end of all. What rank 0 sends goes on to the parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bench.execute.child import Workplace, describe_failure, folders, limit_device_memory, register
from bench.execute.failures import RankFailed, Send
from bench.training.loop import unheard
from bench.training.parallel import Rank
from bench.training.trials import run_training_trial
from bench.trial import Trial

LISTEN_SECONDS = 0.1

End = tuple[str, str, str]  # status, reason, trace


def launch(
    trial: Trial, send: Send, packages: tuple[str, ...], plugins: tuple[str, ...], workplace: Workplace
) -> dict[str, Any]:
    """Run one training on `trial.devices` devices. Raises RankFailed with the status of the first process that failed."""
    multiprocessing.current_process().daemon = False  # may have children; whoever ends this process ends them as well
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(trial.devices)]
    readers, writers = [reader for reader, _ in pipes], [writer for _, writer in pipes]
    ends: list[End] = []
    results: list[dict[str, Any]] = []
    over = threading.Event()

    def pass_on() -> None:
        while (ready := wait(readers, LISTEN_SECONDS)) or not over.is_set():
            for reader in ready:
                kind, *content = cast(Connection, reader).recv()
                if kind == "failed":
                    ends.append((content[0], content[1], content[2]))
                elif kind == "done":
                    results.append(content[0])
                else:
                    send(kind, *content)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    silent: End | None = None
    with tempfile.TemporaryDirectory(prefix="seqbench-ranks-") as folder:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=trial.devices, run_id=trial.trial_id, max_restarts=0,
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost", start_method="spawn",
            monitor_interval=0.1, logs_specs=DefaultLogsSpecs(log_dir=folder), signals_to_handle="SIGTERM",
        )  # fmt: skip
        try:
            elastic_launch(config, run_rank)(trial, writers, packages, plugins, workplace)
        except ChildFailedError as error:
            silent = _end(error.get_first_failure()[1])
        finally:
            over.set()
            listener.join()
    if end := ends[0] if ends else silent:
        raise RankFailed(*end)
    return results[0]


def run_rank(
    trial: Trial,
    writers: list[Connection],
    packages: tuple[str, ...],
    plugins: tuple[str, ...],
    workplace: Workplace,
) -> None:
    """One process of the training, with the environment that the launcher gives it."""
    rank = Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    own = writers[rank.number]
    try:
        on_cpu = trial.device == "cpu"
        if on_cpu:  # ranks share the cores
            torch.set_num_threads(max(1, torch.get_num_threads() // rank.count))
        else:
            _turn_to(int(trial.device.split(":")[1]), rank)
            limit_device_memory(trial.device, trial.device_memory)
        register(packages, plugins)
        dist.init_process_group("gloo" if on_cpu else "nccl", timeout=timedelta(seconds=trial.timeout))
        send: Send = (lambda *message: own.send(message)) if rank.number == 0 else unheard
        result = run_training_trial(trial, send, *folders(workplace), rank)
        if rank.number == 0:
            own.send(("done", result))
        dist.destroy_process_group()
    except BaseException as error:
        own.send(("failed", *describe_failure(error)))
        raise


def _turn_to(first: int, rank: Rank) -> None:
    """Let this process see its own GPU under the number that the trial names. Before CUDA is asked for anything."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else [str(n) for n in range(first + rank.count)]
    names[first], names[first + rank.number] = names[first + rank.number], names[first]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)


def _end(failure: Any) -> End:
    """Of a process that could not say itself how it ended."""
    code = failure.exitcode
    if code == -signal.SIGKILL:
        return "oom", "killed by the system (SIGKILL): out of memory", ""
    if code < 0:
        return "error", f"the process of one device died of {signal.Signals(-code).name}", ""
    return "error", f"the process of one device ended itself with exit code {code}", ""
