"""Suites that train through the real command: what is recorded, what survives, what bad input says."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results.schema import Record
from results.store import Run, latest
from tests.command import run_all
from tests.conftest import ROOT
from tests.test_faults import only_run, records

FAULTY = ROOT / "tests" / "plugins" / "faulty_training.py"
TINY = [
    *("--suite", "lm", "--preset", "smoke", "--device", "cpu", "--set", "target=12000", "--set", "recipe.batch=4"),
    *("--set", "tasks.docs_lm.settings.context=32", "--set", "decode_lengths=[]", "--set", "memory_share=0.2"),
]


def trainings(out: Path, regime: str = "final") -> dict[tuple[str, int], Record]:
    return {(r.architecture, r.seed): r for r in records(out) if r.kind == "train" and r.regime == regime}


def value(record: Record, phase: str, metric: str) -> float:
    found = next(m.value for m in record.measurements if (m.phase, m.metric) == (phase, metric))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("lm")
    return run_all(*TINY, "--architectures", "lstm,attention", "--seeds", "2", "--out", str(out)), out


def test_a_run_ends_well_and_has_its_page(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, out = done
    assert process.returncode == 0, process.stderr
    assert (out / "site" / "lm.html").is_file()
    assert {r.status for r in records(out)} == {"ok"}


def test_each_competitor_has_the_same_tries_and_other_seeds(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, out = done
    tries = [r for r in records(out) if r.kind == "train" and r.regime == "tune"]
    finals = trainings(out)
    rates = {a: sorted(r.extra["recipe"]["lr"] for r in tries if r.architecture == a) for a in ("lstm", "attention")}
    assert rates["lstm"] == rates["attention"] and len(rates["lstm"]) == 2
    assert not {r.seed for r in tries} & {seed for _, seed in finals}
    assert not any(m.split.startswith("test") for r in tries for m in r.measurements)
    assert all(any(m.split == "test" for m in r.measurements) for r in finals.values())


def test_the_choice_is_the_best_try(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    for choice in only_run(out).read_json("plan.json")["choices"]:
        best = min(choice["tries"], key=lambda t: t["score"])
        assert choice["chosen"]["lr"] == best["lr"]
        for (name, _), record in trainings(out).items():
            if name == choice["architecture"]:
                assert record.extra["recipe"]["lr"] == best["lr"]


def test_what_a_record_holds(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    plan = only_run(out).read_json("plan.json")
    assert {r.trial_id for r in records(out)} == set(plan["trial_ids"])
    assert len(plan["trial_ids"]) == plan["expected_trials"]
    for record in trainings(out).values():
        curve = record.extra["curves"]["tune"]
        assert len({len(column) for column in curve.values()}) == 1
        assert curve["step"][-1] == record.extra["steps"] == 30
        assert value(record, "train", "tokens") == 30 * 4 * 32
        assert value(record, "tune", "loss") == pytest.approx(min(curve["loss"]), rel=1e-6)
        positions = record.extra["positions"]["test"]
        total = sum(a * b for a, b in zip(positions["loss"], positions["count"], strict=True) if b)
        assert total / sum(positions["count"]) == pytest.approx(value(record, "test", "loss"), rel=1e-4)
        assert ("samples" in record.extra) == (record.seed == 0)
    kernels = {r.architecture: " ".join(r.kernels) for r in records(out) if r.kind == "cost"}
    assert "rnn" in kernels["lstm"] and "attention" in kernels["attention"]
    assert not list(only_run(out).folder.rglob("state.pt"))


def test_the_same_command_again_does_nothing(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    before = only_run(out).records_path.read_bytes()
    again = run_all(*TINY, "--architectures", "lstm,attention", "--seeds", "2", "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert "from before" in again.stderr
    assert only_run(out).records_path.read_bytes() == before


def test_two_runs_agree_to_the_bit(done: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path) -> None:
    _, out = done
    assert run_all(*TINY, "--architectures", "lstm", "--seeds", "1", "--out", str(tmp_path)).returncode == 0
    first, again = trainings(out)["lstm", 0], trainings(tmp_path)["lstm", 0]
    assert first.extra["weights"] == again.extra["weights"]
    assert value(first, "test", "loss") == value(again, "test", "loss")


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL in the middle of a training, with no chance to say goodbye."""
    long = ["--set", "recipe.steps=400", "--set", "recipe.evaluate_every=100", "--set", "recipe.checkpoint_seconds=0.01",
            "--set", "search.lr=[0.003]", "--architectures", "conv1d,attention"]  # fmt: skip
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = subprocess.Popen(
        [sys.executable, "run_all.py", *TINY, *long, "--out", str(killed)],
        cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "CI": "1"},
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not list(killed.rglob("state.pt")):
        time.sleep(0.02)
    assert list(killed.rglob("state.pt")), "no checkpoint was written"
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(records(killed))
    assert not trainings(killed) or len(trainings(killed)) < 2
    time.sleep(0.5)
    resumed = run_all(*TINY, *long, "--out", str(killed))
    assert resumed.returncode == 0, resumed.stderr
    assert f"({finished} from before)" in resumed.stderr
    assert any(r.extra["resumed_at"] for r in trainings(killed).values())
    assert run_all(*TINY, *long, "--out", str(straight)).returncode == 0
    for key, record in trainings(straight).items():
        assert trainings(killed)[key].extra["weights"] == record.extra["weights"]
        assert value(trainings(killed)[key], "test", "loss") == value(record, "test", "loss")
    assert not list(killed.rglob("state.pt"))


