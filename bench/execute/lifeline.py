"""The child's side of being looked after: it leads a group that can be ended as one, dies with its parent, and beats.

The lifeline is a pipe of its own. Over it the parent says how often it wants a heartbeat; when it closes, the parent is gone
and everything here ends. A heartbeat comes from a thread, so it stops where code keeps every other thread from running (an
endless loop in C), and goes on through a long call of torch, which lets others run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PR_SET_PDEATHSIG = 1
OF_LIBRARIES = ("tqdm",)  # packages whose own threads stay behind and do no harm


def settle() -> None:
    """Lead a process group, leave no core file, and end with the server that forked this process.

    The server ends when nobody holds the pipe that says so any more: the parent, and this process, which lets go of it.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.setpgid(0, 0)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ImportError, AttributeError, TypeError, OSError):
        from multiprocessing import forkserver

        server: Any = forkserver._forkserver
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    if sys.platform == "linux":
        # The kernel's own word: it holds even where no thread of this process can run any more.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hold(lifeline: Connection, beat: Callable[[], None]) -> None:
    """Start the thread that waits at the lifeline. It sleeps in the kernel, so it costs nothing between two beats."""
    threading.Thread(target=_wait, args=(lifeline, beat), name="lifeline", daemon=True).start()


def _wait(lifeline: Connection, beat: Callable[[], None]) -> None:
    seconds = 0.0
    while True:
        try:
            if lifeline.poll(seconds or None):
                seconds = lifeline.recv()
            else:
                beat()
        except (EOFError, OSError):
            end_family()


def end_family() -> None:
    """End this process and all that it started: nobody is left to hear of it, and a next run may be at work already."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def own_threads() -> set[int]:
    """Threads of Python's that are running, but for those of libraries that stay behind."""
    return {t.ident or 0 for t in threading.enumerate() if type(t).__module__.split(".")[0] not in OF_LIBRARIES}
