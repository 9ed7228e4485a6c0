"""Padding and batching: every prediction counts once and alike, whatever batch it came in."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from bench.contract import Batch, TaskShape
from bench.frontends import apart, compare, pool
from bench.models import build_model, build_task
from bench.registry import ARCHITECTURES, TASKS
from bench.training.evaluate import evaluate
from bench.training.loop import Training
from bench.training.losses import loss_sum, predictions
from tests.training.toys import Clock, Ragged, model, recipe

NAMES = ("attention", "windowed", "lstm", "conv1d")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_the_token_weighted_mean_of_its_sequences_alone(name: str) -> None:
    task, net = Ragged(), model(name).double()
    rows = task.sequences("train", 6)
    whole = task.batch(rows)
    alone = [task.batch([row]) for row in rows]
    assert len({predictions(one) for one in alone}) > 2  # lengths differ, or the test would show nothing

    def mean(batch: Batch) -> torch.Tensor:
        return loss_sum(net(batch.inputs, batch.keep_BT), batch.targets, task.shape) / predictions(batch)

    weighted = sum(mean(one) * predictions(one) for one in alone) / sum(map(predictions, alone))
    assert torch.allclose(mean(whole), weighted, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 64])
def test_evaluation_does_not_depend_on_the_batch_size(size: int) -> None:
    """Ten examples: with batches of 3 and 4 the last one is partial, and counts."""
    task, net = Ragged(10), model().double()
    outcome = evaluate(net, task, "test", size, "cpu", nullcontext)
    rows = task.sequences("test", 10)
    exact = 0.0
    with torch.no_grad():
        for ids in rows:
            exact += float(F.cross_entropy(net(ids[None])[0, 1:], ids[:-1], reduction="sum"))
    assert outcome.count == sum(len(ids) - 1 for ids in rows)
    assert outcome.sequences == 10
    assert outcome.loss == pytest.approx(exact, rel=1e-6)
    assert sum(outcome.loss_T) == pytest.approx(outcome.loss)
    assert sum(outcome.count_T) == outcome.count


def test_accumulation_is_one_large_batch() -> None:
    """Four passes of 4 ragged sequences: the same gradient as one pass of 16, not a mean of four means."""
    task = Ragged()
    nets = [model().double(), model().double()]
    made = [recipe(batch=4, accumulate=4, steps=3), recipe(batch=16, steps=3)]
    for net, one in zip(nets, made, strict=True):
        Training(net, task, one, Clock()).run()
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7), name


def test_perfect_and_correct_are_counted() -> None:
    class Oracle(torch.nn.Module):
        def forward(self, ids: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            late = F.one_hot(torch.cat([ids[:, :1], ids[:, :-1]], 1), 7).float()
            late[0, -1] = 0  # one mistake a batch, where the longest row comes first
            return late * 100

    task = Ragged(4)
    task.sequences = lambda split, count, start=0: [torch.tensor([1, 2, 3, 4])] * count  # type: ignore[method-assign]
    outcome = evaluate(Oracle(), task, "test", 2, "cpu", nullcontext)
    assert (outcome.count, outcome.correct, outcome.sequences, outcome.perfect) == (12, 10, 4, 2)


def test_positions_end_where_a_split_does() -> None:
    """A longer test split must not put empty places behind the recall of a shorter one."""
    task: Any = build_task(TASKS.get("copy_memory"), {"delay": 5, "test_lengths": [60]}, "causal", None)

    class Oracle(torch.nn.Module):
        def forward(self, ids: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
            blank = F.one_hot(torch.full_like(ids, 8), 10).float()
            blank[:, -10:] = F.one_hot(ids[:, :10], 10).float()
            return blank * 100

    for split, length in (("test", 25), ("test_60", 60)):
        outcome = evaluate(Oracle(), task, split, 500, "cpu", nullcontext)
        assert len(outcome.loss_T) == len(outcome.count_T) == length
        scores = {s.metric: s.value for s in task.scores(split, outcome)}
        assert scores["recall_accuracy"] == scores["perfect"] == 1.0


def test_squared_error() -> None:
    shape = TaskShape(length=3, longest=3, outputs=1, output="sequence", features=2, loss="squared_error")
    outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 4.0])
    assert float(loss_sum(outputs, targets, shape)) == 5.0
    assert predictions(Batch(torch.zeros(2, 3, 2), targets)) == 2


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "max"])
def test_pooling_sees_real_tokens_only(pooling: str) -> None:
    y_BTD = torch.randn(3, 5, 4)
    keep_BT = torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]
    garbage = y_BTD.masked_fill(~keep_BT[..., None], 1e9)
    pooled = pool(garbage, keep_BT, pooling)  # type: ignore[arg-type]
    for row, real in enumerate((5, 2, 1)):
        alone = pool(y_BTD[row : row + 1, :real], None, pooling)  # type: ignore[arg-type]
        assert torch.allclose(pooled[row], alone[0])


def test_models_of_one_width_begin_with_the_same_embedding() -> None:
    a, b = model("lstm", seed=3), model("attention", seed=3)
    assert torch.equal(a.front.weight, b.front.weight)
    assert a.head.linear.weight is a.front.weight
    assert not torch.equal(a.front.weight, copy.deepcopy(model("lstm", seed=4)).front.weight)


def test_embeddings_start_as_the_recipe_says() -> None:
    shape = replace(Ragged.shape, vocabulary=500, outputs=500)
    entry = ARCHITECTURES.get("attention")
    for kind, inputs, weights in (("unit", 1.0, 64**-0.5), ("small", 0.02, 0.02)):
        net = build_model(entry, {}, 64, 1, "causal", shape, "last", kind)  # type: ignore[arg-type]
        assert float(net.front(torch.arange(500)[None]).detach().std()) == pytest.approx(inputs, rel=0.03)
        assert float(net.head.linear.weight.detach().std()) == pytest.approx(weights, rel=0.03)
    assert (recipe(init="gpt2").embedding, recipe().embedding) == ("small", "unit")


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=5),
    st.booleans(),
)
def test_two_towers_see_one_text_each(pairs: list[tuple[int, int]], again: bool) -> None:
    """Each text comes out alone, whole, padded on the right; a separator within the second text stays there."""
    separator, longest = 9, max(a + b + 1 for a, b in pairs)
    ids_BT, keep_BT = (
        torch.zeros(len(pairs), longest, dtype=torch.int64),
        torch.zeros(len(pairs), longest, dtype=torch.bool),
    )
    texts = []
    for row, (a, b) in enumerate(pairs):
        first, second = torch.arange(1, a + 1), torch.arange(11, 11 + b)
        if again and b > 1:
            second[-1] = separator
        ids = torch.cat([first, torch.tensor([separator]), second])
        ids_BT[row, : len(ids)], keep_BT[row, : len(ids)] = ids, True
        texts.append((first, second))
    found, keep = apart(ids_BT, None if keep_BT.all() else keep_BT, separator)
    assert found.shape == keep.shape == (2 * len(pairs), max(max(pair) for pair in pairs))
    for row, (first, second) in enumerate(texts):
        assert torch.equal(found[row][keep[row]], first)
        assert torch.equal(found[row + len(pairs)][keep[row + len(pairs)]], second)
    assert all(bool((k.int().diff() <= 0).all()) for k in keep)


def test_a_model_of_two_towers_is_blind_to_what_stands_beside_a_text() -> None:
    shape = TaskShape(length=9, longest=9, outputs=2, output="sequence", vocabulary=12, separator=9, towers=True)
    model = build_model(ARCHITECTURES.get("attention"), {}, 16, 1, "bidirectional", shape, "mean", seed=0).eval()
    one = torch.tensor([[1, 2, 9, 4, 5, 6]])
    wide = torch.tensor([[1, 2, 9, 4, 5, 6, 0, 0], [3, 3, 3, 3, 9, 1, 1, 1]])
    keep = torch.tensor([[True] * 6 + [False] * 2, [True] * 8])
    torch.testing.assert_close(model(wide, keep)[:1], model(one))
    joined = build_model(
        ARCHITECTURES.get("attention"), {}, 16, 1, "bidirectional", replace(shape, towers=False), "mean", seed=0
    )
    assert model(one).shape == joined(one).shape == (1, 2)
    u, v = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    assert compare(u, v).tolist() == [[1, 2, 3, -1, 2, 3, 3, -2]]
