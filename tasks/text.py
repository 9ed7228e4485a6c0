"""Text to ids and back, learnt on the training part only, and kept in a cache so that it is done once.

Characters and words need a table and no library; byte pairs are learnt by `tokenizers`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

Kind = Literal["char", "word", "bpe"]
UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
FORMAT = 1
"""Part of every cache key: raise it when the same text would give other ids."""


class Tokenizer(Protocol):
    """Ids are below `size`. `state` is plain data that `restore` builds the tokeniser from."""

    @property
    def size(self) -> int: ...

    @property
    def characters(self) -> np.ndarray:
        """Characters of text that each id stands for (int64), for measures per character."""
        ...

    @property
    def state(self) -> dict[str, Any]: ...

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, ids: list[int]) -> str: ...


@dataclass(frozen=True)
class Characters:
    """Every character of the training part; any other is one more id, shown as U+FFFD."""

    alphabet: str

    @classmethod
    def learn(cls, text: str) -> Characters:
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        return len(self.alphabet) + 1

    @property
    def characters(self) -> np.ndarray:
        return np.ones(self.size, np.int64)

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "char", "alphabet": self.alphabet}

    @cached_property
    def _codes(self) -> np.ndarray:
        return _code_points(self.alphabet)

    def encode(self, text: str) -> np.ndarray:
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(ids, self.size - 2)] == codes
        return np.where(known, ids, self.size - 1)

    def decode(self, ids: list[int]) -> str:
        pieces = self.alphabet + "\ufffd"
        return "".join(pieces[i] for i in ids)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


@dataclass(frozen=True)
class Words:
    """What stands between blanks, and an end of each line, as WikiText counts them (Merity et al. 2017, section 4.3).

    A word outside the list is <unk>. Blanks are lost: decoding puts one space between words.
    """

    words: tuple[str, ...]

    @classmethod
    def learn(cls, text: str, vocabulary: int) -> Words:
        """The most frequent `vocabulary` words, ties in alphabetical order; all of them for 0."""
        counts = Counter(_words(text))
        ranked = sorted(counts.keys() - {UNKNOWN, END_OF_LINE}, key=lambda word: (-counts[word], word))
        return cls((UNKNOWN, END_OF_LINE, *ranked[: vocabulary - 2 if vocabulary else None]))

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def characters(self) -> np.ndarray:
        """A word and the space after it; one for the end of a line."""
        return np.array([1 if word == END_OF_LINE else len(word) + 1 for word in self.words], np.int64)

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "word", "words": list(self.words)}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> np.ndarray:
        index = self._index
        return np.array([index.get(word, 0) for word in _words(text)], np.int64)

    def decode(self, ids: list[int]) -> str:
        return re.sub(f" ?{END_OF_LINE} ?", "\n", " ".join(self.words[i] for i in ids))


def _words(text: str) -> list[str]:
    return text.replace("\n", f" {END_OF_LINE} ").split()


@dataclass(frozen=True)
class BytePairs:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in Radford et al. 2019): no text is unknown."""

    pieces: tuple[str, ...]
    """Of every id, each byte written as one printable character."""
    merges: tuple[tuple[str, str], ...]

    @classmethod
    def learn(cls, text: str, vocabulary: int) -> BytePairs:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, pre_tokenizers, trainers

        library = Library(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        library.train_from_iterator(_chunks(text), trainer)
        model = json.loads(library.to_str())["model"]
        # Older versions of the library write a merge as 'a b'; a blank is never part of a piece.
        merges = tuple((a, b) for a, b in (m.split(" ") if isinstance(m, str) else m for m in model["merges"]))
        return cls(tuple(sorted(model["vocab"], key=model["vocab"].__getitem__)), merges)

    @property
    def size(self) -> int:
        return len(self.pieces)

    @property
    def characters(self) -> np.ndarray:
        """Characters that begin in a token: in UTF-8 every byte but 10xxxxxx begins one."""
        return np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self._bytes], np.int64)

    @property
    def state(self) -> dict[str, Any]:
        return {"kind": "bpe", "pieces": list(self.pieces), "merges": list(self.merges)}

    @cached_property
    def _bytes(self) -> list[bytes]:
        byte = _byte_of_character()
        return [bytes(byte[c] for c in piece) for piece in self.pieces]

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, pre_tokenizers

        vocabulary = {piece: i for i, piece in enumerate(self.pieces)}
        library = Library(models.BPE(vocab=vocabulary, merges=list(self.merges)))
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return library

    def encode(self, text: str) -> np.ndarray:
        ids = [i for piece in self._library.encode_batch(list(_chunks(text))) for i in piece.ids]
        return np.array(ids, np.int64)

    def decode(self, ids: list[int]) -> str:
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", "replace")


