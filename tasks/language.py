"""Language modelling: the next token (causal), or hidden ones (bidirectional), over one stream of tokens a split.

Texts: Python's own documentation (no download), tinyshakespeare, WikiText-2, or any file.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contract import IGNORE, Batch, DataMissing, Mode, Outcome, Places, Reference, Score, TaskShape, stream
from bench.registry import register_task
from tasks.sources import TINYSHAKESPEARE, WIKITEXT2, Source, Text
from tasks.text import Corpus, Kind, encoded

CHOSEN, MASKED, SWAPPED = 0.15, 0.8, 0.1
"""Share of tokens that a masked model is asked for; of these, shares shown as [MASK] and as a random token."""

Parts = dict[str, str]


@dataclass(frozen=True)
class LanguageConfig:
    """What every language task can be told.

    Attributes:
        context: tokens of a sequence, in training and in evaluation.
        tokenizer: "char", "word" (between blanks) or "bpe" (byte pairs), learnt on the training split.
        vocabulary: size for "bpe" and "word" (0: every word); "char" takes every character.
        tune_tokens: evaluate at most this many tokens of the tuning split; 0 for all.
        test_contexts: more tests, "test_<context>", on the same text in sequences of other lengths.
    """

    context: int = 64
    tokenizer: Kind = "char"
    vocabulary: int = 2048
    tune_tokens: int = 0
    test_contexts: tuple[int, ...] = ()


class LanguageTask:
    """Implements `bench.contract.TextTask`.

    Training draws sequences at random offsets with replacement, as nanoGPT does. Evaluation cuts a split into sequences
    side by side, so every prediction counts once; the last one is shorter and comes alone, so nothing is padded.
    """

    primary = "loss"

    def __init__(
        self,
        corpus: Corpus,
        config: LanguageConfig,
        mode: Mode,
        facts: dict[str, Any],
        references: tuple[Reference, ...] = (),
    ) -> None:
        _check(corpus, config)
        self.corpus = corpus
        self.config = config
        self.causal = mode == "causal"
        size = corpus.tokenizer.size
        self.mask = size
        vocabulary = size if self.causal else size + 1
        self.shape = TaskShape(
            length=config.context,
            longest=max(config.context, *config.test_contexts, 0),
            outputs=vocabulary,
            output="token",
            vocabulary=vocabulary,
            tied=True,
        )
        more = {f"test_{context}": context for context in config.test_contexts}
        self.contexts = {"tune": config.context, "test": config.context, **more}
        self.splits = tuple(self.contexts)
        self._ids = {split: corpus.parts["test" if split in more else split] for split in self.splits}
        if config.tune_tokens:
            # The first token is given, not predicted, where the next one is asked for.
            self._ids["tune"] = self._ids["tune"][: config.tune_tokens + self.causal]
        self._train = np.lib.stride_tricks.sliding_window_view(corpus.parts["train"], config.context + self.causal)
        newline = corpus.tokenizer.encode("\n").tolist()
        known = corpus.tokenizer.decode(newline) == "\n"
        self.prompt = "\n" if known else corpus.tokenizer.decode(corpus.parts["train"][:1].tolist())
        lengths = (config.context, config.test_contexts, config.tune_tokens)
        settings = repr((corpus.digest, mode, lengths, (CHOSEN, MASKED, SWAPPED)))
        self.fingerprint = hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()
        self.references = (*references, *(self._frequencies() if self.causal else ()))
        self.facts = facts | self._facts()

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        generator = stream("language", "train", seed, index)
        offsets_B = torch.randint(len(self._train), (batch,), generator=generator).numpy()
        tokens = torch.from_numpy(self._train[offsets_B].astype(np.int64))
        return _shifted(tokens) if self.causal else self._hidden(tokens, self._noise(tokens, generator))

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        ids = torch.from_numpy(self._ids[split].astype(np.int64))
        context = self.contexts[split]
        rows = (len(ids) - self.causal) // context
        # Causal sequences share a token: the last target of one is the first input of the next.
        windows = ids.unfold(0, context + self.causal, context) if rows else ids.new_empty(0, context)
        for start in range(0, rows, batch):
            yield self._eval_batch(split, start, windows[start : start + batch])
        rest = ids[None, rows * context :]
        if rest.shape[1] > self.causal:
            yield self._eval_batch(split, rows, rest)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        loss = outcome.mean_loss
        perplexity = math.exp(min(loss, 700.0))  # of a training that ran away: as large as a number can be
        scores = [Score("loss", loss, "nats", "lower"), Score("perplexity", perplexity, "", "lower")]
        if self.causal:
            targets = self._ids[split][1:]
            characters = int(self.corpus.tokenizer.characters[targets].sum())
            bits = loss / math.log(2) * len(targets) / characters
            scores.append(Score("bits_per_character", bits, "bits", "lower"))
        return (*scores, Score("accuracy", outcome.accuracy, "", "higher"))

    @property
    def tokenizer_state(self) -> dict[str, Any]:
        return self.corpus.tokenizer.state

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.corpus.tokenizer.encode(text).tolist()
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids; that of a hidden token is [MASK]."""
        pieces: list[list[int]] = [[]]
        for i in ids:
            if i == self.mask:
                pieces.append([])
            else:
                pieces[-1].append(i)
        return "[MASK]".join(map(self.corpus.tokenizer.decode, pieces))

    def _eval_batch(self, split: str, first: int, tokens_BT: Tensor) -> Batch:
        """Sequences `first`, `first` + 1, ... of a split. What is hidden in a sequence depends on nothing but these."""
        if self.causal:
            return _shifted(tokens_BT)
        rows = range(first, first + len(tokens_BT))
        noise = [self._noise(tokens_BT[:1], stream("language", split, row)) for row in rows]
        chosen, shown, other = (torch.cat(parts) for parts in zip(*noise, strict=True))
        return self._hidden(tokens_BT, (chosen, shown, other))

    def _noise(self, like_BT: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        chosen_BT, shown_BT = torch.rand(2, *like_BT.shape, generator=generator)
        return chosen_BT, shown_BT, torch.randint(self.mask, like_BT.shape, generator=generator)

    def _hidden(self, tokens_BT: Tensor, noise: tuple[Tensor, Tensor, Tensor]) -> Batch:
        """Masked language modelling (Devlin et al. 2019, section 3.1): of the tokens asked for, 80 % are shown as [MASK],
        10 % as a random token, 10 % as they are. A sequence has at least one, so that no loss is a mean over nothing."""
        chosen_BT, shown_BT, other_BT = noise
        asked_BT = chosen_BT <= chosen_BT.amin(1, keepdim=True).clamp(min=CHOSEN)
        seen_BT = torch.where(shown_BT < MASKED + SWAPPED, other_BT, tokens_BT).masked_fill(
            shown_BT < MASKED, self.mask
        )
        return Batch(torch.where(asked_BT, seen_BT, tokens_BT), tokens_BT.masked_fill(~asked_BT, IGNORE))

    def _frequencies(self) -> tuple[Reference, ...]:
        """What is reached by knowing how frequent tokens are and nothing else; a model must beat it."""
        counts = np.bincount(self.corpus.parts["train"], minlength=self.mask) + 1
        nats = -np.log(counts / counts.sum())
        return tuple(
            Reference(
                label="token frequencies",
                metric="loss",
                value=float(nats[self._ids[split][1:]].mean()),
                kind="chance",
                source="cross-entropy under the frequencies of the training split, add-one smoothed",
                splits=(split,),
            )
            for split in self.splits
        )

    def _facts(self) -> dict[str, Any]:
        tokenizer = self.corpus.tokenizer
        sizes = {
            part: {"tokens": len(ids), "characters": int(tokenizer.characters[ids].sum())}
            for part, ids in self.corpus.parts.items()
        }
        notes = []
        if self.config.tokenizer == "word":
            notes.append(
                "characters: those of a word and one space, one for the end of a line; <unk> counts as written"
            )
        if not self.causal:
            notes.append("loss is of hidden tokens only, so perplexity is a pseudo-perplexity")
        if self.config.tune_tokens:
            notes.append(f"tune: the first {self.config.tune_tokens} tokens only")
        return {
            "tokenizer": self.config.tokenizer,
            "vocabulary": self.shape.vocabulary,
            "sizes": sizes,
            "evaluated_tokens": {split: len(self._ids[split]) - self.causal for split in self.splits},
            "lengths": {"train": self.config.context, **self.contexts},
            "notes": notes,
        }


def _shifted(tokens_BT: Tensor) -> Batch:
    """Each token and the one after it."""
    return Batch(tokens_BT[:, :-1].contiguous(), tokens_BT[:, 1:].contiguous())


def _check(corpus: Corpus, config: LanguageConfig) -> None:
    """Settings that the text cannot serve. Raises ValueError that names the setting."""
    if config.context < 1 or min(config.test_contexts, default=1) < 1:
        raise ValueError(f"context, test_contexts: {config.context}, {config.test_contexts}; each must be at least 1")
    if config.tune_tokens < 0:
        raise ValueError(f"tune_tokens: {config.tune_tokens}; use 0 for all or a number of tokens")
    if len(set(config.test_contexts)) != len(config.test_contexts):
        raise ValueError(f"test_contexts: {config.test_contexts} names a length twice")
    for part, ids in corpus.parts.items():
        needed = {"train": config.context, "test": max(config.test_contexts, default=1)}.get(part, 1) + 1
        if len(ids) < needed:
            setting = {"train": "context", "test": "test_contexts"}.get(part, "path")
            raise ValueError(f"{setting}: needs {needed} tokens, but the {part} split has {len(ids)}")


def _build(
    config: LanguageConfig,
    mode: Mode,
    places: Places,
    text: Text,
    cut: Callable[[Parts], Parts],
    how: str,
    facts: dict[str, Any],
    references: tuple[Reference, ...] = (),
) -> LanguageTask:
    """A task on a text that `cut` divides into splits; `how` names every setting of the cut."""
    corpus = encoded(lambda: cut(text.read()), f"{text.key}/{how}", config.tokenizer, config.vocabulary, places.cache)
    facts = {**facts, "read_from": text.origin, "cut": how}
    return LanguageTask(corpus, config, mode, facts, references)


def _published(source: Source) -> dict[str, Any]:
    return {"text": source.name, "licence": source.licence, "url": source.url, "hub": source.hub.label}


def _tenths(parts: Parts) -> Parts:
    """80 / 10 / 10, in order: text near in the original stays on one side, but for two cuts."""
    text = parts["all"]
    first, second = len(text) * 8 // 10, len(text) * 9 // 10
    return {"train": text[:first], "tune": text[first:second], "test": text[second:]}


@register_task(
    "docs_lm",
    family="language",
    config=LanguageConfig,
    summary="language modelling of the Python interpreter's own documentation: no download",
    reference="pydoc_data.topics, Python Software Foundation",
)
def docs_lm(config: LanguageConfig, mode: Mode, places: Places) -> LanguageTask:
    version = platform.python_version()
    facts = {
        "text": "pydoc_data.topics, paragraphs that occur twice kept once",
        "licence": "PSF License Version 2",
        "url": "https://docs.python.org/3/reference/",
        "python": version,
    }
    how = "topics in the order of a hash of their names, then 80/10/10 of the characters"
    return _build(config, mode, places, _documentation(version), _tenths, how, facts)


def _documentation(version: str) -> Text:
    """The text behind `help()`. Its topics quote each other at length (a seventh of a test split was in the training
    split word for word), so each paragraph is kept once. Topics are few and some are a tenth of the whole, so a split by
    topic would have sizes left to luck; instead they are put in an order that has nothing to do with their names, and the
    text is cut in two places."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataMissing(
            "docs_lm needs pydoc_data.topics, which this Python was installed without; install the full standard library, "
            "or choose a task on generated data"
        ) from error

    def read() -> Parts:
        seen: set[str] = set()
        kept = []
        for topic in sorted(topics, key=lambda name: hashlib.blake2b(name.encode()).digest()):
            for paragraph in topics[topic].strip("\n").split("\n\n"):
                words = " ".join(paragraph.split())
                if words not in seen:
                    seen.add(words)
                    kept.append(paragraph)
        return {"all": "\n\n".join(kept) + "\n"}

    key = hashlib.sha256(repr(sorted(topics.items())).encode()).hexdigest()
    return Text(key, f"pydoc_data.topics of Python {version}", read)


@dataclass(frozen=True)
class CharConfig(LanguageConfig):
    """`tune`: share of what precedes the test split that is kept out of training, its end."""

    tune: float = 0.05


@register_task(
    "char_lm",
    family="language",
    config=CharConfig,
    summary="language modelling of tinyshakespeare by character, tested on nanoGPT's validation split",
    reference="Karpathy 2015, char-rnn",
)
def char_lm(config: CharConfig, mode: Mode, places: Places) -> LanguageTask:
    if not 0 < config.tune < 0.5:
        raise ValueError(f"tune: {config.tune}; a share between 0 and 0.5")

    def cut(parts: Parts) -> Parts:
        text = parts["all"]
        before = text[: int(len(text) * 0.9)]  # as nanoGPT's data/shakespeare_char/prepare.py
        first = len(before) - int(len(before) * config.tune)
        return {"train": before[:first], "tune": before[first:], "test": text[len(before) :]}

    how = f"test: the last 10 %; tune: the last {config.tune:.6g} of what is before"
    comparable = mode == "causal" and config.tokenizer == "char"
    references = (NANOGPT,) if comparable else ()
    text = TINYSHAKESPEARE.open("char_lm", places)
    return _build(config, mode, places, text, cut, how, _published(TINYSHAKESPEARE), references)


NANOGPT = Reference(
    label="nanoGPT CPU recipe",
    metric="loss",
    value=1.88,
    kind="published",
    source="README of karpathy/nanoGPT: 4 layers, 4 heads, width 128, context 64, batches of 12, 2000 iterations; mean over "
    "20 random batches, trained on all before the test split",
    splits=("test",),
)


@dataclass(frozen=True)
class WordConfig(LanguageConfig):
    """See LanguageConfig; by default every word of the training split is in the vocabulary, as is usual here."""

    tokenizer: Kind = "word"
    vocabulary: int = 0


@register_task(
    "word_lm",
    family="language",
    config=WordConfig,
    summary="language modelling of WikiText-2 by word, official splits",
    reference="Merity et al. 2017",
)
def word_lm(config: WordConfig, mode: Mode, places: Places) -> LanguageTask:
    text = WIKITEXT2.open("word_lm", places)
    return _build(config, mode, places, text, lambda parts: parts, "official splits", _published(WIKITEXT2))


@dataclass(frozen=True)
class TextConfig(LanguageConfig):
    """`path`: a text file, UTF-8. `tune_path`, `test_path`: files of the other splits; where both are empty, `path` is cut
    80/10/10 in order."""

    tokenizer: Kind = "bpe"
    path: str = ""
    tune_path: str = ""
    test_path: str = ""


@register_task(
    "text_lm", family="language", config=TextConfig, summary="language modelling of a text file of yours: set its path"
)
def text_lm(config: TextConfig, mode: Mode, places: Places) -> LanguageTask:
    if not config.path:
        raise ValueError("path: text_lm needs a text file (UTF-8); set its path")
    if bool(config.tune_path) != bool(config.test_path):
        raise ValueError("tune_path, test_path: give both, or neither to have path cut 80/10/10")
    alone = not config.tune_path
    named = (
        {"path": config.path} if alone else {name: getattr(config, name) for name in ("path", "tune_path", "test_path")}
    )
    names = ("all",) if alone else ("train", "tune", "test")
    texts = {part: _read(setting, path) for part, (setting, path) in zip(names, named.items(), strict=True)}
    key = hashlib.sha256("".join(hashlib.sha256(text.encode()).hexdigest() for text in texts.values()).encode())
    files = ", ".join(Path(path).name for path in named.values())
    text = Text(key.hexdigest(), f"file: {files}", lambda: texts)
    facts = {"text": files, "licence": "the user's", "url": ""}
    if alone:
        return _build(config, mode, places, text, _tenths, "80/10/10 of the characters, in order", facts)
    return _build(config, mode, places, text, lambda parts: parts, "a file for each split", facts)


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"{setting}: cannot read {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{setting}: {path} is not UTF-8 (byte {error.start})") from error
