"""Exports hold what the records hold, and nothing that a name contains can break their form."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.export import escaped, latex, markdown, write
from reports.tables import Table, Value
from results.schema import Record
from results.store import Run, StoreError, latest
from tests.synthetic_run import HOSTILE, make_run
from tests.synthetic_training import make_training


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_training(tmp_path_factory.mktemp("runs"))


def records_of(run: Run) -> list[Record]:
    return latest(run.read()[0])


def cells_of(line: str, separator: str) -> list[str]:
    """Parts between separators that no backslash stands before."""
    return re.split(rf"(?<!\\){re.escape(separator)}", line)


def test_csv_gives_back_every_number(planted_run: Run) -> None:
    (path,) = write(planted_run, "csv")
    table = pd.read_csv(path)
    records = records_of(planted_run)
    empty = [r for r in records if r.status != "ok" and not r.measurements]
    assert empty, "the planted run has trials that failed before any measurement"
    assert len(table) == sum(len(r.measurements) for r in records) + len(empty)
    assert HOSTILE in set(table["architecture"])
    for record in records[:: len(records) // 20]:
        rows = table[table["trial_id"] == record.trial_id]
        for m in record.measurements:
            row = rows[(rows["phase"] == m.phase) & (rows["metric"] == m.metric)].iloc[0]
            if m.samples is not None:
                assert tuple(json.loads(row["samples"])) == m.samples  # to the last bit
            else:
                assert row["value"] == m.value
    assert set(table[table["trial_id"] == empty[0].trial_id]["reason"]) == {empty[0].reason}


def test_parquet_is_the_same_table(planted_run: Run) -> None:
    pytest.importorskip("pyarrow")
    (csv,) = write(planted_run, "csv")
    (parquet,) = write(planted_run, "parquet")
    left, right = pd.read_csv(csv), pd.read_parquet(parquet)
    assert list(left.columns) == list(right.columns) and len(left) == len(right)
    assert left["trial_id"].tolist() == right["trial_id"].tolist()
    drawn = right["samples"].notna()
    assert [list(v) for v in right["samples"][drawn]] == [json.loads(v) for v in left["samples"][drawn]]


def test_leaderboards_begin_with_the_best(training: Run) -> None:
    for form, end in (("markdown", "md"), ("latex", "tex")):
        files = {path.name: path.read_text(encoding="utf-8") for path in write(training, form)}
        assert set(files) == {f"leaderboard-{name}.{end}" for name in ("characters", "copying", "changes")}
        text = files[f"leaderboard-characters.{end}"]
        order = [text.index(name) for name in ("windowed", "conv")]
        assert text.index("attention") < order[0] < order[1]  # planted: 1.45, 1.50, 1.90
        assert "<script>" not in text


def test_one_leaderboard_of_a_scaling_run(planted_run: Run) -> None:
    (path,) = write(planted_run, "markdown")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len({len(cells_of(line, "|")) for line in lines}) == 1  # a hostile name makes no cell
    ranks = [cells_of(line, "|")[3].strip() for line in lines[2:]]
    first = [int(re.match(r"\d+", rank)[0]) for rank in ranks if re.match(r"\d+", rank)]  # type: ignore[index]
    assert first and first == sorted(first)


def test_a_run_with_nothing_to_rank_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path, all_fail=True)
    with pytest.raises(StoreError, match="has no leaderboard"):
        write(run, "latex")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_any_text_stays_in_its_cell(texts: list[str]) -> None:
    table = Table("t", [f"c{i}" for i in range(len(texts))], [[Value(text) for text in texts]])
    row = markdown(table, "title").splitlines()[-1]
    assert len(cells_of(row, "|")) == len(texts) + 2
    assert "<" not in row
    body = next(line for line in latex(table, "title", "label").splitlines() if line.endswith(r" \\") and "c0" not in line) \
        if "c0" not in "".join(texts) else ""  # fmt: skip
    if body:
        assert len(cells_of(body, "&")) == len(texts)


@given(st.text(max_size=60))
def test_latex_reads_no_sign_as_a_command(text: str) -> None:
    signs = r"\\text[a-z]+\{\}|\\dots\{\}|\$(?:-|\\times|\\cdot|\\mu|\\star|\\infty)\$|\\[&%$#_{}]"
    plain = re.sub(signs, "", escaped(text))
    assert not re.search(r"[\\&%$#_{}~^<>]", plain)
