"""Classification of images: whatever they are read from becomes a task here.

The tuning split is cut from the training images, as many of each class. Of the rest a share may be trained on, drawn anew
for each seed, so that an interval over seeds holds the luck of the draw. Means and standard deviations are of all images
that may be trained on.

Legend: N images, B batch, C channels, Y rows, X columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Batch, Outcome, Reference, Score, TaskShape, stream
from tasks.augment import Augmentation, mixed

IMAGES_VERSION = 1  # part of every fingerprint: raise it when the same settings give other batches than before
CHUNK = 4096  # images that are resized together


@dataclass(frozen=True)
class ImageConfig(Augmentation):
    """Settings of every image task, its augmentation (see there) among them.

    Attributes:
        size: rows and columns that images are resized to (bilinear, antialiased); 0 for their own.
        tune: share of the training images to choose by. tune_most: their largest number.
        share: of the other training images, those that are trained on.
        permuted: the same random order of pixels for all images, which takes neighbourhood away.
    """

    size: int = 0
    tune: float = 0.1
    tune_most: int = 5000
    share: float = 1.0
    permuted: bool = False


@dataclass(frozen=True)
class Part:
    """Images (N, C, Y, X) uint8 and their classes (N,) int64."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pictures:
    """Labelled images of a source.

    Attributes:
        key: hash that decides what they are. facts: what a reader should know.
        references: what they are held against, where all that can be trained on is.
    """

    train: Part
    test: Part
    classes: tuple[str, ...]
    key: str
    facts: dict[str, Any]
    references: tuple[Reference, ...] = field(default=())


class ImageTask:
    """Implements `bench.contract.PicturedTask`."""

    primary = "accuracy"
    splits = ("tune", "test")

    def __init__(self, name: str, data: Pictures, config: ImageConfig) -> None:
        _check(name, config)
        self.name, self.config, self.classes = name, config, data.classes
        self.augmentation = Augmentation(**{f.name: getattr(config, f.name) for f in fields(Augmentation)})
        self.labels = {"test": torch.from_numpy(data.test.labels), "train": torch.from_numpy(data.train.labels)}
        images = {"train": data.train.images, "test": data.test.images}
        self.images = {split: _read(array, config) for split, array in images.items()}
        kept, tune = _carved(data.train.labels, config)
        self.pool, self.rows = kept, {"tune": tune, "test": np.arange(len(data.test))}
        missing = [kind for label, kind in enumerate(data.classes) if not (data.train.labels[kept] == label).any()]
        if missing:
            raise ValueError(f"{name}: no image of {', '.join(missing[:5])} is left to train on, beside those of the tuning "
                             "and the test split; add images, or remove the class")  # fmt: skip
        self.mean_C, self.std_C = _moments(self.images["train"], kept)
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}
        channels, rows, columns = self.images["train"].shape[1:]
        pixels = rows * columns
        self.shape = TaskShape(
            length=pixels, longest=pixels, outputs=len(data.classes), output="sequence", image=(channels, rows, columns)
        )
        described = repr((data.key, sorted(asdict(config).items()), name, IMAGES_VERSION))
        self.fingerprint = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
        whole = config.share == 1 and not config.permuted
        self.references = (*(data.references if whole else ()), *_chance(data.test.labels, len(data.classes)))
        trained = len(self._subset(0))
        self.facts = {
            **data.facts,
            "image": f"{rows} x {columns} pixels, {'grey' if channels == 1 else f'{channels} channels'}"
            + (", pixels in one random order" if config.permuted else ""),
            "classes": len(data.classes),
            "sizes": {"train": trained, "tune": len(tune), "test": len(data.test)},
            "share of the training images": f"{100 * config.share:g} %, drawn anew for each seed",
            "mean": [round(v, 4) for v in self.mean_C.tolist()],
            "standard deviation": [round(v, 4) for v in self.std_C.tolist()],
        }

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        """Epochs end to end, each in an order of its own, so that every batch is whole."""
        rows = self._subset(seed)
        epoch_B, place_B = np.divmod(np.arange(index * batch, (index + 1) * batch), len(rows))
        order = [self._order(seed, epoch)[place_B[epoch_B == epoch]] for epoch in range(epoch_B[0], epoch_B[-1] + 1)]
        return self._batch("train", rows[np.concatenate(order)])

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        rows = self.rows[split]
        for start in range(0, len(rows), batch):
            yield self._batch("train" if split == "tune" else split, rows[start : start + batch])

    def prepare(self, batch: Batch, draw: tuple[int, int] | None = None) -> Batch:
        image_BCYX = batch.inputs.float() / 255
        random = None
        if draw is not None:
            random = np.random.default_rng(stream(self.name, "augment", *draw).initial_seed())
            image_BCYX = self.augmentation.of_pixels(image_BCYX, random)
        mean, std = self._moments_on(image_BCYX.device)
        image_BCYX = (image_BCYX - mean) / std
        targets = batch.targets
        if random is not None:
            image_BCYX = self.augmentation.of_normalised(image_BCYX, random)
            if self.config.mixup:
                outputs = len(self.classes)
                image_BCYX, targets = mixed(image_BCYX, targets, outputs, self.config.mixup, random)
        return Batch(image_BCYX, targets)

    def pixels(self, images: Tensor) -> Tensor:
        mean, std = self._moments_on(images.device)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        accuracy = Score("accuracy", outcome.accuracy, "share", "higher")
        return accuracy, Score("loss", outcome.mean_loss, "nats", "lower")

    def _batch(self, part: str, rows: np.ndarray) -> Batch:
        index = torch.from_numpy(rows)
        return Batch(torch.from_numpy(self.images[part][rows]), self.labels[part][index])

    def _subset(self, seed: int) -> np.ndarray:
        """Rows of the training images that a seed trains on, as large a share of each class."""
        if self.config.share == 1:
            return self.pool
        return self._drawn(seed)

    @lru_cache(maxsize=8)  # noqa: B019 - tasks live as long as their process
    def _drawn(self, seed: int) -> np.ndarray:
        return stratified(self.labels["train"].numpy()[self.pool], self.config.share, stream(self.name, "share", seed),
                          self.pool)  # fmt: skip

    @lru_cache(maxsize=4)  # noqa: B019
    def _order(self, seed: int, epoch: int) -> np.ndarray:
        generator = stream(self.name, "order", seed, epoch)
        return torch.randperm(len(self._subset(seed)), generator=generator).numpy()

    def _moments_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._on_device:
            self._on_device[device] = tuple(t[:, None, None].to(device) for t in (self.mean_C, self.std_C))  # type: ignore[assignment]
        return self._on_device[device]


