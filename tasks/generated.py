"""What all generated tasks share: numbered training batches, fixed evaluation splits, scores, references of chance.

A generated task has no data: batch `index` of seed `seed` and each split are drawn from streams of random numbers of their
own, so training never ends and never repeats. Examples are not compared with one another: where an input has so few
values that chance repeats it (very short strings), a test example can have been trained on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.contract import Batch, Mode, Outcome, Reference, Score, TaskShape, stream

GENERATOR_VERSION = 1  # part of every fingerprint: raise it when the same settings give other examples than before


@dataclass(frozen=True)
class GeneratedConfig:
    """Settings that all generated tasks have.

    Attributes:
        test_lengths: input lengths of further test splits, each called "test_<length>".
        tune_examples, test_examples: examples of the split "tune", and of each test split.
    """

    test_lengths: tuple[int, ...] = ()
    tune_examples: int = 512
    test_examples: int = 2000


class Generated(ABC):
    """Implements `bench.contract.Task` but for `draw`.

    Args:
        shape: `length` is that of the splits "tune" and "test"; `longest` is worked out here.
        train_lengths: the lengths of training batches, drawn anew for each batch; `shape.length` alone where empty.
            All examples of a batch have one length, so that nothing is padded.
        facts: what a reader should know beside what is said for every generated task.
    """

    primary = "accuracy"

    def __init__(
        self,
        name: str,
        config: GeneratedConfig,
        shape: TaskShape,
        references: tuple[Reference, ...],
        facts: dict[str, Any],
        train_lengths: Sequence[int] = (),
    ) -> None:
        for setting in ("tune_examples", "test_examples"):
            require(getattr(config, setting) >= 1, f"{name}: '{setting}' is below 1; give at least one example")
        repeated = len(set(config.test_lengths)) < len(config.test_lengths)
        require(not repeated, f"{name}: 'test_lengths' names a length twice; name each once")
        self.name = name
        self.references = references
        self.lengths = split_lengths(shape.length, config.test_lengths)
        self.splits = tuple(self.lengths)
        self.shape = dataclasses.replace(shape, longest=max(self.lengths.values()))
        self.train_lengths = train_lengths or (shape.length,)
        self.examples = {split: config.test_examples for split in self.splits} | {"tune": config.tune_examples}
        settings = dataclasses.asdict(config)
        described = json.dumps([name, settings, GENERATOR_VERSION], sort_keys=True)
        self.fingerprint = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
        self.facts = {
            "source": "generated",
            "licence": "none needed",
            "sizes": {"train": "endless", **self.examples},
            "lengths": dict(self.lengths),
            "generator_version": GENERATOR_VERSION,
            **facts,
        }

    @abstractmethod
    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        """Examples of one length; `training` where the targets of training differ from those of evaluation."""
        ...

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        generator = stream(self.name, "train", seed, index)
        choice = torch.randint(len(self.train_lengths), (), generator=generator).item()
        return self.draw(batch, self.train_lengths[int(choice)], generator, training=True)

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        # Drawn whole and then cut, so that the examples do not depend on the size of the batches.
        generator = stream(self.name, "eval", split)
        whole = self.draw(self.examples[split], self.lengths[split], generator, training=False)
        for start in range(0, self.examples[split], batch):
            yield rows(whole, start, start + batch)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        if self.shape.loss == "squared_error":
            return (Score("loss", outcome.mean_loss, "squared units", "lower"),)
        accuracy = Score("accuracy", outcome.accuracy, "share", "higher")
        loss = Score("loss", outcome.mean_loss, "nats", "lower")
        # With one prediction a sequence it would say what accuracy says.
        perfect = (perfect_score(outcome),) if outcome.count > outcome.sequences else ()
        return (accuracy, *perfect, loss)


def perfect_score(outcome: Outcome) -> Score:
    return Score("perfect", outcome.perfect / max(1, outcome.sequences), "share", "higher")


def split_lengths(length: int, test_lengths: Sequence[int]) -> dict[str, int]:
    """Input length of each evaluation split."""
    return {"tune": length, "test": length} | {f"test_{n}": n for n in test_lengths}


def rows(whole: Batch, start: int, stop: int) -> Batch:
    """Examples `start` to `stop`, without the padding that none of them needs."""
    inputs, targets = whole.inputs[start:stop], whole.targets[start:stop]
    if whole.keep_BT is None:
        return Batch(inputs, targets)
    keep_BT = whole.keep_BT[start:stop]
    longest = int(keep_BT.sum(1).max())
    return Batch(inputs[:, :longest], targets, keep_BT[:, :longest])


def chance(classes: int, what: str) -> tuple[Reference, ...]:
    """A guess with no knowledge, all of `classes` equally likely: its accuracy and its loss."""
    return (
        Reference("chance", "accuracy", 1 / classes, "chance", f"1 of {classes} {what}"),
        Reference("chance", "loss", math.log(classes), "chance", f"ln {classes}: 1 of {classes} {what}"),
    )


def require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def require_lengths(name: str, setting: str, config: GeneratedConfig, length: int, least: int, why: str) -> None:
    """The training length, which `setting` decides, and all test lengths are at least `least`."""
    require(length >= least, f"{name}: '{setting}' gives {length} tokens, below {least} ({why}); raise it")
    for n in config.test_lengths:
        require(n >= least, f"{name}: 'test_lengths' has {n}, below {least} ({why}); raise it or leave it out")


def require_causal(name: str, mode: Mode, why: str) -> None:
    require(mode == "causal", f"{name} cannot run in mode 'bidirectional': {why}; use mode 'causal'")
