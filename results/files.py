"""Files written whole: a reader finds the old one or the new one, never half of one, whenever the writer is killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"


def write_whole(path: Path, content: str | Callable[[BinaryIO], object], sync: bool = True) -> None:
    """Write beside the file, then put it in its place.

    Args:
        content: text, or what writes bytes to an open file.
        sync: whether to wait for the disk, for what could not be made again after a power cut.

    Raises what writing raises (OSError where the disk is full), and leaves nothing behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process is part of the name: a writer that should be dead and the one after it do not write to one file.
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with open(partial, "wb") as file:
            if isinstance(content, str):
                file.write(content.encode("utf-8", "surrogatepass"))
            else:
                content(file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def sweep(folder: Path) -> None:
    """Remove what killed writers left below a folder. Only where no writer is at work."""
    for partial in folder.rglob(f"*{PARTIAL}"):
        with contextlib.suppress(OSError):
            partial.unlink()
