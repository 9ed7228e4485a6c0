"""ListOps (Nangia & Bowman 2018): the value of nested operators on digits, [MAX 2 9 [MIN 4 7 ] 0 ] is 9.

Trees are drawn as in the papers' code, and kept where their length is asked for, as in Long Range Arena (Tay et al. 2021,
there 500 to 2,000 tokens, at most 10 operands). Here they are shorter by default, the root is always an operator, and the
round brackets of the published files, which say nothing that the square ones do not, are left out, as Long Range Arena
does when it reads them.

Legend: B batch, T tokens.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.contract import Batch, Mode, Places, Reference, TaskShape, stream
from bench.registry import register_task
from tasks.generated import Generated, GeneratedConfig, chance, require, require_lengths, rows

DIGITS = 10
OPERATORS = ("MIN", "MAX", "MED", "SM", "FIRST", "LAST")
CLOSE = "]"
# Ids of tokens: the digits are their own.
TOKENS = (*map(str, range(DIGITS)), *(f"[{operator}" for operator in OPERATORS), CLOSE)
IDS = {token: i for i, token in enumerate(TOKENS)}
PAD = len(TOKENS)

OPERAND_IS_TREE = 0.25  # of both papers
TRIES = 20_000  # for one expression of the right length; at fewer it is so rare that settings should change
POOL = 8  # training batches whose examples are sorted by length together


def apply(operator: str, values: Sequence[int]) -> int:
    """What an operator makes of its operands, in order."""
    match operator:
        case "MIN":
            return min(values)
        case "MAX":
            return max(values)
        case "MED":
            ordered = sorted(values)
            # Of an even number the mean of the middle two, rounded down.
            return (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) // 2
        case "SM":
            return sum(values) % DIGITS
        case "FIRST":
            return values[0]
        case "LAST":
            return values[-1]
    raise ValueError(f"no operator '{operator}'; known: {', '.join(OPERATORS)}")


def evaluate(expression: str) -> int:
    """The value of an expression as the published files write it; round brackets are ignored."""
    return evaluate_tokens([token for token in expression.split() if token not in ("(", ")")])


def evaluate_tokens(tokens: Sequence[str]) -> int:
    """The value of one expression: digits, "[MAX" and the like, and "]"."""
    open_operators: list[str] = []
    operands: list[list[int]] = [[]]
    for token in tokens:
        if token.startswith("["):
            open_operators.append(token[1:])
            operands.append([])
        elif token == CLOSE:
            if not open_operators or not operands[-1]:
                raise ValueError(f"'{CLOSE}' closes nothing, or an operator without operands: {' '.join(tokens)}")
            values = operands.pop()
            operands[-1].append(apply(open_operators.pop(), values))
        elif len(token) == 1 and token in IDS:
            operands[-1].append(int(token))
        else:
            raise ValueError(f"no token {token!r}; known: {' '.join(TOKENS)}")
    if open_operators or len(operands[0]) != 1:
        raise ValueError(f"not one whole expression: {' '.join(tokens)}")
    return operands[0][0]


@dataclass(frozen=True)
class ListOpsConfig(GeneratedConfig):
    """Settings of the trees.

    Attributes:
        length, min_length: tokens of the longest and of the shortest expression.
        test_lengths: each split "test_<n>" has expressions of more than n / 2 and at most n tokens; that of
            `length` is drawn as "test" is.
        max_depth: operators inside one another. max_args: operands of one; at least 2.
        operators: of MIN, MAX, MED, SM (sum modulo 10), FIRST, LAST; by default those of Long Range Arena.
    """

    test_lengths: tuple[int, ...] = (256,)
    length: int = 128
    min_length: int = 16
    max_depth: int = 10
    max_args: int = 5
    operators: tuple[str, ...] = ("MIN", "MAX", "MED", "SM")


class ListOps(Generated):
    """Expressions of many lengths, padded on the right; in training, those of a batch are of about the same length."""

    def __init__(self, config: ListOpsConfig) -> None:
        require(len(config.operators) >= 1, f"listops: 'operators' is empty; name some of {', '.join(OPERATORS)}")
        for operator in config.operators:
            known = ", ".join(OPERATORS)
            require(operator in OPERATORS, f"listops: 'operators' has '{operator}'; known: {known}")
        require(config.max_depth >= 1, "listops: 'max_depth' is below 1; the root is an operator, so raise it")
        require(config.max_args >= 2, "listops: 'max_args' is below 2; every operator has two operands or more")
        require_lengths("listops", "length", config, config.length, 4, "an operator, two digits, a bracket")
        ordered = config.min_length <= config.length
        require(ordered, f"listops: 'min_length' {config.min_length} is above 'length' {config.length}; lower it")
        self.config = config
        self.pool: tuple[tuple[int, int, int], Batch] | None = None
        shape = TaskShape(config.length, config.length, DIGITS, output="sequence", vocabulary=len(TOKENS) + 1)
        facts = {"lengths_are": "longest of each split; expressions differ", "tokens": [*TOKENS, "padding"]}
        super().__init__("listops", config, shape, chance(DIGITS, "digits"), facts)
        self.references += tuple(self._commonest(split) for split in self.splits)

    def _commonest(self, split: str) -> Reference:
        """Digits are not equally common, and how common follows no simple rule: counted on the split itself."""
        (batch,) = self.eval_batches(split, self.examples[split])
        digit, count = Counter(batch.targets.tolist()).most_common(1)[0]
        share = count / self.examples[split]
        source = f"always {digit}, the commonest answer of the split, counted"
        return Reference("commonest answer", "accuracy", share, "chance", source, (split,))

    def draw(self, examples: int, length: int, generator: torch.Generator, training: bool) -> Batch:
        shortest = self.config.min_length if length == self.config.length else length // 2 + 1
        source = random.Random(int(torch.randint(2**62, (), generator=generator)))
        trees = [self._tree_between(source, shortest, length) for _ in range(examples)]
        longest = max(len(ids) for ids, _ in trees)
        inputs_BT = torch.tensor([ids + [PAD] * (longest - len(ids)) for ids, _ in trees])
        return Batch(inputs_BT, torch.tensor([value for _, value in trees]), inputs_BT != PAD)

    def _tree_between(self, source: random.Random, shortest: int, longest: int) -> tuple[list[int], int]:
        for _ in range(TRIES):
            ids: list[int] = []
            value = self._tree(source, ids, self.config.max_depth, longest)
            if shortest <= len(ids) <= longest:
                return ids, value
        raise ValueError(
            f"listops: no expression of {shortest} to {longest} tokens in {TRIES:,} tries; raise 'max_args' or"
            " 'max_depth', or ask for shorter ones ('length', 'min_length', 'test_lengths')"
        )

    def _tree(self, source: random.Random, ids: list[int], depth: int, longest: int) -> int:
        """Append the tokens of a random tree to `ids`; returns its value. Stops early once `ids` is too long."""
        operators = self.config.operators
        operator = operators[int(source.random() * len(operators))]
        ids.append(IDS[f"[{operator}"])
        values = []
        for _ in range(2 + int(source.random() * (self.config.max_args - 1))):
            if depth > 1 and len(ids) <= longest and source.random() < OPERAND_IS_TREE:
                values.append(self._tree(source, ids, depth - 1, longest))
            else:
                digit = int(source.random() * DIGITS)
                ids.append(digit)
                values.append(digit)
        ids.append(IDS[CLOSE])
        return apply(operator, values)

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        """A pool of several batches is drawn and sorted by length, so that little is padded; each batch is a slice.

        The last pool is kept, as batches are asked for in order; any other order gives the same batches, more slowly.
        """
        group, place = divmod(index, POOL)
        key = (group, batch, seed)
        kept = self.pool
        if kept is None or kept[0] != key:
            generator = stream(self.name, "train", seed, group)
            drawn = self.draw(POOL * batch, self.shape.length, generator, training=True)
            assert drawn.keep_BT is not None  # `draw` always says what is padding
            order = drawn.keep_BT.sum(1).argsort(stable=True)
            kept = self.pool = key, Batch(drawn.inputs[order], drawn.targets[order], drawn.keep_BT[order])
        # Slices come in random order, else every pool would go from short to long.
        turn = int(torch.randperm(POOL, generator=stream(self.name, "order", seed, group))[place])
        return rows(kept[1], turn * batch, (turn + 1) * batch)


@register_task(
    "listops",
    family="probe",
    config=ListOpsConfig,
    summary="the value of nested MIN, MAX, MED and SM of digits",
    reference="Nangia & Bowman 2018; Tay et al. 2021",
)
def listops(config: ListOpsConfig, mode: Mode, places: Places) -> ListOps:
    return ListOps(config)
