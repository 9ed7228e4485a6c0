"""Compressed files: their size is checked before they are unpacked, into memory and never to disk."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError)  # what reading says of an archive that was cut short
MOST_BYTES = 1 << 30  # unpacked; a few kilobytes can be made to stand for more than any memory holds


class Damaged(OSError):
    """A file that is no such archive, or that unpacks to more than it may; one line, to follow a file's name."""


def gunzip(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a .gz file. Raises OSError."""
    try:
        with gzip.open(path) as file:
            content = file.read(most + 1)
    except (EOFError, zlib.error) as error:
        raise Damaged(f"damaged: {error}") from error
    if len(content) > most:
        raise Damaged(f"unpacks to more than {most:,} bytes")
    return content


def unzip(path: Path, wanted: Callable[[str], bool], most: int = MOST_BYTES) -> dict[str, bytes]:
    """Members of a .zip file by name, those that are wanted. Raises OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if wanted(member.filename)]
            if (size := sum(member.file_size for member in members)) > most:
                raise Damaged(f"unpacks to {size:,} bytes, more than {most:,}")
            return {member.filename: archive.read(member) for member in members}  # no more than the size it states
    # zipfile says so of encrypted members, and of ways of packing that it does not know
    except (*DAMAGED, RuntimeError, NotImplementedError, ValueError) as error:
        raise Damaged(f"damaged: {error}") from error
