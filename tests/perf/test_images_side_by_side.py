"""Our training on images beside plain loops over plainly written models, the same sizes, batches and images, in turns.

    python -m pytest -m perf tests/perf/test_images_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of some steps, ours over plain: at most 1 is at
least the plain loop's images a second. The plain loop holds all images in memory as normalised floats and takes a random
batch of them, with no augmentation on either side. On CUDA where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Batch, PatchPlan, Places
from bench.measure.device import open_device
from bench.models import build_model, build_task, count_parameters
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.pairs import report_ratio

pytestmark = pytest.mark.perf
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
BATCH, STRETCH, PAIRS = 64, 20, 15


class PlainViT(nn.Module):
    """Patches by a strided convolution, nn.TransformerEncoder, mean over patches."""

    def __init__(self, side: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.places = nn.Parameter(torch.randn((side // patch) ** 2, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.encoder(self.patches(image).flatten(2).transpose(1, 2) + self.places).mean(1))


class PlainBlock(nn.Module):
    """As in kuangliu/pytorch-cifar: NCHW throughout."""

    def __init__(self, width: int, out: int, step: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, step, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        changes = step > 1 or width != out
        self.short = (
            nn.Sequential(nn.Conv2d(width, out, 1, step, bias=False), nn.BatchNorm2d(out)) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))


def plain_resnet(width: int, depth: int) -> nn.Module:
    stages = [PlainBlock(width, width, 1) for _ in range(depth // 2)]
    stages += [PlainBlock(width, 2 * width, 2), *(PlainBlock(2 * width, 2 * width, 1) for _ in range(depth // 2 - 1))]
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2 * width, 10),
    )  # fmt: skip


class PlainLoop:
    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.model, self.images, self.labels = model.to(DEVICE), images, labels
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05)

    def run(self, steps: int) -> None:
        self.model.train()
        for _ in range(steps):
            rows = torch.randint(len(self.labels), (BATCH,))
            images, labels = self.images[rows].to(DEVICE), self.labels[rows].to(DEVICE)
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        loss.item()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_ratio(name: str, benchmark: Any, tmp_path: Path) -> None:
    side, width, depth, heads = 28, 64 if name == "vit" else 16, 4, 4
    task: Any = build_task(TASKS.get("digits"), {"size": side}, "bidirectional", Places(None, tmp_path))
    front = (
        {"patch": 4, "positions": "learned"} if name == "vit" else {"patch": 1, "patch_reach": 3, "positions": "none"}
    )
    recipe = Recipe(batch=BATCH, steps=100_000, lr=1e-3, pooling="mean", evaluate_every=100_000, **front)
    settings = {"heads": heads} if name == "vit" else {"stages": 2}
    shape = task.shape.patched(PatchPlan(**recipe.patch_plan))
    model = build_model(ARCHITECTURES.get(name), settings, width, depth, "bidirectional", shape, "mean", device=DEVICE)
    ours = Training(model, task, recipe, open_device(DEVICE), DEVICE, shape=shape)
    everything = task.prepare(Batch(torch.from_numpy(task.images["train"]), task.labels["train"]))
    other = PlainViT(side, 4, width, depth, heads) if name == "vit" else plain_resnet(width, depth)
    plain = PlainLoop(other, everything.inputs, everything.targets)
    print(f"\nparameters: ours {count_parameters(model):,}, plain {count_parameters(other):,}")

    def our_steps() -> None:
        target = ours.state.step + STRETCH
        while ours.state.step < target:  # the first stretch is one step only
            ours._stretch(target - ours.state.step)

    report_ratio(
        f"{name} on {DEVICE}, {STRETCH} steps of {BATCH}", benchmark, our_steps, lambda: plain.run(STRETCH), PAIRS
    )
