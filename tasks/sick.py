"""SICK (Marelli et al. 2014): pairs of sentences about pictures, with entailment and a relatedness from 1 to 5.

Its three published parts are used as they are: the trial part is the tuning split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contract import Mode, Places
from bench.registry import register_task
from tasks.metrics import ACCURACY, PEARSON, SPEARMAN, Metric
from tasks.sentences import Labelled, SentenceConfig, SentenceTask
from tasks.sources import NO_DOWNLOAD_SENTENCES, Hub, missing
from tasks.tables import Columns, Example, read_examples

FILES = {"train": "SICK_train.txt", "tune": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}
ROWS = {"train": 4_500, "tune": 500, "test": 4_927}
TEXTS = ("sentence_A", "sentence_B")
LABELS = ("NEUTRAL", "ENTAILMENT", "CONTRADICTION")
_URL = "https://raw.githubusercontent.com/brmson/dataset-sts/e1d3375f5b3bc24f21aa4e46f96eb379e9fc1081/data/sts/sick2014"
# The hub's own copies are scripts, which `datasets` >= 4 refuses; these are the published files.
HUB = Hub(
    {
        "path": "csv",
        "data_files": {part: f"{_URL}/{name}" for part, name in FILES.items()},
        "delimiter": "\t",
        "quoting": 3,
    },
    {part: part for part in FILES},
    "raw.githubusercontent.com",
    _URL,
)


def load(name: str, column: str, labels: tuple[str, ...], metrics: tuple[Metric, ...], places: Places) -> Labelled:
    columns = Columns(TEXTS, column, labels)
    if places.local is not None:
        parts = _from_files(name, places.local / "sick" / "en", columns)
    else:
        parts = _from_hub(name, columns)
    notes = [f"{p} has {len(parts[p]):,} examples, {n:,} were published" for p, n in ROWS.items() if len(parts[p]) != n]
    facts: dict[str, Any] = {
        "text": "SICK", "source": "Marelli et al. 2014", "url": "https://aclanthology.org/L14-1314/",
        "licence": "CC BY-NC-SA 3.0", "hub": HUB.label, "notes": notes,
        "read_from": "data folder: sick/en" if places.local is not None else HUB.label,
    }  # fmt: skip
    return Labelled(parts["train"], {"test": parts["test"]}, labels, metrics, facts, tune=parts["tune"])


def _from_files(name: str, folder: Path, columns: Columns) -> dict[str, list[Example]]:
    try:
        return {part: read_examples(folder / file, columns, "tsv") for part, file in FILES.items()}
    except OSError as error:
        why = f"cannot read {error.filename} ({error.strerror})"
        way = f"put {', '.join(FILES.values())} there, or name no folder so that they are downloaded ({HUB.label})"
        raise missing(name, "SICK", why, way, NO_DOWNLOAD_SENTENCES) from error


def _from_hub(name: str, columns: Columns) -> dict[str, list[Example]]:
    files = " and ".join(f"DIR/sick/en/{file}" for file in FILES.values())
    loaded = HUB.load(name, "SICK", f"pass --data-dir DIR (or SEQBENCH_DATA) with {files}", NO_DOWNLOAD_SENTENCES)
    found = {}
    for part in FILES:
        rows = [loaded[part][column] for column in (*TEXTS, columns.label)]
        labels = [columns.labels.index(word) if columns.labels else float(word) for word in rows[2]]
        found[part] = [Example((a, b), label) for a, b, label in zip(rows[0], rows[1], labels, strict=True)]
    return found


@register_task(
    "sick_entailment",
    config=SentenceConfig,
    summary="SICK: entailed, contradicted or neither?",
    reference="Marelli et al. 2014",
)
def sick_entailment(config: SentenceConfig, mode: Mode, places: Places) -> SentenceTask:
    data = load("sick_entailment", "entailment_judgment", LABELS, (ACCURACY,), places)
    return SentenceTask("sick_entailment", data, config, places.cache)


@register_task(
    "sick_relatedness",
    config=SentenceConfig,
    summary="SICK: how related, from 1 to 5?",
    reference="Marelli et al. 2014",
)
def sick_relatedness(config: SentenceConfig, mode: Mode, places: Places) -> SentenceTask:
    data = load("sick_relatedness", "relatedness_score", (), (PEARSON, SPEARMAN), places)
    return SentenceTask("sick_relatedness", data, config, places.cache)
