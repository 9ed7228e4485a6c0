"""Two thousand whole film reviews, for or against (Pang & Lee 2004): the long-input task, up to 2,678 tokens.

The file names number ten folds of a hundred reviews a class. As many results are over all folds, ours are of one: the
last fold is the test split, the one before it the tuning split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.contract import Mode, Places
from bench.registry import register_task
from tasks.archives import unzip
from tasks.metrics import ACCURACY
from tasks.sentences import Labelled, SentenceConfig, SentenceTask
from tasks.sources import NO_DOWNLOAD_SENTENCES, Hub, missing
from tasks.tables import Example

LABELS = ("neg", "pos")
FILE = "nltk/movie_reviews.zip"
FOLD = 100
MOST_BYTES = 1 << 26  # unpacked; the published reviews are 8 MB
_URL = "https://raw.githubusercontent.com/nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora/movie_reviews.zip"
HUB = Hub(
    {
        "path": "text",
        "sample_by": "document",
        "data_files": {label: f"zip://movie_reviews/{label}/*.txt::{_URL}" for label in LABELS},
    },
    {label: label for label in LABELS},
    "raw.githubusercontent.com",
    _URL,
)


@dataclass(frozen=True)
class ReviewConfig(SentenceConfig):
    """See SentenceConfig; by default no review is cut."""

    max_tokens: int = 4096


def load(places: Places) -> Labelled:
    reviews = _from_file(places) if places.local is not None else _from_hub()
    parts: dict[str, list[Example]] = {"train": [], "tune": [], "test": []}
    for label, texts in enumerate(reviews):
        folds = len(texts) // FOLD
        for number, text in enumerate(texts):
            part = {folds - 1: "test", folds - 2: "tune"}.get(number // FOLD, "train")
            parts[part].append(Example((text,), label))
    facts: dict[str, Any] = {
        "text": "film reviews, polarity data set 2.0", "source": "Pang & Lee 2004", "licence": "CC BY 4.0",
        "url": "https://www.cs.cornell.edu/people/pabo/movie-review-data/", "hub": HUB.label,
        "read_from": f"data folder: {FILE}" if places.local is not None else HUB.label,
        "cut": "folds of 100 reviews a class by their numbers: the last is test, the one before it tune",
    }  # fmt: skip
    return Labelled(parts["train"], {"test": parts["test"]}, LABELS, (ACCURACY,), facts, tune=parts["tune"])


def _from_file(places: Places) -> list[list[str]]:
    """Reviews of each class in the order of their numbers. Nothing is unpacked to disk."""
    assert places.local is not None
    path = places.local / FILE
    try:
        found = sorted(unzip(path, lambda name: name.endswith(".txt"), MOST_BYTES).items())
        reviews = [[c.decode("utf-8") for name, c in found if f"/{label}/" in f"/{name}"] for label in LABELS]
        if short := [label for label, texts in zip(LABELS, reviews, strict=True) if len(texts) < 3 * FOLD]:
            raise OSError(f"fewer than {3 * FOLD} reviews in its folder '{short[0]}'")
        return reviews
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot read {path} ({getattr(error, 'strerror', None) or error})"
        way = f"put NLTK's movie_reviews.zip there, or name no folder so that it is downloaded ({HUB.label})"
        raise missing("film_reviews", "the film reviews", why, way, NO_DOWNLOAD_SENTENCES) from error


def _from_hub() -> list[list[str]]:
    way = f"pass --data-dir DIR (or SEQBENCH_DATA) with DIR/{FILE}"
    loaded = HUB.load("film_reviews", "the film reviews", way, NO_DOWNLOAD_SENTENCES)
    return [list(loaded[label]["text"]) for label in LABELS]


@register_task(
    "film_reviews",
    config=ReviewConfig,
    summary="whole film reviews, for or against: long inputs",
    reference="Pang & Lee 2004",
)
def film_reviews(config: ReviewConfig, mode: Mode, places: Places) -> SentenceTask:
    return SentenceTask("film_reviews", load(places), config, places.cache)