def stratified(labels: np.ndarray, share: float, generator: torch.Generator, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` (with `labels`) that a draw takes: a share of each class, one at least, in ascending order."""
    taken = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        count = max(1, round(share * len(own)))
        taken.append(own[torch.randperm(len(own), generator=generator).numpy()[:count]])
    return rows[np.sort(np.concatenate(taken))]


def _carved(labels: np.ndarray, config: ImageConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows that may be trained on, and rows of the tuning split; the same for all seeds."""
    rows = np.arange(len(labels))
    share = min(config.tune, config.tune_most / len(labels))
    tune = stratified(labels, share, stream("images", "tune", len(labels)), rows)
    return np.setdiff1d(rows, tune), tune


def _read(images: np.ndarray, config: ImageConfig) -> np.ndarray:
    """Resized and reordered as the settings say."""
    if config.size and images.shape[2:] != (config.size, config.size):
        parts = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        images = np.concatenate([resized(torch.from_numpy(part.copy()), config.size).numpy() for part in parts])
    if config.permuted:
        N, C, Y, X = images.shape
        order = torch.randperm(Y * X, generator=stream("images", "permuted", Y, X)).numpy()
        images = images.reshape(N, C, Y * X)[:, :, order].reshape(N, C, Y, X)
    return images


def resized(image_NCYX: Tensor, size: int) -> Tensor:
    """uint8 in and out."""
    scaled = F.interpolate(image_NCYX.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _moments(images: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, of values in 0..1; exact, from counts of the 256 levels."""
    means, stds = [], []
    level = np.arange(256) / 255
    for channel in range(images.shape[1]):
        count = np.zeros(256)
        for start in range(0, len(rows), CHUNK):
            count += np.bincount(images[rows[start : start + CHUNK], channel].ravel(), minlength=256)
        share = count / count.sum()
        mean = float(share @ level)
        means.append(mean)
        stds.append(max(float(share @ (level - mean) ** 2) ** 0.5, 1e-3))
    return torch.tensor(means), torch.tensor(stds)


def _chance(labels: np.ndarray, classes: int) -> tuple[Reference, ...]:
    commonest = float(np.bincount(labels, minlength=classes).max() / len(labels))
    return (Reference("commonest class", "accuracy", commonest, "chance", "one class, always"),)


def _check(name: str, config: ImageConfig) -> None:
    for setting in ("tune", "share"):
        value = getattr(config, setting)
        if not 0 < value <= 1 or (setting == "tune" and value == 1):
            raise ValueError(
                f"{name}: '{setting}' is {value}; use a share above 0 and {'below' if setting == 'tune' else 'up to'} 1"
            )
    if config.size < 0 or config.tune_most < 1:
        raise ValueError(
            f"{name}: 'size' is {config.size} and 'tune_most' {config.tune_most}; use 0 or more, and 1 or more"
        )
