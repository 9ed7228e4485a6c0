"""Parallel text: sentences and their translations, line by line, from published files, a catalogue or files of a user.

What is wrong with a file is a ValueError of one line that names file and line. Lines are counted from 1.
"""

from __future__ import annotations

import gettext
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from bench.contract import DataMissing, Places, Reference
from tasks.alike import alike
from tasks.archives import gunzip
from tasks.skipped import Skipped
from tasks.sources import Hub, missing

Pair = tuple[str, str]
NO_DOWNLOAD_PAIRS = "catalogue"
"""The task that messages about missing parallel text name as one that runs anywhere."""


@dataclass(frozen=True)
class Parallel:
    """What a source gives.

    Attributes:
        parts: "train", "tune", "test" and further tests -> pairs of source and target.
        languages: of source and target, as two letters.
        facts: source, licence and what else a reader should know.
        references: published figures.
    """

    parts: dict[str, list[Pair]]
    languages: tuple[str, str]
    facts: dict[str, Any]
    references: tuple[Reference, ...] = ()


# Multi30k.

LANGUAGES = ("en", "de", "fr")
COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
_RAW = f"https://raw.githubusercontent.com/multi30k/dataset/{COMMIT}/data/task1/raw"
MULTI30K_PARTS = {
    "train": ("train", 29_000),
    "tune": ("val", 1_014),
    "test": ("test_2016_flickr", 1_000),
    "test_2017": ("test_2017_flickr", 1_000),
    "test_2017_coco": ("test_2017_mscoco", 461),
    "test_2018": ("test_2018_flickr", 1_071),
}


def multi30k(source: str, target: str, places: Places) -> Parallel:
    """Captions of pictures (Elliott et al. 2016, 2017; Barrault et al. 2018), from the user's folder or as published.

    Raises ValueError for other languages, DataMissing where it cannot be had.
    """
    if source not in LANGUAGES or target not in LANGUAGES or source == target:
        raise ValueError(f"multi30k: from '{source}' to '{target}'; choose two of {', '.join(LANGUAGES)}")
    read = _multi30k_files if places.local is not None else _multi30k_hub
    sides = [read(language, places) for language in (source, target)]
    parts = {}
    for part, (name, rows) in MULTI30K_PARTS.items():
        texts = [side[part] for side in sides]
        for language, lines in zip((source, target), texts, strict=True):
            if len(lines) != rows:
                raise ValueError(f"multi30k: {name}.{language} has {len(lines):,} lines, {rows:,} were published")
        parts[part] = list(zip(*texts, strict=True))
    label = f"{_RAW} ({COMMIT[:7]})"
    facts = {
        "text": f"Multi30k, {source} to {target}", "source": "Elliott et al. 2016, 2017; Barrault et al. 2018",
        "licence": "research and education, not commercial (captions of Flickr30K)",
        "url": "https://github.com/multi30k/dataset", "hub": label,
        "read_from": "data folder: multi30k" if places.local is not None else label,
    }  # fmt: skip
    return Parallel(parts, (source, target), facts, _published(source, target))


def _multi30k_files(language: str, places: Places) -> dict[str, list[str]]:
    assert places.local is not None
    folder = places.local / "multi30k"
    found = {}
    for part, (name, _) in MULTI30K_PARTS.items():
        path = folder / f"{name}.{language}.gz"
        try:
            found[part] = _lines(gunzip(path), path)
        except OSError as error:
            why = f"cannot read {path} ({getattr(error, 'strerror', None) or error})"
            way = f"put the published file there, or name no folder so that it is downloaded ({_RAW})"
            raise missing("multi30k", "Multi30k", why, way, NO_DOWNLOAD_PAIRS) from error
    return found


def _multi30k_hub(language: str, places: Places) -> dict[str, list[str]]:
    files = {part: f"{_RAW}/{name}.{language}.gz" for part, (name, _) in MULTI30K_PARTS.items()}
    hub = Hub({"path": "text", "data_files": files, "keep_linebreaks": False}, {}, "raw.githubusercontent.com", _RAW)
    way = f"pass --data-dir DIR (or SEQBENCH_DATA) with DIR/multi30k/train.{language}.gz and the other files"
    loaded = hub.load("multi30k", "Multi30k", way, NO_DOWNLOAD_PAIRS)
    return {part: list(loaded[part]["text"]) for part in files}


_NOTEBOOKS = "bentrevett/pytorch-seq2seq, the notebooks' own recipes and models (10 epochs, batch 128)"
_LADDER = {
    "LSTM, one vector": 13.8, "GRU, one vector": 20.6, "GRU, additive attention": 28.2, "ConvS2S": 34.1, "Transformer": 36.5,
}  # fmt: skip


