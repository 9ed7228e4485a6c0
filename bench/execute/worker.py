"""The parent's grip on one child process: call it, watch it, end it. Whatever the child does is an answer, not a crash."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Any

import psutil

from bench.execute import child
from bench.execute.child import NOWHERE, Workplace
from bench.execute.family import Family
from bench.execute.watch import Limits, Watch
from bench.measure.cores import busy_seconds

# How often a child is looked at where it says nothing: a short call is watched closely, a long one is left in peace, since
# every look takes a core from it for a moment.
POLL_SECONDS, POLL_SECONDS_LATER, LATER = 0.02, 0.25, 2.0
HALTED = 60  # seconds within a message
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
    threads_left: int = 0
    """Threads that the call started and that outlive it."""
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
        # Else torch.compile leaves a pool of helpers behind, which would share the cores with what is timed next. The server
        # imports what reads this, so a child would be too late.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
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
        _limit_reading(self.pipe.fileno())
        far_end, self.lifeline = context.Pipe(duplex=False)
        args = (theirs, far_end, pool.packages, pool.plugins, pool.log, pool.data)
        self.process = context.Process(target=child.main, args=args, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        far_end.close()
        self.family = Family(self.process.pid)
        self.calls = 0

    def call(
        self,
        name: str,
        payload: Any,
        *,
        timeout: float,
        memory: int = 0,
        silence: float = 0.0,
        on_progress: Callable[[int, int, str], None] = lambda done, of, words: None,
    ) -> Answer:
        """Send a call and wait for its end.

        Args:
            timeout: seconds, after which the child is killed.
            memory: bytes that the resident set of the child and all it starts may grow by, 0 for no limit.
            silence: seconds without a sign of life, after which the child is killed as hung; 0 to wait for the timeout.
            on_progress: told (steps done, steps in all or 0, words) by calls that take long.
        """
        answer = Answer("error", "no answer")
        load = _CPUWatch(self.process.pid)
        limits = Limits(timeout, memory, silence)
        self.calls += 1
        try:
            self.lifeline.send(limits.beat)
            self.pipe.send((self.calls, name, payload))
        except (OSError, ValueError):
            return self._died(answer)
        began = looked = time.monotonic()
        watch = Watch(self.family, limits)
        while True:
            pause = POLL_SECONDS if time.monotonic() - began < LATER else POLL_SECONDS_LATER
            try:
                if self.pipe.poll(min(pause, timeout)):
                    number, kind, *content = self.pipe.recv()  # no longer than HALTED between two of its bytes
                    if number == self.calls:  # not what something left of an earlier call says
                        watch.heard(kind)
                        if _take(answer, kind, content, on_progress):
                            answer.others = load.others()
                            self._after(answer)
                            return answer
            except BlockingIOError:
                return self._ended(answer, "timeout", "its process stopped in the middle of a message")
            except (EOFError, OSError):
                return self._died(answer)
            except Exception as error:  # bytes that are no message: something else writes to the pipe
                return self._ended(answer, "error", f"its process wrote what is no message ({type(error).__name__})")
            if time.monotonic() - looked > pause:
                looked = time.monotonic()
                if not self.alive() and not self.pipe.poll(0):  # a copy of it may still hold the pipe open
                    return self._died(answer)
                if (problem := watch.problem()) is not None:
                    if problem[0] == "timeout":
                        answer.measured_s = looked - began
                    return self._ended(answer, *problem)

    def alive(self) -> bool:
        return self.process.is_alive()

    def close(self) -> None:
        """End the child and whatever it started."""
        self.family.kill()
        self.process.kill()  # where it had not yet come to lead a group
        for end in (self.pipe, self.lifeline):
            end.close()
        self.process.join(10)

    def _after(self, answer: Answer) -> None:
        """A child that failed, or in which something still runs, must not measure the next trial."""
        failed = answer.status != "ok" and answer.status not in HARMLESS
        left = [f"{answer.threads_left} threads"] if answer.threads_left else []
        left += [f"{len(others)} processes"] if not failed and (others := self.family.others()) else []
        if left:
            answer.notes.append(f"left {' and '.join(left)} running, which were ended")
        if failed or left:
            self.close()
        elif self.alive():
            with contextlib.suppress(OSError, ValueError):
                self.lifeline.send(0.0)  # between calls nobody listens

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


def _limit_reading(end: int) -> None:
    """Let a read of a message end with BlockingIOError where nothing of it has come for HALTED seconds."""
    if sys.platform == "win32":  # pipes are no sockets there
        return
    with socket.socket(fileno=os.dup(end)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", HALTED, 0))


def _take(answer: Answer, kind: str, content: list[Any], on_progress: Callable[[int, int, str], None]) -> bool:
    """Put one message into the answer. Returns whether it was the last."""
    if kind == "done":
        answer.status, answer.reason, answer.result = "ok", "", content[0]
        return True
    if kind == "failed":
        answer.status, answer.reason, answer.trace = content
        return True
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
    elif kind == "left":
        answer.threads_left = content[0]
    return False


class _CPUWatch:
    """Processor time of the whole machine against that of this process and one child, what that started included once it has
    ended."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.start = time.monotonic()
        self.before = self._elsewhere()

    def others(self) -> float:
        """Cores kept busy elsewhere since the start; 0 over spans too short for the system's clock ticks."""
        seconds = time.monotonic() - self.start
        return max(0.0, (self._elsewhere() - self.before) / seconds) if seconds > 0.2 else 0.0

    def _elsewhere(self) -> float:
        busy = busy_seconds()
        try:
            for process in (psutil.Process(), psutil.Process(self.pid)):
                own = process.cpu_times()
                busy -= own.user + own.system
            busy -= own.children_user + own.children_system  # of the child
        except psutil.Error:
            return 0.0
        return busy
