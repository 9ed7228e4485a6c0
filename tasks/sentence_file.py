"""Classification or regression of sentences or pairs from a file of yours: CSV, TSV or a JSON object a line, no code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.contract import Mode, Places
from bench.registry import register_task
from tasks.metrics import ACCURACY, F1, MATTHEWS, METRICS, PEARSON, SPEARMAN
from tasks.sentences import Labelled, SentenceConfig, SentenceTask, share_of
from tasks.tables import Columns, distinct_labels, read_examples


@dataclass(frozen=True)
class FileConfig(SentenceConfig):
    """See SentenceConfig, and what the file holds.

    Attributes:
        path: the file, UTF-8, with names of columns in its first line (or keys, in JSON).
        test_path: a file of the same layout to test on; "" to cut `test` of `path` off.
        test: share of `path` that is tested, as many of each class.
        texts: names of one or two columns.
        label: name of the column to predict.
        kind: classes, or a value.
        labels: words of the classes; empty to take those that occur.
        metrics: of accuracy, f1 (of the second class), matthews_correlation, pearson, spearman; the first one ranks.
    """

    path: str = ""
    test_path: str = ""
    test: float = 0.2
    texts: tuple[str, ...] = ("text",)
    label: str = "label"
    kind: Literal["classification", "regression"] = "classification"
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


def load(config: FileConfig) -> Labelled:
    if not config.path:
        raise ValueError("path: sentence_file needs a CSV, TSV or JSONL file; set its path")
    if len(config.texts) not in (1, 2):
        raise ValueError(f"texts: {config.texts}; name one column, or two for pairs")
    classes = config.kind == "classification"
    unknown = [name for name in config.metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"metrics: no '{unknown[0]}'; there are {', '.join(METRICS)}")
    _check_kind(config)
    paths = [Path(p).expanduser() for p in (config.path, config.test_path) if p]
    labels: tuple[str, ...] = ()
    if classes:
        labels = config.labels or tuple(
            sorted({w for p in paths for w in _read(p, lambda p: distinct_labels(p, config.label))})
        )
        if len(labels) < 2:
            raise ValueError(
                f"{config.path}, column '{config.label}': every label is '{labels[0]}'; two or more are needed"
            )
    if "f1" in config.metrics and len(labels) != 2:
        raise ValueError(
            f"metrics: f1 is of two classes, these are {len(labels)}; take accuracy or matthews_correlation"
        )
    columns = Columns(config.texts, config.label, labels)
    found = [_read(path, lambda p: read_examples(p, columns)) for path in paths]
    train, tests = found[0], found[1:]
    if not tests:
        train, test = share_of(train, config.test, len(train), bool(labels))
        tests = [test]
    for split, examples in (("train", train), ("test", tests[0])):
        if len(examples) < 2:
            raise ValueError(f"{config.path}: {len(examples)} examples to {split} on; two or more are needed")
    metrics = tuple(METRICS[name] for name in config.metrics) or ((ACCURACY,) if classes else (PEARSON, SPEARMAN))
    names = ", ".join(path.name for path in paths)
    facts: dict[str, Any] = {
        "text": names,
        "source": "the user's",
        "licence": "the user's",
        "read_from": f"file: {names}",
    }
    return Labelled(train, {"test": tests[0]}, labels, metrics, facts)


def _check_kind(config: FileConfig) -> None:
    """Metrics of classes say nothing of values, and correlations nothing of classes without an order."""
    classes = config.kind == "classification"
    of_classes = {ACCURACY.name, F1.name, MATTHEWS.name}
    wrong = [name for name in config.metrics if (name in of_classes) != classes]
    if wrong:
        fitting = [name for name in METRICS if (name in of_classes) == classes]
        raise ValueError(f"metrics: {wrong[0]} does not fit kind: {config.kind}; take {' or '.join(fitting)}")


def _read(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except OSError as error:
        raise ValueError(f"path: cannot read {path} ({error.strerror})") from error


@register_task("sentence_file", config=FileConfig, summary="sentences or pairs from a file of yours: set its path")
def sentence_file(config: FileConfig, mode: Mode, places: Places) -> SentenceTask:
    data = load(config)
    name = hashlib.sha256(config.path.encode()).hexdigest()[:8]
    return SentenceTask(f"sentence_file/{name}", data, config, places.cache)
