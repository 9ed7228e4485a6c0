"""What a run folder holds beside its records, so that any of its numbers can be had again: every trial, the uncommitted
changes of the source with files that git does not know yet, and the plug-ins with what lies beside them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.measure.environment import new_files
from bench.source import beside
from bench.trial import Trial
from results.store import Run, StoreError

ROOT = Path(__file__).resolve().parents[1]
TRIALS = "trials.jsonl"
MOST_BYTES = 1 << 20  # of a diff: what is longer is data, not source


def write_trials(run: Run, trials: Iterable[Trial]) -> None:
    """Each trial as it is given to a child, one a line. Replaces those of an earlier session: the plan is the same."""
    run.write_text(TRIALS, "".join(trial.to_json() + "\n" for trial in trials))


def read_trials(run: Run) -> dict[str, Trial]:
    """By id. Raises StoreError where there are none."""
    path = run.folder / TRIALS
    if not path.is_file():
        raise StoreError(f"{run.folder} has no {TRIALS}: an earlier version made it; run its command again")
    try:
        found = [Trial.from_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} is damaged ({error}); run its command again") from error
    return {trial.trial_id: trial for trial in found}


def write_source(run: Run, dirty: bool, plugins: Iterable[str]) -> None:
    """The diff against the commit, where there is one, and plug-ins that are files, with the files beside them that they
    import. A diff that differs from an earlier session's gets a name of its own: `git.diff`, `git-2.diff`, ..."""
    diff = _diff() if dirty else ""
    if diff and diff.encode() not in (path.read_bytes() for path in run.folder.glob("git*.diff")):
        number = len(list(run.folder.glob("git*.diff"))) + 1
        run.write_text("git.diff" if number == 1 else f"git-{number}.diff", diff)
    for plugin, copy in _copies(run, plugins).items():
        if Path(plugin).is_file() and Path(plugin).resolve() != copy.resolve():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(plugin, copy)
            for path in beside(Path(plugin)):
                if path.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(path, copy.parent / path.name, ignore=ignored, dirs_exist_ok=True)
                else:
                    shutil.copyfile(path, copy.parent / path.name)


def plugins_of(run: Run) -> tuple[str, ...]:
    """The plug-ins that a run was made with: from where they were, or else the copies that it keeps."""
    kept = _copies(run, run.read_json("plan.json").get("plugins") or ())
    return tuple(
        str(copy) if not Path(plugin).is_file() and copy.is_file() else plugin for plugin, copy in kept.items()
    )


def _copies(run: Run, plugins: Iterable[str]) -> dict[str, Path]:
    """Where the run keeps each plug-in; of two files of one name the second gets a number."""
    kept: dict[str, Path] = {}
    for plugin in dict.fromkeys(plugins):
        name = Path(plugin)
        same = sum(Path(other).name == name.name for other in kept)
        kept[plugin] = run.folder / "plugins" / (f"{name.stem}-{same + 1}{name.suffix}" if same else name.name)
    return kept


def _diff() -> str:
    """Of tracked files and of new ones, cut where it is too long; "" where git cannot tell."""
    plain = ["--no-ext-diff", "--no-color", "--binary"]
    try:
        raw = subprocess.run(["git", "diff", *plain, "HEAD"], cwd=ROOT, capture_output=True, timeout=30).stdout
        for path in new_files():
            against = ["git", "diff", *plain, "--no-index", "--", "/dev/null", path]
            raw += subprocess.run(against, cwd=ROOT, capture_output=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    text = raw[:MOST_BYTES].decode("utf-8", errors="replace")
    return text if len(raw) <= MOST_BYTES else f"{text}\n[cut here: {MOST_BYTES:,} of {len(raw):,} bytes]\n"
