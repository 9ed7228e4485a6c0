"""The image suites through the real command: records, pictures, studies, transfer, bad input."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from results.predictions import load_pictures
from tests.tasks.test_image_file import folder, picture
from tests.test_faults import only_run, records, run_all

BRIEF = ("--device", "cpu", "--set", "memory_share=0.2", "--set", "recipe.steps=4", "--set", "recipe.evaluate_every=2")
QUICK = (*BRIEF, "--set", "target=12000")
SMALL = ("--suite", "image", "--preset", "smoke", *QUICK)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("image")
    tasks = ("--tasks", "digits,digits@2,digits@4", "--architectures", "lstm,vit,swin,resnet", "--seeds", "2")
    return run_all(*SMALL, *tasks, "--out", str(out)), out


def test_every_architecture_is_trained_at_its_own_grid(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    process, out = done
    assert process.returncode == 0, process.stderr
    finals = {(r.task, r.architecture): r for r in records(out) if r.kind == "train" and r.regime == "final"}
    assert {a: finals["digits", a].length for a in ("lstm", "vit", "swin", "resnet")} == {
        "lstm": 16, "vit": 16, "swin": 64, "resnet": 64,
    }  # fmt: skip
    assert [finals[t, "vit"].length for t in ("digits@2", "digits@4")] == [16, 4]
    for record in finals.values():
        values = {(m.split, m.metric): m.value for m in record.measurements}
        assert 0 <= (values["test", "accuracy"] or 0) <= 1 and (values["none", "images_per_second"] or 0) > 0
    plan = only_run(out).read_json("plan.json")
    assert [s["tasks"] for s in plan["studies"]] == [["digits@2", "digits@4"]]
    fronts = {c["architecture"]: c["recipe"] for c in plan["competitors"] if c["task"] == "digits"}
    assert fronts["resnet"]["patch"] == 1 and fronts["resnet"]["patch_reach"] == 3 and fronts["vit"] == {}


def test_flops_are_those_of_an_image(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    for r in records(done[1]):
        if r.kind == "cost":
            values = {m.metric: m.value for m in r.measurements}
            assert values["flops_per_image"] == pytest.approx((values["flops_per_token"] or 0) * r.length)


def test_pictures_say_what_was_confused(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    for r in records(out):
        if r.kind == "train" and r.task == "digits":
            assert not [w for w in r.warnings if "picture" in w]
            kept = load_pictures(only_run(out).folder, r.trial_id)
            (accuracy,) = (m.value for m in r.measurements if (m.split, m.metric) == ("test", "accuracy"))
            counts = kept["confusion"]
            assert sum(map(sum, counts)) == 899
            assert sum(counts[i][i] for i in range(10)) / 899 == pytest.approx(accuracy)
            if r.seed == 0:
                assert kept["confused"] and all(c["true"] != c["predicted"] for c in kept["confused"])
                assert len(kept["field"]) == 8 and max(map(max, kept["field"])) == 1.0
                layers = [sum(map(sum, one["seen"])) for one in kept["reach"]]
                assert layers == sorted(layers)
                if r.architecture in ("vit", "swin"):
                    share = kept["examples"][0]["layers"][0]
                    assert sum(map(sum, share)) == pytest.approx(1, abs=1e-3)
                if r.architecture == "vit":
                    assert layers[0] == 16  # all at once
                if r.architecture == "swin":
                    assert layers[0] == 16 and layers[-1] > 16  # a window, then more


def test_the_page_shows_studies_and_pictures(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    page = (done[1] / "site" / "image.html").read_text(encoding="utf-8")
    for words in ("What patch size costs", "What the middle token can depend on", "Wrong, and most sure of it",
                  "Where attention looks", "FLOPs an image", "images/s", "support-vector machine"):  # fmt: skip
        assert words in page, words
    assert "data:image/png;base64," in page


def test_encoders_of_images_are_started_from(tmp_path: Path) -> None:
    first = run_all("--suite", "image_pretrain", "--preset", "smoke", *QUICK, "--out", str(tmp_path))
    assert first.returncode == 0, first.stderr
    run = only_run(tmp_path)
    command = ("--suite", "image", "--preset", "smoke", *BRIEF)  # an encoder that is kept has its size
    tuned = run_all(*command, "--tasks", "digits@2", "--architectures", "vit", "--pretrained", str(run.folder), "--out",
                    str(tmp_path / "next"))  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    variants = {r.variant for r in records(tmp_path / "next") if r.kind == "train"}
    assert variants == {"baseline", "pretrained"}


def test_ones_own_images(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", count=30)
    (root / "cat" / "broken.png").write_bytes(b"")
    done = run_all(*SMALL, "--tasks", str(root), "--architectures", "vit,resnet", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "site" / "image.html").read_text(encoding="utf-8")
    assert "1 files that are no readable image left out (such as cat/broken.png)" in page


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    small = tmp_path / "small"
    for name in ("a", "b"):
        for i in range(6):
            picture(small / name / f"{i}.png", i, size=(3, 3))
    for arguments, message in (
        (
            (*SMALL, "--set", "tasks.digits.recipe.patch=3"),
            "8 rows do not divide into patches of 3; recipe.patch may be 1, 2, 4, 8",
        ),
        ((*SMALL, "--set", "fronts.resnet.pach=1"), "unknown key 'pach'; did you mean 'patch'?"),
        ((*SMALL, "--tasks", str(small), "--set", "tasks.image_file.settings.size=0"), "smaller than a patch of 4"),
        ((*SMALL, "--tasks", "mnist", "--data-dir", str(tmp_path)), "mnist needs MNIST"),
        ((*SMALL, "--tasks", "digts@2"), "no task 'digts'; did you mean 'digits'?"),
        (("--suite", "lm", "--preset", "smoke", "--architectures", "vit"), "'vit' is made for images"),
    ):
        done = run_all(*arguments, *out)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_other_suites_leave_architectures_of_images_out(tmp_path: Path) -> None:
    listed = run_all("--suite", "scaling", "--preset", "smoke", "--dry-run", "--out", str(tmp_path))
    assert listed.returncode == 0 and "attention" in listed.stdout and "resnet" not in listed.stdout