def test_faults_while_training_are_rows_and_the_rest_completes(tmp_path: Path) -> None:
    names = "nan_later,dies_later,raises_later,grows_later,well"
    arguments = [*TINY, "--plugin", str(FAULTY), "--architectures", names, "--set", "target=5000"]
    process = run_all(*arguments, "--set", "match=width", "--set", "target=32", "--out", str(tmp_path))
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    tries = [r for r in records(tmp_path) if r.kind == "train" and r.regime == "tune"]
    ends = {r.architecture: (r.status, r.reason) for r in tries}
    assert ends["nan_later"] == ("nan", f"the loss is not a number at step 8, learning rate {_rate(tries):.3g}")
    assert ends["dies_later"][0] == "error" and "exit code 7" in ends["dies_later"][1]
    assert ends["raises_later"] == ("error", "KeyError: 'a bug in the plug-in'")
    assert ends["grows_later"][0] == "oom"
    assert ends["well"][0] == "ok"
    finals = trainings(tmp_path)
    assert finals["well", 0].status == "ok"
    assert finals["nan_later", 0].extra["skipped"] and "none of 2 tries" in finals["nan_later", 0].reason
    nan = next(r for r in tries if r.architecture == "nan_later")
    assert nan.extra["curves"]["train"]["step"]  # what was learnt before the fault is kept
    page = (tmp_path / "site" / "lm.html").read_text()
    assert "exit code 7" in page and "is not a number at step 8" in page


def _rate(tries: list[Record]) -> float:
    recipe = [r for r in tries if r.architecture == "nan_later"][-1].extra["recipe"]
    from bench.training.recipe import Recipe

    made = Recipe.model_validate(recipe)
    return made.learning_rate(8, 0, 0.0)


def test_wrong_labels_in_the_test_text_move_no_choice(tmp_path: Path) -> None:
    """Two texts that differ in the last tenth only: same tries, same choice, same weights, another test score."""
    letters = random.Random(0).choices("abcd \n", weights=(8, 4, 2, 1, 3, 1), k=20_000)
    text = "".join(letters)
    results = []
    for name, test in (("right", text[18_000:]), ("wrong", "d" * 2_000)):
        path = tmp_path / f"{name}.txt"
        path.write_text(text[:18_000] + test)
        out = tmp_path / name
        done = run_all(*TINY[:6], "--tasks", str(path), "--architectures", "conv1d", "--out", str(out))
        assert done.returncode == 0, done.stderr
        plan = only_run(out).read_json("plan.json")
        final = trainings(out)["conv1d", 0]
        scores = [t["score"] for t in plan["choices"][0]["tries"]]
        results.append((scores, plan["choices"][0]["chosen"], final.extra["weights"], value(final, "test", "loss")))
    (scores, chosen, weights, loss), (other_scores, other_chosen, other_weights, other_loss) = results
    assert scores == other_scores and chosen == other_chosen and weights == other_weights
    assert abs(loss - other_loss) > 0.1


