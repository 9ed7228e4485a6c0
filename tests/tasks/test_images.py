"""Tasks of images: splits, shares, normalisation, order, and the real data sets."""

from __future__ import annotations

import io
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Batch, DataMissing, PicturedTask, Places
from bench.models import build_task
from bench.registry import TASKS
from tasks.augment import OPERATIONS, Augmentation, blanked, cropped, mixed, one_operation_each
from tasks.decoding import decode
from tasks.images import ImageConfig, ImageTask, Part, Pictures, stratified
from tasks.pictures import parquet_rows
from tasks.skipped import Skipped

local = pytest.mark.skipif("SEQBENCH_DATA" not in os.environ, reason="SEQBENCH_DATA names no folder of data sets")


def task(config: dict[str, Any] | None = None, images: int = 200, channels: int = 3, side: int = 6) -> ImageTask:
    random = np.random.default_rng(0)
    labels = np.arange(images) % 4
    train = Part(random.integers(0, 256, (images, channels, side, side), dtype=np.uint8), labels)
    test = Part(random.integers(0, 256, (40, channels, side, side), dtype=np.uint8), labels[:40])
    return ImageTask("made_up", Pictures(train, test, ("a", "b", "c", "d"), "key", {}), ImageConfig(**(config or {})))


def places(tmp_path: Path, local: Path | None = None) -> Places:
    return Places(local, tmp_path / "cache")


def test_splits_are_apart_and_as_many_of_each_class() -> None:
    made = task({"tune": 0.2})
    assert isinstance(made, PicturedTask)
    assert len(made.pool) == 160 and len(made.rows["tune"]) == 40
    assert not set(made.pool) & set(made.rows["tune"])
    assert np.bincount(made.labels["train"].numpy()[made.rows["tune"]]).tolist() == [10] * 4


def test_every_example_of_a_split_comes_once() -> None:
    made = task()
    for split, count in (("test", 40), ("tune", 20)):
        batches = list(made.eval_batches(split, 16))
        assert sum(len(b.targets) for b in batches) == count and len(batches[-1].targets) == count % 16
    with pytest.raises(KeyError):
        list(made.eval_batches("tset", 16))


