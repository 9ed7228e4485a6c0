"""Texts come from the named folder or the pinned revision, or not at all; `datasets` and the network are stood in for."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tasks.sources
from bench.contract import DataMissing, Places
from tasks.sources import TINYSHAKESPEARE, WIKITEXT2, Hub, Source, answers

LINES = {"train": " \n = A = \n \n b c <unk> \n", "tune": " \n b \n", "test": " c \n \n"}
TIDY = {"train": "\n= A =\n\nb c <unk>\n", "tune": "\nb\n", "test": "c\n\n"}
# As the hub's script made its rows: a line with its end, or nothing where a line is blank.
ROWS = {"train": ["", " = A = \n", "", " b c <unk> \n"], "validation": ["", " b \n"], "test": [" c \n", ""]}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


WIKI = replace(WIKITEXT2, sha256={part: sha(text) for part, text in TIDY.items()})
SHAKE = replace(TINYSHAKESPEARE, sha256={"all": sha("To be\n\nor not\n")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, text in LINES.items():
        path = tmp_path / "data" / WIKI.files[part]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    path = tmp_path / "data" / SHAKE.files["all"]
    path.parent.mkdir()
    path.write_bytes(b"To be\n\nor not\n")
    return tmp_path / "data"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A network that answers, and a hub with the same texts. Gives the calls."""
    import datasets

    calls: list[dict[str, Any]] = []

    def load_dataset(path: str, name: str | None = None, **arguments: Any) -> dict[str, dict[str, list[str]]]:
        calls.append({"path": path, "name": name, "offline": datasets.config.HF_HUB_OFFLINE, **arguments})
        rows = ROWS if name else {"train": ["To be\n\nor not\n"]}
        return {split: {"text": lines} for split, lines in rows.items()}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tasks.sources, "answers", lambda host: True)
    return calls


@pytest.mark.parametrize("source", [WIKI, SHAKE], ids=lambda s: s.name)
def test_folder_and_hub_give_the_same_text(
    source: Source, folder: Path, hub: list[dict[str, Any]], tmp_path: Path
) -> None:
    local = source.open("a_task", Places(folder, tmp_path))
    remote = source.open("a_task", Places(None, tmp_path))
    assert hub == []  # opening asks nobody
    assert local.read() == remote.read()
    assert len(hub) == 1
    assert str(folder) not in local.origin and local.origin != remote.origin


def test_the_hub_is_asked_for_what_is_pinned(hub: list[dict[str, Any]], tmp_path: Path) -> None:
    for source in (WIKI, SHAKE):
        source.open("a_task", Places(None, tmp_path)).read()
    wiki, shake = hub
    assert (wiki["path"], wiki["name"]) == ("Salesforce/wikitext", "wikitext-2-v1")
    assert wiki["revision"] == "b08601e04326c79dfdd32d625aee71d232d685c3"
    assert "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e" in shake["data_files"]["train"]


