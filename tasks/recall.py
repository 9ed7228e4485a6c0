"""Two tasks of recall by content: many keys looked up (Arora et al. 2023), and one token found again (Olsson et al. 2022).

Legend: B batch, T tokens, P pairs, N things to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.contract import IGNORE, Batch, Mode, Places, Reference, TaskShape
from bench.registry import register_task
from tasks.generated import Generated, GeneratedConfig, chance, require, require_lengths


@dataclass(frozen=True)
class MQARConfig(GeneratedConfig):
    """Settings of multi-query associative recall.

    Attributes:
        pairs: keys, each with a value, and each asked for once. Longer tests have as many.
        vocabulary: the lower half are keys, the upper half values.
        alpha: a gap of i places has probability proportional to i ** (alpha - 1); 1 is uniform, 0.01 the paper's code.
        train_pairs: pairs of a training batch, one of these each time; empty for always `pairs`. Few pairs are where
            looking up begins to pay (the paper's training sets are mixtures too); tests have `pairs`.
        fillers: what stands between: random ids, or one id of its own (the code's `random_non_queries=False`). With a
            small vocabulary random ids show keys with wrong neighbours by chance.
    """

    test_lengths: tuple[int, ...] = (128, 256)
    length: int = 64
    pairs: int = 8
    train_pairs: tuple[int, ...] = ()
    vocabulary: int = 256
    alpha: float = 0.01
    fillers: Literal["random", "blank"] = "random"


class MQAR(Generated):
    """Keys and values side by side, then each key once more, at a gap drawn from a power law, among random tokens.

    Follows the code of the paper (Zoology, `multiquery_ar` with `random_non_queries`), except that no id is kept for
    padding and the vocabulary is 256 in place of 8,192. The answer is asked for where the key stands.
    """

    def __init__(self, config: MQARConfig) -> None:
        half = config.vocabulary // 2
        require(config.pairs >= 1, "mqar: 'pairs' is below 1; ask for at least one key")
        fits = config.vocabulary % 2 == 0 and half >= config.pairs
        require(fits, f"mqar: 'vocabulary' must be even and at least 2 * 'pairs' = {2 * config.pairs}; raise it")
        require(config.alpha > 0, "mqar: 'alpha' must be above 0; 1 spreads the queries evenly")
        require_lengths("mqar", "length", config, config.length, 4 * config.pairs, "4 tokens for each of 'pairs'")
        fewest = min(config.train_pairs, default=1)
        most = max(config.train_pairs, default=1)
        require(fewest >= 1 and most <= config.pairs, "mqar: 'train_pairs' must lie between 1 and 'pairs'; change them")
        self.pairs = config.pairs
        self.train_pairs = config.train_pairs or (config.pairs,)
        self.values = half
        self.alpha = config.alpha
        shown = f"a guess among the {config.pairs} values of the sequence, each of which is asked for once"
        references = (
            *chance(half, "values"),
            Reference("a value of the sequence, any", "accuracy", 1 / config.pairs, "chance", shown),
        )
        self.blank = config.fillers == "blank"
        ids = config.vocabulary + self.blank
        shape = TaskShape(config.length, config.length, ids, output="token", vocabulary=ids, tied=True)
        super().__init__("mqar", config, shape, references, {"pairs": config.pairs})

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        pairs = self.pairs
        if training and len(self.train_pairs) > 1:
            pairs = self.train_pairs[int(torch.randint(len(self.train_pairs), (), generator=generator))]
        shown = 2 * pairs
        gap_N = torch.arange(1, (length - shown) // 2 + 1, dtype=torch.float32)
        keys_BP = distinct(examples, pairs, torch.ones(self.values), generator)
        values_BP = distinct(examples, pairs, torch.ones(self.values), generator) + self.values
        places_BP = shown + 2 * distinct(examples, pairs, gap_N ** (self.alpha - 1), generator)
        inputs_BT = torch.randint(2 * self.values, (examples, length), generator=generator)
        if self.blank:
            inputs_BT.fill_(2 * self.values)
        inputs_BT[:, 0:shown:2] = keys_BP
        inputs_BT[:, 1:shown:2] = values_BP
        inputs_BT.scatter_(1, places_BP, keys_BP)
        targets_BT = torch.full((examples, length), IGNORE).scatter_(1, places_BP, values_BP)
        return Batch(inputs_BT, targets_BT)


def distinct(examples: int, count: int, weight_N: Tensor, generator: torch.Generator) -> Tensor:
    """(B, count) indices drawn one after another without replacement, with odds as `weight_N`.

    The order in which exponential clocks of these rates ring is the order of such draws (Efraimidis & Spirakis 2006).
    """
    clock_BN = torch.empty(examples, len(weight_N)).exponential_(generator=generator) / weight_N
    return clock_BN.topk(count, largest=False).indices


@register_task(
    "mqar",
    family="probe",
    config=MQARConfig,
    summary="multi-query associative recall: the value of each key that comes again",
    reference="Arora et al. 2023",
)
def mqar(config: MQARConfig, mode: Mode, places: Places) -> MQAR:
    return MQAR(config)


@dataclass(frozen=True)
class InductionConfig(GeneratedConfig):
    """`vocabulary`: ordinary tokens; the special one comes on top."""

    test_lengths: tuple[int, ...] = (128, 256, 512)
    length: int = 64
    vocabulary: int = 16


class Induction(Generated):
    """Random tokens; a special one stands once anywhere but at the end, and again as the last: what followed the first?

    The form of Gu & Dao 2023 (Mamba), who train on 256 tokens and test up to 2**20.
    """

    def __init__(self, config: InductionConfig) -> None:
        require(config.vocabulary >= 2, "induction: 'vocabulary' is below 2, so nothing is asked; raise it")
        require_lengths("induction", "length", config, config.length, 3, "special, token, special")
        self.special = config.vocabulary
        shape = TaskShape(
            config.length, config.length, config.vocabulary, output="token", vocabulary=config.vocabulary + 1
        )
        super().__init__("induction", config, shape, chance(config.vocabulary, "tokens"), {})

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        inputs_BT = torch.randint(self.special, (examples, length), generator=generator)
        place_B1 = torch.randint(length - 2, (examples, 1), generator=generator)
        targets_BT = torch.full((examples, length), IGNORE)
        targets_BT[:, -1:] = inputs_BT.gather(1, place_B1 + 1)
        inputs_BT.scatter_(1, place_B1, self.special)
        inputs_BT[:, -1] = self.special
        return Batch(inputs_BT, targets_BT)


@register_task(
    "induction",
    family="probe",
    config=InductionConfig,
    summary="the token that followed the special one when it first came",
    reference="Olsson et al. 2022; Gu & Dao 2023",
)
def induction(config: InductionConfig, mode: Mode, places: Places) -> Induction:
    return Induction(config)
