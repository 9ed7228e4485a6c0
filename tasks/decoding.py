"""Image files to arrays of pixels, once: what is decoded is kept in the cache and mapped into memory from there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tasks.images import Part
from tasks.skipped import Skipped

DECODED = "images/1"  # a folder of the cache; raise the number when the same files would give other pixels
MOST_PIXELS = 4096 * 4096  # of one image: larger ones are refused before they fill the memory


def in_words(skipped: Skipped) -> str:
    """Of images, each reason with its example; "" where nothing was skipped."""
    return "; ".join(f"{n} {reason} (such as {skipped.examples[reason]})" for reason, n in skipped.counts.items())


def decode(
    files: Iterable[tuple[str, bytes, int]], size: int, grey: bool, skipped: Skipped
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, Y, X) uint8 and labels, of files given as (name, content, label).

    Args:
        size: rows and columns that all are resized to; 0 where all have one size of their own.
        grey: one channel, in place of three.

    Raises ValueError where sizes differ and none is asked for.
    """
    from PIL import Image, UnidentifiedImageError

    images: list[np.ndarray] = []
    labels: list[int] = []
    first: tuple[str, tuple[int, int]] | None = None
    for name, content, label in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata; bombs are refused below
                picture = Image.open(io.BytesIO(content))
                if picture.width * picture.height > MOST_PIXELS:
                    skipped.add(f"images of more than {MOST_PIXELS:,} pixels left out", name)
                    continue
                if picture.mode == "F" or picture.mode.startswith("I"):  # convert would clip them, to white mostly
                    skipped.add("images of more than 8 bits a colour left out: save them with 8", name)
                    continue
                if not grey and picture.mode in ("L", "1", "LA"):
                    skipped.add("grey images among colour ones read as colour", name)
                read = picture.convert("L" if grey else "RGB")
                if size:
                    read = read.resize((size, size), Image.Resampling.BILINEAR)
                array = np.asarray(read, dtype=np.uint8)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            skipped.add("files that are no readable image left out", name)
            continue
        here = array.shape[:2]
        if first is None:
            first = name, here
        elif here != first[1]:
            raise ValueError(
                f"images differ in size: {first[0]} has {first[1][0]} x {first[1][1]} pixels, {name} has "
                f"{here[0]} x {here[1]}; set size to resize them all"
            )
        images.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
        labels.append(label)
    if not images:
        raise ValueError("no readable image was found")
    return np.stack(images), np.array(labels, dtype=np.int64)


def kept(cache: Path, key: str, make: Callable[[], tuple[np.ndarray, np.ndarray, str]]) -> tuple[Part, str]:
    """Images and labels from the cache, made and put there where it has none; and what was said of them when made."""
    folder = cache / DECODED
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    with contextlib.suppress(Exception):  # whatever is wrong with what lies in a cache, it is made again
        labels = np.load(folder / f"{name}.labels.npy")
        images = np.load(folder / f"{name}.npy", mmap_mode="r")
        if len(images) == len(labels):
            return Part(images, labels), (folder / f"{name}.txt").read_text(encoding="utf-8")
    images, labels, said = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text(said, encoding="utf-8")
        for ending, array in (("labels.npy", labels), ("npy", images)):
            handle, partial = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
            os.replace(partial, folder / f"{name}.{ending}")
    return Part(images, labels), said
