"""The parent's grip on one child process: call it, watch it, end it. Whatever the child does is an answer, not a crash."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Any

import psutil

from bench.execute import child
from bench.execute.child import NOWHERE, Workplace

# How often a child is looked at where it says nothing: a short call is watched closely, a long one is left in peace, since
# every look takes a core from it for a moment.
POLL_SECONDS, POLL_SECONDS_LATER, LATER = 0.02, 0.25, 2.0
HARMLESS = ("timeout", "unsupported")  # as a child reports them itself: it stopped by its own decision
# Imported once by the server that children are forked from: a fresh child then costs milliseconds, not a torch import.
# sympy, dynamo and the rest are what torch itself imports late, at the first trace and the first optimiser step.
PRELOAD = [
    *("bench.execute.no_interrupt", "__main__", "torch", "bench.execute.measurements", "bench.measure.environment"),
    "bench.training.trials",
    *("sympy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes", "torch._refs", "torch.profiler"),
]


@dataclass
class Answer:
    """How a call ended. `status` is a record's; `result` is there when it is "ok"."""

    status: str
    reason: str = ""
    trace: str = ""
    phase: str = ""
    measurements: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    measured_s: float = 0.0
    others: float = 0.0
    """Cores that were kept busy by anything but this trial, on average."""
    result: Any = None


@dataclass(frozen=True)
class Pool:
    """How to start children: the packages to register, the plug-ins, where their output goes, where data lie."""

    packages: tuple[str, ...]
    plugins: tuple[str, ...] = ()
    log: str = ""
    data: Workplace = NOWHERE

    def context(self) -> BaseContext:
        """Fork from a clean server where the system can, start anew elsewhere (Windows)."""
        if "forkserver" not in multiprocessing.get_all_start_methods():
            return multiprocessing.get_context("spawn")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOAD, *self.packages])
        return context

    def start(self) -> Worker:
        return Worker(self)


class Worker:
    """One child. After a failure that may have left something behind it is ended."""

    def __init__(self, pool: Pool) -> None:
        context = pool.context()
        self.pipe, theirs = context.Pipe()
        args = (theirs, pool.packages, pool.plugins, pool.log, pool.data)
        self.process = context.Process(target=child.main, args=args, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def call(
        self,
        name: str,
        payload: Any,
        *,
        timeout: float,
        memory: int = 0,
        on_progress: Callable[[int, int, str], None] = lambda done, of, words: None,
    ) -> Answer:
        """Send a call and wait for its end.

        Args:
            timeout: seconds, after which the child is killed.
            memory: bytes that the child's resident set may grow by, 0 for no limit.
            on_progress: told (steps done, steps in all or 0, words) by calls that take long.
        """
        answer = Answer("error", "no answer")
        watch = _CPUWatch(self.process.pid)
        try:
            self.pipe.send((name, payload))
        except (OSError, ValueError):
            return self._died(answer)
        began = time.monotonic()
        deadline = began + timeout
        base = self._resident()
        while True:
            pause = POLL_SECONDS if time.monotonic() - began < LATER else POLL_SECONDS_LATER
            try:
                if self.pipe.poll(min(pause, timeout)):
                    kind, *content = self.pipe.recv()
                    if kind == "done":
                        answer.status, answer.reason, answer.result = "ok", "", content[0]
                        answer.others = watch.others()
                        return answer
                    if kind == "failed":
                        answer.status, answer.reason, answer.trace = content
                        answer.others = watch.others()
                        if answer.status not in HARMLESS:
                            self.close()
                        return answer
                    if kind == "phase":
                        answer.phase = content[0]
                    elif kind == "progress":
                        on_progress(*content)
                    elif kind == "extra":
                        answer.extra[content[0]] = content[1]
                    elif kind == "measurement":
                        answer.measurements.append(content[0])
                    elif kind == "measured":
                        answer.measured_s = content[0]
                    elif kind == "note":
                        answer.notes.append(str(content[1]))
                    continue
            except (EOFError, OSError):
                return self._died(answer)
            if time.monotonic() > deadline:
                answer.measured_s = timeout
                return self._ended(answer, "timeout", f"no end within {timeout:.0f} s, stopped")
            grown = self._resident() - base
            if memory and grown > memory:
                return self._ended(
                    answer, "oom", f"took {grown / 2**30:.1f} GiB, the limit is {memory / 2**30:.1f} GiB"
                )

    def alive(self) -> bool:
        return self.process.is_alive()

    def close(self) -> None:
        """End the child and whatever it started."""
        try:
            family = [*psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.Error:
            family = []
        self.pipe.close()
        self.process.kill()
        for descendant in family:
            with contextlib.suppress(psutil.Error):
                descendant.kill()
        self.process.join(10)

    def _ended(self, answer: Answer, status: str, reason: str) -> Answer:
        self.close()
        answer.status, answer.reason = status, reason
        return answer

    def _died(self, answer: Answer) -> Answer:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            # The kernel's out-of-memory killer sends SIGKILL, and nobody else does here.
            if name == "SIGKILL":
                return self._ended(answer, "oom", "killed by the system (SIGKILL): out of memory")
            return self._ended(answer, "error", f"the process died of {name}")
        return self._ended(answer, "error", f"the process ended itself with exit code {code}")

    def _resident(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0


class _CPUWatch:
    """Processor time of the whole machine against that of this process and one child."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.start = time.monotonic()
        self.before = self._elsewhere()

    def others(self) -> float:
        """Cores kept busy elsewhere since the start; 0 over spans too short for the system's clock ticks."""
        seconds = time.monotonic() - self.start
        return max(0.0, (self._elsewhere() - self.before) / seconds) if seconds > 0.2 else 0.0

    def _elsewhere(self) -> float:
        times = psutil.cpu_times()
        busy = times.user + times.system + getattr(times, "nice", 0.0)
        try:
            for process in (psutil.Process(), psutil.Process(self.pid)):
                own = process.cpu_times()
                busy -= own.user + own.system
        except psutil.Error:
            return 0.0
        return float(busy)
