"""Estimates, budgets and repeats through the real command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench.execute.again import draw, find
from bench.measure.environment import git_state, new_files
from bench.provenance import MOST_BYTES, read_trials, write_source
from bench.spec import SpecError
from results.schema import Record
from results.store import Run, StoreError
from tests.test_faults import only_run, records, run_all

TINY = [
    *("--suite", "lm", "--preset", "smoke", "--device", "cpu", "--set", "target=12000", "--set", "recipe.batch=4"),
    *("--set", "tasks.docs_lm.settings.context=32", "--set", "decode_lengths=[64]", "--set", "memory_share=0.2"),
    *("--set", "search.lr=[0.003]", "--set", "generate.tokens=4", "--architectures", "lstm,conv1d", "--seeds", "2"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("again")
    return run_all(*TINY, "--out", str(out)), out


Done = tuple[subprocess.CompletedProcess[str], Path]


def test_a_run_keeps_what_it_takes_to_have_any_number_again(done: Done) -> None:
    process, out = done
    assert process.returncode == 0, process.stderr
    run = only_run(out)
    trials = read_trials(run)
    assert set(trials) == set(run.read_json("plan.json")["trial_ids"]) == {r.trial_id for r in records(out)}
    assert all(trial.trial_id == trial_id for trial_id, trial in trials.items())
    environment = run.read_json("environment.json")
    assert environment["packages"]["torch"] == environment["torch"]
    assert {"determinism", "clocks", "variables", "threads_between_operations"} <= set(environment)
    assert (run.folder / "git.diff").exists() == bool(environment["git_dirty"])
    assert not (run.folder / "estimate.json").exists()  # a smoke run takes no longer than the look ahead
    page = (out / "site" / "lm.html").read_text()
    assert f"--rerun {run.run_id}" in page
    final = next(r for r in records(out) if r.kind == "train" and r.regime == "final")
    assert final.trial_id[:8] in page


def test_what_a_run_takes_is_shown_with_how_good_that_was(done: Done) -> None:
    _, out = done
    run = only_run(out)
    run.write_json("estimate.json", {"wall_s": 2 * run.read_json("summary.json")["wall_s"]})
    shown = run_all(*TINY, "--dry-run", "--out", str(out))
    assert shown.returncode == 0, shown.stderr
    assert "estimated: 10 trials" in shown.stdout and "peak memory" in shown.stdout
    assert "the last estimate was 2" in shown.stdout
    assert run_all("--report-only", str(run.folder), "--out", str(out)).returncode == 0
    assert "estimated before it began" in (out / "site" / "lm.html").read_text()
    (run.folder / "estimate.json").unlink()


def test_repeats_agree_and_what_was_tampered_with_does_not(done: Done) -> None:
    _, out = done
    run = only_run(out)
    before = run.records_path.read_bytes()
    agreed = run_all("--verify", str(run.folder), "--sample", "3", "--draw", "1")
    counts = run_all("--rerun", str(run.folder), _one(out, "cost"))
    assert counts.returncode == 0, counts.stdout
    assert "flops per token" in counts.stdout and "exact" in counts.stdout
    assert run.records_path.read_bytes() == before
    kept = json.loads((run.folder / "verify-1.json").read_text())
    assert len(kept["verdicts"]) == len(kept["records"]) == 3
    wrong = [
        p for v in kept["verdicts"] for p in v["points"] if p["rule"] in ("exact", "to the bit") and not p["agrees"]
    ]
    assert not wrong, agreed.stdout  # timings may differ on a machine that others use

    trial_id = _one(out, "train")
    lines = [json.loads(line) for line in before.decode().splitlines()]
    changed = next(line for line in lines if line["trial_id"] == trial_id)
    loss = next(m for m in changed["measurements"] if (m["phase"], m["metric"]) == ("test", "loss"))
    loss["value"] += 1e-9
    run.records_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        found = run_all("--rerun", str(run.folder), trial_id[:8])
    finally:
        run.records_path.write_bytes(before)
    assert found.returncode == 1, found.stdout
    assert "DIFFERS  test test loss" in found.stdout
    assert "  agrees   train weights" in found.stdout


def test_a_budget_leaves_out_rounds_and_is_kept(done: Done, tmp_path: Path) -> None:
    """A second session keeps the cut of the first; without a budget the run goes on with what was left out."""
    _, out = done
    none = run_all(*TINY, "--budget", "1s", "--dry-run", "--out", str(tmp_path))
    assert none.returncode == 2 and "smallest part" in none.stderr and len(none.stderr.splitlines()) == 1

    folder = only_run(out).folder
    asked = {"asked": "20s", "asked_s": 20.0, "kept": {"rounds": 1, "tasks": ["docs_lm"], "lengths": [64]},
             "left_out": ["1 of 2 rounds (seeds 1 and on)"]}  # fmt: skip
    copied = Run.create(tmp_path / "runs", folder.name)
    copied.write_json("plan.json", {"budget": asked})  # as a first session leaves it behind
    cut = run_all(*TINY, "--budget", "20s", "--out", str(tmp_path))
    assert cut.returncode == 0, cut.stderr
    assert "left out for --budget 20s: 1 of 2 rounds" in cut.stderr
    assert {r.seed for r in records(tmp_path) if r.kind == "train"} == {0}
    assert {r.status for r in records(tmp_path)} == {"ok"}
    by_architecture = [{(r.kind, r.seed) for r in records(tmp_path) if r.architecture == a} for a in ("lstm", "conv1d")]
    assert by_architecture[0] == by_architecture[1]
    page = (tmp_path / "site" / "lm.html").read_text()
    assert "cut to a budget" in page and "1 of 2 rounds" in page

    more = run_all(*TINY, "--out", str(tmp_path))
    assert "(8 from before)" in more.stderr, more.stderr
    plan = Run.open(tmp_path / "runs" / folder.name).read_json("plan.json")
    assert "budget" not in plan or not plan["budget"]
    assert "cut to a budget" not in (tmp_path / "site" / "lm.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--suite", "lm", "--preset", "smoke", "--budget", "soon"), "write it as 2h"),
        (("--verify", "nowhere"), "no run 'nowhere'"),
        (("--rerun", "results/reference/cpu-2-cores/lm-quick", "abc"), "has no trials.jsonl"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    failed = run_all(*arguments, "--out", str(tmp_path))
    assert failed.returncode == 2
    assert words in failed.stderr and len(failed.stderr.strip().splitlines()) == 1, failed.stderr


def _one(out: Path, kind: str) -> str:
    return next(r.trial_id for r in records(out) if r.kind == kind and r.architecture == "conv1d")


def test_a_sample_is_balanced_and_its_number_decides_it() -> None:
    trial_ids = {f"{kind}-{a}-{seed}": (kind, a, seed) for kind in ("cell", "graph", "decode")
                 for a in ("a", "b", "c", "d") for seed in range(5)}  # fmt: skip
    made = [_record(kind, a, seed, name) for name, (kind, a, seed) in trial_ids.items()]
    failed = [_record("cell", "a", 9, "failed", status="oom", reason="out of memory")]
    trials: dict = dict.fromkeys([*trial_ids, "failed"])
    chosen = draw(trials, [*made, *failed], 12, 0)
    assert len(set(chosen)) == 12 and "failed" not in chosen
    for part in range(2):
        assert {sum(trial_ids[i][part] == name for i in chosen) for name in {t[part] for t in trial_ids.values()}} <= {
            3,
            4,
        }
    assert draw(trials, made, 12, 0) == chosen != draw(trials, made, 12, 1)
    assert len(draw(trials, made, 1000, 0)) == len(made)


def test_a_trial_is_found_by_its_first_letters() -> None:
    trials: dict = dict.fromkeys(["abc1", "abc2", "b"])
    recorded: dict = dict.fromkeys(trials)
    assert find(trials, recorded, "abc1") == find(trials, recorded, "abc1"[:4]) == "abc1"
    assert find(trials, recorded, "b") == "b"
    for name, words in (("abc", "2 trials begin"), ("z", "no trial 'z'")):
        with pytest.raises(SpecError, match=words):
            find(trials, recorded, name)


def test_changes_are_kept_and_cut_where_they_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, run = tmp_path / "repository", Run.create(tmp_path, "run")
    repository.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    (repository / "a.py").write_text("one\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    monkeypatch.setattr("bench.provenance.ROOT", repository)
    (repository / "a.py").write_text("two\n")
    (repository / "tasks").mkdir()
    (repository / "tasks" / "new.py").write_text("four\n")
    monkeypatch.setattr("bench.measure.environment.ROOT", repository)
    assert new_files() == ["tasks/new.py"] and git_state()[1]
    write_source(run, True, ["no/such/file.py", str(repository / "a.py")])
    write_source(run, True, [])
    assert "+two" in (run.folder / "git.diff").read_text()
    subprocess.run([*git, "stash", "-q", "-u"], cwd=repository, check=True)
    subprocess.run([*git, "apply", str(run.folder / "git.diff")], cwd=repository, check=True)
    assert (repository / "a.py").read_text() == "two\n" and (repository / "tasks" / "new.py").read_text() == "four\n"
    assert not (run.folder / "git-2.diff").exists()
    assert (run.folder / "plugins" / "a.py").read_text() == "two\n"
    write_source(run, True, [str(run.folder / "plugins" / "a.py")])  # the run's own copy
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.py").write_text("three\n")
    write_source(run, True, [str(repository / "a.py"), str(tmp_path / "other" / "a.py")])
    assert [(run.folder / "plugins" / n).read_text() for n in ("a.py", "a-2.py")] == ["two\n", "three\n"]
    (repository / "a.py").write_text("long\n" * MOST_BYTES)
    write_source(run, True, [])
    assert "[cut here:" in (run.folder / "git-2.diff").read_text()[-100:]
    clean = Run.create(tmp_path, "clean")
    write_source(clean, False, [])
    assert not list(clean.folder.iterdir())
    with pytest.raises(StoreError, match="earlier version"):
        read_trials(clean)


def _record(kind: str, architecture: str, seed: int, trial_id: str, status: str = "ok", reason: str = "") -> Record:
    return Record(
        run_id="r", trial_id=trial_id, environment_id="e", suite="s", kind=kind, architecture=architecture, variant="",
        task="", decoder="", mode="causal", regime="", width=8, depth=1, parameters=10, batch=1, length=64, dtype="float32",
        device="cpu", seed=seed, status=status, reason=reason, failed_phase="", kernels=(), warnings=(), started_at="",
        wall_s=1.0, measured_s=1.0, git_commit="", git_dirty=False,
    )  # type: ignore[arg-type]  # fmt: skip
