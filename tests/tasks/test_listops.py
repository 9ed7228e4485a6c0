"""ListOps: the evaluator against the published rows and against a second one, the generator against its settings."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Batch, Places
from tasks.listops import OPERATORS, TOKENS, ListOps, ListOpsConfig, evaluate, evaluate_tokens, listops

FILES = ("test_d8.tsv", "test_d20s.tsv")
Tree = int | tuple[str, list["Tree"]]


def published(name: str) -> list[tuple[int, str]]:
    folder = os.environ.get("SEQBENCH_DATA")
    if not folder:
        pytest.skip(
            "needs the published rows: set SEQBENCH_DATA to a folder with listops/test_d8.tsv and test_d20s.tsv"
        )
    path = Path(folder) / "listops" / name
    if not path.is_file():
        pytest.skip(f"needs the published rows: no {path}")
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [(int(label), expression) for label, expression in rows]


def operators_of(expressions: list[str]) -> set[str]:
    return {token[1:] for expression in expressions for token in expression.split() if token.startswith("[")}


@pytest.mark.parametrize("name", FILES)
def test_every_published_label(name: str) -> None:
    rows = published(name)
    assert len(rows) == 10_000
    assert [label for label, _ in rows] == [evaluate(expression) for _, expression in rows]


def test_operators_are_the_published_ones() -> None:
    found = [operators_of([expression for _, expression in published(name)]) for name in FILES]
    assert set(OPERATORS) == found[0] | found[1]
    assert found[1] == set(ListOpsConfig().operators)  # the deeper file has those of Long Range Arena


@pytest.mark.parametrize(("name", "max_depth", "max_args"), [("test_d8.tsv", 7, 3), ("test_d20s.tsv", 19, 5)])
def test_the_generator_draws_what_was_published(name: str, max_depth: int, max_args: int) -> None:
    """With the file's settings and lengths, labels are distributed as the file's, up to sampling error."""
    low, high = 12, 100
    rows = [(y, e) for y, e in published(name) if low <= sum(token not in "()" for token in e.split()) <= high]
    used = tuple(sorted(operators_of([expression for _, expression in rows])))
    config = ListOpsConfig((), 1, len(rows), high, low, max_depth, max_args, used)
    (batch,) = build(config).eval_batches("test", len(rows))
    drawn_C = torch.bincount(batch.targets, minlength=10).double()
    given_C = torch.bincount(torch.tensor([label for label, _ in rows]), minlength=10).double()
    # Two samples of one distribution: chi-squared with 9 degrees of freedom, 27.9 at one in a thousand.
    assert ((drawn_C - given_C).square() / (drawn_C + given_C)).sum() < 27.9
    operators = torch.tensor([TOKENS.index(f"[{operator}") for operator in used])
    assert set(batch.inputs[:, 0].tolist()) == set(operators.tolist())


def build(config: ListOpsConfig) -> ListOps:
    return listops(config, "bidirectional", Places(None, Path("unused")))


def trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.integers(0, 9),
        lambda inner: st.tuples(st.sampled_from(OPERATORS), st.lists(inner, min_size=1, max_size=5)),
        max_leaves=30,
    )


def value(tree: Tree) -> int:
    if isinstance(tree, int):
        return tree
    operator, operands = tree
    v = [value(operand) for operand in operands]
    results = {"MIN": min(v), "MAX": max(v), "MED": int(median(v)), "SM": sum(v) % 10, "FIRST": v[0], "LAST": v[-1]}
    return results[operator]


def written(tree: Tree, brackets: bool) -> str:
    """As the published files write it: an operator takes its operands one by one, each time in round brackets."""
    if isinstance(tree, int):
        return str(tree)
    operator, operands = tree
    text = f"[{operator}"
    for part in [*(written(operand, brackets) for operand in operands), "]"]:
        text = f"( {text} {part} )" if brackets else f"{text} {part}"
    return text


@given(trees())
@settings(max_examples=200, deadline=None)
def test_any_tree_has_its_value(tree: Tree) -> None:
    assert evaluate(written(tree, brackets=True)) == evaluate(written(tree, brackets=False)) == value(tree)
    assert evaluate_tokens(written(tree, brackets=False).split()) == value(tree)


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("( ( ( [MAX 2 ) 9 ) ] )", 9),
        ("[MED 1 2 ]", 1),
        ("[MED 9 1 4 ]", 4),
        ("[SM 9 9 ]", 8),
        ("[FIRST 3 [LAST 1 2 ] ]", 3),
        ("[LAST 3 [MIN 7 2 ] ]", 2),
        ("7", 7),
    ],
)
def test_examples(expression: str, answer: int) -> None:
    assert evaluate(expression) == answer


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "not one whole"),
        ("1 2", "not one whole"),
        ("[MAX 1", "not one whole"),
        ("]", "closes nothing"),
        ("[MAX ]", "without operands"),
        ("[AVG 1 2 ]", "no operator 'AVG'"),
        ("[MAX 12 ]", "no token '12'"),
        ("[MAX x ]", "no token 'x'"),
    ],
)
def test_what_is_no_expression(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(expression)


def token_lists(batch: Batch) -> list[list[str]]:
    assert batch.keep_BT is not None
    return [[TOKENS[i] for i in row[keep].tolist()] for row, keep in zip(batch.inputs, batch.keep_BT, strict=True)]


@given(
    length=st.integers(20, 60),
    max_depth=st.integers(1, 6),
    max_args=st.integers(2, 6),
    operators=st.lists(st.sampled_from(OPERATORS), min_size=1, unique=True),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=25, deadline=None)
def test_generated_expressions_keep_to_their_settings(
    length: int, max_depth: int, max_args: int, operators: list[str], seed: int
) -> None:
    config = ListOpsConfig((), 4, 8, length, 4, max_depth, max_args, tuple(operators))
    batch = build(config).train_batch(0, 4, seed)
    for tokens, target in zip(token_lists(batch), batch.targets.tolist(), strict=True):
        assert evaluate_tokens(tokens) == target and 4 <= len(tokens) <= length
        assert operators_of([" ".join(tokens)]) <= set(operators)
        operands: list[int] = []
        deepest = 0
        for token in tokens:
            if token == "]":
                assert 2 <= operands.pop() <= max_args
                continue
            if operands:
                operands[-1] += 1
            if token.startswith("["):
                operands.append(0)
                deepest = max(deepest, len(operands))
        assert deepest <= max_depth


def test_lengths_of_splits_and_padding_of_training() -> None:
    task = build(ListOpsConfig(test_lengths=(200,), tune_examples=100, test_examples=100))
    bands = {"tune": (16, 128), "test": (16, 128), "test_200": (101, 200)}
    for split, (low, high) in bands.items():
        lengths = [len(tokens) for batch in task.eval_batches(split, 30) for tokens in token_lists(batch)]
        assert low <= min(lengths) and max(lengths) <= high and len(set(lengths)) > 20
    batches = [task.train_batch(index, 32, 0) for index in range(16)]
    kept = sum(int(batch.keep_BT.sum()) for batch in batches if batch.keep_BT is not None)
    padded = sum(batch.inputs.numel() for batch in batches)
    assert kept / padded > 0.8, "batches are of like lengths"
    widths = [batch.inputs.shape[1] for batch in batches[:8]]
    assert widths != sorted(widths) and len({tuple(t) for b in batches for t in token_lists(b)}) == 512
