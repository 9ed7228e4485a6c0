"""Figures of a page, drawn on all cores at once: matplotlib takes a tenth of a second for each."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from reports.canvas import Plot

_FEW = 12  # not worth a process
_plots: list[Plot] = []  # what forked children draw: they have it without its being sent


def draw_all(plots: list[Plot]) -> None:
    """Draw figures before they are asked for. Where processes cannot be forked, they wait until they are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    alone = sys.platform == "linux" and threading.active_count() == 1  # a fork beside threads may hang
    if not alone or cores < 2 or len(plots) < _FEW:
        return
    _plots[:] = plots
    try:
        with ProcessPoolExecutor(min(cores, 8), mp_context=get_context("fork")) as pool:
            for plot, drawn in zip(plots, pool.map(_drawn, range(len(plots)), chunksize=4), strict=True):
                vars(plot)["drawn"] = drawn
    except (BrokenProcessPool, OSError):
        pass  # too little memory for more processes: what is missing is drawn here
    finally:
        _plots.clear()


def _drawn(place: int) -> tuple[str, str]:
    return _plots[place].drawn
