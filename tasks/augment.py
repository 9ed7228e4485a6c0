"""Augmentation of images on the device they are on: crop, flip, RandAugment, cutout, mixup.

All that is random is drawn on the CPU from a numpy generator that (seed, batch number) decide, so that a batch is changed in
the same way on every device and again after a resume; what is done to pixels is done on the device, for a whole batch.

Legend: B batch, C channels, Y rows, X columns. Images are float32 in 0..1 unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Attributes:
    crop: pixels by which an image is moved at most, in both directions; the edge is filled with black.
    flip: mirror half of the images.
    cutout: side of a square that is blanked (DeVries & Taylor 2017); 0 for none.
    randaugment: operations in a row, each drawn from `OPERATIONS` (Cubuk et al. 2020); 0 for none. magnitude: of 30.
    mixup: alpha of the Beta distribution that mixes two images and their classes (Zhang et al. 2018); 0 for none.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    randaugment: int = 0
    magnitude: int = 9
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout", "randaugment", "mixup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: use 0 for none, or more")
        if not 0 <= self.magnitude <= MOST_MAGNITUDE:
            raise ValueError(f"magnitude {self.magnitude}: use 0 to {MOST_MAGNITUDE}")

    def of_pixels(self, image_BCYX: Tensor, random: np.random.Generator) -> Tensor:
        """What comes before normalisation."""
        if self.crop:
            image_BCYX = cropped(image_BCYX, self.crop, random)
        if self.flip:
            image_BCYX = flipped(image_BCYX, random)
        for _ in range(self.randaugment):
            image_BCYX = one_operation_each(image_BCYX, self.magnitude, random)
        return image_BCYX

    def of_normalised(self, image_BCYX: Tensor, random: np.random.Generator) -> Tensor:
        """What comes after it: a square of the mean colour, which is 0 now."""
        return blanked(image_BCYX, self.cutout, random) if self.cutout else image_BCYX


def cropped(image_BCYX: Tensor, most: int, random: np.random.Generator) -> Tensor:
    """Each image moved by up to `most` pixels."""
    B, _, Y, X = image_BCYX.shape
    padded = F.pad(image_BCYX, (most, most, most, most))
    start_2B = _on(random.integers(0, 2 * most + 1, (2, B)), image_BCYX)
    rows_BY = start_2B[0][:, None] + torch.arange(Y, device=image_BCYX.device)
    columns_BX = start_2B[1][:, None] + torch.arange(X, device=image_BCYX.device)
    b = torch.arange(B, device=image_BCYX.device)
    return padded[b[:, None, None], :, rows_BY[:, :, None], columns_BX[:, None]].permute(0, 3, 1, 2).contiguous()


def flipped(image_BCYX: Tensor, random: np.random.Generator) -> Tensor:
    chosen_B = _on(random.random(len(image_BCYX)) < 0.5, image_BCYX)
    return torch.where(chosen_B[:, None, None, None], image_BCYX.flip(-1), image_BCYX)


def blanked(image_BCYX: Tensor, side: int, random: np.random.Generator) -> Tensor:
    """A square around a random place set to 0; it may reach past the edge."""
    B, _, Y, X = image_BCYX.shape
    centre_B1 = [_on(random.integers(0, size, (B, 1)), image_BCYX) for size in (Y, X)]
    inside = []
    for centre, size in zip(centre_B1, (Y, X), strict=True):
        place = torch.arange(size, device=image_BCYX.device)
        inside.append((place >= centre - side // 2) & (place < centre - side // 2 + side))
    square_BYX = inside[0][:, :, None] & inside[1][:, None]
    return image_BCYX.masked_fill(square_BYX[:, None], 0.0)


def mixed(
    image_BCYX: Tensor, classes_B: Tensor, outputs: int, alpha: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Each image and its class mixed with another's, all by the same share: images, and shares of classes (B, outputs)."""
    share = float(random.beta(alpha, alpha))
    other_B = _on(random.permutation(len(classes_B)), image_BCYX)
    one_hot = F.one_hot(classes_B, outputs).float()
    return image_BCYX.lerp(image_BCYX[other_B], 1 - share), one_hot.lerp(one_hot[other_B], 1 - share)


def one_operation_each(image_BCYX: Tensor, magnitude: int, random: np.random.Generator) -> Tensor:
    """One operation of RandAugment for each image; those that drew the same one are changed together."""
    B = len(image_BCYX)
    drawn_B = random.integers(0, len(OPERATIONS), B)
    sign_B = _on(random.choice([-1.0, 1.0], B), image_BCYX).float()
    changed = image_BCYX.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        rows = np.flatnonzero(drawn_B == number)
        if len(rows):
            index = _on(rows, image_BCYX)
            share = sign_B[index] * magnitude / MOST_MAGNITUDE
            changed[index] = operation(image_BCYX[index], share).clamp(0, 1)
    return changed


