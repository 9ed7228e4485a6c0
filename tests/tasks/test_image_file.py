"""Images of one's own: folders and parquet files, good and bad."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contract import Places
from bench.models import build_task
from bench.registry import TASKS


def picture(path: Path, value: int = 100, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(value)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode).save(path)


def folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10) -> Path:
    for number, name in enumerate(classes):
        for i in range(count):
            picture(root / name / f"{i}.png", 100 * number + i)
    return root


def build(path: Path, tmp_path: Path, **settings: Any) -> Any:
    config = {"path": str(path), "tune": 0.25, **settings}
    return build_task(TASKS.get("image_file"), config, "bidirectional", Places(None, tmp_path / "cache"))


def test_one_folder_a_class(tmp_path: Path) -> None:
    made = build(folder(tmp_path / "pets"), tmp_path)
    assert made.classes == ("cat", "dog") and made.shape.image == (3, 8, 8)
    assert made.facts["sizes"] == {"train": 12, "tune": 4, "test": 4}
    assert made.facts["left out or changed"] == ""
    assert build(tmp_path / "pets", tmp_path).fingerprint == made.fingerprint
    picture(tmp_path / "pets" / "cat" / "new.png", 999)
    assert build(tmp_path / "pets", tmp_path).fingerprint != made.fingerprint


def test_train_and_test_folders(tmp_path: Path) -> None:
    folder(tmp_path / "set" / "train")
    folder(tmp_path / "set" / "test", count=3)
    assert build(tmp_path / "set", tmp_path).facts["sizes"]["test"] == 6
    folder(tmp_path / "set" / "test", ("cow",))
    with pytest.raises(ValueError, match="class 'cow' that the images to train on have not"):
        build(tmp_path / "set", tmp_path)


def test_a_class_more_to_train_on_moves_the_labels_of_the_test(tmp_path: Path) -> None:
    """The test folder is as it was, and in the cache."""
    folder(tmp_path / "set" / "train", ("bee", "cat"))
    folder(tmp_path / "set" / "test", ("bee", "cat"), count=3)
    assert sorted(set(build(tmp_path / "set", tmp_path).labels["test"].tolist())) == [0, 1]
    folder(tmp_path / "set" / "train", ("ant",))
    assert sorted(set(build(tmp_path / "set", tmp_path).labels["test"].tolist())) == [1, 2]


@pytest.mark.parametrize("as_struct", [True, False])
def test_a_parquet_file(tmp_path: Path, as_struct: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for i in range(20):
        buffer = io.BytesIO()
        Image.fromarray(np.full((6, 6), 10 * i, dtype=np.uint8)).save(buffer, "png")
        content = buffer.getvalue()
        rows.append({"image": {"bytes": content, "path": None} if as_struct else content, "label": 3 + i % 2})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    made = build(tmp_path / "own.parquet", tmp_path, grey=True)
    assert made.classes == ("3", "4") and made.shape.image == (1, 6, 6)
    pq.write_table(pa.Table.from_pylist([{"picture": b"", "label": 1}]), tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match="no column 'image'; it has picture, label"):
        build(tmp_path / "odd.parquet", tmp_path)
    pq.write_table(pa.Table.from_pylist([{"image": "a.png", "label": i} for i in (1, 2)]), tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match="column 'image': str, not the bytes of an image file"):
        build(tmp_path / "odd.parquet", tmp_path)
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}), tmp_path / "odd.parquet"
    )
    with pytest.raises(ValueError, match=r"odd.parquet: no rows of data"):
        build(tmp_path / "odd.parquet", tmp_path)
    (tmp_path / "odd.parquet").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"odd.parquet is no parquet file \(.*\)"):
        build(tmp_path / "odd.parquet", tmp_path)


def test_what_is_no_image_and_what_is_grey_is_counted(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    (root / "cat" / "broken.png").write_bytes(b"not an image")
    whole = (root / "dog" / "0.png").read_bytes()
    (root / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    picture(root / "dog" / "grey.png", 7, "L")
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(root / "dog" / "deep.png")
    made = build(root, tmp_path)
    said = made.facts["left out or changed"]
    assert "2 files that are no readable image left out (such as cat/broken.png)" in said
    assert "1 images of more than 8 bits a colour left out: save them with 8 (such as dog/deep.png)" in said
    assert "1 grey images among colour ones read as colour (such as dog/grey.png)" in said
    assert sum(made.facts["sizes"].values()) == 21
    assert build(root, tmp_path).facts["left out or changed"] == said  # from the cache too


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"path": ""}, "needs a folder with one folder a class"),
        ({"path": str(tmp_path / "nowhere")}, "no folder or file"),
        ({"path": str(root / "cat" / "0.png")}, "neither a folder"),
        ({"path": str(root / "cat")}, "two are needed|folders with images"),
    ]
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            build_task(TASKS.get("image_file"), settings, "bidirectional", Places(None, tmp_path / "cache"))
    picture(root / "cat" / "wide.png", 5, size=(9, 8))
    with pytest.raises(ValueError, match=r"differ in size: .* set size to resize"):
        build(root, tmp_path)
    assert build(root, tmp_path, size=4).shape.image == (3, 4, 4)
    (root / "cow").mkdir()
    with pytest.raises(ValueError, match="cow holds no image"):
        build(root, tmp_path, size=4)
    (root / "cow" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cow holds no readable image"):
        build(root, tmp_path, size=4)


def test_a_cache_that_cannot_be_written_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert build(folder(tmp_path / "pets"), tmp_path).facts["sizes"]["test"] == 4
