"""Where text comes from: a folder the user names, or the Hugging Face hub at a pinned revision; compared by hash.

Never anything else: where neither has the text, `DataMissing` names both ways in one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract import DataMissing, Places

NO_DOWNLOAD = "docs_lm"
"""The task that every message about missing text names as one that runs anywhere."""
NO_DOWNLOAD_SENTENCES = "mini_acceptability"
"""The same for sentences."""


@dataclass(frozen=True)
class Text:
    """A text in named parts that is not read before it must be.

    Attributes:
        key: hash that decides what `read` gives, so that what was made from the text can be found without reading it.
        origin: where it is read from, for people: no absolute path.
    """

    key: str
    origin: str
    read: Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Hub:
    """A data set on the hub, or a file fetched through `datasets`.

    Attributes:
        arguments: of `datasets.load_dataset`, the pinned revision among them.
        splits: our part -> the hub's split.
        host: what must answer for a download to have a chance.
        label: what facts and messages call it.
    """

    arguments: dict[str, Any]
    splits: dict[str, str]
    host: str
    label: str

    def load(self, task: str, wanted: str, way: str, instead: str = NO_DOWNLOAD) -> Any:
        """The data set: downloaded, or what an earlier download left in the hub's own cache.

        Raises DataMissing, which names `way` to do without a download, and a task `instead`.
        """
        reachable = answers(self.host)
        why = f"download from {self.label} failed" if reachable else f"no network to {self.host}"
        try:
            import datasets

            with contextlib.nullcontext() if reachable else _offline():
                return datasets.load_dataset(**self.arguments)
        except Exception as error:
            detail = f" ({type(error).__name__}: {' '.join(str(error).split())[:200]})" if reachable else ""
            raise missing(task, wanted, f"{why}{detail}, and no local copy", way, instead) from error


@dataclass(frozen=True)
class Source:
    """A published text.

    Attributes:
        files: part -> path below the user's data folder.
        sha256: part -> hash of the text after `tidy`, UTF-8.
        by_line: only words and line ends count, since copies differ in the blanks around them: a line becomes its words
            with one space between, so that the hash is one of the token stream with its ends of lines.
    """

    name: str
    files: dict[str, str]
    sha256: dict[str, str]
    hub: Hub
    licence: str
    url: str
    by_line: bool = False

    def tidy(self, rows: Iterable[str]) -> str:
        """Rows of the hub (lines where `by_line`) to the text that is hashed and used."""
        return "".join(" ".join(row.split()) + "\n" for row in rows) if self.by_line else "".join(rows)

    def open(self, task: str, places: Places) -> Text:
        """The text for `task`: found, not yet read. Raises DataMissing where a named folder does not hold it."""
        if places.local is not None:
            return self._open_folder(task, places.local)
        # The hub's copy is fixed by revision and hash, so it need not be asked to know what it would give.
        pins = "/".join([self.hub.label, *self.sha256.values()])
        key = hashlib.sha256(pins.encode()).hexdigest()
        return Text(key, self.hub.label, lambda: self._checked(task, self._from_hub(task), self.hub.label))

    def _open_folder(self, task: str, folder: Path) -> Text:
        contents: dict[str, bytes] = {}
        for part, name in self.files.items():
            try:
                contents[part] = (folder / name).read_bytes()
            except OSError as error:
                raise self._missing(task, f"cannot read {folder / name} ({error.strerror})", self._no_folder) from error
        key = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents.values()))

        def read() -> dict[str, str]:
            # A byte that is no UTF-8 changes the hash, and the message about that is the one to give.
            texts = {part: content.decode("utf-8", "replace") for part, content in contents.items()}
            if self.by_line:
                texts = {part: self.tidy(text.removesuffix("\n").split("\n")) for part, text in texts.items()}
            return self._checked(task, texts, str(folder), self._no_folder)

        return Text(key.hexdigest(), f"data folder: {', '.join(self.files.values())}", read)

    def _from_hub(self, task: str) -> dict[str, str]:
        loaded = self.hub.load(task, self.name, self._folder_way)
        return {part: self.tidy(loaded[split]["text"]) for part, split in self.hub.splits.items()}

    def _checked(self, task: str, texts: dict[str, str], where: str, other: str = "") -> dict[str, str]:
        for part, expected in self.sha256.items():
            found = hashlib.sha256(texts[part].encode("utf-8", "replace")).hexdigest()
            if found != expected:
                why = f"{self.files[part]} as read from {where} is another text: sha256 {found}, pinned {expected}"
                raise self._missing(task, why, other)
        return texts

    @property
    def _no_folder(self) -> str:
        return f"put the original there, or name no folder so that it is downloaded ({self.hub.label})"

    @property
    def _folder_way(self) -> str:
        files = " and ".join(f"DIR/{name}" for name in self.files.values())
        return f"pass --data-dir DIR (or SEQBENCH_DATA) with {files}"

    def _missing(self, task: str, why: str, way: str = "") -> DataMissing:
        return missing(task, self.name, why, way or self._folder_way)


def missing(task: str, wanted: str, why: str, way: str, instead: str = NO_DOWNLOAD) -> DataMissing:
    """One line: what is needed, why it is not here, and both ways out."""
    return DataMissing(
        f"{task} needs {wanted}: {why}; {way}, or choose a task that needs no download such as {instead}"
    )


def answers(host: str, seconds: float = 5.0) -> bool:
    """Whether a host can be reached. Asked first because `datasets` goes on trying to resolve it for half a minute.

    With a proxy or a mirror the host itself need not answer, so that is left to the download.
    """
    proxies = ("https_proxy", "http_proxy", "all_proxy")
    if any(os.environ.get(name) for name in ("HF_ENDPOINT", *proxies, *map(str.upper, proxies))):
        return True
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, 443), timeout=seconds):
            reached.set()

    # In a thread, since the time limit of a connection does not hold for looking up its name.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return reached.is_set()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Hugging Face libraries use their caches and no network, as with HF_HUB_OFFLINE=1, which they read once only."""
    modules = [sys.modules[name] for name in ("datasets.config", "huggingface_hub.constants") if name in sys.modules]
    before = [(module, module.HF_HUB_OFFLINE) for module in modules if hasattr(module, "HF_HUB_OFFLINE")]
    for module, _ in before:
        module.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, value in before:
            module.HF_HUB_OFFLINE = value  # type: ignore[attr-defined]


