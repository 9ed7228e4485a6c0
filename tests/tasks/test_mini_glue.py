"""Generated sentences: the answers are right by checks that know the rules another way."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from bench.contract import Places
from bench.models import build_task
from bench.registry import TASKS
from tasks import mini_glue
from tasks.mini_glue import ALONE, NOUNS, THINKS, WITH_OBJECT, WITH_TWO, Fact, MiniConfig, possible, verdict

CONFIG = MiniConfig(clauses=3, difficulty=2)
SINGULAR = {s for s, _ in (*NOUNS, *ALONE, *WITH_OBJECT, *WITH_TWO, *THINKS)}
PLURAL = {p for _, p in (*NOUNS, *ALONE, *WITH_OBJECT, *WITH_TWO, *THINKS)}
ARGUMENTS = {w: n for n, kind in enumerate((ALONE, WITH_OBJECT, WITH_TWO)) for pair in kind for w in pair}


def acceptable(sentence: str) -> bool:
    """Read clause by clause: the verb agrees with the first noun, and has its number of objects."""
    for clause in sentence.split(" that "):
        words = clause.split()
        verb = next((i for i, w in enumerate(words) if w in ARGUMENTS or w in {v for p in THINKS for v in p}), None)
        assert verb is not None, clause
        if (words[1] in PLURAL) != (words[verb] in PLURAL):
            return False
        objects = sum(word == "the" for word in words[verb + 1 :])
        if words[verb] in ARGUMENTS and objects != ARGUMENTS[words[verb]]:
            return False
    return True


def test_acceptability() -> None:
    source = random.Random(0)
    found = [mini_glue.acceptability(source, CONFIG) for _ in range(1000)]
    assert all(acceptable(e.texts[0]) == bool(e.label) for e in found)
    assert 0.45 < sum(e.label or 0 for e in found) / 1000 < 0.55


@pytest.mark.parametrize(
    ("premise", "hypothesis", "expected"),
    [
        (("every", "dog", "france"), ("every", "poodle", "europe"), "entailment"),
        (("every", "poodle", "france"), ("every", "dog", "france"), "neutral"),
        (("some", "poodle", "paris"), ("some", "animal", "france"), "entailment"),
        (("some", "dog", "france"), ("some", "dog", "paris"), "neutral"),
        (("no", "animal", "europe"), ("no", "cat", "rome"), "entailment"),
        (("no", "dog", "france"), ("some", "poodle", "paris"), "contradiction"),
        (("every", "dog", "france"), ("some", "dog", "france"), "entailment"),  # there are dogs
        (("every", "dog", "france"), ("some", "dog", "italy"), "contradiction"),  # one place at a time
        (("not every", "poodle", "france"), ("not every", "dog", "paris"), "entailment"),
    ],
)
def test_known_inferences(premise: tuple[str, ...], hypothesis: tuple[str, ...], expected: str) -> None:
    assert verdict([Fact(*premise)], Fact(*hypothesis)) == expected


def test_possible_agrees_with_trying_every_world() -> None:
    """Two kinds, three places: every world says which (kind, place) pairs have somebody, and every kind exists."""
    kinds, places = ("poodle", "beagle"), ("paris", "lyon", "rome")
    pairs = list(itertools.product(kinds, places))
    worlds = [
        set(chosen)
        for n in range(len(pairs) + 1)
        for chosen in itertools.combinations(pairs, n)
        if {k for k, _ in chosen} == set(kinds)
    ]
    inside = {"paris": {"paris"}, "france": {"paris", "lyon"}}  # rome stands for all places that no fact speaks of
    about = {"poodle": {"poodle"}, "dog": set(kinds)}

    def true(fact: Fact, world: set[tuple[str, str]]) -> bool:
        there = [p in inside[fact.place] for k, p in world if k in about[fact.animal]]
        return {"every": all(there), "some": any(there), "no": not any(there), "not every": not all(there)}[
            fact.quantifier
        ]

    facts = [Fact(q, a, p) for q in mini_glue.QUANTIFIERS for a in about for p in inside]
    for chosen in itertools.combinations(facts, 3):
        assert possible(list(chosen)) == any(all(true(f, w) for f in chosen) for w in worlds)


def test_similarity_counts_slots() -> None:
    source = random.Random(0)
    plain = MiniConfig(clauses=1, difficulty=0)
    for _ in range(300):
        example = mini_glue.similarity(source, plain)
        words = [text.split() for text in example.texts]
        same = sum(words[0][i] == words[1][i] for i in (1, 2, 3, 5, 6))
        assert example.label == pytest.approx(same)


def test_paraphrases_without_rewriting_are_the_same_events() -> None:
    source = random.Random(0)
    for _ in range(300):
        example = mini_glue.paraphrase(source, MiniConfig(clauses=2, difficulty=0))
        one, two = (Counter(text.split(" and ")) for text in example.texts)
        assert (one == two) == bool(example.label)


@pytest.mark.parametrize("name", [n for n in TASKS.names() if n.startswith("mini_")])
def test_as_tasks(name: str, tmp_path: Path) -> None:
    settings = {"train_examples": 300, "test_examples": 100}
    work = build_task(TASKS.get(name), settings, "bidirectional", Places(None, tmp_path))
    again = build_task(TASKS.get(name), settings, "bidirectional", Places(None, tmp_path))
    assert work.fingerprint == again.fingerprint
    texts = {split: {e.texts for e in found} for split, found in work.examples.items()}
    assert not texts["test"] & (texts["train"] | texts["tune"])
    assert "synthetic" in work.facts["text"]
    longer = build_task(TASKS.get(name), {**settings, "clauses": 6}, "bidirectional", Places(None, tmp_path))
    assert longer.shape.longest > work.shape.longest
    with pytest.raises(ValueError, match="clauses: 0"):
        build_task(TASKS.get(name), {"clauses": 0}, "bidirectional", Places(None, tmp_path))
