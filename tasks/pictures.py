"""Known image data sets: scikit-learn's digits (no download), MNIST and CIFAR-10 from a folder of the user's or the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contract import DataMissing, Mode, Places, Reference
from bench.registry import register_task
from tasks.archives import DAMAGED
from tasks.decoding import decode, in_words, kept
from tasks.images import ImageConfig, ImageTask, Part, Pictures
from tasks.skipped import Skipped
from tasks.sources import Hub, missing

NO_DOWNLOAD_IMAGES = "digits"


@dataclass(frozen=True)
class Published:
    """A published data set: where a folder has it, where the hub has it, and what others reached on it.

    Attributes:
        files: split -> path below the user's data folder; its ending says how it is read.
        image_column, label_column: of the hub's rows.
    """

    name: str
    title: str
    files: dict[str, str]
    hub: Hub
    image_column: str
    label_column: str
    classes: tuple[str, ...]
    grey: bool
    licence: str
    note: str = ""
    references: tuple[Reference, ...] = ()

    def load(self, places: Places) -> Pictures:
        parts, said, keys = {}, [], []
        loaded: Any = None
        for split in ("train", "test"):
            path = places.local / self.files[split] if places.local is not None else None
            if path is not None:
                keys.append(self._file_key(path))
            else:
                keys.append(f"{self.hub.label} {split}")

            def make(split: str = split, path: Path | None = path) -> tuple[np.ndarray, np.ndarray, str]:
                nonlocal loaded
                if path is None and loaded is None:
                    loaded = self.hub.load(self.name, self.title, self._folder_way, NO_DOWNLOAD_IMAGES)
                return self._from_file(path) if path is not None else self._from_hub(loaded, split)

            parts[split], words = kept(places.cache, f"{self.name} {keys[-1]}", make)
            said.append(words)
        facts: dict[str, Any] = {
            "images": self.title, "licence": self.licence, "hub": self.hub.label,
            "read_from": f"data folder: {', '.join(self.files.values())}" if places.local is not None else self.hub.label,
            "left out or changed": "; ".join(filter(None, said)),
            "note": self.note if places.local is not None else "",
        }  # fmt: skip
        key = hashlib.sha256(" ".join(keys).encode()).hexdigest()
        return Pictures(parts["train"], parts["test"], self.classes, key, facts, self.references)

    def _file_key(self, path: Path) -> str:
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._missing(f"cannot read {path} ({error.strerror})") from error

    def _from_file(self, path: Path) -> tuple[np.ndarray, np.ndarray, str]:
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as content:
                    return content["images"][:, None], content["labels"].astype(np.int64), ""
            skipped = Skipped()
            images, labels = decode(parquet_rows(path), 0, self.grey, skipped)
        except (KeyError, ValueError, OSError, *DAMAGED) as error:
            raise self._missing(f"{path} is not as expected ({' '.join(str(error).split())})") from error
        return images, labels, in_words(skipped)

    def _from_hub(self, loaded: Any, split: str) -> tuple[np.ndarray, np.ndarray, str]:
        from datasets import Image

        rows = loaded[self.hub.splits[split]].cast_column(self.image_column, Image(decode=False))
        skipped = Skipped()
        files = (
            (f"row {i}", row[self.image_column]["bytes"], int(row[self.label_column])) for i, row in enumerate(rows)
        )
        return (*decode(files, 0, self.grey, skipped), in_words(skipped))

    @property
    def _folder_way(self) -> str:
        return f"pass --data-dir DIR (or SEQBENCH_DATA) with {' and '.join(f'DIR/{f}' for f in self.files.values())}"

    def _missing(self, why: str) -> DataMissing:
        way = f"put it there, or name no folder so that it is downloaded ({self.hub.label})"
        return missing(self.name, self.title, why, way, NO_DOWNLOAD_IMAGES)


def parquet_rows(path: Path) -> Iterator[tuple[str, bytes, int]]:
    """(name, content, label) of a table with columns `image` (bytes, or the hub's bytes and path) and `label`."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no parquet file ({' '.join(str(error).split())})") from error
    for column in ("image", "label"):
        if column not in table.schema_arrow.names:
            raise ValueError(f"{path} has no column '{column}'; it has {', '.join(table.schema_arrow.names)}")
    number = 0
    for batch in table.iter_batches(256, columns=["image", "label"]):
        for row in batch.to_pylist():
            image = row["image"]
            content = image.get("bytes") if isinstance(image, dict) else image
            if not isinstance(content, bytes | None):
                raise ValueError(f"{path}, column 'image': {type(content).__name__}, not the bytes of an image file")
            yield f"row {number}", content or b"", row["label"]
            number += 1


MNIST = Published(
    name="mnist",
    title="MNIST, handwritten digits (LeCun et al. 1998)",
    files={"train": "mnist/train.npz", "test": "mnist/test.npz"},
    hub=Hub(
        {"path": "ylecun/mnist", "revision": "77f3279092a1c1579b2250db8eafed0ad422088c"},
        {"train": "train", "test": "test"},
        "huggingface.co",
        "ylecun/mnist @ 77f3279092a1c1579b2250db8eafed0ad422088c",
    ),
    image_column="image",
    label_column="label",
    classes=tuple("0123456789"),
    grey=True,
    licence="CC BY-SA 3.0 commonly stated",
)
_RECIPE = "200 epochs, AutoAugment"
CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10 (Krizhevsky 2009)",
    files={"train": "cifar10/train.parquet", "test": "cifar10/test.parquet"},
    hub=Hub(
        {"path": "uoft-cs/cifar10", "revision": "0b2714987fa478483af9968de7c934580d0bb9a2"},
        {"train": "train", "test": "test"},
        "huggingface.co",
        "uoft-cs/cifar10 @ 0b2714987fa478483af9968de7c934580d0bb9a2",
    ),
    image_column="img",
    label_column="label",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    grey=False,
    licence="none stated",
    note="a folder's copy may be of lossy JPEG files; scores then differ a little from those of the original pixels",
    references=(
        Reference("ViT-Lite-7/4, 3.7 M", "accuracy", 0.9138, "published", f"SHI-Labs/Compact-Transformers, {_RECIPE}"),
        Reference("CCT-7/3x1, 3.8 M", "accuracy", 0.9472, "published", f"SHI-Labs/Compact-Transformers, {_RECIPE}"),
        Reference("ResNet-18, 11 M", "accuracy", 0.9302, "published", "kuangliu/pytorch-cifar"),
    ),
)
SVM = Reference(
    "support-vector machine", "accuracy", 0.97, "published",
    "scikit-learn's documentation, SVC(gamma=0.001), the same halves",
)  # fmt: skip


