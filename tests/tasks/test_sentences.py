"""Sentence tasks: splits, batches, padding, scores."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Outcome, Task
from tasks.alike import alike
from tasks.batching import POOL, Buckets
from tasks.metrics import ACCURACY, PEARSON, SPEARMAN
from tasks.sentences import Labelled, SentenceConfig, SentenceTask, share_of, shortened
from tasks.tables import Example
from tasks.text import Characters, Words

WORDS = ("the", "a", "dog", "cat", "runs", "sleeps", "and", "or", "not", "very", "old", "big", "small", "one", "two")


def sentences(count: int, texts: int = 1, seed: int = 0) -> list[Example]:
    source = random.Random(seed)
    found = []
    for i in range(count):
        parts = tuple(" ".join(source.choices(WORDS, k=source.randint(1, 30))) + f" {i}" for _ in range(texts))
        found.append(Example(parts, float(source.random() < 0.3)))
    return found


def task(cache: Path, texts: int = 1, count: int = 400, **settings: Any) -> SentenceTask:
    data = Labelled(
        sentences(count, texts), {"test": sentences(90, texts, seed=1)}, ("no", "yes"), (ACCURACY,), {"text": "made up"}
    )
    return SentenceTask("made_up", data, SentenceConfig(**{"vocabulary": 0, **settings}), cache)


def shown(work: SentenceTask, batch: Any) -> list[str]:
    keep = batch.keep_BT if batch.keep_BT is not None else torch.ones_like(batch.inputs, dtype=torch.bool)
    return [work.tokenizer.decode(ids[k].tolist()) for ids, k in zip(batch.inputs, keep, strict=True)]


def test_it_is_a_task_with_splits_that_share_nothing(tmp_path: Path) -> None:
    work = task(tmp_path)
    assert isinstance(work, Task) and work.splits == ("tune", "test")
    sizes = {split: len(found) for split, found in work.examples.items()}
    assert sizes == {"train": 360, "tune": 40, "test": 90}
    texts = [example.texts for split in ("train", "tune") for example in work.examples[split]]
    assert len(set(texts)) == 400
    for split in ("train", "tune"):
        share = np.mean([e.label for e in work.examples[split]])
        assert share == pytest.approx(np.mean([e.label for e in sentences(400)]), abs=0.02)  # stratified


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows = sentences(400)
    data = Labelled(rows, {"test": sentences(90, seed=1)}, ("no", "yes"), (ACCURACY,), {})
    one = SentenceTask("made_up", data, SentenceConfig(), tmp_path)
    random.Random(5).shuffle(rows)
    two = SentenceTask("made_up", replace(data, train=rows), SentenceConfig(), tmp_path)
    assert one.fingerprint == two.fingerprint
    assert torch.equal(one.train_batch(3, 16, 0).inputs, two.train_batch(3, 16, 0).inputs)


def test_data_labels_and_settings_are_in_the_fingerprint(tmp_path: Path) -> None:
    first = task(tmp_path).fingerprint
    assert task(tmp_path, max_tokens=20).fingerprint != first
    data = task(tmp_path).data
    turned = [Example(e.texts, 1 - (e.label or 0)) for e in data.tests["test"]]
    assert (
        SentenceTask(
            "made_up", replace(data, tests={"test": turned}), SentenceConfig(vocabulary=0), tmp_path
        ).fingerprint
        != first
    )


@pytest.mark.parametrize("tokenizer", ["word", "char", "bpe"])
@pytest.mark.parametrize("texts", [1, 2])
def test_every_example_once_in_evaluation(tmp_path: Path, tokenizer: str, texts: int) -> None:
    work = task(tmp_path, texts, tokenizer=tokenizer, vocabulary=300, max_tokens=400)
    batches = list(work.eval_batches("test", 16))
    assert [len(b.targets) for b in batches] == [16] * 5 + [10]
    found = [(text, int(t)) for b in batches for text, t in zip(shown(work, b), b.targets, strict=True)]
    given_ = [("\n".join(e.texts), int(e.label or 0)) for e in work.examples["test"]]
    if tokenizer == "word":
        known = set(cast(Words, work.tokenizer).words)
        given_ = [(re.sub(r"[^ \n]+", lambda w: w[0] if w[0] in known else "<unk>", t), label) for t, label in given_]
    assert Counter(found) == Counter(given_)
    order = work.order("test")
    assert [t for b in batches for t in b.targets.tolist()] == [int(work.examples["test"][i].label or 0) for i in order]


@pytest.mark.parametrize("batch", [7, 32])
def test_an_epoch_has_every_example_once_and_pads_little(tmp_path: Path, batch: int) -> None:
    work = task(tmp_path, count=2000)
    rows = len(work.examples["train"])
    count = -(-rows // batch)
    orders = []
    for epoch in range(2):
        batches = [work.train_batch(epoch * count + i, batch, 3) for i in range(count)]
        assert Counter(t for b in batches for t in shown(work, b)).total() == rows
        real = sum(int(b.keep_BT.sum()) if b.keep_BT is not None else b.inputs.numel() for b in batches)
        assert real / sum(b.inputs.numel() for b in batches) > 0.9
        orders.append([b.inputs.shape[1] for b in batches])
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 3))
def test_buckets(lengths: list[int], batch: int, seed: int) -> None:
    buckets = Buckets("x", np.array(lengths))
    count = -(-len(lengths) // batch)
    rows = [buckets.rows(i, batch, seed) for i in range(count)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    assert all(len(r) <= batch for r in rows)
    again = Buckets("x", np.array(lengths))  # any order of asking gives the same batches
    assert all(np.array_equal(again.rows(i, batch, seed), rows[i]) for i in reversed(range(count)))
    if len(lengths) > POOL * batch:
        assert not np.array_equal(buckets.rows(count, batch, seed), rows[0])


def test_padding_is_masked_and_equal_lengths_have_no_mask(tmp_path: Path) -> None:
    work = task(tmp_path)
    batch = work.train_batch(0, 32, 0)
    lengths = work.sequences["train"].lengths[work.buckets.rows(0, 32, 0)]
    if batch.keep_BT is not None:
        assert batch.keep_BT.sum(1).tolist() == lengths.tolist()
    alone = work.sequences["train"].batch(np.array([0]), torch.tensor([0]))
    assert alone.keep_BT is None


@pytest.mark.parametrize(
    ("ids", "longest", "expected"),
    [
        ([1, 2, 3], 3, [1, 2, 3]),
        ([1, 2, 3, 4], 3, [1, 2, 3]),
        ([1, 2, 3, 9, 4, 5, 6], 5, [1, 2, 9, 4, 5]),
        ([1, 9, 4, 5, 6, 7], 5, [1, 9, 4, 5, 6]),
        ([1, 2, 3, 4, 9, 5], 4, [1, 2, 9, 5]),
        ([1, 2, 3, 4, 9, 5], 5, [1, 2, 3, 9, 5]),
    ],
)
def test_long_inputs_are_cut_from_the_longer_text(ids: list[int], longest: int, expected: list[int]) -> None:
    assert shortened(np.array(ids), 9, longest).tolist() == expected


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(8, 30))
def test_a_cut_pair_keeps_its_separator_and_uses_all_room(first: int, second: int, longest: int) -> None:
    ids = np.array([1] * first + [9] + [2] * second)
    found = shortened(ids, 9, longest)
    assert len(found) == min(len(ids), longest)
    assert (found == 9).sum() == 1


def test_cut_inputs_are_counted_and_said(tmp_path: Path) -> None:
    work = task(tmp_path, max_tokens=10)
    assert work.shape.longest == 10
    assert max(b.inputs.shape[1] for b in work.eval_batches("test", 16)) == 10
    assert any("are cut at 10 tokens" in note for note in work.facts["notes"])


def test_values_and_groups(tmp_path: Path) -> None:
    examples = [Example(e.texts, i / 7) for i, e in enumerate(sentences(100))]
    tests = [Example(e.texts, float(i)) for i, e in enumerate(sentences(6, seed=1))]
    groups = {"test": [("a",), ("a",), ("a", "all"), ("b", "all"), ("b",), ("b",)]}
    data = Labelled(examples, {"test": tests}, (), (PEARSON, SPEARMAN), {}, groups=groups)
    work = SentenceTask("values", data, SentenceConfig(), tmp_path)
    assert work.shape.loss == "squared_error" and work.shape.outputs == 1
    targets = [work.examples["test"][i].label or 0.0 for i in work.order("test")]
    # right for group a, upside down for group b
    predictions = [t if t < 3 else -t for t in targets]
    scores = {
        s.metric: s.value for s in work.scores("test", Outcome(predictions=predictions, targets=targets, count=6))
    }
    assert scores["spearman: a"] == pytest.approx(1) and scores["spearman: b"] == pytest.approx(-1)
    assert scores["spearman: all"] == pytest.approx(-1)
    tune = [e.label or 0 for e in work.examples["tune"]]
    assert min(tune) < 3 and max(tune) > 10  # a share of each tenth of the values


def test_chance_is_the_commonest_class_of_train(tmp_path: Path) -> None:
    work = task(tmp_path)
    (reference,) = [r for r in work.references if r.splits == ("test",)]
    assert reference.value == pytest.approx(np.mean([e.label == 0 for e in work.examples["test"]]))


@pytest.mark.parametrize(("setting", "value"), [("tune", 0), ("tune", 1), ("max_tokens", 2), ("train_most", -1)])
def test_wrong_settings_are_named(tmp_path: Path, setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"made_up: {setting}:"):
        task(tmp_path, **{setting: value})


def test_train_most(tmp_path: Path) -> None:
    assert len(task(tmp_path, train_most=50).examples["train"]) == 50


def test_texts_that_are_alike_are_not_learnt_from_and_tested_on() -> None:
    """Each in two spellings, and with two labels."""
    plain = sentences(200)
    loud = [Example(tuple(f"  {text.upper()} " for text in e.texts), 1 - (e.label or 0)) for e in plain]
    rest, share = share_of([*plain, *loud], 0.2, 1000, classes=True)
    keys = [{tuple(map(alike, e.texts)) for e in part} for part in (rest, share)]
    assert not keys[0] & keys[1] and 0.2 <= len(share) / 400 < 0.45 and len(rest) + len(share) == 400


def test_a_tokenizer_without_an_end_of_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(Characters.learn("only letters").state))
    with pytest.raises(ValueError, match="this tokenizer has no end of line"):
        task(tmp_path, tokenizer_file=str(tmp_path / "t.json"))
