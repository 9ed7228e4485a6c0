"""Translation: a decoder writes the target, and what it writes is held against a reference by sacrebleu.

Legend: B batch, S source tokens, U target tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import regex
import torch
from torch import Tensor

from bench.contract import IGNORE, Batch, Mode, Outcome, Places, Score, TaskShape
from bench.registry import register_task
from tasks.alike import composed
from tasks.batching import Buckets
from tasks.bleu import bleu, bleu_by_length, bleu_of_words, chrf, signatures
from tasks.parallel import Pair, Parallel, aligned, catalogue, cut, left_out, multi30k, tab_separated, with_text
from tasks.skipped import Skipped
from tasks.text import UNKNOWN, Corpus, Kind, encoded

# A number with its decimals; letters with their marks (vowels of Hindi or Arabic), apostrophes within; a sign.
WORD = regex.compile(r"\d+(?:[.,]\d+)+|[\w\p{M}]+(?:'[\w\p{M}]+)*|[^\w\s]")
CLOSING = regex.compile(r" ([.,;:!?)])")
JOINED = regex.compile(r"(?<=\w) ([-’]) (?=\w)")
WRITTEN_UNKNOWN = "⁇"
"""Written for a word that a vocabulary lacks: one token of every tokeniser, and in no reference."""
Side = Literal["source", "target"]
SIDES: tuple[Side, Side] = ("source", "target")


@dataclass(frozen=True)
class TranslationConfig:
    """What every translation task can be told.

    Attributes:
        tokenizer: "bpe" (byte pairs), "word" (letters and signs apart) or "char", learnt on the training split.
        vocabulary: most byte pairs or words of a side, or of both where they are joint.
        joint: one vocabulary for both languages.
        lowercase: whether case is dropped, of references too.
        max_tokens: longer training and tuning pairs are left out, longer test sources cut; both are counted.
        train_most, tune_most: use at most so many pairs; 0 for all.
        tests: test splits to run; empty for all there are. "test" is always run.
    """

    tokenizer: Kind = "bpe"
    vocabulary: int = 8000
    joint: bool = True
    lowercase: bool = False
    max_tokens: int = 100
    train_most: int = 0
    tune_most: int = 0
    tests: tuple[str, ...] = ()


class Lines:
    """Token ids of one side of a split, end to end; `rows` says which lines."""

    def __init__(self, ids: np.ndarray, end: int, longest: int) -> None:
        ends = np.flatnonzero(ids == end)
        self.starts = np.concatenate([[0], ends[:-1] + 1])
        self.full = ends - self.starts
        self.lengths = np.minimum(self.full, longest)
        self.ids = ids

    def padded(self, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (B, T) as long as the longest, and which of them are real."""
        lengths_B = self.lengths[rows]
        t_T = np.arange(lengths_B.max())
        keep_BT = t_T < lengths_B[:, None]
        places_BT = self.starts[rows, None] + np.minimum(t_T, np.maximum(lengths_B[:, None] - 1, 0))
        return np.where(keep_BT, self.ids[places_BT], fill).astype(np.int64), keep_BT