def _digits() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 255 / 16).round().astype(np.uint8)[:, None], found.target.astype(np.int64), ""


@register_task(
    "digits",
    config=ImageConfig,
    family="image",
    summary="scikit-learn's 1,797 digits of 8 x 8 pixels: no download",
    reference="Alpaydin & Kaynak 1998, as scikit-learn ships them",
)
def digits(config: ImageConfig, mode: Mode, places: Places) -> ImageTask:
    """Split as in scikit-learn's own example: the first half to train on, the second, of other writers, to test."""
    whole, _ = kept(
        places.cache, "scikit-learn digits", _digits
    )  # importing scikit-learn takes longer than reading them
    images, labels = whole.images, whole.labels
    half = len(labels) // 2
    facts = {
        "images": "optical recognition of handwritten digits, test set",
        "licence": "CC BY 4.0",
        "read_from": "scikit-learn's package",
        "cut": "the first half is trained on, the second half, of other writers, tested",
    }
    key = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    train, test = Part(images[:half], labels[:half]), Part(images[half:], labels[half:])
    return ImageTask("digits", Pictures(train, test, tuple("0123456789"), key, facts, (SVM,)), config)


@register_task(
    "mnist",
    config=ImageConfig,
    family="image",
    summary="MNIST: 70,000 handwritten digits of 28 x 28 pixels",
    reference="LeCun et al. 1998",
)
def mnist(config: ImageConfig, mode: Mode, places: Places) -> ImageTask:
    return ImageTask("mnist", MNIST.load(places), config)


@register_task(
    "cifar10",
    config=ImageConfig,
    family="image",
    summary="CIFAR-10: 60,000 photographs of 32 x 32 pixels",
    reference="Krizhevsky 2009",
)
def cifar10(config: ImageConfig, mode: Mode, places: Places) -> ImageTask:
    return ImageTask("cifar10", CIFAR10.load(places), config)