def test_masked_language_modelling_keeps_its_weights(tmp_path: Path) -> None:
    """Bidirectional encoders learn by masking; what they learnt stays under the run, to go on from."""
    import torch

    done = run_all(*TINY, "--set", "mode=bidirectional", "--set", "recipe.save_weights=true", "--architectures",
                   "attention,lstm", "--out", str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    for record in trainings(tmp_path).values():
        content = torch.load(run.folder / record.extra["checkpoint"], weights_only=True)
        assert any(name.startswith("encoder.") for name in content["weights"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tasks", "char_lmm"), "did you mean 'char_lm'?"),
        (("--tasks", "random_vectors"), "has no labels"),
        (("--tasks", "no_such_file.txt"), "no_such_file.txt"),
        (("--set", "recipe.stepz=3"), "did you mean 'steps'?"),
        (("--set", "recipe.steps=null"), "training needs an end"),
        (("--set", "search.lrs=[1]"), "did you mean 'lr'?"),
        (("--set", "search.lr=[]"), "at least 1"),
        (("--set", "tasks.docs_lm.settings.contxt=3"), "did you mean 'context'?"),
        (("--set", "tasks.docs_lm.settings.context=0"), "context"),
        (("--set", "settings.attention.heads=300"), "300 heads"),
        (("--set", "settings.atention.heads=2"), "did you mean 'attention'?"),
        (("--set", "dtype=float16"), "float32"),
        (("--architectures", ""), "name at least one"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run_all("--suite", "lm", "--preset", "smoke", *arguments, "--out", str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_missing_data_name_both_ways(tmp_path: Path) -> None:
    """A folder without the file: the line says which file, and that a download is the other way."""
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = ("--suite", "lm", "--tasks", "char_lm", "--data-dir", str(empty), "--out", str(tmp_path / "out"))
    done = run_all(*arguments)
    assert done.returncode == 2
    assert "tinyshakespeare/input.txt" in done.stderr and "downloaded (https://" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_folder_that_another_process_writes_to(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    lock = Run.open(only_run(out).folder).lock()
    again = run_all(*TINY, "--architectures", "lstm,attention", "--seeds", "2", "--out", str(out))
    lock.close()
    assert again.returncode == 2
    assert "another process" in again.stderr
    assert len(latest(only_run(out).read()[0])) > 0


@pytest.mark.parametrize("suite", ["lm", "probes", "ablations"])
@pytest.mark.parametrize("preset", ["standard", pytest.param("full", marks=pytest.mark.slow)])
def test_large_presets_can_be_sized(suite: str, preset: str, tmp_path: Path) -> None:
    """What only a GPU has the time for can be planned anywhere: widths solve, settings fit one another."""
    done = run_all("--suite", suite, "--preset", preset, "--device", "cpu", "--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    planned = done.stdout.split("  estimated:")[0].splitlines()
    lines = [line for line in planned if line.startswith("    ") and not line.endswith(" trials")]
    assert len(lines) > 5
    assert all("parameters" in line for line in lines), done.stdout


def test_plugins_are_run_on_tasks_with_a_list_of_their_own(tmp_path: Path) -> None:
    done = run_all("--suite", "probes", "--dry-run", "--plugin", str(FAULTY), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" well ") == 4, done.stdout


def test_a_page_keeps_what_was_trained_while_a_search_is_gone_on_with(
    done: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    """Killed in the search of a second session, before it has chosen: the finals of the first are still of the plan."""
    _, out = done
    shutil.copytree(out, tmp_path / "out")
    run = only_run(tmp_path / "out")
    lines = run.records_path.read_text().splitlines(keepends=True)
    tries = [i for i, line in enumerate(lines) if '"regime":"tune"' in line]
    finals = {r.trial_id for r in run.current() if r.kind == "train" and r.regime == "final"}
    assert tries and finals
    run.records_path.write_text("".join(line for i, line in enumerate(lines) if i != tries[0]))
    stop = "import bench.kinds.training as t, runpy, sys; t.TrainingSuite._choose = lambda *a: sys.exit(9); " \
           "sys.argv[0] = 'run_all.py'; runpy.run_path('run_all.py', run_name='__main__')"  # fmt: skip
    arguments = [*TINY, "--architectures", "lstm,attention", "--seeds", "2", "--out", str(tmp_path / "out")]
    process = subprocess.run(
        [sys.executable, "-c", stop, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=250
    )
    assert process.returncode == 9, process.stderr
    assert finals == {r.trial_id for r in run.current() if r.kind == "train" and r.regime == "final"}
    assert run.read_json("plan.json")["choices"]
