"""Small tasks and models for tests of the training engine, and a clock whose time is planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.contract import IGNORE, Batch, Outcome, Reference, Score, TaskShape, stream
from bench.models import SequenceModel, build_model
from bench.registry import ARCHITECTURES
from bench.training.recipe import Recipe

VOCABULARY = 7


class Ragged:
    """Say each token again, one step late; sequences of many lengths, padded, so that means of means would be wrong."""

    shape = TaskShape(length=12, longest=12, outputs=VOCABULARY, output="token", vocabulary=VOCABULARY, tied=True)
    primary = "loss"
    splits = ("tune", "test")
    fingerprint = "ragged"
    references: tuple[Reference, ...] = ()
    facts: dict[str, Any] = {"lengths": {"tune": 12, "test": 12}}  # noqa: RUF012

    def __init__(self, examples: int = 10, wrong_tests: bool = False) -> None:
        self.examples = examples
        self.wrong_tests = wrong_tests

    def sequences(self, split: str, count: int, start: int = 0) -> list[torch.Tensor]:
        found = []
        for i in range(start, start + count):
            generator = stream("ragged", split, i)
            length = int(torch.randint(2, 13, (1,), generator=generator))
            found.append(torch.randint(VOCABULARY, (length,), generator=generator))
        return found

    def batch(self, sequences: list[torch.Tensor], wrong: bool = False) -> Batch:
        longest = max(map(len, sequences))
        inputs = torch.zeros(len(sequences), longest, dtype=torch.int64)
        targets = torch.full_like(inputs, IGNORE)
        keep = torch.zeros(len(sequences), longest, dtype=torch.bool)
        for row, ids in enumerate(sequences):
            inputs[row, : len(ids)], keep[row, : len(ids)] = ids, True
            targets[row, 1 : len(ids)] = (ids[:-1] + 1) % VOCABULARY if wrong else ids[:-1]
        return Batch(inputs, targets, keep)

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        return self.batch(self.sequences(f"train {seed}", batch, index * batch))

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        wrong = self.wrong_tests and split == "test"
        rows = self.sequences(split, self.examples)
        for at in range(0, len(rows), batch):
            yield self.batch(rows[at : at + batch], wrong)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        return Score("loss", outcome.mean_loss, "nats", "lower"), Score("accuracy", outcome.accuracy, "share", "higher")


class Clock:
    """Every step takes one planted second. `before` may raise, as a killed process would."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before

    def seconds(self, step: Callable[[], object]) -> float:
        self.before()
        step()
        return 1.0


def model(name: str = "attention", seed: int = 0, shape: TaskShape = Ragged.shape, **settings: Any) -> SequenceModel:
    return build_model(ARCHITECTURES.get(name), settings, 16, 2, "causal", shape, "last", seed=seed)


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"batch": 4, "steps": 40, "warmup": 4, "evaluate_every": 15, "lr": 3e-3, **changes})
