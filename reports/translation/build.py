"""The part of a task's section that shows what was written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from reports.canvas import Plot
from reports.paired import mean
from reports.tables import Table, Value, as_csv
from reports.training.data import TaskRun, label, measured
from reports.training.looks import Cast
from reports.training.scores import Board
from reports.training.tables import score_text, who
from reports.translation.alignment import Alignments, alignments
from reports.translation.compare import against_best
from reports.translation.plots import by_length
from reports.translation.read import read_written
from reports.translation.side_by_side import Sentence, sentences
from reports.words import count, integer, score_name, seconds
from results.schema import Record


@dataclass(frozen=True)
class Translations:
    """What is empty is left out by the template. `kept`: what was written is there, not its scores alone."""

    kept: bool
    plots: list[Plot]
    sentences: list[Sentence]
    alignments: Alignments
    bootstrap: Table
    writing: Table
    beams: Table
    published: Table
    signatures: list[tuple[str, str]]


def translations(board: Board, cast: Cast, folder: Path | None) -> Translations | None:
    """None where nothing was written on this task."""
    task = board.task
    facts = task.raw.get("facts") or {}
    costs = writing(board, cast)
    if folder is None or not (facts.get("signatures") or costs.rows):
        return None
    written = read_written(task, folder)
    order, lowercase = [s.name for s in board.standings], bool(facts.get("lowercase"))
    return Translations(
        written is not None, by_length(board, cast), sentences(written, cast, order, lowercase) if written else [],
        alignments(task, cast, folder),
        against_best(board, written, cast, lowercase) if written else Table(f"{task.id}-bootstrap", [], []),
        costs, beams(board, cast), published(task),
        [(str(k), str(v)) for k, v in (facts.get("signatures") or {}).items()],
    )  # fmt: skip


def text_files(board: Board, folder: Path | None, prefix: str) -> dict[str, str]:
    """What was written and the references, a line a sentence, as sacrebleu's command line takes them: first seeds."""
    written = read_written(board.task, folder) if folder is not None else None
    if written is None:
        return {}
    start = f"{prefix}_{_file_name(board.task.name)}"
    files = {f"{start}_reference.txt": written.references}
    for name, texts in written.first.items():
        plain = f"{start}_{_file_name(label(name))}"
        names = (f"{plain}{end}.txt" for end in ("", *(f"-{i}" for i in range(2, len(written.first) + 2))))
        files[next(one for one in names if one not in files)] = texts
    return {name: "".join(line + "\n" for line in lines) for name, lines in files.items()}


def numbers(section: Translations, task: str, prefix: str) -> dict[str, str]:
    """What stands in tables of this part of the page only, as CSV files by name."""
    start = f"{prefix}_{_file_name(task)}"
    tables = {"bootstrap": section.bootstrap, "writing": section.writing, "beams": section.beams}
    files = {f"{start}_{name}.csv": as_csv(table) for name, table in tables.items() if table.rows}
    if section.alignments.rows:
        import pandas as pd  # slow to import, and only alignments need it here

        files[f"{start}_alignments.csv"] = pd.DataFrame(section.alignments.rows).to_csv(index=False)
    return files


def _file_name(text: str) -> str:
    return re.sub(r"[^\w-]+|_", "-", text).strip("-")


def writing(board: Board, cast: Cast) -> Table:
    """What it takes to write the test split; mean over seeds."""
    task = board.task
    wanted = {"time_per_sentence": seconds, "tokens_per_second": count, "cut": lambda v: f"{100 * v:.1f} %"}
    rows = []
    for s in board.standings:
        records = list(task.ok(s.name).values())
        values = {metric: [measured(r, "write", metric, task.test_split) for r in records] for metric in wanted}
        if records and all(v is not None for found in values.values() for v in found):
            means = {metric: mean([v for v in found if v is not None]).value for metric, found in values.items()}
            small = {"time_per_sentence": _together(records[0], task.test_split)}
            shown = (Value(wanted[m](v), v, small.get(m, ""), number=True) for m, v in means.items())
            rows.append([who(cast, s.name), *shown])
    columns = ["competitor", "time a sentence", "tokens written/s", "cut without an end"]
    tell = {
        1: "sentences of a batch go side by side; of a decoder-only model those of one length, so many on average",
        3: "share of sentences that came to no end within the longest allowed",
    }
    return Table(f"{task.id}-writing", columns, rows, help=tell)


def _together(record: Record, split: str) -> str:
    found = (m for m in record.measurements if (m.phase, m.metric, m.split) == ("write", "time_per_sentence", split))
    return next((m.method for m in found), "")


_BEAM = re.compile(r"beam_(\d+)")


def beams(board: Board, cast: Cast) -> Table:
    """What a search costs by its beams: time of one more token for every sentence of a batch."""
    task = board.task
    timed = []
    for s in board.standings:
        for record in task.decodes.get(s.name, []):
            widths = sorted({int(m[1]) for x in record.measurements if (m := _BEAM.fullmatch(x.phase))})
            found = {width: v for width in widths if (v := measured(record, f"beam_{width}", "time")) is not None}
            timed += [(s.name, record, found)] if found else []
    widest = max((list(found) for _, _, found in timed), key=len, default=[])
    rows = []
    for name, record, found in timed:
        if list(found) == widest:
            ratio = found[widest[-1]] / found[widest[0]]
            rows.append([
                who(cast, name), Value(integer(record.batch), record.batch, number=True),
                *(Value(seconds(v), v, number=True) for v in found.values()),
                Value(f"{ratio:.2f} ×", ratio, number=True),
            ])  # fmt: skip
    names = [f"{width} beam{'s' if width > 1 else ''}" for width in widest]
    columns = ["competitor", "sentences at once", *names, "last over first" if len(names) > 1 else "ratio"]
    return Table(f"{task.id}-beams", columns, rows)


def published(task: TaskRun) -> Table:
    """Figures of others for the same test sentences, with other models and recipes: for scale."""
    rows = [
        [
            Value(r.label),
            Value(score_name(r.metric)),
            Value(score_text(r.value), r.value, number=True),
            Value(r.source),
        ]
        for r in task.references
        if r.kind == "published"
    ]
    return Table(f"{task.id}-published", ["system", "metric", "score", "source"], rows)
