"""Examples from tables: TSV with quoting off (as GLUE's files are), CSV, and a JSON object a line.

What is wrong with a file is a ValueError of one line that names file, row and column. Rows are counted from 1, as editors
count lines.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

Form = Literal["tsv", "csv", "jsonl"]
FORMS: dict[str, Form] = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True)
class Example:
    """One or two texts, and a class (0, 1, ...) or a value; None where the file has no labels."""

    texts: tuple[str, ...]
    label: float | None


@dataclass(frozen=True)
class Columns:
    """Where a table has what.

    Attributes:
        texts: names of one or two columns.
        label: name of the column with labels; "" for none.
        labels: words that stand for the classes 0, 1, ...; empty for a value.
        header: names of the columns in order, where the file's first line does not say them.
        skip_ragged: leave rows with a wrong number of columns out (published files have a few) rather than refuse.
        allow_empty: whether a text may be empty (in published files some are).
    """

    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    skip_ragged: bool = False
    allow_empty: bool = False


def read_examples(path: Path, columns: Columns, form: Form | None = None) -> list[Example]:
    """Every row of the file. Raises OSError where it cannot be read, ValueError where it does not hold what it should."""
    form = form or _form(path)
    asked = [*columns.texts, *([columns.label] if columns.label else [])]
    found = []
    for line, row in _rows(path, form, columns, asked):
        for name in columns.texts:
            if not columns.allow_empty and not row[name].strip():
                raise ValueError(f"{path}, row {line}, column '{name}': the text is empty")
        label = _label(path, line, columns, row[columns.label]) if columns.label else None
        found.append(Example(tuple(row[name] for name in columns.texts), label))
    if not found:
        raise ValueError(f"{path}: no rows of data")
    return found


def distinct_labels(path: Path, column: str, form: Form | None = None) -> tuple[str, ...]:
    """The words in a column of labels, sorted."""
    rows = _rows(path, form or _form(path), Columns((), column), [column])
    found = tuple(sorted({row[column] for _, row in rows}))
    if not found:
        raise ValueError(f"{path}: no rows of data")
    return found


def _form(path: Path) -> Form:
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"{path}: what kind of table is this? End its name in {', '.join(FORMS)}")
    return form


def read_columns(path: Path, names: Sequence[str]) -> list[dict[str, str]]:
    """Columns of a TSV file as they are, in the rows that `read_examples` gives where it refuses ragged ones."""
    return [row for _, row in _rows(path, "tsv", Columns((), ""), names)]


def _label(path: Path, line: int, columns: Columns, word: str) -> float:
    where = f"{path}, row {line}, column '{columns.label}'"
    if columns.labels:
        if word not in columns.labels:
            raise ValueError(f"{where}: label '{word}' is none of {', '.join(columns.labels)}")
        return columns.labels.index(word)
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{where}: '{word}' is no number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{where}: '{word}' is no finite number")
    return value


def _rows(path: Path, form: Form, columns: Columns, asked: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    text = _decoded(path)
    if form == "jsonl":
        yield from _json_rows(path, text, asked)
        return
    lines = _cells(path, text, form)
    if columns.header:
        header = list(columns.header)
    else:
        _, header = next(lines, (0, []))
    for name in asked:
        if header.count(name) > 1:
            raise ValueError(f"{path}: {header.count(name)} columns are named '{name}'; rename all but one")
        if name not in header:
            raise ValueError(f"{path}: no column '{name}'; it has {', '.join(header) or 'nothing'}")
    places = {name: header.index(name) for name in asked}
    for line, cells in lines:
        if len(cells) != len(header):
            if columns.skip_ragged:
                continue
            raise ValueError(f"{path}, row {line}: {len(cells)} columns, the first row has {len(header)}")
        yield line, {name: cells[place] for name, place in places.items()}


def _cells(path: Path, text: str, form: Form) -> Iterator[tuple[int, list[str]]]:
    if form == "csv":
        csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # its own limit would refuse a long text
        reader = csv.reader(StringIO(text, newline=""), strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:  # most often a quotation mark that is never closed
            raise ValueError(f"{path}, row {reader.line_num}: no CSV ({error})") from None
        return
    for line, content in enumerate(text.split("\n"), start=1):  # no other sign ends a line: texts hold U+2028 and such
        if content.rstrip("\r"):
            yield line, content.rstrip("\r").split("\t")


def _json_rows(path: Path, text: str, asked: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, row {line}: no JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {line}: no JSON object, but {type(row).__name__}")
        for name in asked:
            if not isinstance(row.get(name), (str, int, float)):
                raise ValueError(
                    f"{path}, row {line}: no text or number at '{name}'; it has {', '.join(row) or 'nothing'}"
                )
        found = {name: str(row[name]) for name in asked}
        if broken := next((name for name, text in found.items() if not _is_text(text)), None):
            raise ValueError(f"{path}, row {line}: '{broken}' holds half of a character (a lone surrogate)")
        yield line, found


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, row {line}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