def _moved(image: Tensor, matrix: tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Pixels taken from where an affine map of places in -1..1 says; black outside."""
    theta_B23 = torch.stack([torch.stack(row, dim=1) for row in matrix], dim=1)
    places = F.affine_grid(theta_B23, list(image.shape), align_corners=False)
    return F.grid_sample(image, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shear(image: Tensor, share: Tensor, along_x: bool) -> Tensor:
    one, zero, s = torch.ones_like(share), torch.zeros_like(share), 0.3 * share
    return _moved(image, ((one, s if along_x else zero, zero), (zero if along_x else s, one, zero)))


def _translate(image: Tensor, share: Tensor, along_x: bool) -> Tensor:
    one, zero, s = torch.ones_like(share), torch.zeros_like(share), 2 * 150 / 331 * share
    return _moved(image, ((one, zero, s if along_x else zero), (zero, one, zero if along_x else s)))


def _rotate(image: Tensor, share: Tensor) -> Tensor:
    angle, zero = share * math.radians(30), torch.zeros_like(share)
    return _moved(image, ((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero)))


def _towards(image: Tensor, base: Tensor, share: Tensor) -> Tensor:
    """PIL's enhancement: from `base` (which a factor of 0 gives) through the image (1) and beyond."""
    return base + (1 + 0.9 * share)[:, None, None, None] * (image - base)


def _grey(image: Tensor) -> Tensor:
    """(B, 1, Y, X): luma of ITU-R 601 for three channels, the mean for any other number."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    weight = _constant((0.299, 0.587, 0.114), image.dtype, image.device)
    return (image * weight[:, None, None]).sum(1, keepdim=True)


def _sharpness(image: Tensor, share: Tensor) -> Tensor:
    kernel = _constant(((1, 1, 1), (1, 5, 1), (1, 1, 1)), image.dtype, image.device) / 13
    C = image.shape[1]
    smooth = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel.expand(C, 1, 3, 3), groups=C)
    return _towards(image, smooth, share)


def _posterize(image: Tensor, share: Tensor) -> Tensor:
    """Up to four of eight bits dropped."""
    step = 2.0 ** (4 * share.abs()).round()[:, None, None, None]
    return ((image * 255).round() / step).floor() * step / 255


def _solarize(image: Tensor, share: Tensor) -> Tensor:
    return torch.where(image >= (1 - share.abs())[:, None, None, None], 1 - image, image)


def _autocontrast(image: Tensor, share: Tensor) -> Tensor:
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    return torch.where(high > low, (image - low) / (high - low).clamp(min=1e-6), image)


def _equalize(image: Tensor, share: Tensor) -> Tensor:
    """Each channel's values replaced by their ranks among 256 levels."""
    B, C, Y, X = image.shape
    level = (image * 255).round().long().flatten(2)
    count = torch.zeros(B, C, 256, device=image.device).scatter_add_(
        2, level, torch.ones_like(level, dtype=torch.float32)
    )
    rank = (count.cumsum(2) - count / 2) / (Y * X)
    return rank.gather(2, level).view(B, C, Y, X)


Operation = Callable[[Tensor, Tensor], Tensor]
MOST_MAGNITUDE = 30
# Each takes images and a signed share of its strongest effect, (B,).
OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, share: image,
    "shear x": lambda image, share: _shear(image, share, True),
    "shear y": lambda image, share: _shear(image, share, False),
    "translate x": lambda image, share: _translate(image, share, True),
    "translate y": lambda image, share: _translate(image, share, False),
    "rotate": _rotate,
    "brightness": lambda image, share: _towards(image, torch.zeros_like(image), share),
    "colour": lambda image, share: _towards(image, _grey(image).expand_as(image), share),
    "contrast": lambda image, share: _towards(
        image, _grey(image).mean((1, 2, 3), keepdim=True).expand_as(image), share
    ),
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}


def _on(array: np.ndarray, like: Tensor) -> Tensor:
    """On the device of the images, without waiting for it: from memory that is not pinned a copy would."""
    drawn = torch.from_numpy(array)
    return drawn.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else drawn.to(like.device)


@lru_cache(maxsize=16)
def _constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copied to a device once."""
    return torch.tensor(values, dtype=dtype, device=device)
