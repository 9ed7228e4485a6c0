"""The translation suite through the real command: records, what is kept beside them, the page, a sentence of one's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results.predictions import load_alignments, load_examples, load_translations
from tests.command import run_all
from tests.conftest import EXAMPLES
from tests.test_faults import only_run, records

SMALL = (
    *("--suite", "translation", "--preset", "smoke", "--device", "cpu", "--set", "target=50000"),
    *("--set", "memory_share=0.2", "--set", "recipe.steps=60", "--set", "recipe.evaluate_every=30"),
    *("--set", "changes.gru.one vector.recipe.write_most=1e0"),  # a word, to YAML: what a plan allows must run
    *("--set", "changes.gru.one vector.recipe.lr=0.004", "--set", "search={lr: [0.003, 0.006], share: 0.5}"),
    *("--set", "settings.attention={positions: learned, max_length: 320}"),
    *("--tasks", str(EXAMPLES / "menu.yaml")),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("translation")
    return run_all(*SMALL, "--out", str(out)), out


def test_records_say_what_decoder_wrote_and_what_it_is_worth(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    process, out = done
    assert process.returncode == 0, process.stderr
    finals = [r for r in records(out) if r.kind == "train" and r.regime == "final"]
    assert {(r.architecture, r.variant, r.decoder) for r in finals} == {
        ("gru", "baseline", "matched, dot"),
        ("gru", "one vector", "matched, none"),
        ("attention", "", "matched, dot"),
    }
    # A learning rate that a change names is not searched; the others have had their tries.
    rates = {(r.architecture, r.variant): r.extra["recipe"]["lr"] for r in finals}
    assert rates.pop(("gru", "one vector")) == 0.004 and set(rates.values()) <= {0.003, 0.006}
    tries = [(r.architecture, r.variant) for r in records(out) if r.kind == "train" and r.regime == "tune"]
    assert sorted(tries) == [("attention", "")] * 2 + [("gru", "baseline")] * 2
    for r in finals:
        found = {(m.phase, m.split, m.metric) for m in r.measurements}
        assert {
            ("tune", "tune", "BLEU"),
            ("test", "test", "BLEU"),
            ("test", "test", "chrF"),
            ("test", "test", "loss"),
        } <= found
        assert ("write", "test", "time_per_sentence") in found and ("write", "test", "cut") in found


def test_bleu_is_sacrebleus_on_the_files_beside_the_page(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    for r in records(out):
        if r.kind == "train" and r.regime == "final":
            name = "-".join([r.architecture, *r.variant.split()])
            files = [str(out / "site" / f"translation_parallel-file_{part}.txt") for part in ("reference", name)]
            command = [sys.executable, "-m", "sacrebleu", files[0], "-i", files[1], "-b", "-w", "6"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            (value,) = (m.value for m in r.measurements if (m.split, m.metric) == ("test", "BLEU"))
            assert value == pytest.approx(float(said), abs=1e-4)


def test_who_looked_at_what_is_kept(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    run = only_run(out)
    (plan,) = run.read_json("plan.json")["tasks"]
    shown = load_examples(run.folder, plan["name"], plan["fingerprint"])["test"]
    for r in records(out):
        if r.kind == "train" and r.regime == "final":
            assert len(load_translations(run.folder, r.trial_id)["test"]) == len(shown["references"])
            looked = [s for s in load_alignments(run.folder, r.trial_id) if s["layers"]]
            assert bool(looked) == (r.variant != "one vector")


def test_searches_are_timed_at_the_largest_batch(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    decodes = [r for r in records(out) if r.kind == "decode"]
    batch, length = max(r.batch for r in decodes), min(r.length for r in decodes)
    for r in decodes:
        phases = {m.phase for m in r.measurements}
        assert phases == {"decode"} | ({"beam_1", "beam_4"} if (r.batch, r.length) == (batch, length) else set())


def test_the_page_shows_translations(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    page = (out / "site" / "translation.html").read_text(encoding="utf-8")
    for words in ("Side by side", "Alignments", "What writing costs", "What beams cost", "Paired bootstrap",
                  "gru · one vector: reads one vector of fixed size", "version:2",
                  "Not searched, with a learning rate that the plan gives it: gru · one vector"):  # fmt: skip
        assert words in page, words


def test_a_sentence_of_ones_own(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = done
    found = run_all("--translate", "Open <b>file</b>", "--run", only_run(out).run_id, "--out", str(out))
    assert found.returncode == 0, found.stderr
    who = {line.split("  ")[0] for line in found.stdout.splitlines()}
    assert who == {"attention", "gru baseline", "gru one vector"}
    assert "warning: the text has 16 tokens, the sources of parallel_file" in found.stderr
    page = (out / "site" / "translate.html").read_text(encoding="utf-8")
    assert "Open &lt;b&gt;file" in page and "<b>file" not in page


def test_a_text_too_long_for_one_model_silences_no_other(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    _, out = done
    found = run_all("--translate", "Open " * 330, "--run", only_run(out).run_id, "--out", str(out))
    assert found.returncode == 0, found.stderr
    assert {line.split("  ")[0] for line in found.stdout.splitlines()} == {"gru baseline", "gru one vector"}
    assert "warning: attention has learnt 320 positions, too few for " in found.stderr


def test_models_of_other_data_do_not_speak(done: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path) -> None:
    """The vocabulary may be as large as it was, with other words behind its ids."""
    run = shutil.copytree(only_run(done[1]).folder, tmp_path / "runs" / "other")
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    plan["tasks"][0]["fingerprint"] = "0" * 32
    (run / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    found = run_all("--translate", "Open", "--run", str(run), "--out", str(tmp_path))
    assert found.returncode == 2 and "its data are not those that the run learnt from" in found.stderr


def test_what_cannot_be_translated_is_one_line(
    done: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    _, out = done
    for arguments, words in (
        (("--translate", "Open", "--run", "nowhere"), "no run 'nowhere'"),
        (("--translate", "Open"), "wants a text and a run"),
        (("--translate", " ", "--run", only_run(out).run_id), "the text is empty"),
    ):
        found = run_all(*arguments, "--out", str(out))
        assert found.returncode == 2 and words in found.stderr and "Traceback" not in found.stderr
    (tmp_path / "bad.yaml").write_text("path: missing.tsv\n")
    found = run_all(*SMALL[:-1], str(tmp_path / "bad.yaml"), "--out", str(tmp_path))
    assert found.returncode == 2 and "cannot read" in found.stderr and "missing.tsv" in found.stderr
