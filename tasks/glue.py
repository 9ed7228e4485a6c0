"""GLUE (Wang et al. 2019), all nine tasks and the diagnostic set, from the hub or from files in the official layouts.

GLUE's test labels are secret, so its dev set is the test split here, read once; the tuning split is cut from train.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.contract import Mode, Places, Reference
from bench.registry import register_task
from tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN, Metric, mean_of
from tasks.sentences import Labelled, SentenceConfig, SentenceTask
from tasks.sources import NO_DOWNLOAD_SENTENCES, Hub, missing
from tasks.tables import Columns, Example, read_columns, read_examples

HUB = "nyu-mll/glue"
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


@dataclass(frozen=True)
class Split:
    """One published part: its file, the hub's name of it, and how many rows it is known to have."""

    file: str
    hub: str
    rows: int


@dataclass(frozen=True)
class GlueTask:
    """One row of the benchmark.

    Attributes:
        name: here and on the hub. title: on the public board, and the folder's name.
        columns: of the files. hub_texts: the hub's names of the texts.
        labels: words of the classes in the hub's order, as the files and the board write them; empty for a value.
        metrics: the one that the board's score is made of first.
        splits: "train", "test" (GLUE's dev) and further tests.
        references: published figures, as (label, metric, value, source).
    """

    name: str
    title: str
    summary: str
    source: str
    columns: Columns
    hub_texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    splits: dict[str, Split]
    references: tuple[tuple[str, str, float, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def board(self) -> dict[str, Split]:
        """What the public board scores: the name of its file in a submission -> where its inputs are."""
        if self.name == "mnli":
            return {
                "MNLI-m": Split("test_matched.tsv", "test_matched", 9_796),
                "MNLI-mm": Split("test_mismatched.tsv", "test_mismatched", 9_847),
                "AX": Split("../AX/AX.tsv", "test", 1_104),
            }
        return {self.title: Split("test.tsv", "test", 0)}


def _official(
    texts: tuple[str, ...], label: str, labels: tuple[str, ...] = (), header: tuple[str, ...] = ()
) -> Columns:
    return Columns(texts, label, labels, header, skip_ragged=True, allow_empty=True)


def _splits(train: int, dev: int) -> dict[str, Split]:
    return {"train": Split("train.tsv", "train", train), "test": Split("dev.tsv", "validation", dev)}


NUMBERS = ("0", "1")
ENTAILED = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")
PAIR = ("sentence1", "sentence2")
WITHOUT_PRETRAINING = "Geiping & Goldstein 2023, table of GLUE dev results, row without pretraining"

TASKS = (
    GlueTask(
        "cola", "CoLA", "is the sentence acceptable English?", "Warstadt et al. 2018",
        _official(("sentence",), "label", NUMBERS, ("source", "label", "mark", "sentence")), ("sentence",),
        ("unacceptable", "acceptable"), (MATTHEWS, ACCURACY), _splits(8_551, 1_043),
        (("Transformer without pretraining", "matthews_correlation", 0.0, WITHOUT_PRETRAINING),),
    ),
    GlueTask(
        "sst2", "SST-2", "does the film review like the film?", "Socher et al. 2013",
        _official(("sentence",), "label", NUMBERS), ("sentence",), ("negative", "positive"), (ACCURACY,),
        _splits(67_349, 872),
        (
            ("CNN, random embeddings", "accuracy", 0.827, "Kim 2014, table 2, CNN-rand, on SST-2's own test split"),
            ("Transformer without pretraining", "accuracy", 0.799, WITHOUT_PRETRAINING),
        ),
        ("train holds phrases of the same sentences, so the tuning split cut from it looks easier than the test split",),
    ),
    GlueTask(
        "mrpc", "MRPC", "do the sentences say the same?", "Dolan & Brockett 2005",
        _official(("#1 String", "#2 String"), "Quality", NUMBERS), PAIR, ("not_equivalent", "equivalent"),
        (mean_of(F1, ACCURACY), F1, ACCURACY), _splits(3_668, 408),
    ),
    GlueTask(
        "stsb", "STS-B", "how alike are the sentences, from 0 to 5?", "Cer et al. 2017",
        _official(PAIR, "score"), PAIR, (), (mean_of(PEARSON, SPEARMAN), PEARSON, SPEARMAN), _splits(5_749, 1_500),
    ),
    GlueTask(
        "qqp", "QQP", "do the questions ask the same?", "Iyer et al. 2017",
        _official(("question1", "question2"), "is_duplicate", NUMBERS), ("question1", "question2"),
        ("not_duplicate", "duplicate"), (mean_of(F1, ACCURACY), F1, ACCURACY), _splits(363_846, 40_430),
    ),
    GlueTask(
        "mnli", "MNLI", "does the second sentence follow from the first, matched and mismatched genres",
        "Williams et al. 2018",
        _official(PAIR, "gold_label", NLI), ("premise", "hypothesis"), NLI, (ACCURACY,),
        {
            "train": Split("train.tsv", "train", 392_702),
            "test": Split("dev_matched.tsv", "validation_matched", 9_815),
            "test_mismatched": Split("dev_mismatched.tsv", "validation_mismatched", 9_832),
        },
    ),
    GlueTask(
        "qnli", "QNLI", "does the sentence answer the question?", "Rajpurkar et al. 2016; Wang et al. 2019",
        _official(("question", "sentence"), "label", ENTAILED), ("question", "sentence"), ENTAILED, (ACCURACY,),
        _splits(104_743, 5_463),
    ),
    GlueTask(
        "rte", "RTE", "does the second sentence follow from the first?", "Dagan et al. 2006, and the later challenges",
        _official(PAIR, "label", ENTAILED), PAIR, ENTAILED, (ACCURACY,), _splits(2_490, 277),
    ),
    GlueTask(
        "wnli", "WNLI", "is the pronoun's referent right?", "Levesque et al. 2012",
        _official(PAIR, "label", NUMBERS), PAIR, ("not_entailment", "entailment"), (ACCURACY,), _splits(635, 71),
        notes=("the test split holds training sentences with other answers, so learning by heart scores below chance",),
    ),
)  # fmt: skip
BY_NAME = {task.name: task for task in TASKS}
BOARD = "board_"  # begins the names of splits without labels; the rest is that of the file in a submission
DIAGNOSTIC = "../AX/diagnostic-full.tsv"
CATEGORIES = ("Lexical Semantics", "Predicate-Argument Structure", "Logic", "Knowledge")


def load(task: GlueTask, places: Places) -> Labelled:
    """All parts, from the user's folder if one is named, else from the hub."""
    local = places.local / "glue" / task.title if places.local is not None else None
    parts = _from_files(task, local) if local is not None else _from_hub(task)
    unlabelled = _board_files(task, local) if local is not None else _board_hub(task)
    notes = list(task.notes)
    for split, examples in parts.items():
        if len(examples) != (published := task.splits[split].rows):
            notes.append(f"{split} has {len(examples):,} examples, {published:,} were published")
    absent = [name for name in task.board if BOARD + name not in unlabelled]
    if absent:
        notes.append(f"no inputs of the public board for {', '.join(absent)}: a submission will lack them")
    facts = {
        "text": task.title, "source": task.source, "url": "https://gluebenchmark.com",
        "licence": "of each part's own authors", "hub": f"{HUB} {task.name} @ {REVISION}",
        "read_from": f"data folder: glue/{task.title}" if local is not None else f"{HUB} @ {REVISION}",
        "test_split": "GLUE's dev set, since the labels of its test set are secret", "notes": notes,
    }  # fmt: skip
    references = tuple(
        Reference(label, metric, value, "published", source, ("test",))
        for label, metric, value, source in task.references
    )
    tests = {split: examples for split, examples in parts.items() if split != "train"}
    found = Labelled(parts["train"], tests, task.labels, task.metrics, facts, references, unlabelled=unlabelled)
    return _with_diagnostic(found, local / DIAGNOSTIC) if task.name == "mnli" and local is not None else found


def _from_files(task: GlueTask, folder: Path) -> dict[str, list[Example]]:
    try:
        return {split: read_examples(folder / part.file, task.columns, "tsv") for split, part in task.splits.items()}
    except OSError as error:
        files = ", ".join(part.file for part in task.splits.values())
        way = f"put {files} there in GLUE's own layout, or name no folder so that they are downloaded ({HUB})"
        why = f"cannot read {error.filename} ({error.strerror})"
        raise missing(task.name, task.title, why, way, NO_DOWNLOAD_SENTENCES) from error


def _board_files(task: GlueTask, folder: Path) -> dict[str, list[Example]]:
    """Inputs of the public board; a part that is not there is left out, since nothing but a submission needs it."""
    columns = replace(task.columns, label="", header=())
    return {
        BOARD + name: read_examples(folder / part.file, columns, "tsv")
        for name, part in task.board.items()
        if (folder / part.file).is_file()
    }


def _with_diagnostic(found: Labelled, path: Path) -> Labelled:
    """With the diagnostic set as a further test, scored by Matthews correlation, as a whole and by linguistic category."""
    if not path.is_file():
        return found
    columns = Columns(("Premise", "Hypothesis"), "Label", NLI)
    examples = read_examples(path, columns, "tsv")
    marks = [tuple(c for c in CATEGORIES if row[c]) for row in read_columns(path, CATEGORIES)]
    return replace(
        found,
        tests={**found.tests, "test_ax": examples},
        more_metrics={"test_ax": (MATTHEWS,)},
        groups={"test_ax": marks},
    )


def _from_hub(task: GlueTask) -> dict[str, list[Example]]:
    loaded = _hub(task, task.name)
    return {split: _hub_examples(task, loaded[part.hub], labelled=True) for split, part in task.splits.items()}


def _board_hub(task: GlueTask) -> dict[str, list[Example]]:
    found = {}
    for name, part in task.board.items():
        loaded = _hub(task, "ax" if name == "AX" else task.name)
        found[BOARD + name] = _hub_examples(task, loaded[part.hub], labelled=False)
    return found


def _hub(task: GlueTask, name: str) -> Any:
    files = " and ".join(f"DIR/glue/{task.title}/{part.file}" for part in task.splits.values())
    way = f"pass --data-dir DIR (or SEQBENCH_DATA) with {files} in GLUE's own layout"
    hub = Hub({"path": HUB, "name": name, "revision": REVISION}, {}, "huggingface.co", f"{HUB} {name} @ {REVISION}")
    return hub.load(task.name, task.title, way, NO_DOWNLOAD_SENTENCES)


def _hub_examples(task: GlueTask, rows: Any, labelled: bool) -> list[Example]:
    texts = zip(*(rows[column] for column in task.hub_texts), strict=True)
    labels = [float(label) for label in rows["label"]] if labelled else [None] * len(rows[task.hub_texts[0]])
    return [Example(tuple(found), label) for found, label in zip(texts, labels, strict=True)]


def _register(task: GlueTask) -> None:
    @register_task(
        task.name,
        family="supervised",
        config=SentenceConfig,
        summary=f"{task.title}: {task.summary}",
        reference=task.source,
    )
    def build(config: SentenceConfig, mode: Mode, places: Places) -> SentenceTask:
        return SentenceTask(task.name, load(task, places), config, places.cache)


for _task in TASKS:
    _register(_task)
