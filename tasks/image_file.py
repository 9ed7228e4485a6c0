"""Images of yours: a folder with one folder a class, or a parquet file with columns `image` and `label`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contract import Mode, Places, stream
from bench.registry import register_task
from tasks.decoding import decode, in_words, kept
from tasks.images import ImageConfig, ImageTask, Part, Pictures, stratified
from tasks.pictures import parquet_rows
from tasks.skipped import Skipped

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class ImageFileConfig(ImageConfig):
    """See ImageConfig, and what is read.

    Attributes:
        path: the folder or the parquet file.
        test_path: the same with images to test on; "" for a folder `test` beside `train` in `path`, and where there is none,
            to cut `test` of the images off, as many of each class.
        test: that share.
        grey: read as one channel, in place of three.
    """

    path: str = ""
    test_path: str = ""
    test: float = 0.2
    grey: bool = False


def load(config: ImageFileConfig, cache: Path) -> Pictures:
    if not config.path:
        raise ValueError("path: image_file needs a folder with one folder a class, or a parquet file; set its path")
    if not 0 < config.test < 1:
        raise ValueError(f"test {config.test:g}: a share of the images to test on, above 0 and below 1, such as 0.2")
    path, test_path = Path(config.path).expanduser(), Path(config.test_path).expanduser() if config.test_path else None
    if test_path is None and (path / "train").is_dir() and (path / "test").is_dir():
        path, test_path = path / "train", path / "test"
    train, classes, said = _part(path, None, config, cache)
    parts = [said]
    if test_path is not None:
        test, _, said = _part(test_path, classes, config, cache)
        parts.append(said)
    else:
        rows = np.arange(len(train))
        chosen = stratified(train.labels, config.test, stream("image_file", "test", len(train)), rows)
        rest = np.setdiff1d(rows, chosen)
        train, test = Part(train.images[rest], train.labels[rest]), Part(train.images[chosen], train.labels[chosen])
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"images to train on have {train.images.shape[2]} x {train.images.shape[3]} pixels, those to test on "
            f"{test.images.shape[2]} x {test.images.shape[3]}; set size to resize them all"
        )
    facts: dict[str, Any] = {
        "images": path.name, "source": "the user's", "licence": "the user's", "classes by name": ", ".join(classes[:20]),
        "left out or changed": "; ".join(filter(None, parts)),
    }  # fmt: skip
    digest = hashlib.blake2b(digest_size=16)
    for part in (train, test):
        digest.update(np.ascontiguousarray(part.images).data)
        digest.update(part.labels.tobytes())
    return Pictures(train, test, classes, digest.hexdigest(), facts)


def _part(
    path: Path, classes: tuple[str, ...] | None, config: ImageFileConfig, cache: Path
) -> tuple[Part, tuple[str, ...], str]:
    """Images of a folder or a file, the names of the classes, and what was left out. `classes`: those that are known."""
    if path.is_dir():
        return _folder(path, classes, config, cache)
    if path.suffix == ".parquet" and path.is_file():
        return _table(path, classes, config, cache)
    if not path.exists():
        raise ValueError(f"path: no folder or file {path}")
    raise ValueError(f"path: {path} is neither a folder with one folder a class nor a .parquet file")


def _folder(
    path: Path, classes: tuple[str, ...] | None, config: ImageFileConfig, cache: Path
) -> tuple[Part, tuple[str, ...], str]:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = {folder.name: sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS) for folder in folders}
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise ValueError(f"{path / empty[0]} holds no image ({', '.join(ENDINGS[:4])}, ...); fill it or remove it")
    names = classes or tuple(files)
    if len(names) < 2:
        raise ValueError(
            f"{path} has {len(files)} folders with images; one folder for each of two classes or more is needed"
        )
    if strange := sorted(set(files) - set(names)):
        raise ValueError(f"{path} has a class '{strange[0]}' that the images to train on have not")
    listed = [(f, names.index(name)) for name, found in files.items() for f in found]
    stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f, _ in listed]
    key = repr((str(path.resolve()), stats, names, config.size, config.grey))

    def read() -> Iterator[tuple[str, bytes, int]]:
        for file, label in listed:
            yield str(file.relative_to(path)), file.read_bytes(), label

    def make() -> tuple[np.ndarray, np.ndarray, str]:
        skipped = Skipped()
        return (*decode(read(), config.size, config.grey, skipped), in_words(skipped))

    part, said = kept(cache, key, make)
    absent = set(range(len(names))) - set(part.labels.tolist()) if classes is None else set()
    if absent:
        raise ValueError(f"{path / names[min(absent)]} holds no readable image; fill it or remove it")
    return part, names, said


def _table(
    path: Path, classes: tuple[str, ...] | None, config: ImageFileConfig, cache: Path
) -> tuple[Part, tuple[str, ...], str]:
    words = sorted(
        {str(label) for _, _, label in parquet_rows(path)}, key=lambda w: (len(w), w) if w.isdigit() else (0, w)
    )
    if not words:
        raise ValueError(f"{path}: no rows of data")
    names = classes or tuple(words)
    if len(names) < 2:
        raise ValueError(f"{path}, column 'label': every label is '{names[0]}'; two or more are needed")
    if strange := [w for w in words if w not in names]:
        raise ValueError(f"{path} has a class '{strange[0]}' that the images to train on have not")
    place = {name: i for i, name in enumerate(names)}
    with open(path, "rb") as file:
        key = repr((hashlib.file_digest(file, "sha256").hexdigest(), names, config.size, config.grey))

    def make() -> tuple[np.ndarray, np.ndarray, str]:
        skipped = Skipped()
        rows = ((name, content, place[str(label)]) for name, content, label in parquet_rows(path))
        return (*decode(rows, config.size, config.grey, skipped), in_words(skipped))

    part, said = kept(cache, key, make)
    return part, names, said


@register_task(
    "image_file",
    config=ImageFileConfig,
    family="image",
    summary="images of yours, one folder a class, or a parquet file",
)
def image_file(config: ImageFileConfig, mode: Mode, places: Places) -> ImageTask:
    name = hashlib.sha256(config.path.encode()).hexdigest()[:8]
    return ImageTask(f"image_file/{name}", load(config, places.cache), config)
