"""Runs for other programs: every measurement as a tidy table (csv, parquet), and leaderboards for papers (markdown, latex).

Files go to `exports/` in the run's folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from reports.data import RunData, kind_of, load
from reports.tables import Table, Value, leaderboard
from results import frame
from results.store import Run, StoreError

FORMS = ("csv", "parquet", "markdown", "latex")
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "×": r"$\times$", "✕": r"$\times$",
          "·": r"$\cdot$", "µ": r"$\mu$", "★": r"$\star$", "…": r"\dots{}", "∞": r"$\infty$", "<": r"\textless{}",
          ">": r"\textgreater{}"}  # fmt: skip


def write(run: Run, form: str) -> list[Path]:
    """Write one form of export; returns the files. Raises StoreError (one line) where that cannot be done."""
    folder = run.folder / "exports"
    try:
        folder.mkdir(exist_ok=True)
        return [_measurements(run, folder, form)] if form in ("csv", "parquet") else _boards(run, folder, form)
    except ImportError:
        raise StoreError("--export parquet needs pyarrow: pip install pyarrow, or use --export csv") from None
    except OSError as error:
        raise StoreError(
            f"cannot write {folder}: {error.strerror}; copy the run to a place that can be written"
        ) from error


def _measurements(run: Run, folder: Path, form: str) -> Path:
    """One row a measurement, the trial's columns repeated. A trial that failed before any measurement keeps one row."""
    records = run.current()
    table = frame.measurements(records, failed=True)
    path = folder / f"measurements.{form}"
    if form == "parquet":
        table.to_parquet(path, index=False)  # samples stay lists of numbers
    else:
        # JSON in a cell: every program can read it back to numbers, at full precision.
        table["samples"] = [None if s is None else "[" + ", ".join(map(repr, s)) + "]" for s in table["samples"]]
        table.to_csv(path, index=False)
    return path


def _boards(run: Run, folder: Path, form: str) -> list[Path]:
    made = []
    for name, title, table in boards(load(run)):
        text = markdown(table, title) if form == "markdown" else latex(table, title, name)
        path = folder / f"{name}.{'md' if form == 'markdown' else 'tex'}"
        path.write_text(text, encoding="utf-8")
        made.append(path)
    if not made:
        raise StoreError(f"run {run.run_id} has no leaderboard: nothing in it has ended well")
    return made


def boards(data: RunData) -> list[tuple[str, str, Table]]:
    """(file name, title, table) of each leaderboard: of a scaling run at the length and regime that its page starts with."""
    if kind_of(data.plan) == "scaling":
        from reports.statistics import analyse

        table = leaderboard(analyse(data))
        rows = [row for row in table.rows if all(row[i].text == text for i, text in table.start.items())]
        title = ", ".join(f"{table.columns[i]} {text}" for i, text in table.start.items())
        kept = [i for i in range(len(table.columns)) if i not in table.start]
        return [("leaderboard", title, _columns(table, _ordered(rows, table.sort), kept))] if rows else []
    from reports.training import tables
    from reports.training.data import read
    from reports.training.looks import cast
    from reports.training.scores import board

    found = []
    for task in read(data).tasks:
        one = board(task)
        table = tables.leaderboard(one, cast(one, data.architectures))
        if table.rows:
            name = "leaderboard-" + re.sub(r"[^A-Za-z0-9_-]+", "_", task.name)
            found.append((name, task.name, _columns(table, table.rows, range(len(table.columns)))))
    return found


def _ordered(rows: list[list[Value]], sort: tuple[int, str] | None) -> list[list[Value]]:
    return sorted(rows, key=lambda row: float(row[sort[0]].order or 0.0)) if sort else rows


def _columns(table: Table, rows: list[list[Value]], kept: Iterable[int]) -> Table:
    kept = list(kept)
    return Table(table.id, [table.columns[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _text(value: Value) -> str:
    return f"{value.text} {value.small}".strip()


def markdown(table: Table, title: str) -> str:
    """A table of GitHub's Markdown; what names hold cannot end a cell or start a tag."""

    def cell(text: str) -> str:
        for sign in "\\`*_{}[]<>|~":
            text = text.replace(sign, "\\" + sign) if sign != "<" else text.replace("<", "&lt;")
        return " ".join(text.split())

    numbers = [all(row[i].number for row in table.rows) for i in range(len(table.columns))]
    lines = [f"**{cell(title)}**", "", _row(map(cell, table.columns)), _row("---:" if n else "---" for n in numbers)]
    lines += [_row(cell(_text(v)) for v in row) for row in table.rows]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def latex(table: Table, title: str, label: str) -> str:
    r"""A table for \usepackage{booktabs}; every sign that LaTeX reads otherwise is escaped."""
    numbers = "".join("r" if all(row[i].number for row in table.rows) else "l" for i in range(len(table.columns)))
    body = [" & ".join(escaped(_text(v)) for v in row) + r" \\" for row in table.rows]
    head = " & ".join(map(escaped, table.columns)) + r" \\"
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{escaped(title)}}}",
        rf"\label{{tab:{label}}}", rf"\begin{{tabular}}{{{numbers}}}", r"\toprule", head, r"\midrule", *body,
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
