"""What final trials predicted, and the examples they predicted it for, beside the records of a run.

`predictions/<trial id>.json` holds one list a split; `examples/<task>-<hash>.json` what the lists are about, once a task;
`attention/<trial id>.json` the attention weights of one example; `translations/<trial id>.json` one list of texts a split,
`alignments/<trial id>.json` who looked at whom in some of them; `pictures/<trial id>.json` what a model of images confused
and looked at, with some images. All are written whole or not at all. Examples and pictures may be licensed: a run folder
that is published goes without them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from results.files import write_whole

PREDICTIONS, EXAMPLES, ATTENTION = "predictions", "examples", "attention"
TRANSLATIONS, ALIGNMENTS, PICTURES = "translations", "alignments", "pictures"


def save_predictions(folder: Path, trial_id: str, splits: dict[str, list[float]]) -> None:
    """Raises OSError where the folder cannot be written."""
    rounded = {split: [round(value, 4) for value in values] for split, values in splits.items()}
    _write(folder / PREDICTIONS / f"{trial_id}.json", rounded)


def load_predictions(folder: Path, trial_id: str) -> dict[str, list[float]]:
    """Empty where there are none, or where the file is damaged."""
    return _read(folder / PREDICTIONS / f"{trial_id}.json")


def has_examples(folder: Path, task: str, fingerprint: str) -> bool:
    return _examples_path(folder, task, fingerprint).exists()


def save_examples(folder: Path, task: str, fingerprint: str, splits: dict[str, dict[str, Any]]) -> None:
    """Raises OSError where the folder cannot be written."""
    _write(_examples_path(folder, task, fingerprint), splits)


def load_examples(folder: Path, task: str, fingerprint: str) -> dict[str, dict[str, Any]]:
    """By split: texts, targets, tokens and rows, each a list with one entry an example; empty where there are none."""
    return _read(_examples_path(folder, task, fingerprint))


def save_attention(folder: Path, trial_id: str, words: list[str], layers: list[Any]) -> None:
    """`layers`: by layer, head, row, column. Raises OSError where the folder cannot be written."""
    rounded = [[[[round(v, 3) for v in row] for row in head] for head in layer] for layer in layers]
    _write(folder / ATTENTION / f"{trial_id}.json", {"words": words, "layers": rounded})


def load_attention(folder: Path, trial_id: str) -> dict[str, Any]:
    """ "words" and "layers"; empty where there are none."""
    return _read(folder / ATTENTION / f"{trial_id}.json")


def save_translations(folder: Path, trial_id: str, splits: dict[str, list[str]]) -> None:
    """Raises OSError where the folder cannot be written."""
    _write(folder / TRANSLATIONS / f"{trial_id}.json", splits)


def load_translations(folder: Path, trial_id: str) -> dict[str, list[str]]:
    """By split; empty where there are none."""
    return _read(folder / TRANSLATIONS / f"{trial_id}.json")


def save_alignments(folder: Path, trial_id: str, sentences: list[dict[str, Any]]) -> None:
    """Each with "source", "target", "text" and "layers". Raises OSError where the folder cannot be written."""
    rounded = [
        {**s, "layers": [[[[round(v, 3) for v in row] for row in head] for head in layer] for layer in s["layers"]]}
        for s in sentences
    ]
    _write(folder / ALIGNMENTS / f"{trial_id}.json", {"sentences": rounded})


def load_alignments(folder: Path, trial_id: str) -> list[dict[str, Any]]:
    """Empty where there are none."""
    found = _read(folder / ALIGNMENTS / f"{trial_id}.json").get("sentences")
    return found if isinstance(found, list) else []


def save_pictures(folder: Path, trial_id: str, content: dict[str, Any]) -> None:
    """See bench.training.pictures. Raises OSError where the folder cannot be written."""
    _write(folder / PICTURES / f"{trial_id}.json", content)


def has_pictures(folder: Path) -> bool:
    """Whether any trial kept some: in a run without images, thousands of trials need not be asked."""
    return (folder / PICTURES).is_dir()


def load_pictures(folder: Path, trial_id: str) -> dict[str, Any]:
    """Empty where there are none."""
    return _read(folder / PICTURES / f"{trial_id}.json")


def _examples_path(folder: Path, task: str, fingerprint: str) -> Path:
    return folder / EXAMPLES / f"{_tame(task)}-{_tame(fingerprint[:8])}.json"


def _tame(text: str) -> str:
    """As a part of a file's name: what a plan says must not lead out of the folder."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
