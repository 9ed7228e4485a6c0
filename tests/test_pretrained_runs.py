"""From masked language modelling to a sentence task: what is kept, what is taken over, what refuses to be."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contract import TaskShape
from bench.models import build_model
from bench.registry import ARCHITECTURES
from bench.training import checkpoint
from bench.training.trials import start_from
from results.store import Run
from tests.command import run_all
from tests.test_faults import records

SMALL = ("--preset", "smoke", "--device", "cpu", "--set", "memory_share=0.2", "--set", "recipe.evaluate_every=3")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("pretrained")
    first = run_all(
        "--suite", "pretrain", *SMALL, "--set", "recipe.steps=6", "--set", "target=30000", "--out", str(out)
    )
    assert first.returncode == 0, first.stderr
    (run,) = (out / "runs").iterdir()
    return out, run


@pytest.fixture(scope="module")
def done(
    pretrained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    _, run = pretrained
    out = tmp_path_factory.mktemp("sentences")
    tasks = ("--tasks", "mini_paraphrase", "--set", "tasks.mini_paraphrase.settings.train_examples=200")
    chosen = ("--architectures", "attention,lstm,conv1d", "--set", "recipe.steps=6", "--seeds", "2")
    return run_all("--suite", "glue", *SMALL, *tasks, *chosen, "--pretrained", str(run), "--out", str(out)), out


def test_each_kept_encoder_and_the_same_from_nothing(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, out = done
    found = [r for r in records(out) if r.kind == "train" and r.regime == "final"]
    ok = {(r.architecture, r.variant) for r in found if r.status == "ok"}
    assert ok == {(a, v) for a in ("attention", "lstm") for v in ("baseline", "pretrained")}, process.stderr
    assert {r.width for r in found if r.architecture == "lstm"} == {
        next(r.width for r in found if r.architecture == "lstm")
    }
    (left_out,) = {r.reason for r in found if r.status != "ok"}
    assert "kept no encoder of it" in left_out
    (run,) = (out / "runs").iterdir()
    plan = Run.open(run).read_json("plan.json")
    change = {c["variant"]: c["change"] for c in plan["competitors"] if c["architecture"] == "lstm"}
    assert change["baseline"] == "" and change["pretrained"].startswith("pretrained on docs_lm for")
    page = (out / "site" / "glue.html").read_text(encoding="utf-8")
    assert "Changes to lstm" in page and "pretrained on docs_lm" in page and "pretraining time" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "lm"), "this suite's are causal"),
        (("--suite", "scaling"), "trains nothing; leave --pretrained out"),
        (("--suite", "glue", "--tasks", "parity"), "no setting 'tokenizer_file'"),
        (("--suite", "glue", "--set", "depth=7", "--set", "settings.lstm={mlp: false}"), "leave out settings, depth"),
        (
            (
                "--suite",
                "glue_ablations",
            ),
            "compares changes, kept encoders have none",
        ),
    ],
)
def test_what_cannot_start_from_it_says_so(
    pretrained: tuple[Path, Path], arguments: tuple[str, ...], message: str
) -> None:
    out, run = pretrained
    process = run_all(*arguments, "--preset", "smoke", "--pretrained", str(run), "--out", str(out))
    assert process.returncode == 2 and message in process.stderr, process.stderr
    assert len(process.stderr.strip().splitlines()) == 1


def test_a_run_without_kept_weights_says_how_to_keep_them(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    (run,) = (out / "runs").iterdir()
    process = run_all("--suite", "glue", "--preset", "smoke", "--pretrained", str(run), "--out", str(out))
    assert process.returncode == 2 and "--suite pretrain" in process.stderr
    process = run_all("--suite", "glue", "--preset", "smoke", "--pretrained", "nowhere", "--out", str(out))
    assert process.returncode == 2 and "no run 'nowhere'" in process.stderr


def model(vocabulary: int, outputs: int, output: Any, seed: int, width: int = 16) -> Any:
    shape = TaskShape(
        length=9, longest=9, outputs=outputs, output=output, vocabulary=vocabulary, tied=output == "token"
    )
    return build_model(ARCHITECTURES.get("gru"), {}, width, 1, "bidirectional", shape, "mean", seed=seed)


def test_encoder_and_embedding_are_taken_over_and_the_head_is_new(tmp_path: Path) -> None:
    old, new, fresh = model(13, 13, "token", 1), model(12, 3, "sequence", 2), model(12, 3, "sequence", 2)
    assert checkpoint.save(tmp_path / "weights.pt", {"weights": old.state_dict()}) == ""
    start_from(new, tmp_path / "weights.pt")
    for name, tensor in new.state_dict().items():
        if name.startswith("encoder."):
            assert torch.equal(tensor, old.state_dict()[name])
        elif name.startswith("head."):
            assert torch.equal(tensor, fresh.state_dict()[name])
    assert torch.equal(new.front.weight, old.front.weight[:12])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(ValueError, match="cannot read the pretrained weights"):
        start_from(model(12, 3, "sequence", 0), path)
    checkpoint.save(path, {"weights": model(13, 13, "token", 1, width=24).state_dict()})
    with pytest.raises(ValueError, match="do not fit this model"):
        start_from(model(12, 3, "sequence", 0), path)