def _byte_of_character() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level vocabularies (Radford et al. 2019), inverted."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def _chunks(text: str, size: int = 1 << 16) -> Iterator[str]:
    """The text in pieces that end with a line, since the library keeps a hundred bytes for each token of a piece."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def learn(kind: Kind, text: str, vocabulary: int) -> Tokenizer:
    """A tokeniser for what `text` looks like."""
    if kind == "char":
        return Characters.learn(text)
    if kind == "word":
        if vocabulary < 0 or vocabulary in (1, 2):
            raise ValueError(f"vocabulary: {vocabulary} words, two of them {UNKNOWN} and {END_OF_LINE}; use >= 3 or 0")
        return Words.learn(text, vocabulary)
    if vocabulary < 256:
        raise ValueError(f"vocabulary: {vocabulary} is too small for tokenizer 'bpe', which begins with the 256 bytes")
    return BytePairs.learn(text, vocabulary)


def read_tokenizer(path: Path) -> tuple[Tokenizer, str]:
    """A kept tokeniser and a hash of it. Raises ValueError where the file is not one."""
    try:
        content = path.read_bytes()
        return restore(json.loads(content)), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise ValueError(f"tokenizer_file: cannot read {path} ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"tokenizer_file: {path} holds no tokeniser") from error


def restore(state: dict[str, Any]) -> Tokenizer:
    """The tokeniser whose `state` this is."""
    if state["kind"] == "char":
        return Characters(state["alphabet"])
    if state["kind"] == "word":
        return Words(tuple(state["words"]))
    return BytePairs(tuple(state["pieces"]), tuple((a, b) for a, b in state["merges"]))


@dataclass(frozen=True)
class Corpus:
    """Encoded text. `digest`: hash of the ids of all parts and of what they stand for."""

    tokenizer: Tokenizer
    parts: dict[str, np.ndarray]
    digest: str


def encoded(
    read: Callable[[], dict[str, str]],
    key: str,
    kind: Kind,
    vocabulary: int,
    cache: Path,
    tokenizer: Tokenizer | None = None,
) -> Corpus:
    """The parts of a text as ids, from the cache where it has them.

    Args:
        read: gives the parts, "train" among them; called only if need be.
        key: decides what `read` gives, and names the tokeniser if one is given.
        tokenizer: None to learn one.
    """
    name = hashlib.sha256(f"{FORMAT}/{key}/{kind}/{vocabulary}".encode()).hexdigest()[:32]
    folder = cache / "text"
    with contextlib.suppress(Exception):  # whatever is wrong with what lies in a cache, it is made again
        return _load(folder, name)
    texts = read()
    tokenizer = tokenizer or learn(kind, texts["train"], vocabulary)
    # One id to spare, for [MASK].
    dtype = np.dtype("<u2" if tokenizer.size < 1 << 16 else "<u4")
    parts = {part: tokenizer.encode(text).astype(dtype) for part, text in texts.items()}
    corpus = Corpus(tokenizer, parts, _digest(tokenizer, parts))
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
        _save(folder, name, corpus)
    return corpus


def _digest(tokenizer: Tokenizer, parts: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(json.dumps(tokenizer.state, sort_keys=True).encode(), digest_size=16)
    for part, ids in parts.items():
        digest.update(f"/{part}/{len(ids)}/".encode())
        digest.update(np.ascontiguousarray(ids).data)
    return digest.hexdigest()


def _load(folder: Path, name: str) -> Corpus:
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    # Mapped, so that processes side by side share one copy and none waits for all of it to be read.
    ids = np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
    parts, start = {}, 0
    for part, length in record["parts"].items():
        parts[part] = ids[start : start + length]
        start += length
    tokenizer = restore(record["tokenizer"])
    if start != len(ids) or _digest(tokenizer, parts) != record["digest"]:
        raise ValueError("damaged")
    return Corpus(tokenizer, parts, record["digest"])


def _save(folder: Path, name: str, corpus: Corpus) -> None:
    """Ids first: a record is there only after what it describes."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = {part: len(ids) for part, ids in corpus.parts.items()}
    record = {"parts": lengths, "digest": corpus.digest, "tokenizer": corpus.tokenizer.state}
    with _replacing(folder / f"{name}.npy") as file:
        np.save(file, np.concatenate(list(corpus.parts.values())))
    with _replacing(folder / f"{name}.json") as file:
        file.write(json.dumps(record).encode())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """A file that takes its name only once it is whole, so that no other process sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