def test_the_text_builder_of_datasets_gives_a_file_unchanged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real `datasets`, with a file in place of the address."""
    monkeypatch.setattr(tasks.sources, "answers", lambda host: True)
    files = {"train": str(folder / SHAKE.files["all"])}
    arguments = {**SHAKE.hub.arguments, "data_files": files, "cache_dir": str(tmp_path / "hf")}
    source = replace(SHAKE, hub=replace(SHAKE.hub, arguments=arguments))
    assert source.open("a_task", Places(None, tmp_path)).read() == {"all": "To be\n\nor not\n"}


def test_key_follows_the_content(folder: Path, tmp_path: Path) -> None:
    before = SHAKE.open("a_task", Places(folder, tmp_path)).key
    assert SHAKE.open("a_task", Places(folder, tmp_path)).key == before
    (folder / SHAKE.files["all"]).write_text("To be\n\nor Not\n")
    assert SHAKE.open("a_task", Places(folder, tmp_path)).key != before


def one_line(error: pytest.ExceptionInfo[DataMissing]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("source", [WIKI, SHAKE], ids=lambda s: s.name)
def test_no_network_and_no_folder(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries are set to their caches for the call and not after it; both ways are named."""
    import datasets

    seen = []

    def load_dataset(**arguments: Any) -> None:
        seen.append(datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("a long\ntrace")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(tasks.sources, "answers", lambda host: False)
    with pytest.raises(DataMissing) as error:
        source.open("a_task", Places(None, tmp_path)).read()
    message = one_line(error)
    for word in ("a_task needs", source.name, f"no network to {source.hub.host}", "--data-dir", "SEQBENCH_DATA"):
        assert word in message
    assert all(name in message for name in source.files.values()) and "docs_lm" in message
    assert seen == [True] and datasets.config.HF_HUB_OFFLINE is False


def test_no_network_but_an_earlier_download(
    hub: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.sources, "answers", lambda host: False)
    assert WIKI.open("a_task", Places(None, tmp_path)).read() == TIDY
    assert hub[0]["offline"] is True


def test_a_download_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(**arguments: Any) -> None:
        raise ValueError("gone\nfor good")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tasks.sources, "answers", lambda host: True)
    with pytest.raises(DataMissing) as error:
        WIKI.open("a_task", Places(None, tmp_path)).read()
    assert "ValueError: gone for good" in one_line(error) and "--data-dir" in str(error.value)


def test_a_named_folder_is_not_left(folder: Path, hub: list[dict[str, Any]], tmp_path: Path) -> None:
    """A folder without the file is an error, though the hub has it: the user said where to look."""
    missing = folder / WIKI.files["tune"]
    missing.unlink()
    with pytest.raises(DataMissing) as error:
        WIKI.open("a_task", Places(folder, tmp_path))
    message = one_line(error)
    assert str(missing) in message and "downloaded" in message and "docs_lm" in message
    assert hub == []


def test_another_text_is_refused(folder: Path, hub: list[dict[str, Any]], tmp_path: Path) -> None:
    (folder / SHAKE.files["all"]).write_bytes(b"To be\xff\n")
    with pytest.raises(DataMissing) as error:
        SHAKE.open("a_task", Places(folder, tmp_path)).read()
    assert "sha256" in one_line(error) and SHAKE.sha256["all"] in str(error.value)
    other = replace(SHAKE, sha256={"all": "0" * 64})
    with pytest.raises(DataMissing, match="another text"):
        other.open("a_task", Places(None, tmp_path)).read()


def test_asking_whether_a_host_answers_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a name has no time limit of its own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "HF_ENDPOINT":
            monkeypatch.delenv(name)

    def slow(address: tuple[str, int], timeout: float) -> None:
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(tasks.sources.socket, "create_connection", slow)
    start = time.perf_counter()
    assert not answers("example.invalid", seconds=0.1)
    assert time.perf_counter() - start < 2
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    assert answers("example.invalid", seconds=0.1)  # left to the proxy


def test_every_source_is_pinned() -> None:
    for source in (TINYSHAKESPEARE, WIKITEXT2):
        assert isinstance(source.hub, Hub)
        assert source.files.keys() == source.sha256.keys() == source.hub.splits.keys()
        assert all(len(pin) == 64 for pin in source.sha256.values())
        assert len(str(source.hub.arguments)) and source.licence and source.url


@pytest.mark.skipif("SEQBENCH_DATA" not in os.environ, reason="set SEQBENCH_DATA to a folder with the original files")
@pytest.mark.parametrize("source", [TINYSHAKESPEARE, WIKITEXT2], ids=lambda s: s.name)
def test_the_originals_have_the_pinned_hashes(source: Source, tmp_path: Path) -> None:
    places = Places(Path(os.environ["SEQBENCH_DATA"]), tmp_path)
    assert source.open("a_task", places).read().keys() == source.files.keys()