# The hub's own karpathy/tiny_shakespeare is a script, which `datasets` >= 4 refuses; this is the file it fetched.
_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
_TINYSHAKESPEARE = f"{_CHAR_RNN}/data/tinyshakespeare/input.txt"

TINYSHAKESPEARE = Source(
    name="tinyshakespeare",
    files={"all": "tinyshakespeare/input.txt"},
    sha256={"all": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    hub=Hub(
        arguments={"path": "text", "data_files": {"train": _TINYSHAKESPEARE}, "sample_by": "document"},
        splits={"all": "train"},
        host="raw.githubusercontent.com",
        label=_TINYSHAKESPEARE,
    ),
    licence="public domain",
    url="https://github.com/karpathy/char-rnn",
)

WIKITEXT2 = Source(
    name="WikiText-2",
    files={
        "train": "wikitext-2/wiki.train.tokens",
        "tune": "wikitext-2/wiki.valid.tokens",
        "test": "wikitext-2/wiki.test.tokens",
    },
    sha256={
        "train": "f7ee69acf5cc3fd2321929d3e32dd6defd8199abe0cb95063b2b9f092584f96f",
        "tune": "4427e8fc24d5ceaaff4f1d9ee42f4e82172572b107d6a4e1f32d84fa7913c3ff",
        "test": "f68796e87c3250872a5a82da5027c4f75494ca617fbad67e36acce8a057ff3e8",
    },
    hub=Hub(
        arguments={
            "path": "Salesforce/wikitext",
            "name": "wikitext-2-v1",
            "revision": "b08601e04326c79dfdd32d625aee71d232d685c3",
        },
        splits={"train": "train", "tune": "validation", "test": "test"},
        host="huggingface.co",
        label="Salesforce/wikitext wikitext-2-v1 @ b08601e04326c79dfdd32d625aee71d232d685c3",
    ),
    licence="CC BY-SA 3.0 and GFDL",
    url="https://arxiv.org/abs/1609.07843",
    by_line=True,  # the hub's rows of blank lines are empty, the original file has ' \n'
)
