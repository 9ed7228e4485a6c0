"""A task of one's own in one file: say the first token again, at the end of the sequence.

    python run_all.py --suite probes --plugin docs/examples/first_token.py --tasks first_token

Legend: B batch, T tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bench.contract import IGNORE, Batch, Mode, Outcome, Places, Reference, Score, TaskShape, stream
from bench.registry import register_task


@dataclass(frozen=True)
class FirstTokenConfig:
    length: int = 24
    symbols: int = 8
    examples: int = 500


class FirstToken:
    """Implements `bench.contract.Task`."""

    primary = "accuracy"
    splits = ("tune", "test")

    def __init__(self, config: FirstTokenConfig) -> None:
        self.config = config
        self.shape = TaskShape(
            length=config.length,
            longest=config.length,
            vocabulary=config.symbols,
            outputs=config.symbols,
            output="token",
        )
        self.fingerprint = f"first_token 1 {config}"  # of the data, and of every setting that changes them
        self.references = (Reference("chance", "accuracy", 1 / config.symbols, "chance", f"1 of {config.symbols}"),)
        self.facts = {"source": "generated", "lengths": {split: config.length for split in self.splits}}

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        inputs_BT = torch.randint(self.config.symbols, (count, self.config.length), generator=generator)
        targets_BT = torch.full_like(inputs_BT, IGNORE)  # nothing is asked but at the end
        targets_BT[:, -1] = inputs_BT[:, 0]
        return Batch(inputs_BT, targets_BT)

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        return self.draw(batch, stream("first_token", "train", seed, index))

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        whole = self.draw(self.config.examples, stream("first_token", split))
        for start in range(0, self.config.examples, batch):
            yield Batch(whole.inputs[start : start + batch], whole.targets[start : start + batch])

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        return (
            Score("accuracy", outcome.accuracy, "share", "higher"),
            Score("loss", outcome.mean_loss, "nats", "lower"),
        )


@register_task("first_token", family="probe", config=FirstTokenConfig, summary="say the first token at the end")
def first_token(config: FirstTokenConfig, mode: Mode, places: Places) -> FirstToken:
    return FirstToken(config)
