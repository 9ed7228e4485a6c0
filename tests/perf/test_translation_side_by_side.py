"""Our training of a Transformer that translates beside a plain loop over nn.Transformer, the same size and batch, in turns.

    python -m pytest -m perf tests/perf/test_translation_side_by_side.py -s

A benchmark, not a test: nothing fails for being slow. Ratio of the seconds of twenty steps, ours over plain: at most 1 is at
least the plain loop's throughput. The plain loop shuffles, pads each batch to its longest pair and passes masks, as its
users do; ours puts sources of about one length together. Both see the same number of pairs a step.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import DecoderPlan, Places
from bench.measure.device import CPUDevice
from bench.models import build_task, build_writer, count_parameters
from bench.registry import ARCHITECTURES, TASKS
from bench.training.loop import Training
from bench.training.recipe import Recipe
from tests.perf.pairs import report_ratio

pytestmark = pytest.mark.perf
WIDTH, DEPTH, HEADS, BATCH, STRETCH, PAIRS = 128, 2, 4, 64, 20, 20


class Plain(nn.Module):
    """nn.Transformer over learned positions, a linear head."""

    def __init__(self, source: int, target: int, longest: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(source, WIDTH), nn.Embedding(target, WIDTH)
        self.places = nn.Embedding(longest, WIDTH)
        self.core = nn.Transformer(
            WIDTH, HEADS, DEPTH, DEPTH, 4 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(WIDTH, target)

    def forward(self, ids_BS: Tensor, pad_BS: Tensor, given_BU: Tensor) -> Tensor:
        x_BSD = self.source(ids_BS) + self.places(torch.arange(ids_BS.shape[1]))
        y_BUD = self.target(given_BU) + self.places(torch.arange(given_BU.shape[1]))
        causal = nn.Transformer.generate_square_subsequent_mask(given_BU.shape[1])
        out_BUD = self.core(
            x_BSD,
            y_BUD,
            tgt_mask=causal,
            src_key_padding_mask=pad_BS,
            memory_key_padding_mask=pad_BS,
            tgt_is_causal=True,
        )
        return self.head(out_BUD)


class PlainLoop:
    def __init__(self, pairs: list[tuple[Tensor, Tensor]], source: int, target: int) -> None:
        self.pairs = pairs
        self.model = Plain(source, target, 1 + max(max(len(a), len(b)) for a, b in pairs))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.01)
        self.order, self.at = torch.randperm(len(pairs)), 0

    def run(self, steps: int) -> None:
        self.model.train()
        pad = nn.utils.rnn.pad_sequence
        for _ in range(steps):
            chosen = [self.pairs[i] for i in self.order[self.at : self.at + BATCH]]
            self.at = (self.at + BATCH) % (len(self.pairs) - BATCH)
            ids_BS = pad([a for a, _ in chosen], batch_first=True, padding_value=-1)
            both_BU = pad([b for _, b in chosen], batch_first=True, padding_value=-100)
            logits = self.model(ids_BS.clamp(min=0), ids_BS < 0, both_BU[:, :-1].clamp(min=0))
            loss = F.cross_entropy(logits.flatten(0, 1), both_BU[:, 1:].flatten(), ignore_index=-100)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        loss.item()


@pytest.mark.timeout(900)
def test_ratio(benchmark: Any, tmp_path: Path) -> None:
    local = os.environ.get("SEQBENCH_DATA")
    name = "multi30k" if local else "catalogue"
    settings: dict[str, Any] = {"tokenizer": "word", "vocabulary": 4000, "joint": False, "max_tokens": 50}
    places = Places(Path(local) if local else None, tmp_path)
    task: Any = build_task(TASKS.get(name), settings, "bidirectional", places)
    recipe = Recipe(batch=BATCH, steps=100_000, lr=1e-3, dropout=0.1, pooling="mean", evaluate_every=100_000)
    shape = replace(task.shape, decoder=DecoderPlan(dropout=0.1))
    most = max(shape.longest, shape.target_length)
    own = {"heads": HEADS, "positions": "learned", "max_length": most, "dropout": 0.1}
    model = build_writer(ARCHITECTURES.get("attention"), own, WIDTH, DEPTH, "bidirectional", shape, "mean")
    ours = Training(model, task, recipe, CPUDevice())
    lines = task.lines["train"]
    cut = {side: [torch.from_numpy(one.ids[s : s + n]) for s, n in zip(one.starts, one.lengths, strict=True)]
           for side, one in lines.items()}  # fmt: skip
    end = torch.tensor([shape.end])
    pairs = [(a, torch.cat([end, b, end])) for a, b in zip(cut["source"], cut["target"], strict=True) if len(a)]
    plain = PlainLoop(pairs, shape.vocabulary, shape.outputs)
    print(f"\nparameters: ours {count_parameters(model):,}, plain {count_parameters(plain.model):,}")

    def our_steps() -> None:
        target = ours.state.step + STRETCH
        while ours.state.step < target:  # the first stretch is one step only
            ours._stretch(target - ours.state.step)

    report_ratio(f"{name}, {STRETCH} steps of {BATCH} pairs", benchmark, our_steps, lambda: plain.run(STRETCH), PAIRS)
    print(f"padding: ours {1 - ours.state.tokens / ours.state.positions:.1%} of positions")
