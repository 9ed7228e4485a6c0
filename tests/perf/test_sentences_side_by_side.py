"""Our training on SST-2 beside a plain loop over nn.TransformerEncoder, the same size, batch and sentences, in turns.

    python -m pytest -m perf tests/perf/test_sentences_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of fifty steps, ours over plain: at most 1 is at
least the plain loop's throughput. The plain loop shuffles, pads each batch to its longest sentence and passes a mask, as
its users do; ours puts sentences of about one length together.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Places
from bench.measure.device import CPUDevice
from bench.models import build_model, build_task, count_parameters
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.pairs import report_ratio

pytestmark = pytest.mark.perf
WIDTH, DEPTH, HEADS, BATCH, STRETCH, PAIRS = 128, 2, 4, 32, 50, 20


class Plain(nn.Module):
    """nn.TransformerEncoder over learned positions, mean over real tokens, a linear head."""

    def __init__(self, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(longest, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, ids_BT: Tensor, pad_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(ids_BT) + self.places(torch.arange(ids_BT.shape[1]))
        y_BTD = self.encoder(x_BTD, src_key_padding_mask=pad_BT)
        keep_BT1 = (~pad_BT)[..., None]
        return self.head((y_BTD * keep_BT1).sum(1) / keep_BT1.sum(1))


class PlainLoop:
    def __init__(self, rows: list[Tensor], targets: Tensor, vocabulary: int) -> None:
        self.rows, self.targets = rows, targets
        self.model = Plain(vocabulary, max(map(len, rows)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1)
        self.order = torch.randperm(len(rows))
        self.at = 0

    def run(self, steps: int) -> None:
        self.model.train()
        for _ in range(steps):
            chosen = self.order[self.at : self.at + BATCH]
            self.at = (self.at + BATCH) % (len(self.rows) - BATCH)
            ids = nn.utils.rnn.pad_sequence([self.rows[i] for i in chosen], batch_first=True, padding_value=-1)
            loss = F.cross_entropy(self.model(ids.clamp(min=0), ids < 0), self.targets[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        loss.item()


@pytest.mark.timeout(900)
def test_ratio(benchmark: Any, tmp_path: Path) -> None:
    local = os.environ.get("SEQBENCH_DATA")
    name = "sst2" if local else "mini_acceptability"
    places = Places(Path(local) if local else None, tmp_path)
    task: Any = build_task(TASKS.get(name), {"vocabulary": 10_000}, "bidirectional", places)
    recipe = Recipe(batch=BATCH, steps=100_000, lr=1e-3, dropout=0.1, pooling="mean", evaluate_every=100_000)
    settings = {"heads": HEADS, "positions": "learned", "max_length": task.shape.longest, "dropout": 0.1}
    model = build_model(ARCHITECTURES.get("attention"), settings, WIDTH, DEPTH, "bidirectional", task.shape, "mean")
    ours = Training(model, task, recipe, CPUDevice())
    found = task.sequences["train"]
    rows = [torch.from_numpy(found.ids[s : s + n]) for s, n in zip(found.starts, found.lengths, strict=True)]
    plain = PlainLoop(rows, task.targets["train"], task.shape.vocabulary)
    print(f"\nparameters: ours {count_parameters(model):,}, plain {count_parameters(plain.model):,}")

    def our_steps() -> None:
        target = ours.state.step + STRETCH
        while ours.state.step < target:  # the first stretch is one step only
            ours._stretch(target - ours.state.step)

    report_ratio(f"{name}, {STRETCH} steps of {BATCH}", benchmark, our_steps, lambda: plain.run(STRETCH), PAIRS)
    print(f"padding: ours {1 - ours.state.tokens / ours.state.positions:.1%} of positions")
