"""Two tasks of memory over a distance (Hochreiter & Schmidhuber 1997): repeat ten symbols, and add two marked numbers.

In the form of Arjovsky et al. 2016 and Bai et al. 2018, with shorter distances by default (published: 1,000).

Legend: B batch, T tokens, F features (value, mark), S symbols to repeat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.contract import Batch, Mode, Outcome, Places, Reference, Score, TaskShape
from bench.registry import register_task
from tasks.generated import (
    Generated,
    GeneratedConfig,
    perfect_score,
    require_causal,
    require_lengths,
    split_lengths,
)

SYMBOLS = 8
RECALLED = 10
BLANK = 8
DELIMITER = 9
EDGES = 2 * RECALLED  # tokens beside the delay: the symbols and the places for the answer


@dataclass(frozen=True)
class CopyMemoryConfig(GeneratedConfig):
    """`delay`: tokens from the last symbol to the answer, T of the papers. An input has `delay` + 20 tokens, and
    `test_lengths` counts all of them."""

    delay: int = 200


class CopyMemory(Generated):
    """Ten symbols, `delay` - 1 blanks, a delimiter, ten blanks; the answer is blank but for the ten symbols at the end.

    Inputs during the answer are blanks, as in Arjovsky et al.; Bai et al. repeat the delimiter there.
    """

    primary = "loss"

    def __init__(self, config: CopyMemoryConfig) -> None:
        length = config.delay + EDGES
        why = "20 tokens beside a delay of at least 1"
        require_lengths("copy_memory", "delay", config, length, EDGES + 1, why)
        label = f"no memory: {RECALLED} ln {SYMBOLS} / (T + {EDGES})"
        source = f"blanks are free, {RECALLED} symbols are guessed among {SYMBOLS} (Arjovsky et al. 2016)"
        floors = [
            Reference(label, "loss", RECALLED * math.log(SYMBOLS) / n, "floor", source, (split,))
            for split, n in split_lengths(length, config.test_lengths).items()
        ]
        recall = Reference("chance", "recall_accuracy", 1 / SYMBOLS, "chance", f"1 of {SYMBOLS} symbols")
        shape = TaskShape(length, length, outputs=SYMBOLS + 2, output="token", vocabulary=SYMBOLS + 2)
        super().__init__("copy_memory", config, shape, (*floors, recall), {"delay": config.delay})

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        symbols_BS = torch.randint(SYMBOLS, (examples, RECALLED), generator=generator)
        inputs_BT = torch.full((examples, length), BLANK)
        targets_BT = torch.full((examples, length), BLANK)
        inputs_BT[:, :RECALLED] = symbols_BS
        inputs_BT[:, -RECALLED - 1] = DELIMITER
        targets_BT[:, -RECALLED:] = symbols_BS
        return Batch(inputs_BT, targets_BT)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        """Accuracy over all positions would hide the recall behind the blanks, so recall is scored alone."""
        recalled = sum(outcome.correct_T[-RECALLED:]) / max(1, sum(outcome.count_T[-RECALLED:]))
        return (
            Score("loss", outcome.mean_loss, "nats", "lower"),
            Score("recall_accuracy", recalled, "share", "higher"),
            perfect_score(outcome),
        )


@register_task(
    "copy_memory",
    family="probe",
    config=CopyMemoryConfig,
    summary="repeat ten symbols after a long delay",
    reference="Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016; Bai et al. 2018",
)
def copy_memory(config: CopyMemoryConfig, mode: Mode, places: Places) -> CopyMemory:
    require_causal("copy_memory", mode, "an encoder that sees the symbols from the answer's place remembers nothing")
    return CopyMemory(config)


@dataclass(frozen=True)
class AddingConfig(GeneratedConfig):
    """`length`: tokens of an input."""

    length: int = 200


class Adding(Generated):
    """Numbers from [0, 1), one marked in each half; the answer is the sum of the two.

    The halves are those of Arjovsky et al.; the code of Bai et al. marks any two places.
    """

    primary = "loss"

    def __init__(self, config: AddingConfig) -> None:
        require_lengths("adding", "length", config, config.length, 2, "one number in each half")
        references = (
            Reference("always 1", "loss", 1 / 6, "chance", "variance of the sum of two uniform numbers, 2 / 12"),
            Reference("always 1, as printed", "loss", 0.1767, "published", "Bai et al. 2018; exact is 1/6 = 0.1667"),
        )
        shape = TaskShape(config.length, config.length, outputs=1, output="sequence", features=2, loss="squared_error")
        super().__init__("adding", config, shape, references, {})

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        half = length // 2
        inputs_BTF = torch.zeros(examples, length, 2)
        values_BT = torch.rand(examples, length, generator=generator)
        first_B = torch.randint(half, (examples,), generator=generator)
        second_B = torch.randint(half, length, (examples,), generator=generator)
        marks_B2 = torch.stack([first_B, second_B], dim=1)
        inputs_BTF[:, :, 0] = values_BT
        inputs_BTF[:, :, 1].scatter_(1, marks_B2, 1.0)
        return Batch(inputs_BTF, values_BT.gather(1, marks_B2).sum(1))


@register_task(
    "adding",
    family="probe",
    config=AddingConfig,
    summary="add two marked numbers of a long sequence",
    reference="Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016; Bai et al. 2018",
)
def adding(config: AddingConfig, mode: Mode, places: Places) -> Adding:
    return Adding(config)
