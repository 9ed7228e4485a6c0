"""Every generated task: same numbers, same batch; shapes as promised; targets as a slow oracle finds them; references as
counted. A new built-in probe is tested by being registered, and needs an oracle here.

Legend: B batch, T tokens, C outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.contract import IGNORE, Batch, Mode, Outcome, Places, Task, stream
from bench.models import make_config
from bench.registry import TASKS
from tasks.generated import Generated
from tasks.listops import TOKENS, evaluate_tokens
from tasks.recall import distinct

PROBES = [e.name for e in TASKS.entries.values() if e.family == "probe" and e.source == "built-in"]
FEW: dict[str, Any] = {"tune_examples": 20, "test_examples": 50}
CAUSAL_ONLY = {"copy_memory", "reverse"}
EVERY_PROBE = pytest.mark.parametrize("name", PROBES)


def build(name: str, mode: Mode = "causal", **given_settings: Any) -> Generated:
    entry = TASKS.get(name)
    return entry.build(make_config(entry, given_settings), mode, Places(None, Path("unused")))


def same(a: Batch, b: Batch) -> bool:
    if a.inputs.shape != b.inputs.shape or (a.keep_BT is None) != (b.keep_BT is None):
        return False
    kept = a.keep_BT is None or b.keep_BT is None or torch.equal(a.keep_BT, b.keep_BT)
    return kept and torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def examples(batches: Any) -> list[tuple[list[Any], Any]]:
    """(input without padding, target) of each example."""
    pairs = []
    for batch in batches:
        for row in range(len(batch.inputs)):
            inputs = batch.inputs[row] if batch.keep_BT is None else batch.inputs[row][batch.keep_BT[row]]
            pairs.append((inputs.tolist(), batch.targets[row].tolist()))
    return pairs


# --- what each task asks, worked out again from its inputs, one example at a time -------------------------------------


def copy_oracle(task: Generated, inputs: list[int], training: bool) -> list[int]:
    assert inputs.index(9) == len(inputs) - 11 and inputs.count(9) == 1
    assert all(symbol < 8 for symbol in inputs[:10]) and set(inputs[10:]) == {8, 9}
    return [8] * (len(inputs) - 10) + inputs[:10]


def adding_oracle(task: Generated, inputs: list[list[float]], training: bool) -> float:
    half = len(inputs) // 2
    marked = [t for t, (_, mark) in enumerate(inputs) if mark == 1]
    assert {mark for _, mark in inputs} == {0, 1} and len(marked) == 2 and marked[0] < half <= marked[1]
    return sum(inputs[t][0] for t in marked)


def mqar_oracle(task: Any, inputs: list[int], training: bool) -> list[int]:
    shown = 2 * task.pairs
    keys, values = inputs[0:shown:2], inputs[1:shown:2]
    half = task.shape.vocabulary // 2
    assert len(set(keys)) == len(set(values)) == task.pairs and max(keys) < half <= min(values)
    return [dict(zip(keys, values, strict=True)).get(i, IGNORE) if t >= shown else IGNORE for t, i in enumerate(inputs)]


def induction_oracle(task: Generated, inputs: list[int], training: bool) -> list[int]:
    special = task.shape.vocabulary - 1
    assert inputs[-1] == special and inputs.count(special) == 2
    return [IGNORE] * (len(inputs) - 1) + [inputs[inputs.index(special) + 1]]


def parity_oracle(task: Any, inputs: list[int], training: bool) -> list[int]:
    targets, odd = [], False
    for bit in inputs:
        odd = odd != (bit == 1)
        targets.append(int(odd))
    return targets if training and task.dense else [IGNORE] * (len(inputs) - 1) + targets[-1:]


def arithmetic_oracle(task: Any, inputs: list[int], training: bool) -> list[int]:
    modulus = task.modulus
    value = inputs[0]
    targets = [value]
    for t in range(1, len(inputs), 2):
        # As Python reads it, so brackets are put in: precedence would be another task.
        value = eval(f"({value}) {'+-*'[inputs[t] - modulus]} {inputs[t + 1]}") % modulus
        targets += [IGNORE, value]
    return targets if training and task.dense else [IGNORE] * (len(inputs) - 1) + targets[-1:]


def reverse_oracle(task: Generated, inputs: list[int], training: bool) -> list[int]:
    count = len(inputs) // 2
    symbols, answer = inputs[:count], inputs[:count][::-1]
    assert inputs == [*symbols, task.shape.vocabulary - 1, *answer[:-1]]
    return [IGNORE] * count + answer


def listops_oracle(task: Generated, inputs: list[int], training: bool) -> int:
    return evaluate_tokens([TOKENS[i] for i in inputs])


ORACLES: dict[str, Callable[[Any, Any, bool], Any]] = {
    "copy_memory": copy_oracle,
    "adding": adding_oracle,
    "mqar": mqar_oracle,
    "induction": induction_oracle,
    "parity": parity_oracle,
    "modular_arithmetic": arithmetic_oracle,
    "reverse": reverse_oracle,
    "listops": listops_oracle,
}


def check_targets(task: Generated, name: str, batch: Batch, training: bool) -> None:
    for inputs, targets in examples([batch]):
        expected = ORACLES[name](task, inputs, training)
        if name == "mqar":  # a random filler can be a key: then nothing is asked, so compare where something is
            expected = [e if t != IGNORE else IGNORE for e, t in zip(expected, targets, strict=True)]
            assert sum(t != IGNORE for t in targets) == task.pairs  # type: ignore[attr-defined]
        assert targets == pytest.approx(expected, abs=1e-6)


@EVERY_PROBE
def test_targets_are_those_of_a_slow_oracle(name: str) -> None:
    task = build(name, **FEW)
    for index in range(6):
        check_targets(task, name, task.train_batch(index, 8, 3), training=True)
    for split in task.splits:
        for batch in task.eval_batches(split, 32):
            check_targets(task, name, batch, training=False)


# --- the contract ----------------------------------------------------------------------------------------------------


@EVERY_PROBE
def test_training_batches_are_decided_by_their_numbers(name: str) -> None:
    task, again = build(name, **FEW), build(name, **FEW)
    ahead = [task.train_batch(index, 4, 5) for index in range(20)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for index in reversed(range(20)):  # in any order, with other calls between
        again.train_batch(index + 1, 4, 6)
        assert same(again.train_batch(index, 4, 5), ahead[index])
    assert torch.equal(torch.get_rng_state(), state), "a task must leave the global stream of random numbers alone"
    for index in range(20):
        assert not same(task.train_batch(index, 4, 6), ahead[index])
        assert index == 0 or not same(ahead[index], ahead[index - 1])


@EVERY_PROBE
@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_shapes_are_as_promised(name: str, mode: Mode) -> None:
    if mode == "bidirectional" and name in CAUSAL_ONLY:
        with pytest.raises(ValueError, match="use mode 'causal'"):
            build(name, mode)
        return
    task = build(name, mode, **FEW)
    assert isinstance(task, Task)
    shape = task.shape
    assert shape.longest == max(task.facts["lengths"].values()) and shape.length <= shape.longest
    batches = [(None, task.train_batch(index, 5, 0)) for index in range(30)]
    batches += [(split, batch) for split in task.splits for batch in task.eval_batches(split, 16)]
    for split, batch in batches:
        B, T = batch.inputs.shape[:2]
        limit = shape.length if split is None else task.facts["lengths"][split]
        assert limit >= T and (split is None or batch.keep_BT is not None or limit == T)
        if shape.vocabulary:
            assert batch.inputs.shape == (B, T) and batch.inputs.dtype == torch.int64
            assert batch.inputs.min() >= 0 and batch.inputs.max() < shape.vocabulary
        else:
            assert batch.inputs.shape == (B, T, shape.features) and batch.inputs.dtype == torch.float32
        assert batch.targets.shape == ((B, T) if shape.output == "token" else (B,))
        if shape.loss == "squared_error":
            assert batch.targets.dtype == torch.float32
        else:
            asked = batch.targets[batch.targets != IGNORE]
            assert batch.targets.dtype == torch.int64 and len(asked) >= B
            assert asked.min() >= 0 and asked.max() < shape.outputs
            assert shape.output == "token" or len(asked) == B
        if batch.keep_BT is not None:
            assert batch.keep_BT.dtype == torch.bool and batch.keep_BT[:, 0].all()
            assert (batch.keep_BT[:, 1:] <= batch.keep_BT[:, :-1]).all(), "padding is on the right"
            assert batch.keep_BT[:, -1].any(), "no more padding than is needed"


@EVERY_PROBE
def test_splits_hold_every_example_once(name: str) -> None:
    task = build(name, **FEW)
    assert task.splits[:2] == ("tune", "test") and len(task.splits) == len(set(task.splits))
    for split in task.splits:
        size = FEW["tune_examples"] if split == "tune" else FEW["test_examples"]
        batches = list(task.eval_batches(split, 16))
        assert [len(b.inputs) for b in batches] == [16] * (size // 16) + [size % 16]
        assert task.facts["sizes"][split] == size
        assert all(same(a, b) for a, b in zip(batches, task.eval_batches(split, 16), strict=True))
        assert examples(batches) == examples(task.eval_batches(split, 7)), "other batches, other examples"
        assert examples(batches) == examples(build(name, **FEW).eval_batches(split, size))


@EVERY_PROBE
def test_streams_of_tune_test_and_training_differ(name: str) -> None:
    task = build(name, **FEW | {"tune_examples": 50})
    tune, test = examples(task.eval_batches("tune", 50)), examples(task.eval_batches("test", 50))
    trained = examples(task.train_batch(index, 50, 0) for index in range(8))
    seen = {str(inputs) for inputs, _ in tune}
    assert not seen & {str(inputs) for inputs, _ in test}
    assert not seen & {str(inputs) for inputs, _ in trained}
    assert not {str(inputs) for inputs, _ in test} & {str(inputs) for inputs, _ in trained}


@EVERY_PROBE
def test_fingerprint_follows_settings(name: str) -> None:
    task = build(name, **FEW)
    assert task.fingerprint == build(name, **FEW).fingerprint
    assert task.fingerprint != build(name, **FEW | {"tune_examples": 21}).fingerprint
    json.dumps([task.facts, task.fingerprint])
    assert {"source", "licence", "sizes", "lengths"} <= set(task.facts)


@EVERY_PROBE
def test_further_test_lengths_become_splits(name: str) -> None:
    task = build(name, **FEW, test_lengths=(50 + (name == "modular_arithmetic"), 90 + (name == "modular_arithmetic")))
    assert set(task.splits) == {"tune", "test", *(f"test_{n}" for n in task.facts["lengths"].values())} - {
        f"test_{task.shape.length}"
    }
    for split, n in task.facts["lengths"].items():
        assert max(b.inputs.shape[1] for b in task.eval_batches(split, 50)) <= n


# --- scores and references -------------------------------------------------------------------------------------------


def outcome(task: Generated, split: str, predict: Callable[[Batch], Tensor]) -> Outcome:
    """What the engine sums up, in plain words: `predict` gives log-probabilities (..., C), or values."""
    sums = Outcome()
    for batch in task.eval_batches(split, 500):
        out, targets = predict(batch).double(), batch.targets
        if task.shape.loss == "squared_error":
            sums.loss += float((out - targets).square().sum())
            sums.count += len(targets)
            sums.sequences += len(targets)
            continue
        out, targets = (out, targets) if targets.ndim == 2 else (out[:, None], targets[:, None])
        asked_BT = targets != IGNORE
        safe_BT = targets.clamp(min=0)
        loss_BT = torch.where(asked_BT, -out.gather(2, safe_BT[..., None])[..., 0], 0.0)
        right_BT = asked_BT & (out.argmax(2) == targets)
        sums.loss += float(loss_BT.sum())
        sums.count += int(asked_BT.sum())
        sums.correct += int(right_BT.sum())
        sums.sequences += len(targets)
        sums.perfect += int((right_BT == asked_BT).all(1).sum())
        old = [sums.loss_T, sums.correct_T, sums.count_T]
        new = [t.sum(0).tolist() for t in (loss_BT, right_BT, asked_BT)]
        pairs = [[a + b for a, b in zip(o or [0] * len(n), n, strict=True)] for o, n in zip(old, new, strict=True)]
        sums.loss_T, sums.correct_T, sums.count_T = pairs[0], [int(n) for n in pairs[1]], [int(n) for n in pairs[2]]
    return sums


def value_of(task: Generated, split: str, metric: str, sums: Outcome) -> float:
    return {score.metric: score.value for score in task.scores(split, sums)}[metric]


def reference(task: Generated, label: str, metric: str, split: str = "test") -> float:
    found = [
        r for r in task.references if r.label == label and r.metric == metric and (not r.splits or split in r.splits)
    ]
    assert len(found) == 1, f"{label} {metric} {split}: {found}"
    return found[0].value


@EVERY_PROBE
def test_the_right_answers_score_best(name: str) -> None:
    task = build(name, **FEW)

    def ideal(batch: Batch) -> Tensor:
        if task.shape.loss == "squared_error":
            return batch.targets
        return torch.nn.functional.one_hot(batch.targets.clamp(min=0), task.shape.outputs).double().log().clamp(-50)

    for split in task.splits:
        scores = task.scores(split, outcome(task, split, ideal))
        assert scores[0].metric == task.primary
        for score in scores:
            assert score.better in ("lower", "higher") and score.unit
            assert score.value == (0 if score.better == "lower" else 1)
    empty = task.scores("test", Outcome())
    assert all(math.isfinite(score.value) for score in empty)


@EVERY_PROBE
def test_references_name_metrics_and_splits_that_exist(name: str) -> None:
    task = build(name, **FEW)
    metrics = {score.metric for score in task.scores("test", Outcome(count=2, sequences=1))}
    for entry in task.references:
        assert entry.metric in metrics and set(entry.splits) <= set(task.splits) and entry.source and entry.label
    for split in task.splits:
        assert any(r.metric == task.primary and (not r.splits or split in r.splits) for r in task.references)


def guess(task: Generated, low: int, high: int) -> Callable[[Batch], Tensor]:
    """One of the outputs from `low` to `high` at random, and a loss as if all of them were equally likely."""
    generator = stream("guess", task.name)

    def predict(batch: Batch) -> Tensor:
        out = torch.full((*batch.targets.shape, task.shape.outputs), -50.0, dtype=torch.float64)
        out[..., low:high] = -math.log(high - low)
        # Enough to decide the largest, too little to show in the loss.
        return out + 1e-9 * torch.rand(out.shape, generator=generator, dtype=torch.float64)

    return predict


@pytest.mark.parametrize("name", [n for n in PROBES if n not in ("copy_memory", "adding")])
def test_chance_is_what_a_guess_gets(name: str) -> None:
    task = build(name)
    low = task.shape.outputs // 2 if name == "mqar" else 0  # answers are values, the upper half
    for split in task.splits[:3]:
        sums = outcome(task, split, guess(task, low, task.shape.outputs))
        share = reference(task, "chance", "accuracy", split)
        assert value_of(task, split, "loss", sums) == pytest.approx(reference(task, "chance", "loss", split), abs=1e-6)
        error = 4 * math.sqrt(share * (1 - share) / sums.count)
        assert value_of(task, split, "accuracy", sums) == pytest.approx(share, abs=error)


def test_copying_without_memory_reaches_the_floor() -> None:
    task = build("copy_memory", test_lengths=(60,))
    assert reference(task, "no memory: 10 ln 8 / (T + 20)", "loss") == pytest.approx(10 * math.log(8) / 220)
    assert task.facts["lengths"] == {"tune": 220, "test": 220, "test_60": 60}

    def forgetful(batch: Batch) -> Tensor:
        out = guess(task, 0, 8)(batch)
        out[:, :-10] = -50.0
        out[:, :-10, 8] = 0.0
        return out

    for split in task.splits:
        sums = outcome(task, split, forgetful)
        floor = reference(task, "no memory: 10 ln 8 / (T + 20)", "loss", split)
        assert value_of(task, split, "loss", sums) == pytest.approx(floor, abs=1e-6)
        recalled = value_of(task, split, "recall_accuracy", sums)
        error = 4 * math.sqrt(1 / 8 * 7 / 8 / (10 * sums.sequences))
        assert recalled == pytest.approx(reference(task, "chance", "recall_accuracy", split), abs=error)
        assert value_of(task, split, "perfect", sums) == 0


def test_adding_always_one() -> None:
    """The variance of two uniforms is 1/6, and the printed 0.1767 is not within sampling error of what is measured."""
    task = build("adding", length=10, test_examples=200_000)
    measured = value_of(task, "test", "loss", outcome(task, "test", lambda batch: torch.ones(len(batch.targets))))
    error = 4 * math.sqrt((1 / 15 - 1 / 36) / 200_000)  # the fourth moment of the sum about 1 is 1/15
    assert measured == pytest.approx(reference(task, "always 1", "loss"), abs=error)
    assert reference(task, "always 1", "loss") == pytest.approx(1 / 6)
    assert reference(task, "always 1, as printed", "loss") == 0.1767
    assert abs(measured - 0.1767) > error


def test_any_value_of_the_sequence_is_right_once_in_as_many() -> None:
    task = build("mqar")
    generator = stream("pick")

    def pick(batch: Batch) -> Tensor:
        choice_BT = torch.randint(8, batch.targets.shape, generator=generator)
        return torch.nn.functional.one_hot(batch.inputs[:, 1:16:2].gather(1, choice_BT), 256).double()

    share = reference(task, "a value of the sequence, any", "accuracy")
    assert share == 1 / 8
    sums = outcome(task, "test", pick)
    assert sums.accuracy == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / sums.count))


@pytest.mark.parametrize("modulus", [2, 4, 5])
def test_commonest_value_of_arithmetic_by_enumeration(modulus: int) -> None:
    task = build("modular_arithmetic", modulus=modulus, length=5, test_lengths=(1, 3), **FEW)
    for split, length in task.facts["lengths"].items():
        choices = [range(modulus) if t % 2 == 0 else range(modulus, modulus + 3) for t in range(length)]
        values = [arithmetic_oracle(task, list(inputs), False)[-1] for inputs in product(*choices)]
        share = values.count(0) / len(values)
        assert reference(task, "commonest answer", "accuracy", split) == pytest.approx(share)
        assert max(values.count(value) for value in range(modulus)) == values.count(0)


def test_commonest_answers_on_the_splits() -> None:
    for name, split in [("modular_arithmetic", "test"), ("modular_arithmetic", "test_241"), ("listops", "test")]:
        task = build(name)
        targets = torch.cat(
            [b.targets if b.targets.ndim == 1 else b.targets[:, -1] for b in task.eval_batches(split, 99)]
        )
        share = reference(task, "commonest answer", "accuracy", split)
        error = 4 * math.sqrt(share * (1 - share) / 2000)
        assert targets.bincount().max() / 2000 == pytest.approx(share, abs=error)


# --- each task's own promises ----------------------------------------------------------------------------------------


@given(length=st.integers(1, 70), dense=st.booleans(), seed=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_parity_of_any_length(length: int, dense: bool, seed: int) -> None:
    task = build("parity", length=length, dense=dense, test_lengths=(), **FEW)
    check_targets(task, "parity", task.train_batch(0, 4, seed), training=True)
    check_targets(task, "parity", next(task.eval_batches("test", 4)), training=False)


@given(numbers=st.integers(1, 30), modulus=st.integers(2, 11), dense=st.booleans(), seed=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_arithmetic_of_any_length_and_modulus(numbers: int, modulus: int, dense: bool, seed: int) -> None:
    choices = {"length": 2 * numbers - 1, "modulus": modulus, "dense": dense, "test_lengths": ()}
    task = build("modular_arithmetic", **choices, **FEW)
    check_targets(task, "modular_arithmetic", task.train_batch(0, 4, seed), training=True)
    check_targets(task, "modular_arithmetic", next(task.eval_batches("test", 4)), training=False)


@given(pairs=st.integers(1, 12), spare=st.integers(0, 30), seed=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_recall_of_any_number_of_pairs(pairs: int, spare: int, seed: int) -> None:
    task = build("mqar", pairs=pairs, length=4 * pairs + spare, vocabulary=2 * pairs, test_lengths=(), **FEW)
    check_targets(task, "mqar", task.train_batch(0, 4, seed), training=True)


@pytest.mark.parametrize(
    ("name", "possible"),
    [("parity", range(3, 9)), ("modular_arithmetic", range(3, 10, 2)), ("reverse", range(4, 9, 2))],
)
def test_training_lengths_are_spread_evenly(name: str, possible: range) -> None:
    task = build(name, length=possible[-1], min_length=possible[0], **FEW)
    drawn = [task.train_batch(index, 2, 0).inputs.shape[1] for index in range(600)]
    expected = 600 / len(possible)
    assert set(drawn) == set(possible)
    assert all(abs(drawn.count(n) - expected) < 5 * math.sqrt(expected) for n in possible)


def test_draws_without_replacement_have_their_odds() -> None:
    weights = [1.0, 0.5, 0.25]
    drawn = distinct(60_000, 2, torch.tensor(weights), stream("odds")).tolist()
    for first, second in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]:
        odds = weights[first] / 1.75 * weights[second] / (1.75 - weights[first])
        assert drawn.count([first, second]) / 60_000 == pytest.approx(odds, abs=4 * math.sqrt(odds / 60_000))


def test_gaps_of_queries_follow_the_power_law() -> None:
    """One pair, so that a gap is one draw: its odds are i ** (alpha - 1), or even where alpha is 1."""
    for alpha in (0.01, 1.0):
        task = build("mqar", pairs=1, length=22, alpha=alpha, test_examples=20_000, test_lengths=())
        (batch,) = task.eval_batches("test", 20_000)
        gaps = ((batch.targets != IGNORE).int().argmax(1) - 2) // 2
        odds = torch.arange(1, 11, dtype=torch.float64) ** (alpha - 1)
        odds /= odds.sum()
        assert torch.allclose(gaps.bincount(minlength=10).double() / 20_000, odds, atol=0.015)


def test_bits_and_special_places_are_spread() -> None:
    (batch,) = build("induction", length=12, test_lengths=(), test_examples=10_000).eval_batches("test", 10_000)
    counts = (batch.inputs == 16).int().argmax(1).bincount(minlength=10)
    assert len(counts) == 10 and (counts - 1000).abs().max() < 150
    (batch,) = build("parity", test_lengths=()).eval_batches("test", 2000)
    assert batch.inputs.double().mean() == pytest.approx(0.5, abs=0.01)


BAD = [
    ("copy_memory", {"delay": 0}, "'delay' gives 20 tokens, below 21"),
    ("copy_memory", {"test_lengths": (20,)}, "'test_lengths' has 20, below 21"),
    ("adding", {"length": 1}, "'length' gives 1 tokens, below 2"),
    ("adding", {"test_lengths": (1,)}, "'test_lengths' has 1"),
    ("mqar", {"pairs": 0}, "'pairs' is below 1"),
    ("mqar", {"pairs": 17}, "below 68 .4 tokens for each of 'pairs'"),
    ("mqar", {"vocabulary": 14}, "'vocabulary' must be even and at least"),
    ("mqar", {"vocabulary": 255}, "'vocabulary' must be even"),
    ("mqar", {"alpha": 0.0}, "'alpha' must be above 0"),
    ("mqar", {"test_lengths": (31,)}, "'test_lengths' has 31, below 32"),
    ("induction", {"length": 2}, "'length' gives 2 tokens, below 3"),
    ("induction", {"vocabulary": 1}, "'vocabulary' is below 2"),
    ("parity", {"length": 0}, "'length' gives 0 tokens, below 1"),
    ("parity", {"min_length": 41}, "'min_length' 41 is above 'length' 40"),
    ("parity", {"min_length": 0}, "'min_length' gives 0 tokens"),
    ("modular_arithmetic", {"length": 40}, "'length' is 40; .* odd length, so take 41"),
    ("modular_arithmetic", {"test_lengths": (60,)}, "'test_lengths' has 60; .* so take 61"),
    ("modular_arithmetic", {"modulus": 1}, "'modulus' is below 2"),
    ("reverse", {"length": 41}, "'length' is 41; .* so take 42"),
    ("reverse", {"min_length": 3}, "'min_length' is 3"),
    ("reverse", {"vocabulary": 1}, "'vocabulary' is below 2"),
    ("listops", {"operators": ("MIN", "MEAN")}, "'operators' has 'MEAN'; known: MIN"),
    ("listops", {"operators": ()}, "'operators' is empty"),
    ("listops", {"max_depth": 0}, "'max_depth' is below 1"),
    ("listops", {"max_args": 1}, "'max_args' is below 2"),
    ("listops", {"length": 3}, "'length' gives 3 tokens, below 4"),
    ("listops", {"min_length": 129}, "'min_length' 129 is above 'length' 128"),
    ("listops", {"max_depth": 1}, "no expression of 16 to 128 tokens"),
]


@pytest.mark.parametrize(("name", "bad", "message"), BAD)
def test_bad_settings_name_the_setting_and_the_fix(name: str, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **bad)


@EVERY_PROBE
@pytest.mark.parametrize("setting", ["tune_examples", "test_examples"])
def test_no_examples(name: str, setting: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: '{setting}' is below 1"):
        build(name, **FEW | {setting: 0})


@EVERY_PROBE
def test_a_length_named_twice(name: str) -> None:
    with pytest.raises(ValueError, match="names a length twice"):
        build(name, **FEW, test_lengths=(81 if name == "modular_arithmetic" else 80,) * 2)
