"""Classification and regression of a sentence, or of a pair of sentences joined as `a <sep> b`.

Labelled examples of any source become a task here: the tuning split is cut from the training data, the tokeniser is
learnt on what remains, batches are made of sequences of about one length.

Legend: B batch, T tokens, N examples of a split.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.contract import Batch, Outcome, Reference, Score, TaskShape
from tasks.alike import alike
from tasks.batching import Buckets
from tasks.metrics import Metric
from tasks.tables import Example
from tasks.text import Kind, Tokenizer, encoded, read_tokenizer

WORD = re.compile(r"\w+|[^\w\s]")
STRATA = 10  # of values, for a split that has as many of each
SEPARATOR = "│"  # as which readers see the separator
EMPTY = "<unk>"  # stands for a text with nothing in it: a sequence has at least one token


@dataclass(frozen=True)
class SentenceConfig:
    """What every sentence task can be told.

    Attributes:
        tokenizer: "word" (letters and signs apart), "char" or "bpe", learnt on the training split.
        vocabulary: most words or byte pairs; 0 for every word.
        tokenizer_file: take the tokeniser that is kept there, rather than learn one; --pretrained sets it.
        lowercase: whether case is dropped.
        max_tokens: longer inputs are cut: of a pair, tokens go from the end of the longer text.
        tune: share of the training data that becomes the tuning split, as many of each class. tune_most: at most so many.
        train_most: train on at most so many examples; 0 for all.
    """

    tokenizer: Kind = "word"
    vocabulary: int = 20_000
    tokenizer_file: str = ""
    lowercase: bool = True
    max_tokens: int = 128
    tune: float = 0.1
    tune_most: int = 2000
    train_most: int = 0


@dataclass(frozen=True)
class Labelled:
    """What a source gives.

    Attributes:
        train: examples to learn from; the tuning split is cut from them unless it is given.
        tests: split -> examples, "test" among them.
        labels: names of the classes; empty where a value is asked for.
        metrics: of the task, the primary one first.
        facts: source, licence and what else a reader should know.
        references: published figures.
        tune: where the source has a tuning split of its own.
        more_metrics: split -> metrics that it has beside the task's own.
        groups: split -> names of the groups of each example; each is scored apart too, by the split's last metric.
        unlabelled: split -> examples without labels, in the order of their file.
    """

    train: list[Example]
    tests: dict[str, list[Example]]
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    facts: dict[str, Any]
    references: tuple[Reference, ...] = ()
    tune: list[Example] | None = None
    more_metrics: dict[str, tuple[Metric, ...]] = field(default_factory=dict)
    groups: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    unlabelled: dict[str, list[Example]] = field(default_factory=dict)


class Sequences:
    """Token ids of the examples of a split, end to end.

    Args:
        ids: of all texts, each followed by `end`.
        texts: texts of an example: 1 or 2; between them `end` is the separator.
    """

    def __init__(self, ids: np.ndarray, end: int, texts: int, longest: int) -> None:
        ends = np.flatnonzero(ids == end)
        first = np.concatenate([[0], ends[texts - 1 :: texts][:-1] + 1])
        self.starts, self.lengths = first, ends[texts - 1 :: texts] - first
        self.ids = ids
        self.cut = int((self.lengths > longest).sum())
        if self.cut:
            pieces = [shortened(ids[s : s + n], end, longest) for s, n in zip(self.starts, self.lengths, strict=True)]
            self.lengths = np.array([len(piece) for piece in pieces])
            self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
            self.ids = np.concatenate(pieces)

    def batch(self, rows: np.ndarray, targets: torch.Tensor) -> Batch:
        """Inputs (B, T) as long as the longest; no mask where nothing is padded."""
        lengths_B = self.lengths[rows]
        t_T = np.arange(lengths_B.max())
        keep_BT = t_T < lengths_B[:, None]
        places_BT = self.starts[rows, None] + np.minimum(t_T, lengths_B[:, None] - 1)
        inputs_BT = np.where(keep_BT, self.ids[places_BT], 0).astype(np.int64)
        return Batch(torch.from_numpy(inputs_BT), targets, None if keep_BT.all() else torch.from_numpy(keep_BT))


def shortened(ids: np.ndarray, end: int, longest: int) -> np.ndarray:
    """A single text loses its end; of a pair, both keep half where both are too long, else the short one is kept whole."""
    if len(ids) <= longest:
        return ids
    (between,) = np.flatnonzero(ids == end)[:1] if end in ids else (len(ids),)
    if between == len(ids):
        return ids[:longest]
    second = len(ids) - between - 1
    room = longest - 1
    keep_second = min(second, max(room // 2, room - between))
    return np.concatenate([ids[: room - keep_second], ids[between : between + 1 + keep_second]])


class SentenceTask:
    """Implements `bench.contract.ReadableTask`. Examples are put in the order of a hash of their texts first, so that copies
    of a data set with other orders of rows give the same task."""

    def __init__(self, name: str, data: Labelled, config: SentenceConfig, cache: Path) -> None:
        _check(name, config)
        given, digest = read_tokenizer(Path(config.tokenizer_file)) if config.tokenizer_file else (None, "")
        if given is not None:
            config = replace(config, tokenizer=given.state["kind"])
        self.name, self.config, self.data = name, config, data
        train, tune = _carved(data, config)
        if not train:
            raise ValueError(f"{name}: nothing is left to train on, all texts are alike but for case and blanks")
        self.examples = {"train": train[: config.train_most or None], "tune": tune}
        self.groups: dict[str, list[tuple[str, ...]]] = {}
        for split, examples in data.tests.items():
            order = sorted(range(len(examples)), key=lambda i: _hash(examples[i]))
            self.examples[split] = [examples[i] for i in order]
            if split in data.groups:
                self.groups[split] = [data.groups[split][i] for i in order]
        self.examples |= data.unlabelled
        self.splits = ("tune", *data.tests)
        self.unlabelled = tuple(data.unlabelled)
        self.texts = len(train[0].texts)
        lines = {split: _lines(examples, config) for split, examples in self.examples.items()}
        key = hashlib.sha256("\0".join(f"{split}\0{text}" for split, text in lines.items()).encode()).hexdigest()
        corpus = encoded(lambda: lines, f"sentences/{key}{digest}", config.tokenizer, config.vocabulary, cache, given)
        self.tokenizer: Tokenizer = corpus.tokenizer
        (end,) = corpus.tokenizer.encode("\n").tolist()
        if corpus.tokenizer.decode([end]) != "\n":  # it would stand for every unknown sign as well
            raise ValueError(
                f"{config.tokenizer_file}: this tokenizer has no end of line; take one made of several lines"
            )
        self.sequences = {
            split: Sequences(corpus.parts[split].astype(np.int64), end, self.texts, config.max_tokens)
            for split in lines
        }
        self.targets = {split: self._targets(examples) for split, examples in self.examples.items()}
        self.buckets = Buckets(f"sentences/{name}", self.sequences["train"].lengths)
        longest = {split: int(s.lengths.max()) for split, s in self.sequences.items()}
        self.shape = TaskShape(
            length=longest["train"],
            longest=max(longest.values()),
            outputs=len(data.labels) or 1,
            output="sequence",
            vocabulary=corpus.tokenizer.size,
            loss="cross_entropy" if data.labels else "squared_error",
            separator=end if self.texts == 2 else None,
        )
        self.primary = data.metrics[0].name
        labels = hashlib.blake2b(digest_size=16)
        for split in self.examples:
            labels.update(split.encode() + self.targets[split].numpy().tobytes())
        described = repr((corpus.digest, labels.hexdigest(), replace(config, tokenizer_file=digest), name))
        self.fingerprint = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
        self.references = (*data.references, *(r for split in self.splits for r in self._chance(split)))

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        rows = self.buckets.rows(index, batch, seed)
        return self.sequences["train"].batch(rows, self.targets["train"][torch.from_numpy(rows)])

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        """By length, so that little is padded: predictions come in the order of `order(split)`."""
        order = self.order(split)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            yield self.sequences[split].batch(rows, self.targets[split][torch.from_numpy(rows)])

    def order(self, split: str) -> np.ndarray:
        """Rows of `examples[split]` in the order in which they are evaluated."""
        return np.argsort(self.sequences[split].lengths, kind="stable")

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        targets, predictions = outcome.targets, outcome.predictions
        scores = [metric.score(targets, predictions) for metric in self._metrics(split)]
        unit = "nats" if self.data.labels else "squared units"
        return (*scores, Score("loss", outcome.mean_loss, unit, "lower"), *self._by_group(split, outcome))

    def _metrics(self, split: str) -> tuple[Metric, ...]:
        return (*self.data.metrics, *self.data.more_metrics.get(split, ()))

    def shown(self, split: str) -> dict[str, list[Any]]:
        order = self.order(split)
        examples = [self.examples[split][i] for i in order]
        return {
            "texts": [list(example.texts) for example in examples],
            "targets": [example.label for example in examples],
            "tokens": self.sequences[split].lengths[order].tolist(),
            "rows": order.tolist(),
        }

    def words(self, ids: list[int]) -> list[str]:
        return [self.tokenizer.decode([i]).strip() or SEPARATOR for i in ids]

    def _by_group(self, split: str, outcome: Outcome) -> Iterator[Score]:
        groups = self.groups.get(split, [])
        if len(groups) != len(outcome.targets):
            return
        rows: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(self.order(split).tolist()):
            for group in groups[row]:
                rows[group].append(place)
        metric = self._metrics(split)[-1]
        for group, places in sorted(rows.items()):
            score = metric.score([outcome.targets[i] for i in places], [outcome.predictions[i] for i in places])
            yield replace(score, metric=f"{metric.name}: {group}")

    def _targets(self, examples: Sequence[Example]) -> torch.Tensor:
        dtype = torch.int64 if self.data.labels else torch.float32
        return torch.tensor([example.label or 0 for example in examples], dtype=dtype)

    def _chance(self, split: str) -> Iterator[Reference]:
        """What the commonest class of the training split scores; correlations are 0 without looking at the input."""
        train = Counter(e.label for e in self.examples["train"])
        likeliest = train.most_common(1)[0][0] if self.data.labels else 0.0
        targets = self.targets[split].tolist()
        source = "the commonest class of the training split, always" if self.data.labels else "the same value, always"
        for metric in self.data.metrics[:1]:
            value = metric.score(targets, [float(likeliest or 0)] * len(targets)).value
            yield Reference(
                "commonest class" if self.data.labels else "constant", metric.name, value, "chance", source, (split,)
            )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Sizes, balance of classes, and what the tokeniser and the cut lost."""
        shares = {}
        for split, examples in self.examples.items():
            counts = Counter(e.label for e in examples)
            if self.data.labels and split not in self.unlabelled:
                shares[split] = {w: round(counts[i] / len(examples), 4) for i, w in enumerate(self.data.labels)}
        cut = {split: s.cut for split, s in self.sequences.items() if s.cut}
        notes = [f"{n} inputs of {split} are cut at {self.config.max_tokens} tokens" for split, n in cut.items()]
        unknown = {}
        if self.config.tokenizer == "word":
            unknown = {split: round(float((s.ids == 0).mean()), 4) for split, s in self.sequences.items()}
        return {
            **self.data.facts,
            "tokenizer": self.config.tokenizer,
            "vocabulary": self.shape.vocabulary,
            "labels": list(self.data.labels),
            "sizes": {split: {"examples": len(examples)} for split, examples in self.examples.items()},
            "class_shares": shares,
            "tokens": {
                split: {"mean": round(float(s.lengths.mean()), 1), "longest": int(s.lengths.max())}
                for split, s in self.sequences.items()
            },
            "unknown_words": unknown,
            "notes": [*self.data.facts.get("notes", []), *notes],
        }


