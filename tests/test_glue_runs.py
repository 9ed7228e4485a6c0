"""The sentence suite through the real command: GLUE's layouts, a submission, the view of errors, a file of one's own."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from results.predictions import load_predictions
from tasks.glue import BY_NAME
from tests.command import run_all
from tests.conftest import EXAMPLES
from tests.tasks.test_glue import official
from tests.test_faults import only_run, records

SMALL = (
    *("--suite", "glue", "--preset", "smoke", "--device", "cpu", "--set", "target=20000", "--set", "memory_share=0.2"),
    *("--architectures", "conv1d,attention", "--set", "recipe.steps=6", "--set", "recipe.evaluate_every=3"),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("glue")
    for name in ("cola", "stsb", "mnli"):
        official(BY_NAME[name], out / "data" / "glue", rows=40)
    run = ("--tasks", "cola,stsb,mnli", "--seeds", "2", "--data-dir", str(out / "data"), "--out", str(out))
    return run_all(*SMALL, *run), out


def test_every_task_is_scored_by_its_own_metrics(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, out = done
    assert process.returncode == 0, process.stderr
    finals = [r for r in records(out) if r.kind == "train" and r.regime == "final"]
    assert len(finals) == 3 * 2 * 2
    metrics = {(r.task, m.split, m.metric) for r in finals for m in r.measurements if m.phase == "test"}
    assert {m for t, s, m in metrics if t == "cola"} == {"matthews_correlation", "accuracy", "loss"}
    assert {m for t, s, m in metrics if t == "stsb"} == {"pearson_spearman_mean", "pearson", "spearman", "loss"}
    assert {s for t, s, m in metrics if t == "mnli"} == {"test", "test_mismatched"}
    assert all(
        0 <= m.value < 0.5 for r in finals for m in r.measurements if m.metric == "padding" and m.value is not None
    )


def test_predictions_give_the_recorded_score(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    run = only_run(out)
    plan = {t["name"]: t for t in run.read_json("plan.json")["tasks"]}
    for record in records(out):
        if record.kind == "train" and record.task == "mnli":
            kept = load_predictions(run.folder, record.trial_id)
            from results.predictions import load_examples

            shown = load_examples(run.folder, "mnli", plan["mnli"]["fingerprint"])
            right = [p == t for p, t in zip(kept["test"], shown["test"]["targets"], strict=True)]
            (accuracy,) = (m.value for m in record.measurements if (m.split, m.metric) == ("test", "accuracy"))
            assert accuracy == pytest.approx(sum(right) / len(right))


def test_the_page_has_the_board_the_errors_and_no_glue_score(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, out = done
    page = (out / "site" / "glue.html").read_text(encoding="utf-8")
    assert ">mean of 3 of 9 tasks<" in page and ">GLUE score<" not in page
    assert "StructBERT" in page and "not comparable with the small models" in page
    assert "Where competitors disagree most" in page and "entailment → neutral" in page
    assert "Where attention looks, in one test example" in page and "mean over 4 heads: " in page
    benchmarks = (out / "site" / "glue_benchmarks.csv").read_text(encoding="utf-8")
    assert "mean of 3 of 9 tasks" in benchmarks


def test_a_submission_has_the_boards_names_and_words(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    process = run_all("--export", "glue-submission", only_run(out).run_id, "--out", str(out))
    assert process.returncode == 0, process.stderr
    assert "also wants SST-2, MRPC" in process.stdout + process.stderr
    path = only_run(out).folder / "submissions" / "attention.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["CoLA.tsv", "STS-B.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]
        tables = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    for rows in tables.values():
        assert rows[0] == "index\tprediction" and [r.split("\t")[0] for r in rows[1:]] == [str(i) for i in range(9)]
    assert {r.split("\t")[1] for r in tables["CoLA.tsv"][1:]} <= {"0", "1"}
    assert {r.split("\t")[1] for r in tables["AX.tsv"][1:]} <= {"entailment", "neutral", "contradiction"}
    assert all(0 <= float(r.split("\t")[1]) <= 5 for r in tables["STS-B.tsv"][1:])


def test_wrong_exports_are_one_line(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    for what, name, message in (
        ("glue-submision", only_run(out).run_id, "no form 'glue-submision'"),
        ("glue-submission", "nowhere", "no run 'nowhere'"),
    ):
        process = run_all("--export", what, name, "--out", str(out))
        assert process.returncode == 2 and message in process.stderr and "Traceback" not in process.stderr


def test_the_example_of_a_file_of_ones_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = run_all(*SMALL, "--tasks", str(EXAMPLES / "opinions.yaml"), "--out", str(out))
    assert process.returncode == 0, process.stderr
    finals = [r for r in records(out) if r.kind == "train" and r.regime == "final"]
    assert {r.task for r in finals} == {"sentence_file"}
    assert {m.metric for r in finals for m in r.measurements if m.phase == "test"} == {"accuracy", "f1", "loss"}
    process = run_all("--export", "glue-submission", only_run(out).run_id, "--out", str(out))
    assert process.returncode == 2 and "no prediction for GLUE's test inputs" in process.stderr


def test_a_yaml_file_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)), encoding="utf-8")
    for content, message in (
        ("path: own.csv\nlabel: opinion\n", "no column 'opinion'; it has text, label"),
        ("path: own.csv\nlable: label\n", "lable"),
        ("path: nowhere.csv\n", "cannot read"),
        ("just words\n", "expected settings and their values"),
    ):
        description = tmp_path / "own.yaml"
        description.write_text(content, encoding="utf-8")
        process = run_all(*SMALL, "--tasks", str(description), "--out", str(tmp_path / "out"))
        assert process.returncode == 2 and message in process.stderr, process.stderr
        assert len(process.stderr.strip().splitlines()) == 1


def test_two_towers_have_scores_and_a_page(tmp_path: Path) -> None:
    """Each text is read alone, so there is no map of attention over both, and the page is made without."""
    towers = ("--set", "recipe.pair=towers", "--architectures", "attention", "--seeds", "1")
    done = run_all(*SMALL, *towers, "--tasks", "mini_paraphrase", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "glue.html").is_file()
    assert not list(only_run(tmp_path).folder.glob("attention/*.json"))