class ParallelTask:
    """Implements `bench.contract.TranslationTask`."""

    primary = "BLEU"
    watched = "loss"

    def __init__(self, name: str, data: Parallel, config: TranslationConfig, cache: Path) -> None:
        _check(name, data, config)
        self.name, self.data, self.config = name, data, config
        skipped = Skipped()
        wanted = {"train", "tune", "test", *(config.tests or data.parts)}
        self.pairs = {
            part: [(composed(source), composed(target)) for source, target in pairs]
            for part, pairs in data.parts.items()
            if part in wanted
        }
        for part in ("train", "tune"):
            self.pairs[part] = with_text(self.pairs[part], skipped)
        self.pairs["train"] = self.pairs["train"][: config.train_most or None]
        self.pairs["tune"] = self.pairs["tune"][: config.tune_most or None]
        self.splits = tuple(part for part in self.pairs if part != "train")
        for part, pairs in self.pairs.items():
            if len(pairs) < 2:
                raise ValueError(f"{name}: {len(pairs)} pairs in '{part}'; two or more are needed")
        self.tokenizers: dict[Side, Any] = {}
        self.lines: dict[str, dict[Side, Lines]] = {part: {} for part in self.pairs}
        digest = self._encode(cache)
        self._leave_out_long(skipped)
        self.notes = left_out(skipped)
        lengths = self.lines["train"]
        self.buckets = Buckets(f"translation/{name}", lengths["source"].lengths + 0.01 * lengths["target"].lengths)
        self.shape = TaskShape(
            length=int(lengths["source"].lengths.max()),
            longest=max(int(self.lines[part]["source"].lengths.max()) for part in self.pairs),
            outputs=self.tokenizers["target"].size,
            output="token",
            vocabulary=self.tokenizers["source"].size,
            # One token more than the longest: its end.
            target_length=max(int(self.lines[part]["target"].lengths.max()) for part in self.pairs) + 1,
            end=self._end("target"),
            joint=config.joint,
        )
        # Ids do not tell unknown words from each other, and what is written is judged by the references' own letters.
        judged_by = [(part, target) for part, pairs in self.pairs.items() if part != "train" for _, target in pairs]
        self.fingerprint = hashlib.blake2b(repr((digest, config, name, judged_by)).encode(), digest_size=16).hexdigest()
        self.references = data.references

    def train_batch(self, index: int, batch: int, seed: int) -> Batch:
        return self._batch("train", self.buckets.rows(index, batch, seed))

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        for rows in self._in_order(split, batch):
            yield self._batch(split, rows)

    def sources(self, split: str, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        for rows in self._in_order(split, batch):
            yield self._padded_source(split, rows)

    def scores(self, split: str, outcome: Outcome) -> tuple[Score, ...]:
        """Of the targets given token by token; `judge` has those of targets written alone."""
        return (
            Score("loss", outcome.mean_loss, "nats", "lower"),
            Score("perplexity", float(np.exp(min(outcome.mean_loss, 700.0))), "", "lower"),
            Score("accuracy", outcome.accuracy, "", "higher"),
        )

    def judge(self, split: str, written: list[str]) -> tuple[Score, ...]:
        shown = self.shown(split)
        references, lengths = shown["references"], [len(text.split()) for text in shown["sources"]]
        words = [[_words(text, self.config.lowercase) for text in texts] for texts in (written, references)]
        return (
            bleu(written, references, self.config.lowercase),
            bleu_of_words(*words),
            chrf(written, references, self.config.lowercase),
            *bleu_by_length(written, references, lengths, self.config.lowercase),
        )

    def shown(self, split: str) -> dict[str, list[Any]]:
        order = self._order(split)
        sources, targets = zip(*(self.pairs[split][row] for row in order), strict=True)
        lengths = self.lines[split]["source"].lengths[order]
        return {
            "sources": list(sources),
            "references": list(targets),
            "tokens": lengths.tolist(),
            "rows": order.tolist(),
        }

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizers["source"].encode(_line(composed(text), self.config)).tolist()
        return ids

    def write(self, ids: list[int]) -> str:
        """As people write it: of words, hyphens join their neighbours, and signs that close are put to the word before."""
        text = " ".join(self.tokenizers["target"].decode(ids).split())
        if self.config.tokenizer != "word":
            return text
        return CLOSING.sub(r"\1", JOINED.sub(r"\1", text)).replace(UNKNOWN, WRITTEN_UNKNOWN)

    def pieces(self, ids: list[int], side: Side) -> list[str]:
        return [self.tokenizers[side].decode([i]).strip() or "␣" for i in ids]

    @cached_property
    def facts(self) -> dict[str, Any]:
        cut = {part: int((s["source"].full > self.config.max_tokens).sum()) for part, s in self.lines.items()}
        notes = [f"{n} sources of {part} are cut at {self.config.max_tokens} tokens" for part, n in cut.items() if n]
        empty = {part: sum(not (s.strip() and t.strip()) for s, t in self.pairs[part]) for part in self.splits}
        notes += [f"{n} pairs of {part} with an empty side are kept and count" for part, n in empty.items() if n]
        return {
            **self.data.facts,
            "languages": list(self.data.languages),
            "tokenizer": self.config.tokenizer,
            "vocabulary": {side: self.tokenizers[side].size for side in SIDES},
            "joint_vocabulary": self.config.joint,
            "lowercase": self.config.lowercase,
            "signatures": signatures(self.config.lowercase),
            "sizes": {part: {"pairs": len(pairs)} for part, pairs in self.pairs.items()},
            "tokens": {
                f"{part} {side}": {
                    "mean": round(float(s[side].lengths.mean()), 1),
                    "longest": int(s[side].lengths.max()),
                }
                for part, s in self.lines.items()
                for side in SIDES
            },
            "notes": [*self.data.facts.get("notes", []), *self.notes, *notes],
        }

    # Encoding.

    def _encode(self, cache: Path) -> str:
        """Both sides of all parts as ids; a digest of them."""
        config = self.config
        texts = {
            side: {part: _text((pair[i] for pair in pairs), config) for part, pairs in self.pairs.items()}
            for i, side in enumerate(SIDES)
        }
        if config.joint:
            both = {f"{side} {part}": text for side, parts in texts.items() for part, text in parts.items()}
            corpora = dict.fromkeys(
                SIDES, self._encoded({"train": "".join(both[f"{s} train"] for s in SIDES), **both}, cache)
            )
        else:
            corpora = {side: self._encoded({f"{side} {p}": t for p, t in texts[side].items()} | {
                "train": texts[side]["train"]}, cache) for side in SIDES}  # fmt: skip
        for side in SIDES:
            self.tokenizers[side] = corpora[side].tokenizer
            for part in self.pairs:
                longest = config.max_tokens if side == "source" else 10**9
                ids = np.asarray(corpora[side].parts[f"{side} {part}"], np.int64)
                self.lines[part][side] = Lines(ids, self._end(side), longest)
        return "/".join(corpora[side].digest for side in SIDES)

    def _encoded(self, texts: dict[str, str], cache: Path) -> Corpus:
        key = hashlib.sha256("\0".join(f"{part}\0{text}" for part, text in texts.items()).encode()).hexdigest()
        return encoded(lambda: texts, f"pairs/{key}", self.config.tokenizer, self.config.vocabulary, cache)

    def _end(self, side: Side) -> int:
        """The end of a line ends a text, and begins a target."""
        (end,) = self.tokenizers[side].encode("\n").tolist()
        return int(end)

    def _leave_out_long(self, skipped: Skipped) -> None:
        most = self.config.max_tokens
        for part in ("train", "tune"):
            keep = np.ones(len(self.pairs[part]), bool)
            for side in SIDES:
                keep &= self.lines[part][side].full <= most
            for _ in range(int((~keep).sum())):
                skipped.add(f"longer than {most} tokens ({part})")
            rows = np.flatnonzero(keep)
            if len(rows) < 2:
                raise ValueError(
                    f"{self.name}: {len(rows)} pairs of '{part}' are at most {most} tokens long, two or more are needed; "
                    "raise max_tokens"
                )
            self.pairs[part] = [self.pairs[part][row] for row in rows]
            for side in SIDES:
                lines = self.lines[part][side]
                lines.starts, lines.lengths, lines.full = lines.starts[rows], lines.lengths[rows], lines.full[rows]

    # Batches.

    def _order(self, split: str) -> np.ndarray:
        return np.argsort(self.lines[split]["source"].lengths, kind="stable")

    def _in_order(self, split: str, batch: int) -> Iterator[np.ndarray]:
        """Rows by length of the source, so that little is padded."""
        order = self._order(split)
        for start in range(0, len(order), batch):
            yield order[start : start + batch]

    def _padded_source(self, split: str, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        ids_BS, keep_BS = self.lines[split]["source"].padded(rows, 0)
        return torch.from_numpy(ids_BS), None if keep_BS.all() else torch.from_numpy(keep_BS)

    def _batch(self, split: str, rows: np.ndarray) -> Batch:
        inputs_BS, keep_BS = self._padded_source(split, rows)
        ids_BU, keep_BU = self.lines[split]["target"].padded(rows, self.shape.end)
        ends_B1 = np.full((len(rows), 1), self.shape.end, np.int64)
        given_BU = np.concatenate([ends_B1, ids_BU], axis=1)
        targets_BU = np.concatenate([ids_BU, ends_B1], axis=1)
        # The end is asked for once, right behind the last token.
        asked_BU = np.concatenate([np.ones((len(rows), 1), bool), keep_BU], axis=1)
        targets_BU = np.where(asked_BU, targets_BU, IGNORE)
        return Batch(inputs_BS, torch.from_numpy(targets_BU), keep_BS, torch.from_numpy(given_BU))


def _check(name: str, data: Parallel, config: TranslationConfig) -> None:
    if config.max_tokens < 4:
        raise ValueError(f"{name}: max_tokens: {config.max_tokens}; at least 4")
    for most in ("train_most", "tune_most"):
        if getattr(config, most) < 0:
            raise ValueError(f"{name}: {most}: {getattr(config, most)}; 0 for all pairs, or how many")
    for test in config.tests:
        if test not in data.parts:
            raise ValueError(f"{name}: tests: no '{test}'; there are {', '.join(p for p in data.parts if 'test' in p)}")


def _text(texts: Iterator[str], config: TranslationConfig) -> str:
    return "".join(_line(text, config) + "\n" for text in texts)


def _line(text: str, config: TranslationConfig) -> str:
    """One line of the tokeniser's text. An empty one becomes one sign: a sequence has at least one token."""
    text = text.lower() if config.lowercase else text
    words = WORD.findall(text) if config.tokenizer == "word" else text.split()
    return " ".join(words) or "?"


def _words(text: str, lowercase: bool) -> str:
    """Letters and signs apart, as papers count that report tokenised BLEU."""
    return " ".join(WORD.findall(text.lower() if lowercase else text))


@dataclass(frozen=True)
class Multi30kConfig(TranslationConfig):
    """See TranslationConfig. `source`, `target`: two of en, de, fr."""

    source: str = "de"
    target: str = "en"


@register_task(
    "multi30k",
    family="translation",
    config=Multi30kConfig,
    summary="captions of pictures, en, de, fr in any direction",
    reference="Elliott et al. 2016",
)
def build_multi30k(config: Multi30kConfig, mode: Mode, places: Places) -> ParallelTask:
    data = multi30k(config.source, config.target, places)
    return ParallelTask(f"multi30k/{config.source}-{config.target}", data, config, places.cache)


@register_task(
    "catalogue",
    family="translation",
    config=TranslationConfig,
    summary="JupyterLab's user interface, en to fr: no download",
    reference="Project Jupyter",
)
def build_catalogue(config: TranslationConfig, mode: Mode, places: Places) -> ParallelTask:
    return ParallelTask("catalogue", catalogue(), config, places.cache)


@dataclass(frozen=True)
class ParallelFileConfig(TranslationConfig):
    """See TranslationConfig, and where the text is.

    Attributes:
        path: a file with source and target on a line, a tab between; or, with `target_path`, the sources.
        target_path: the targets, line by line.
        test_path, test_target_path: the same to test on; "" to cut a tenth off. The tuning split is always cut off.
        languages: of source and target, for people.
    """

    path: str = ""
    target_path: str = ""
    test_path: str = ""
    test_target_path: str = ""
    languages: tuple[str, str] = ("source", "target")


def parallel_file(config: ParallelFileConfig) -> Parallel:
    if not config.path:
        raise ValueError("path: parallel_file needs a file with sources and targets; set its path (and target_path)")
    if config.test_target_path and not config.test_path:
        raise ValueError("test_target_path: targets to test on need their sources; set test_path")
    skipped = Skipped()
    pairs = with_text(_pairs(config.path, config.target_path), skipped)
    parts = cut(pairs, 0.1, 0.0 if config.test_path else 0.1)
    if config.test_path:
        parts["test"] = _pairs(config.test_path, config.test_target_path)
    names = ", ".join(Path(p).name for p in (config.path, config.target_path, config.test_path) if p)
    facts = {
        "text": names,
        "source": "the user's",
        "licence": "the user's",
        "read_from": f"file: {names}",
        "notes": left_out(skipped),
    }
    return Parallel(parts, config.languages, facts)


def _pairs(path: str, target: str) -> list[Pair]:
    source = Path(path).expanduser()
    return aligned(source, Path(target).expanduser()) if target else tab_separated(source)


@register_task(
    "parallel_file",
    family="translation",
    config=ParallelFileConfig,
    summary="two aligned files of yours, or one with a tab between",
)
def build_parallel_file(config: ParallelFileConfig, mode: Mode, places: Places) -> ParallelTask:
    name = hashlib.sha256(config.path.encode()).hexdigest()[:8]
    return ParallelTask(f"parallel_file/{name}", parallel_file(config), config, places.cache)
