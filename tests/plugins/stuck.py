"""Architectures that hang, multiply or crash when they are measured, each with a known end. None fails a check before."""

import ctypes
import itertools
import os
import signal
import threading
import time

import torch
from torch import Tensor

from bench.registry import register_architecture
from tests.plugins.faulty import Base, at_work, without_padding


class Stuck(Base):
    """The fault shows in real passes over long inputs only."""

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.linear(x_BTD)
        if at_work(x_BTD):
            self.happen()
        return without_padding(y_BTD, keep_BT)

    def happen(self) -> None:
        pass


def stuck(name: str):
    return register_architecture(name, family="other", summary=f"a planted fault: {name}")


@stuck("deadlocks")
class Deadlocks(Stuck):
    def happen(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


@stuck("spins_in_c")
class SpinsInC(Stuck):
    def happen(self) -> None:
        sum(itertools.repeat(0))  # never returns, and never lets another thread run


@stuck("halts")
class Halts(Stuck):
    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


@stuck("segfaults")
class Segfaults(Stuck):
    def happen(self) -> None:
        ctypes.string_at(0)


@stuck("forks")
class Forks(Stuck):
    def happen(self) -> None:
        while True:
            if os.fork() == 0:
                time.sleep(600)


@stuck("threads")
class Threads(Stuck):
    def happen(self) -> None:
        threading.stack_size(1 << 16)
        while True:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


@stuck("comes_back_twice")
class ComesBackTwice(Stuck):
    """A copy of the process returns from the same pass, and would answer in its place, or for the next trial."""

    def happen(self) -> None:
        os.fork()


@stuck("leaves_a_thread")
class LeavesAThread(Stuck):
    done = False

    def happen(self) -> None:
        if not self.done:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        self.done = True


@stuck("leaves_a_process")
class LeavesAProcess(Stuck):
    done = False

    def happen(self) -> None:
        if not self.done and os.fork() == 0:
            os.closerange(3, 1000)
            time.sleep(600)
        self.done = True


@stuck("hoards_in_children")
class HoardsInChildren(Stuck):
    """No process takes more than it may; all together do."""

    def happen(self) -> None:
        for _ in range(8):
            if os.fork() == 0:
                held = torch.rand(1 << 26)  # equal pages may be kept once by the kernel
                time.sleep(600)
                held.sum()
        time.sleep(600)


@stuck("floods")
class Floods(Stuck):
    """Talks without end, so that its messages never leave time to look at the clock."""

    def happen(self) -> None:
        from bench.execute import child

        speaker = next(o for o in __import__("gc").get_objects() if isinstance(o, child._Speaker))
        while True:
            speaker.send("progress", 0, 0, "still here")


@stuck("long_call")
class LongCall(Stuck):
    """Nothing is wrong: one operation of torch that takes longer than the time without a sign of life."""

    def happen(self) -> None:
        began = time.monotonic()
        size = 2048
        while time.monotonic() - began < 1.6:  # until one call has taken so long, on whatever machine
            began = time.monotonic()
            torch.ones(size, size) @ torch.ones(size, size)
            size *= 2


@stuck("forks_then_waits")
class ForksThenWaits(Stuck):
    """As loaders of data do: processes that know nothing of the parent's parent."""

    def happen(self) -> None:
        for _ in range(4):
            if os.fork() == 0:
                os.closerange(3, 1000)
                time.sleep(600)
        time.sleep(600)


@stuck("nothing_wrong")
class NothingWrong(Stuck):
    pass
