"""Models of images at their published sizes: parameters counted on the meta device."""

from __future__ import annotations

from typing import Any

import pytest

from bench.contract import PatchPlan, TaskShape
from bench.models import build_model, count_parameters
from bench.registry import ARCHITECTURES

IMAGENET, SMALL = (3, 224, 224), (3, 32, 32)
TOKEN = {"class_token": True, "positions": "learned"}


def parameters(
    name: str, settings: dict[str, Any], width: int, depth: int, image: tuple[int, int, int], plan: PatchPlan, outputs: int
) -> int:  # fmt: skip
    shape = TaskShape(length=1, longest=1, outputs=outputs, output="sequence", image=image).patched(plan)
    entry = ARCHITECTURES.get(name)
    return count_parameters(build_model(entry, settings, width, depth, "bidirectional", shape, "mean", device="meta"))


@pytest.mark.parametrize(
    ("layers", "width", "heads", "patch", "millions", "exact"),
    # Dosovitskiy et al. 2021, table 1, and torchvision's documentation of vit_b_16, vit_l_16 and vit_h_14.
    [(12, 768, 12, 16, 86, 86_567_656), (24, 1024, 16, 16, 307, 304_326_632), (32, 1280, 16, 14, 632, 632_045_800)],
)
def test_vit(layers: int, width: int, heads: int, patch: int, millions: int, exact: int) -> None:
    plan = PatchPlan(patch, patch, class_token=True, positions="learned")
    found = parameters("vit", {"heads": heads}, width, layers, IMAGENET, plan, 1000)
    assert found == exact
    assert found / 1e6 == pytest.approx(millions, rel=0.01)


def test_swin() -> None:
    """28,288,354 in torchvision's documentation of swin_t; the authors' repository rounds it to 28 M."""
    settings = {"heads": 3, "window": 7, "depths": [2, 2, 6, 2]}
    found = parameters("swin", settings, 96, 12, IMAGENET, PatchPlan(4, 4, positions="none"), 1000)
    assert found == 28_288_354


def test_small_ones() -> None:
    pixels = PatchPlan(1, 3, positions="none")
    assert parameters("resnet", {"stages": 4}, 64, 8, SMALL, pixels, 10) == pytest.approx(11_173_962, rel=0.01)
    assert parameters("cct", {"heads": 4}, 256, 7, SMALL, pixels, 10) == pytest.approx(3.76e6, rel=0.01)
    lite = PatchPlan(4, 4, class_token=True, positions="learned")
    assert parameters("vit", {"heads": 4, "mlp_ratio": 2.0}, 256, 7, SMALL, lite, 10) == pytest.approx(3.72e6, rel=0.01)