def _published(source: str, target: str) -> tuple[Reference, ...]:
    """Tokenised, lower-cased BLEU on the test set of 2016."""
    rows: list[Reference] = []
    if (source, target) == ("de", "en"):
        rows = [Reference(k, "tokenised_BLEU", v, "published", _NOTEBOOKS, ("test",)) for k, v in _LADDER.items()]
    if (source, target) == ("en", "de"):
        tiny = "Wu et al. 2021 (Revisit-MMT): 4 layers, width 128, joint byte pairs, beam 5"
        rows = [Reference("Transformer tiny", "tokenised_BLEU", 41.02, "published", tiny, ("test",))]
    return tuple(rows)


# What every install has.

PACK = "jupyterlab-language-pack-fr-FR"


def catalogue() -> Parallel:
    """English and French texts of JupyterLab's user interface, from its language pack. Each English text once, cut by hash.

    Raises DataMissing where the package is not installed.
    """
    spec = util.find_spec(PACK.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise DataMissing(f"catalogue needs the package {PACK}: pip install {PACK}")
    skipped = Skipped()
    pairs: dict[str, str] = {}
    for path in sorted(Path(spec.origin).parent.rglob("*.mo")):
        with path.open("rb") as file:
            messages: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for key, translation in messages.items():
            text = key[0] if isinstance(key, tuple) else key  # plural forms have a number behind
            source, target = " ".join(text.split("\x04")[-1].split()), " ".join(translation.split())
            if not source or not target:
                continue  # the catalogue's own header, and messages that nobody has translated
            if source == target:
                skipped.add("both texts are the same (names, signs)")
            elif source in pairs:
                skipped.add("the same English text again")
            else:
                pairs[source] = target
    parts = cut(sorted(pairs.items()), 0.1, 0.1)
    facts = {
        "text": "JupyterLab's user interface, en to fr", "source": "Project Jupyter contributors",
        "licence": "BSD 3-Clause", "url": "https://github.com/jupyterlab/language-packs",
        "read_from": f"package {PACK} {metadata.version(PACK)}", "notes": left_out(skipped),
    }  # fmt: skip
    return Parallel(parts, ("en", "fr"), facts)


def cut(pairs: Sequence[Pair], tune: float, test: float) -> dict[str, list[Pair]]:
    """Parts by a hash of the source: the same in whatever order pairs come, and sources that are alike in one part."""
    parts: dict[str, list[Pair]] = {"train": [], "tune": [], "test": []}
    for pair in pairs:
        place = int.from_bytes(hashlib.blake2b(alike(pair[0]).encode(), digest_size=4).digest(), "little") / 2**32
        parts["test" if place < test else "tune" if place < test + tune else "train"].append(pair)
    return parts


# Files of a user.


def aligned(source: Path, target: Path) -> list[Pair]:
    """Two files, a line of one is the translation of the same line of the other. Raises ValueError where they do not fit."""
    texts = [_lines(_bytes(path), path) for path in (source, target)]
    if len(texts[0]) != len(texts[1]):
        raise ValueError(
            f"{source} has {len(texts[0]):,} lines and {target} {len(texts[1]):,}: line by line they are no translations"
        )
    return list(zip(*texts, strict=True))


def tab_separated(path: Path) -> list[Pair]:
    """One file, source and target on a line with a tab between. Raises ValueError where a line has another form."""
    pairs = []
    for number, line in enumerate(_lines(_bytes(path), path), start=1):
        cells = line.split("\t") if line.strip() else ["", ""]  # an empty line is a pair without text
        if len(cells) != 2:
            raise ValueError(f"{path}, line {number}: {len(cells)} columns, source and target make 2 (a tab between)")
        pairs.append((cells[0], cells[1]))
    return pairs


def with_text(pairs: Iterable[Pair], skipped: Skipped) -> list[Pair]:
    """Pairs with something on both sides; others are counted."""
    kept = []
    for source, target in pairs:
        if source.strip() and target.strip():
            kept.append((source, target))
        else:
            skipped.add("a side is empty")
    return kept


def left_out(skipped: Skipped) -> list[str]:
    """Of pairs, for the page: a sentence a reason."""
    return [f"{count} pairs were left out: {why}" for why, count in sorted(skipped.counts.items())]


def _bytes(path: Path) -> bytes:
    try:
        return gunzip(path) if path.suffix == ".gz" else path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path} ({getattr(error, 'strerror', None) or error})") from error


def _lines(content: bytes, path: Path) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines
