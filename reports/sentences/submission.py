"""A zip that gluebenchmark.com takes: a TSV a task with its exact name, `index<TAB>prediction`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from reports.data import RunData
from reports.training.data import TaskRun, label, read
from results.predictions import load_examples, load_predictions

BOARD = "board_"
FILES = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX")


class NothingToExport(Exception):
    """One line on why there is no submission in a run."""


def export(run: RunData, folder: Path, out: Path, words: dict[str, tuple[str, ...]]) -> list[tuple[Path, list[str]]]:
    """One zip a competitor, of its first seed, in `out`; with each the files that the board wants and the run lacks.

    Args:
        folder: of the run.
        words: task -> what the board calls its classes; empty for a value.
    """
    training = read(run)
    fingerprints = {str(t["name"]): str(t.get("fingerprint") or "") for t in run.plan.get("tasks") or ()}
    files: dict[str, dict[str, str]] = {}
    for task in training.tasks:
        if task.name in words:
            examples = load_examples(folder, task.name, fingerprints[task.name])
            for who, found in _of_task(task, folder, examples, words[task.name]).items():
                files.setdefault(who, {}).update(found)
    if not files:
        raise NothingToExport(
            f"run {run.run_id} holds no prediction for GLUE's test inputs; run GLUE tasks with their test.tsv at hand first"
        )
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for who, found in sorted(files.items()):
        path = out / f"{who.replace(' · ', '-').replace('/', '_')}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in FILES:
                if name in found:
                    archive.writestr(f"{name}.tsv", found[name])
        made.append((path, [name for name in FILES if name not in found]))
    return made


def _of_task(
    task: TaskRun, folder: Path, examples: dict[str, Any], words: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """Competitor -> file -> content, from the first seed that ended well."""
    found: dict[str, dict[str, str]] = {}
    for c in task.competitors:
        record = next(iter(task.ok(c.name).values()), None)
        predictions = load_predictions(folder, record.trial_id) if record is not None else {}
        for split, values in predictions.items():
            rows = (examples.get(split) or {}).get("rows", [])
            if split.startswith(BOARD) and len(rows) == len(values):
                found.setdefault(label(c.name), {})[split.removeprefix(BOARD)] = _table(rows, values, words)
    return found


def _table(rows: list[int], values: list[float], words: tuple[str, ...]) -> str:
    """Rows of the source in order; values are held within STS-B's 0 to 5, as the board asks."""
    said = {
        row: words[int(v)] if words else f"{min(5.0, max(0.0, v)):.3f}" for row, v in zip(rows, values, strict=True)
    }
    return "index\tprediction\n" + "".join(f"{row}\t{said[row]}\n" for row in sorted(said))
