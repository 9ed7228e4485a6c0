"""A few sentences, what everybody wrote for them, and which words are in the reference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from reports.tables import Value
from reports.training.data import Name
from reports.training.looks import Cast
from reports.training.tables import who
from reports.translation.read import Written

APART, EVEN = 4, 4  # sentences on which systems differ most, and of all lengths
WORD = re.compile(r"<\w+>|\w+|[^\w\s]")


@dataclass(frozen=True)
class Line:
    """What one competitor wrote: words with whether the reference has them."""

    who: Value
    words: list[tuple[str, bool]]
    score: str


@dataclass(frozen=True)
class Sentence:
    """A source with its reference and everybody's translation. `why`: how it was chosen."""

    source: str
    reference: str
    lines: list[Line]
    why: str


def sentences(written: Written, cast: Cast, order: list[Name], lowercase: bool) -> list[Sentence]:
    """Those on which competitors differ most, then some that are spread evenly over all lengths."""
    from sacrebleu.metrics.chrf import CHRF

    systems = {name: written.first[name] for name in order if name in written.first}
    chrf = CHRF(lowercase=lowercase)
    scores = np.array([
        [chrf.sentence_score(text, [reference]).score for text, reference in zip(texts, written.references, strict=True)]
        for texts in systems.values()
    ])  # fmt: skip
    spread = scores.std(0)
    apart = [int(i) for i in np.argsort(-spread, kind="stable")[:APART] if spread[i] > 0]
    by_length = np.argsort([len(source.split()) for source in written.sources], kind="stable")
    even = [int(by_length[(2 * i + 1) * len(by_length) // (2 * EVEN)]) for i in range(min(EVEN, len(by_length)))]
    chosen = [(i, "competitors differ most") for i in apart] + [(i, "of all lengths") for i in even if i not in apart]
    return [
        Sentence(
            written.sources[i], written.references[i],
            [Line(who(cast, name), marked(texts[i], written.references[i]), f"{scores[k, i]:.0f}")
             for k, (name, texts) in enumerate(systems.items())],
            why,
        )
        for i, why in chosen
    ]  # fmt: skip


def marked(text: str, reference: str) -> list[tuple[str, bool]]:
    """Words of a text in order, True where the reference has them too, each as often as it does. Case does not count."""
    there = Counter(word.lower() for word in WORD.findall(reference))
    found = []
    for word in WORD.findall(text):
        found.append((word, there[word.lower()] > 0))
        there[word.lower()] -= 1
    return found
