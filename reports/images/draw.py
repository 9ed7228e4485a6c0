"""Small pictures as inline PNG files: photographs as they are, maps in one colour that light and dark pages both carry."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.image import imsave

MARK = (0xD5, 0x5E, 0x00)  # of maps: seen on white and on near-black


@dataclass(frozen=True)
class Thumb:
    """A picture: `src` is a data URI, `alt` says what it shows, `words` stand below it."""

    src: str
    alt: str
    words: str = ""


def photograph(pixels: Any, alt: str, words: str = "") -> Thumb:
    """Channels, rows and columns of 0..255."""
    image = np.asarray(pixels, dtype=np.uint8).transpose(1, 2, 0)
    return Thumb(_png(image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]), alt, words)


def heat(values: Any, alt: str, words: str = "", low: float = 0.0, high: float | None = None) -> Thumb:
    """Rows and columns of numbers: nothing at `low`, full colour at `high` (the largest, where none is given)."""
    array = np.asarray(values, dtype=float)
    top = float(array.max()) if high is None else high
    share = np.clip((array - low) / (top - low), 0, 1) if top > low else np.zeros_like(array)
    image = np.zeros((*array.shape, 4), dtype=np.uint8)
    image[..., :3] = MARK
    image[..., 3] = (255 * share).round()
    return Thumb(_png(image), alt, words)


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    nothing: Any = {"Software": None}  # a version would make the same picture differ
    if image.ndim == 2:
        imsave(buffer, image, format="png", metadata=nothing, cmap="gray", vmin=0, vmax=255)
    else:
        imsave(buffer, image, format="png", metadata=nothing)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
