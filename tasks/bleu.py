"""How near translations are to a reference, by sacrebleu (Post 2018), whose signature says how each was computed.

A score's unit is a point: 100 is the reference itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.contract import Score

Texts = Sequence[str]
LENGTHS = ((1, 8), (9, 12), (13, 16), (17, 24), (25, None))
"""Words of a source, for BLEU against its length."""
FEWEST = 20  # sentences of a length, below which BLEU says nothing


def bleu(written: Texts, references: Texts, lowercase: bool) -> Score:
    """BLEU (Papineni et al. 2002) over detokenised text, with sacrebleu's own tokenisation 13a."""
    return Score("BLEU", _bleu(lowercase).corpus_score(written, [references]).score, "", "higher")


def bleu_of_words(written: Texts, references: Texts) -> Score:
    """BLEU over words as they are given: what papers report that tokenise both sides themselves."""
    from sacrebleu.metrics.bleu import BLEU

    return Score(
        "tokenised_BLEU", BLEU(tokenize="none", force=True).corpus_score(written, [references]).score, "", "higher"
    )


def chrf(written: Texts, references: Texts, lowercase: bool) -> Score:
    """chrF2 (Popović 2015): F-score of character n-grams."""
    from sacrebleu.metrics.chrf import CHRF

    return Score("chrF", CHRF(lowercase=lowercase).corpus_score(written, [references]).score, "", "higher")


def bleu_by_length(written: Texts, references: Texts, lengths: Sequence[int], lowercase: bool) -> Iterator[Score]:
    """BLEU of the sources of each length; none where there are too few."""
    for low, high in LENGTHS:
        rows = [i for i, n in enumerate(lengths) if n >= low and (high is None or n <= high)]
        if len(rows) >= FEWEST:
            found = _bleu(lowercase).corpus_score([written[i] for i in rows], [[references[i] for i in rows]])
            name = f"{low} to {high}" if high is not None else f"{low} or more"
            yield Score(f"BLEU: {name} source words", found.score, "", "higher")


def signatures(lowercase: bool) -> dict[str, str]:
    """By metric, of an evaluation with one reference."""
    from sacrebleu.metrics.chrf import CHRF

    found = {"BLEU": _bleu(lowercase), "chrF": CHRF(lowercase=lowercase)}
    for metric in found.values():
        metric.corpus_score(["a"], [["a"]])
    return {name: str(metric.get_signature()) for name, metric in found.items()}


def _bleu(lowercase: bool) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    # force: no advice on standard error where many lines end in a sign that stands alone
    return BLEU(lowercase=lowercase, force=True)