def test_batches_are_whole_epochs_end_to_end() -> None:
    made = task({"share": 0.5})
    rows = len(made._subset(3))
    pixels = torch.cat([made.train_batch(i, 32, 3).inputs for i in range(2 * rows // 32 + 1)])
    first = {image.numpy().tobytes() for image in pixels[:rows]}
    second = {image.numpy().tobytes() for image in pixels[rows : 2 * rows]}
    assert len(first) == rows and first == second
    again = made.train_batch(1, 32, 3)
    assert torch.equal(again.inputs, pixels[32:64])
    assert not torch.equal(made.train_batch(1, 32, 4).inputs, again.inputs)


def test_a_share_is_drawn_anew_for_each_seed_from_the_same_pool() -> None:
    made = task({"share": 0.25})
    drawn = [set(made._subset(seed)) for seed in range(3)]
    assert all(d < set(made.pool) for d in drawn) and drawn[0] != drawn[1]
    assert np.bincount(made.labels["train"].numpy()[sorted(drawn[0])]).tolist() == [11] * 4 or len(drawn[0]) == 44


def test_normalised_by_the_training_images_alone_the_same_for_all() -> None:
    made = task()
    shown = made.prepare(
        Batch(torch.from_numpy(made.images["train"][made.pool]), made.labels["train"][made.pool])
    ).inputs
    assert shown.mean((0, 2, 3)).abs().max() < 1e-4 and (shown.std((0, 2, 3)) - 1).abs().max() < 1e-2
    batch = made.train_batch(0, 8, 0)
    assert torch.equal(made.pixels(made.prepare(batch).inputs), batch.inputs)


def test_augmentation_depends_on_batch_and_seed_alone() -> None:
    made = task({"crop": 2, "flip": True, "cutout": 2, "randaugment": 2, "mixup": 0.4})
    batch = made.train_batch(5, 16, 0)
    one, two = made.prepare(batch, (5, 0)), made.prepare(batch, (5, 0))
    assert torch.equal(one.inputs, two.inputs) and torch.equal(one.targets, two.targets)
    assert not torch.equal(one.inputs, made.prepare(batch, (6, 0)).inputs)
    assert not torch.equal(one.inputs, made.prepare(batch, (5, 1)).inputs)
    assert one.targets.shape == (16, 4) and torch.allclose(one.targets.sum(1), torch.ones(16))
    assert torch.equal(made.prepare(batch).inputs, made.prepare(batch).inputs)  # evaluation draws nothing


def test_settings_change_the_fingerprint_and_nothing_else_does() -> None:
    assert task().fingerprint == task().fingerprint
    for change in ({"size": 4}, {"crop": 1}, {"share": 0.5}, {"permuted": True}, {"tune": 0.3}):
        assert task(change).fingerprint != task().fingerprint


def test_permuted_pixels_are_the_same_pixels_in_one_order() -> None:
    plain, permuted = task(), task({"permuted": True})
    a, b = plain.images["test"].reshape(40, 3, -1), permuted.images["test"].reshape(40, 3, -1)
    assert not np.array_equal(a, b) and np.array_equal(np.sort(a, 2), np.sort(b, 2))
    order = [int(np.flatnonzero((a[:, 0] == b[:, 0, i : i + 1]).all(0))[0]) for i in range(36)]
    assert sorted(order) == list(range(36)) and np.array_equal(a[:, :, order], b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tune": 0.0}, "'tune'"),
        ({"share": 1.5}, "'share'"),
        ({"size": -1}, "'size'"),
        ({"crop": -1}, "crop"),
        ({"magnitude": 31}, "magnitude"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(wrong)


@given(st.integers(1, 500), st.floats(0.01, 1), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_stratified_draw_takes_a_share_of_every_class(count: int, share: float, classes: int) -> None:
    labels = np.arange(count) % classes
    rows = np.arange(count) + 1000
    taken = stratified(labels, share, torch.Generator().manual_seed(0), rows)
    assert len(set(taken)) == len(taken) and set(taken) <= set(rows)
    for label in np.unique(labels):
        own = (labels == label).sum()
        assert (labels[taken - 1000] == label).sum() == max(1, round(share * own))


class TestAugmentation:
    image = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def test_a_crop_moves_whole_images(self) -> None:
        moved = cropped(self.image, 2, np.random.default_rng(0))
        padded = torch.nn.functional.pad(self.image, (2, 2, 2, 2))
        for before, after in zip(padded, moved, strict=True):
            places = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 8, x : x + 8], after)]
            assert len(places) == 1

    def test_cutout_blanks_a_square_at_most(self) -> None:
        blank = blanked(self.image + 1, 4, np.random.default_rng(0)) == 0
        assert (blank.sum((1, 2, 3)) <= 3 * 16).all() and blank.any()

    def test_mixup_mixes_images_as_it_mixes_classes(self) -> None:
        classes = torch.arange(6)
        inputs, targets = mixed(self.image, classes, 6, 1.0, np.random.default_rng(0))
        assert torch.allclose(inputs, torch.einsum("bc,cxyz->bxyz", targets, self.image), atol=1e-6)

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_each_operation_does_nothing_at_no_strength(self, name: str) -> None:
        if name in ("autocontrast", "equalize"):
            pytest.skip("has no strength")
        nothing = OPERATIONS[name](self.image, torch.zeros(6))
        assert torch.allclose(nothing, self.image, atol=0.005 if name == "posterize" else 1e-5)

    @pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
    def test_each_operation_changes_images_and_keeps_their_range(self, name: str) -> None:
        for share in (0.9, -0.9):
            changed = OPERATIONS[name](self.image, torch.full((6,), share)).clamp(0, 1)
            assert changed.shape == self.image.shape and torch.isfinite(changed).all()
            assert not torch.allclose(changed, self.image, atol=1e-3)

    def test_equalize_makes_levels_even(self) -> None:
        dark = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)) ** 3
        even = OPERATIONS["equalize"](dark, torch.zeros(2))
        assert (even.mean((1, 2, 3)) - 0.5).abs().max() < 0.02

    def test_operations_are_drawn_image_by_image(self) -> None:
        changed = one_operation_each(self.image.repeat(8, 1, 1, 1), 20, np.random.default_rng(0))
        kinds = {row.numpy().tobytes() for row in changed[::6]}
        assert len(kinds) > 3

    def test_nothing_is_the_default(self) -> None:
        untouched = Augmentation().of_pixels(self.image, np.random.default_rng(0))
        assert torch.equal(Augmentation().of_normalised(untouched, np.random.default_rng(0)), self.image)


def test_digits_are_split_as_in_scikit_learns_example(tmp_path: Path) -> None:
    made: Any = build_task(TASKS.get("digits"), {}, "bidirectional", places(tmp_path))
    assert made.shape.image == (1, 8, 8) and len(made.rows["test"]) == 899
    assert len(made.pool) + len(made.rows["tune"]) == 898
    again: Any = build_task(TASKS.get("digits"), {}, "bidirectional", places(tmp_path))  # from the cache
    assert again.fingerprint == made.fingerprint and np.array_equal(again.images["test"], made.images["test"])


def test_the_line_of_the_support_vector_machine_is_where_we_draw_it() -> None:
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    x, y = load_digits(return_X_y=True)
    half = len(y) // 2
    score = SVC(gamma=0.001).fit(x[:half], y[:half]).score(x[half:], y[half:])
    from tasks.pictures import SVM

    assert round(score, 2) == SVM.value


@local
def test_mnist_is_mnist(tmp_path: Path) -> None:
    made: Any = build_task(TASKS.get("mnist"), {}, "bidirectional", places(tmp_path, Path(os.environ["SEQBENCH_DATA"])))
    assert made.shape.image == (1, 28, 28) and len(made.rows["test"]) == 10_000
    assert made.labels["train"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert made.facts["mean"][0] == pytest.approx(0.1307, abs=2e-3)
    small: Any = build_task(
        TASKS.get("mnist"), {"size": 10}, "bidirectional", places(tmp_path, Path(os.environ["SEQBENCH_DATA"]))
    )
    assert small.shape.image == (1, 10, 10) and small.images["test"].shape == (10_000, 1, 10, 10)


@local
def test_rows_of_cifar10_are_decoded() -> None:
    rows = parquet_rows(Path(os.environ["SEQBENCH_DATA"]) / "cifar10" / "test.parquet")
    skipped = Skipped()
    images, labels = decode(islice(rows, 500), 0, False, skipped)
    assert images.shape == (500, 3, 32, 32) and np.bincount(labels).tolist() == [50] * 10 and not skipped.counts


@local
@pytest.mark.slow
def test_cifar10_is_cifar10(tmp_path: Path) -> None:
    made: Any = build_task(
        TASKS.get("cifar10"), {"share": 0.01}, "bidirectional", places(tmp_path, Path(os.environ["SEQBENCH_DATA"]))
    )
    assert made.shape.image == (3, 32, 32) and made.facts["sizes"] == {"train": 450, "tune": 5000, "test": 10_000}
    assert made.facts["mean"] == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    assert "lossy" in made.facts["note"] and not any(r.kind == "published" for r in made.references)


def test_missing_data_are_one_line_with_both_ways(tmp_path: Path) -> None:
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataMissing, match=rf"{name} needs .*cannot read .*or name no folder.*such as digits"):
            build_task(TASKS.get(name), {}, "bidirectional", places(tmp_path, tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "test.npz").write_bytes(b"no archive")
    whole = io.BytesIO()
    np.savez(whole, images=np.zeros((3, 4, 4), np.uint8), labels=np.zeros(3))
    for content in (b"no archive", whole.getvalue()[:200]):  # a copy that was interrupted
        (tmp_path / "mnist" / "train.npz").write_bytes(content)
        with pytest.raises(DataMissing, match="is not as expected"):
            build_task(TASKS.get("mnist"), {}, "bidirectional", places(tmp_path, tmp_path))