def _check(name: str, config: SentenceConfig) -> None:
    if not 0 < config.tune < 0.9:
        raise ValueError(f"{name}: tune: {config.tune}; a share between 0 and 0.9")
    for setting, least in (("max_tokens", 8), ("tune_most", 1), ("train_most", 0)):
        if getattr(config, setting) < least:
            raise ValueError(f"{name}: {setting}: {getattr(config, setting)}; at least {least}")


def _hash(example: Example) -> bytes:
    return hashlib.blake2b("\0".join(example.texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _carved(data: Labelled, config: SentenceConfig) -> tuple[list[Example], list[Example]]:
    """Training and tuning examples, each in the order of their hashes."""
    if data.tune is not None:
        return sorted(data.train, key=_hash), sorted(data.tune, key=_hash)
    return share_of(data.train, config.tune, config.tune_most, bool(data.labels))


def share_of(
    examples: Sequence[Example], share: float, most: int, classes: bool
) -> tuple[list[Example], list[Example]]:
    """The rest and the share, which is always the same: chosen by hashes of the texts, as much of each class, or of each
    tenth of the values, and with them what is alike."""
    ordered = sorted(examples, key=_hash)
    share = min(share, most / len(ordered))
    strata: dict[float, list[int]] = defaultdict(list)
    if classes:
        for i, example in enumerate(ordered):
            strata[example.label or 0].append(i)
    else:
        by_value = sorted(range(len(ordered)), key=lambda i: (ordered[i].label or 0.0, i))
        for tenth, part in enumerate(np.array_split(np.array(by_value), STRATA)):
            strata[tenth] = sorted(part.tolist())
    chosen = {i for rows in strata.values() for i in rows[: round(share * len(rows))]}
    # Texts that are alike stay together, whatever their labels: they may become the same tokens.
    keys = [tuple(map(alike, example.texts)) for example in ordered]
    there = {keys[i] for i in chosen or {0}}
    chosen = {i for i, key in enumerate(keys) if key in there}
    return (
        [example for i, example in enumerate(ordered) if i not in chosen],
        [example for i, example in enumerate(ordered) if i in chosen],
    )


def _lines(examples: Sequence[Example], config: SentenceConfig) -> str:
    """Every text on a line of its own, so that the end of a line stands for the end of a text."""
    return "".join(_line(text, config) + "\n" for example in examples for text in example.texts)


def _line(text: str, config: SentenceConfig) -> str:
    text = text.lower() if config.lowercase else text
    words = WORD.findall(text) if config.tokenizer == "word" else text.split()
    return " ".join(words) or EMPTY
