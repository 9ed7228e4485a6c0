"""Bad input gets one clear line that names the fix, and status 2; --help answers at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import run_all, run_all_anew
from tests.conftest import ROOT

LM = "results/reference/cpu-2-cores/lm-quick"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--suite scaling"),
        (("--suite", "scalling"), "did you mean 'scaling'?"),
        (("--suite", "scaling", "--preset", "quik"), "did you mean 'quick'?"),
        (("--suite", "scaling", "--architectures", "lstmm"), "did you mean 'lstm'?"),
        (("--suite", "scaling", "--tasks", "random_vector"), "did you mean 'random_vectors'?"),
        (("--suite", "scaling", "--set", "sedes=3"), "did you mean 'seeds'?"),
        (("--suite", "scaling", "--set", "seeds"), "key=value"),
        (("--suite", "scaling", "--set", "seeds=0"), "greater than 0"),
        (("--suite", "scaling", "--set", "settings.attention.head=8"), "did you mean 'heads'?"),
        (("--suite", "scaling", "--set", "settings.attention.heads=many"), "setting 'heads'"),
        (("--suite", "scaling", "--device", "tpu"), "use cpu, cuda or cuda:N"),
        (("--suite", "scaling", "--plugin", "nowhere.py"), "no such file"),
        (("--suite", "scaling", "--plugin", "nowhere.module"), "nowhere"),
        (("--suite", "scaling", "--data-dir", "/nowhere"), "no such folder"),
        (("--report-only", "nowhere"), "no run 'nowhere'"),
        (("--compare", LM, "nowhere"), "no run 'nowhere'"),
        (("--compare", LM, "results/reference/cpu-2-cores/scaling-quick"), "of the same kind"),
        (("--compare", LM, LM, "--fail-if-worse", "5"), "such as 5%"),
        (("--fail-if-worse", "5%"), "--compare RUN_A RUN_B"),
        (("--export", "parket", LM), "did you mean 'parquet'?"),
        (("--report-only", "cpu-2-cores/lm-quik"), "did you mean 'cpu-2-cores/lm-quick'?"),
        (("--report-only", LM, "--beside", "nowhere"), "no run 'nowhere'"),
        (("--suite", "scaling", "--beside", LM), "of kind 'train', 'scaling' is of kind 'scaling'"),
        (("--list", "--beside", LM), "--suite or --report-only"),
    ],
)
def test_one_clear_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = run_all(*arguments, "--out", str(tmp_path))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert words in lines[0]
    assert not list(tmp_path.glob("runs/*"))


def test_a_plugin_that_fails_to_load(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("import does_not_exist")
    done = run_all("--suite", "scaling", "--plugin", str(plugin), "--out", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "does_not_exist" in done.stderr
    assert "Traceback" in run_all("--suite", "scaling", "--plugin", str(plugin), "--debug").stderr


def test_a_plugin_that_takes_a_name(tmp_path: Path) -> None:
    plugin = tmp_path / "taken.py"
    plugin.write_text((ROOT / "architectures" / "tcn.py").read_text())
    done = run_all("--suite", "scaling", "--plugin", str(plugin), "--out", str(tmp_path))
    assert done.returncode == 2
    assert "'tcn' is registered already" in done.stderr


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = run_all("--suite", "scaling", "--preset", "smoke", "--out", str(file / "below"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--out" in done.stderr


def test_help_is_quick() -> None:
    """Best of three: half a second is the promise to the user, and importing torch alone takes four times that."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "run_all.py", "--help"], cwd=ROOT, capture_output=True, text=True)
        times.append(time.perf_counter() - start)
    assert done.returncode == 0
    assert "--suite" in done.stdout
    assert min(times) < 0.5


def test_the_parent_never_imports_torch() -> None:
    code = "import sys, run_all, bench.execute.runner, bench.plan, reports.page; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_list() -> None:
    done = run_all_anew("--list")
    assert done.returncode == 0
    for name in ("attention_naive", "shifted_window", "random_vectors", "scaling"):
        assert name in done.stdout


def test_dry_run(tmp_path: Path) -> None:
    done = run_all_anew("--suite", "scaling", "--preset", "smoke", "--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0
    assert "cell trials" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_run_from_elsewhere_stands_in_the_list_of_pages(tmp_path: Path) -> None:
    shown = run_all("--report-only", LM, "--out", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    index = (tmp_path / "site" / "index.html").read_text()
    assert 'href="lm-quick/lm.html"' in index and 'href="lm.html"' in index
