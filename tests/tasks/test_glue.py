"""GLUE in its official layouts, from a folder and from the hub; SICK and film reviews; a file of the user's own."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

import tasks.sources
from bench.contract import DataMissing, Outcome, Places
from bench.models import build_task
from bench.registry import TASKS
from tasks.glue import BY_NAME, REVISION, GlueTask

MIXED = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
HEADERS = {
    "sst2": "sentence\tlabel",
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "mnli": "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse"
    "\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
    "qnli": "index\tquestion\tsentence\tlabel",
    "rte": "index\tsentence1\tsentence2\tlabel",
    "wnli": "index\tsentence1\tsentence2\tlabel",
}
local = pytest.mark.skipif("SEQBENCH_DATA" not in os.environ, reason="SEQBENCH_DATA names no folder of data sets")


def official(task: GlueTask, folder: Path, rows: int = 24) -> None:
    """Files as GLUE's own archive lays them out, with an unbalanced quote in every text."""
    header = HEADERS.get(task.name, "source\tlabel\tmark\tsentence").split("\t")
    words = task.columns.labels or ("0.0", "2.500", "5.000")
    (folder / task.title).mkdir(parents=True)
    for part in task.splits.values():
        lines = ["\t".join(header)] if task.name in HEADERS else []
        for i in range(rows):
            cells = {name: "-" for name in header} | {n: f'{part.file} said "so {n} {i}' for n in task.columns.texts}
            cells[task.columns.label] = words[i % len(words)]
            lines.append("\t".join(cells.values()))
        (folder / task.title / part.file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, part in task.board.items():
        path = folder / task.title / part.file
        path.parent.mkdir(exist_ok=True)
        lines = ["\t".join(["index", *task.columns.texts])]
        lines += ["\t".join([str(i), *(f"{name} {column} {i}" for column in task.columns.texts)]) for i in range(9)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(name: str, places: Places, **settings: Any) -> Any:
    return build_task(TASKS.get(name), settings, "bidirectional", places)


@pytest.mark.parametrize("name", MIXED)
def test_official_layouts_load(name: str, tmp_path: Path) -> None:
    task = BY_NAME[name]
    official(task, tmp_path / "data" / "glue")
    work = build(name, Places(tmp_path / "data", tmp_path / "cache"))
    assert work.splits == ("tune", *(split for split in task.splits if split != "train"))
    assert len(work.examples["train"]) + len(work.examples["tune"]) == 24 == len(work.examples["test"])
    assert len(work.examples["test"][0].texts) == len(task.columns.texts)
    assert sorted({e.label for e in work.examples["test"]}) == (list(range(len(task.labels))) or [0, 2.5, 5])
    assert any("were published" in note for note in work.facts["notes"])  # 24 is not what GLUE has
    assert work.unlabelled == tuple(f"board_{part}" for part in task.board)
    for split in work.unlabelled:  # in the order of the file, whatever that of evaluation
        shown = work.shown(split)
        first = {row: texts[0] for row, texts in zip(shown["rows"], shown["texts"], strict=True)}
        assert [first[i].split()[-1] for i in range(9)] == [str(i) for i in range(9)]
        assert sum(len(b.targets) for b in work.eval_batches(split, 4)) == 9


def test_the_diagnostic_set_is_scored_whole_and_by_category(tmp_path: Path) -> None:
    official(BY_NAME["mnli"], tmp_path / "glue")
    columns = [
        "Lexical Semantics",
        "Predicate-Argument Structure",
        "Logic",
        "Knowledge",
        "Domain",
        "Premise",
        "Hypothesis",
    ]
    lines = ["\t".join([*columns, "Label"])]
    for i in range(12):
        marks = ["Negation" if i % 2 else "", "", "Quantifiers" if i < 6 else "", "", "News"]
        lines.append(
            "\t".join([*marks, f"premise {i}", f"hypothesis {i}", ("entailment", "neutral", "contradiction")[i % 3]])
        )
    (tmp_path / "glue" / "AX" / "diagnostic-full.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    work = build("mnli", Places(tmp_path, tmp_path / "cache"))
    assert work.splits == ("tune", "test", "test_mismatched", "test_ax")
    targets = [t for b in work.eval_batches("test_ax", 5) for t in b.targets.tolist()]
    outcome = Outcome(predictions=targets, targets=targets, count=12)
    scores = {s.metric: s.value for s in work.scores("test_ax", outcome)}
    assert scores["matthews_correlation"] == 1 and scores["accuracy"] == 1
    assert {m for m in scores if ":" in m} == {"matthews_correlation: Lexical Semantics", "matthews_correlation: Logic"}


@pytest.mark.parametrize("name", ["mnli", "sst2", "stsb"])
def test_the_hub_gives_the_same_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = BY_NAME[name]
    official(task, tmp_path / "data" / "glue")
    one = build(name, Places(tmp_path / "data", tmp_path / "cache"))
    calls = []

    def load_dataset(**arguments: Any) -> dict[str, dict[str, list[Any]]]:
        calls.append(arguments)
        found: dict[str, dict[str, list[Any]]] = {}
        for part_name, part in task.board.items():
            texts = [e.texts for e in one.data.unlabelled[f"board_{part_name}"]]
            found[part.hub] = {c: [t[i] for t in texts] for i, c in enumerate(task.hub_texts)}
        for split, part in task.splits.items():
            examples = one.data.train if split == "train" else one.data.tests[split]
            columns: dict[str, list[Any]] = {c: [e.texts[i] for e in examples] for i, c in enumerate(task.hub_texts)}
            found[part.hub] = {**columns, "label": [e.label for e in examples]}
        return found

    import datasets

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(tasks.sources, "answers", lambda host: True)
    two = build(name, Places(None, tmp_path / "cache"))
    assert {call["name"] for call in calls} == ({name, "ax"} if name == "mnli" else {name})
    assert all(call["path"] == "nyu-mll/glue" and call["revision"] == REVISION for call in calls)
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("name", [*MIXED, "sick_entailment", "sick_relatedness", "film_reviews"])
@pytest.mark.parametrize("folder", [True, False])
def test_missing_data_is_one_line_with_both_ways(
    name: str, folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.sources, "answers", lambda host: False)
    with pytest.raises(DataMissing) as caught:
        build(name, Places(tmp_path if folder else None, tmp_path))
    message = str(caught.value)
    assert "\n" not in message and "mini_acceptability" in message
    assert ("downloaded" in message) if folder else ("--data-dir" in message and "no network" in message)


@local
@pytest.mark.parametrize("name", ["cola", "sst2", "stsb", "rte", "wnli"])
def test_the_published_number_of_rows(name: str, tmp_path: Path) -> None:
    work = build(name, Places(Path(os.environ["SEQBENCH_DATA"]), tmp_path))
    assert not any("were published" in note for note in work.facts["notes"])
    balance = {"cola": (1, 0.6913), "sst2": (1, 0.5092), "rte": (0, 0.5271), "wnli": (0, 0.5634)}
    if name in balance:  # the share of a class in GLUE's dev set
        label, share = balance[name]
        found = [e.label == label for e in work.examples["test"]]
        assert sum(found) / len(found) == pytest.approx(share, abs=1e-4)


@local
def test_sick_and_film_reviews(tmp_path: Path) -> None:
    places = Places(Path(os.environ["SEQBENCH_DATA"]), tmp_path)
    for name in ("sick_entailment", "sick_relatedness"):
        work = build(name, places)
        assert {split: len(found) for split, found in work.examples.items()} == {
            "train": 4500,
            "tune": 500,
            "test": 4927,
        }
    reviews = build("film_reviews", places)
    assert {s: len(found) for s, found in reviews.examples.items()} == {"train": 1600, "tune": 200, "test": 200}
    assert reviews.shape.longest > 2500 and not reviews.sequences["train"].cut


def test_film_reviews_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "nltk").mkdir()
    for top, count in (("movie_reviews/", 300), ("", 300), ("", 199)):
        with zipfile.ZipFile(tmp_path / "nltk" / "movie_reviews.zip", "w") as archive:
            for label in ("neg", "pos"):
                for i in range(count):
                    archive.writestr(f"{top}{label}/cv{i:03}_1.txt", f"review {label} number {i} .")
        if count < 300:
            with pytest.raises(DataMissing, match="fewer than 300 reviews in its folder 'neg'"):
                build("film_reviews", Places(tmp_path, tmp_path / "cache"))
            continue
        work = build("film_reviews", Places(tmp_path, tmp_path / "cache"))
        for split, numbers in (("train", range(100)), ("tune", range(100, 200)), ("test", range(200, 300))):
            assert {int(e.texts[0].split()[3]) for e in work.examples[split]} == set(numbers)


def own(folder: Path, lines: list[str], **settings: Any) -> Any:
    path = folder / "own.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return build("sentence_file", Places(None, folder / "cache"), **{"path": str(path), **settings})


ROWS = [f"text number {i},{'good' if i % 3 else 'bad'}" for i in range(60)]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    work = own(tmp_path, ["text,label", *ROWS])
    assert work.data.labels == ("bad", "good") and work.primary == "accuracy"
    assert {split: len(found) for split, found in work.examples.items()} == {"train": 43, "tune": 5, "test": 12}
    assert work.fingerprint != own(tmp_path, ["text,label", *ROWS[:-1], "text number 99,good"]).fingerprint


def test_a_pair_and_a_value_of_ones_own(tmp_path: Path) -> None:
    rows = [f"a {i},b {i},{i / 2}" for i in range(60)]
    work = own(
        tmp_path, ["one,two,how", *rows], texts=["one", "two"], label="how", kind="regression", metrics=["spearman"]
    )
    assert work.primary == "spearman" and work.texts == 2 and work.shape.loss == "squared_error"


def test_what_leaves_nothing_to_train_on_and_a_very_long_text(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,x\nb,y\n")
    with pytest.raises(ValueError, match="nothing is left to train on"):
        own(tmp_path, ["text,label", "foo,x", "Foo,y"], test_path=str(tmp_path / "test.csv"))
    assert own(tmp_path, ["text,label", *ROWS, f"{'long ' * 40_000},good"]).data.labels == ("bad", "good")


def test_a_table_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "own.dat").write_text("text,label\n")
    with pytest.raises(ValueError, match=r"own.dat: what kind of table is this\? End its name in .tsv"):
        own(tmp_path, ["text,label"], path=str(tmp_path / "own.dat"))


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["text,mark", *ROWS], {}, "no column 'label'; it has text, mark"),
        (["text,label", *ROWS, ",good"], {}, "row 62, column 'text': the text is empty"),
        (["text,label", *ROWS], {"labels": ["good", "fine"]}, "label 'bad' is none of good, fine"),
        (["text,label"], {"labels": ["good", "bad"]}, "no rows of data"),
        (["text,label"], {}, "no rows of data"),
        (["text,label", *ROWS, "c,fine"], {"metrics": ["accuracy", "f1"]}, "f1 is of two classes, these are 3"),
        (
            ["text,label", *ROWS],
            {"metrics": ["pearson"]},
            "pearson does not fit kind: classification; take accuracy or f1",
        ),
        (["text,label", "a,1", "b,2"], {"metrics": ["f1"], "kind": "regression"}, "f1 does not fit kind: regression"),
        (["text,label", "a,good", "b,good"], {}, "every label is 'good'"),
        (["text,label", *ROWS], {"metrics": ["bleu"]}, "metrics: no 'bleu'"),
        (["text,label", *ROWS], {"path": "/nowhere/x.csv"}, "cannot read /nowhere/x.csv"),
        (["text,label", *ROWS], {"path": ""}, "set its path"),
        (["text,label", *ROWS], {"texts": []}, "name one column, or two for pairs"),
        (["text,label", *ROWS], {"kind": "regression"}, "'bad' is no number"),
    ],
)
def test_what_is_wrong_with_ones_own_file(
    tmp_path: Path, lines: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        own(tmp_path, lines, **settings)
    assert "\n" not in str(caught.value)
