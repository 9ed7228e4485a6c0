"""Strings of formal languages, short in training and longer in the tests (Delétang et al. 2022).

Each training batch has one length, drawn anew, as in the paper; there lengths end at 40 and tests at 500. Parity and
arithmetic can be done by a finite automaton; reversal needs a stack.

Legend: B batch, T tokens, N symbols or numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contract import IGNORE, Batch, Mode, Places, Reference, TaskShape
from bench.registry import register_task
from tasks.generated import (
    Generated,
    GeneratedConfig,
    chance,
    require,
    require_causal,
    require_lengths,
    split_lengths,
)


@dataclass(frozen=True)
class FormalConfig(GeneratedConfig):
    """`length`: of the longest training input. `min_length`: of the shortest."""

    length: int = 40
    min_length: int = 1


def training_lengths(name: str, config: FormalConfig, least: int, step: int, why: str) -> range:
    """All lengths a training batch can have: `least` and every `step` on; `why` says what that leaves out."""
    require_lengths(name, "length", config, config.length, least, why)
    require_lengths(name, "min_length", config, config.min_length, least, why)
    for setting, n in (("length", config.length), ("min_length", config.min_length)):
        require((n - least) % step == 0, f"{name}: '{setting}' is {n}; {why}, so take {n + 1}")
    for n in config.test_lengths:
        require((n - least) % step == 0, f"{name}: 'test_lengths' has {n}; {why}, so take {n + 1}")
    ordered = config.min_length <= config.length
    require(ordered, f"{name}: 'min_length' {config.min_length} is above 'length' {config.length}; lower it")
    return range(config.min_length, config.length + 1, step)


def spread(lengths: range) -> dict[str, Any]:
    """The fact that tells a reader about training lengths."""
    step = f" in steps of {lengths.step}" if lengths.step > 1 else ""
    return {"train_lengths": f"one a batch, uniform from {lengths[0]} to {lengths[-1]}{step}"}


def only_last(targets_BT: Tensor) -> Tensor:
    """Asked for at the last position alone: a longer string is then judged where it is longer."""
    targets_BT[:, :-1] = IGNORE
    return targets_BT


@dataclass(frozen=True)
class ParityConfig(FormalConfig):
    """`dense`: train on the parity so far at every position; False trains on the last alone, as the paper does."""

    test_lengths: tuple[int, ...] = (40, 60, 80, 120, 160, 240)
    dense: bool = True


class Parity(Generated):
    """Bits; is the number of ones odd? The hardest of the simple languages for attention (Hahn 2020)."""

    def __init__(self, config: ParityConfig) -> None:
        lengths = training_lengths("parity", config, 1, 1, "at least one bit")
        self.dense = config.dense
        shape = TaskShape(config.length, config.length, outputs=2, output="token", vocabulary=2)
        super().__init__("parity", config, shape, chance(2, "parities"), spread(lengths), lengths)

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        bits_BT = torch.randint(2, (examples, length), generator=generator)
        parity_BT = bits_BT.cumsum(1) & 1
        return Batch(bits_BT, parity_BT if training and self.dense else only_last(parity_BT))


@register_task(
    "parity",
    family="probe",
    config=ParityConfig,
    summary="is the number of ones odd? longer strings in the tests",
    reference="Hahn 2020; Delétang et al. 2022",
)
def parity(config: ParityConfig, mode: Mode, places: Places) -> Parity:
    return Parity(config)


@dataclass(frozen=True)
class ArithmeticConfig(FormalConfig):
    """`modulus`: numbers are below it, and so is the answer. `dense`: train on the value so far at every number."""

    test_lengths: tuple[int, ...] = (61, 81, 121, 161, 241)
    length: int = 41
    modulus: int = 5
    dense: bool = True


OPERATORS = "+-*"  # their tokens follow the numbers, in this order


class ModularArithmetic(Generated):
    """Numbers with + - * between them, worked out from LEFT TO RIGHT: 1 + 2 * 3 is 9. The paper multiplies first.

    So the value of each prefix is all that must be kept, and is the target at each number in training.
    """

    def __init__(self, config: ArithmeticConfig) -> None:
        lengths = training_lengths("modular_arithmetic", config, 1, 2, "numbers and operators make an odd length")
        modulus = config.modulus
        require(modulus >= 2, "modular_arithmetic: 'modulus' is below 2, so nothing is asked; raise it")
        self.modulus, self.dense = modulus, config.dense
        value_1V, number_N1 = np.arange(modulus)[None, :], np.arange(modulus)[:, None]
        # Next value by operator, number and value so far: a step of all strings is then one look-up.
        results_NV = [value_1V + number_N1, value_1V - number_N1, value_1V * number_N1]
        table_NV = np.concatenate(results_NV) % modulus
        self.table = table_NV.reshape(-1)
        common = [
            Reference(
                "commonest answer",
                "accuracy",
                float(value_shares(table_NV, n)[0]),
                "chance",
                "always 0: a product is 0 where either factor is; shares by counting",
                (split,),
            )
            for split, n in split_lengths(config.length, config.test_lengths).items()
        ]
        vocabulary = modulus + len(OPERATORS)
        shape = TaskShape(config.length, config.length, outputs=modulus, output="token", vocabulary=vocabulary)
        references = (*chance(modulus, "values"), *common)
        super().__init__("modular_arithmetic", config, shape, references, spread(lengths), lengths)

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        numbers_BN = torch.randint(self.modulus, (examples, length // 2 + 1), generator=generator)
        operators_BN = torch.randint(len(OPERATORS), (examples, length // 2), generator=generator)
        inputs_BT = torch.empty(examples, length, dtype=torch.int64)
        inputs_BT[:, ::2] = numbers_BN
        inputs_BT[:, 1::2] = self.modulus + operators_BN
        row_NB = ((operators_BN * self.modulus + numbers_BN[:, 1:]) * self.modulus).T.contiguous().numpy()
        values_NB = np.empty((length // 2 + 1, examples), dtype=np.int64)
        values_NB[0] = numbers_BN[:, 0].numpy()
        for n, row_B in enumerate(row_NB):
            values_NB[n + 1] = self.table[row_B + values_NB[n]]
        targets_BT = torch.full((examples, length), IGNORE)
        targets_BT[:, ::2] = torch.from_numpy(values_NB).T
        return Batch(inputs_BT, targets_BT if training and self.dense else only_last(targets_BT))


def value_shares(table_NV: np.ndarray, length: int) -> np.ndarray:
    """Probability of each value of a string. Not uniform: a product is 0 where either factor is.

    Args:
        table_NV: next value, by operator and number (one row for each pair, all equally likely) and value so far.
    """
    count, modulus = table_NV.shape
    step_VV = np.zeros((modulus, modulus))  # from value to next value
    for row_V in table_NV:
        step_VV[np.arange(modulus), row_V] += 1 / count
    return np.full(modulus, 1 / modulus) @ np.linalg.matrix_power(step_VV, length // 2)


@register_task(
    "modular_arithmetic",
    family="probe",
    config=ArithmeticConfig,
    summary="work out + - * modulo 5 from left to right; longer strings in the tests",
    reference="Delétang et al. 2022",
)
def modular_arithmetic(config: ArithmeticConfig, mode: Mode, places: Places) -> ModularArithmetic:
    return ModularArithmetic(config)


@dataclass(frozen=True)
class ReverseConfig(FormalConfig):
    """`vocabulary`: symbols; the delimiter comes on top. An input of `length` tokens reverses half as many symbols."""

    test_lengths: tuple[int, ...] = (60, 80, 120)
    min_length: int = 2
    vocabulary: int = 8


class Reverse(Generated):
    """n symbols, a delimiter, the symbols backwards: each token after the delimiter is predicted from all before it.

    The model reads its right answers (teacher forcing), so of the 2n + 1 tokens the first 2n are inputs and the last n
    targets. In the paper it writes the whole answer after n empty inputs.
    """

    def __init__(self, config: ReverseConfig) -> None:
        lengths = training_lengths("reverse", config, 2, 2, "n symbols make 2n inputs")
        require(config.vocabulary >= 2, "reverse: 'vocabulary' is below 2, so nothing is asked; raise it")
        self.delimiter = config.vocabulary
        shape = TaskShape(
            config.length, config.length, config.vocabulary, output="token", vocabulary=config.vocabulary + 1
        )
        references = chance(config.vocabulary, "symbols")
        super().__init__("reverse", config, shape, references, spread(lengths), lengths)

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        count = length // 2
        symbols_BN = torch.randint(self.delimiter, (examples, count), generator=generator)
        answer_BN = symbols_BN.flip(1)
        delimiter_B1 = torch.full((examples, 1), self.delimiter)
        inputs_BT = torch.cat([symbols_BN, delimiter_B1, answer_BN[:, :-1]], dim=1)
        return Batch(inputs_BT, torch.cat([torch.full_like(symbols_BN, IGNORE), answer_BN], dim=1))


@register_task(
    "reverse",
    family="probe",
    config=ReverseConfig,
    summary="write the symbols backwards; longer strings in the tests",
    reference="Delétang et al. 2022",
)
def reverse(config: ReverseConfig, mode: Mode, places: Places) -> Reverse:
    require_causal("reverse", mode, "the inputs hold the answer one step late, so it could be copied")
    return Reverse(config)
