"""Plans, records, names, archives, data of others: refused in one line or shown as text; nothing is run, nothing escapes."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.registry import Entry as RegistryEntry
from bench.registry import NoConfig, Registry, RegistryError
from bench.spec import SpecError, load_suite, parse_override, read_settings
from bench.training import checkpoint
from reports.page import ReportError, render, render_index
from results.predictions import load_examples, load_predictions
from results.schema import Record, RecordError
from results.store import Run, StoreError, list_runs
from tasks.archives import gunzip, unzip
from tasks.tables import Columns, read_examples
from tests.synthetic_run import make_run
from tests.test_store import record

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


# Plans.


def bomb(levels: int = 30) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "more than 50,000 values"),
        ("a: &a [*a]", "holds itself"),
        ("[" * 100_000, "lists within lists without end"),
        ("a: 1\n" * 100_000, "more than 262,144"),
        ("suite: x\nkind: train\nsuite: y", "the key 'suite' stands twice"),
        ("a: 2001-99-99", "not YAML"),
        ("a: !!int x", "not YAML"),
        ("a: !!timestamp x", "not YAML"),
        ("a: !!python/object/apply:os.system ['touch /tmp/pwned']", "not YAML"),
        ("a: \x00", "not YAML"),
        ("suite: ../../etc\nkind: train\nsummary: s\nbase: {}\npresets: {}", "'suite'"),
    ],
)
def test_a_plan_that_is_none_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_suite(str(path))
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@quick
@given(st.text(max_size=200) | values.map(lambda v: json.dumps(v)))
def test_no_plan_crashes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(SpecError):
        load_suite(str(path))
    with contextlib.suppress(SpecError):
        read_settings(path, ("path",))
    with contextlib.suppress(SpecError):
        parse_override(f"a={text}")


@quick
@given(st.sampled_from(["suite", "kind", "summary", "base", "presets"]), st.text(max_size=10), values)
def test_no_change_of_a_plan_crashes(tmp_path: Path, key: str, inner: str, value: Any) -> None:
    plan: dict[str, Any] = {"suite": "mine", "kind": "scaling", "summary": "s", "base": {"task": "random_vectors"},
                            "presets": {"smoke": {}}}  # fmt: skip
    plan[key] = {inner: value} if key in ("base", "presets") else value
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(plan))
    with pytest.raises(SpecError):  # base is not whole, whatever else is wrong
        load_suite(str(path))


# Records.


@quick
@given(st.binary(max_size=300))
def test_bytes_in_a_record_file_are_skipped_and_said(tmp_path: Path, garbage: bytes) -> None:
    run = Run.create(tmp_path, "r")
    run.records_path.unlink(missing_ok=True)
    run.append(record(trial_id="1"))
    with run.records_path.open("ab") as file:
        file.write(garbage + b"\n")
    run.append(record(trial_id="2"))
    found, skipped = run.read()
    assert [r.trial_id for r in found] == ["1", "2"]
    assert len(skipped) == len([line for line in garbage.split(b"\n") if line.strip()])
    assert all("\n" not in words and len(words) < 700 for words in skipped)


@quick
@given(st.sampled_from([f.name for f in dataclasses.fields(Record)]), values)
def test_a_record_of_wrong_kinds_is_refused(name: str, value: Any) -> None:
    raw = json.loads(record().to_json())
    raw[name] = value
    with contextlib.suppress(RecordError):
        back = Record.from_json(json.dumps(raw))
        assert type(getattr(back, name)) is type(getattr(record(), name)) or name in ("wall_s", "measured_s")


@pytest.mark.parametrize(
    "trial_id", ["../../x", "/etc/passwd", "a/b", "", ".", "..", "x\0y", "a\n", "x" * 300, 7, None]
)
def test_trial_ids_are_no_paths(trial_id: Any) -> None:
    with pytest.raises(RecordError):
        Record.from_json(json.dumps({**json.loads(record().to_json()), "trial_id": trial_id}))


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"schema": NaN}', "\x00" * 50, "1" * 5000, '{"schema": 1}', "\ufeff{}"]
)
def test_lines_that_are_no_records(line: str) -> None:
    with pytest.raises(RecordError):
        Record.from_json(line)


def test_a_line_without_end_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.store.MOST_BYTES", 2000)
    run = Run.create(tmp_path, "r")
    run.append(record(trial_id="1"))
    with run.records_path.open("ab") as file:
        file.write(b"x" * 50_000 + b"\n")
    run.append(record(trial_id="2"))
    found, skipped = run.read()
    assert [r.trial_id for r in found] == ["1", "2"] and len(skipped) == 1 and "line 2" in skipped[0]


# Names and paths.


@quick
@given(st.text(max_size=60))
def test_names_of_plug_ins_are_words(name: str) -> None:
    registry: Registry[RegistryEntry] = Registry("architecture")
    with contextlib.suppress(RegistryError):
        registry.add(RegistryEntry(name, lambda: None, "", "", 0, NoConfig))
    assert all(n.isascii() and n.replace("_", "a").isalnum() for n in registry.names())


def test_a_run_names_files_of_its_own_only(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", "r")
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "weights.pt").write_text("")
    outside = tmp_path / "secret"
    outside.write_text("")
    (run.folder / "link").symlink_to(outside)
    assert run.inside("checkpoints/weights.pt") is not None
    for path in ("", ".", "..", "../../secret", str(outside), "link", "checkpoints/../../../secret", "a\0b"):
        assert run.inside(path) is None, path


def test_examples_of_a_hostile_plan_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"split": {}}')
    run = Run.create(tmp_path, "r")
    (run.folder / "examples").mkdir()
    assert load_examples(run.folder, "a", "/../../x") == {}
    assert load_examples(run.folder, "../../../x", "") == {}
    assert load_predictions(run.folder, "none") == {}


def test_folders_with_odd_names_are_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("javascript:alert(1)", "<b>", "fine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text("{}")
    assert [run.run_id for run in list_runs(tmp_path)] == ["fine"]
    with pytest.raises(StoreError, match="use letters"):
        Run.open(tmp_path / "<b>")
    monkeypatch.chdir(tmp_path / "fine")
    assert Run.open(Path()).run_id == "fine"


# Pages.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suite": "../../outside", "kind": "scaling"}, "use letters"),
        ({"suite": 7, "kind": "scaling", "regimes": {"a": 1}}, ""),
        ({"kind": "../x"}, "no page for suite"),
        ({"architectures": 5}, "damaged or of another version"),
        ({"architectures": [{}]}, "damaged or of another version"),
        ({"lengths": "x"}, "damaged or of another version"),
        ({"trial_ids": 5}, "damaged"),
    ],
)
def test_a_hostile_plan_is_one_line_and_writes_nowhere_else(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    run = make_run(tmp_path / "runs", lengths=(64, 128, 256), kinds=("cell",), samples=2, seeds=(0,))
    plan = run.read_json("plan.json")
    run.write_json("plan.json", {**plan, **changes})
    before = {p for p in tmp_path.rglob("*") if "site" not in p.parts}
    site = tmp_path / "inner" / "site"
    if words:
        with pytest.raises((ReportError, StoreError), match=words) as caught:
            render(run, site)
        assert "\n" not in str(caught.value)
    else:
        render(run, site)
    render_index([run], site)
    assert {p for p in tmp_path.rglob("*") if "site" not in p.parts} - before <= {tmp_path / "inner"}


@pytest.mark.parametrize(
    "summary", ["{", "[]", '{"trials": 5}', '{"trials": {"ok": "x"}}', '{"wall_s": "long"}', "[" * 100_000]
)
def test_a_damaged_summary_costs_its_own_row_only(tmp_path: Path, summary: str) -> None:
    runs = []
    for name in ("good", "bad"):
        runs.append(Run.create(tmp_path / "runs", name))
        runs[-1].write_json("plan.json", {"suite": "scaling", "created": "2026-01-01"})
    (runs[1].folder / "summary.json").write_text(summary)
    page = render_index(runs, tmp_path / "site").read_text()
    assert "good" in page and "damaged" in page
    assert set(runs[1].earlier()) <= {"sections"}


# Weights.


class Planted:
    """What a pickle runs when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_weights_run_no_code(tmp_path: Path) -> None:
    for name, write in (
        ("pickle", lambda p, c: p.write_bytes(pickle.dumps(c))),
        ("torch", lambda p, c: torch.save(c, p)),
    ):
        path = tmp_path / f"{name}.pt"
        write(path, {"weights": Planted(tmp_path / "ran")})
        assert checkpoint.load(path) is None
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 torn", b"garbage"])
def test_damaged_weights_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    assert checkpoint.load(path) is None


# Archives and tables.


def test_archives_that_unpack_to_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"0" * 1_000_000)
        archive.writestr("../../b.txt", b"b")
    assert unzip(tmp_path / "a.zip", lambda name: name.endswith("b.txt"), most=100) == {"../../b.txt": b"b"}
    with pytest.raises(OSError, match="more than 1,000"):
        unzip(tmp_path / "a.zip", lambda name: True, most=1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"0" * 1_000_000))
    with pytest.raises(OSError, match="more than 1,000"):
        gunzip(tmp_path / "a.gz", most=1000)
    assert [p.name for p in sorted(tmp_path.parent.iterdir())].count("b.txt") == 0


@quick
@given(st.data())
def test_damaged_archives_are_one_error(tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "some text " * 20)
    for path, read in ((tmp_path / "a.zip", lambda p: unzip(p, lambda name: True)), (tmp_path / "a.gz", gunzip)):
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(b"some text " * 20))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with contextlib.suppress(OSError):
            read(path)


@quick
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
       st.sampled_from(["csv", "tsv", "jsonl"]))  # fmt: skip
def test_no_table_crashes(tmp_path: Path, content: bytes, form: str) -> None:
    path = tmp_path / f"t.{form}"
    head = b'{"text": "a", "label": 1}\n' if form == "jsonl" else b"text,label\n" if form == "csv" else b"text\tlabel\n"
    for start in (b"", head):
        path.write_bytes(start + content)
        with contextlib.suppress(ValueError):
            for example in read_examples(path, Columns(("text",), "label")):
                "".join(example.texts).encode()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", 'text,label\n"' + "a" * 200_000, "no CSV"),
        ("t.csv", "text,text,label\na,b,1\n", "2 columns are named 'text'"),
        ("t.jsonl", '{"text": "\\ud800", "label": 1}', "half of a character"),
        ("t.jsonl", '{"text": ' + "[" * 100_000, "no JSON"),
        ("t.jsonl", '{"text": "a", "label": NaN}', "no finite number"),
    ],
)
def test_tables_say_what_is_wrong(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=words):
        read_examples(tmp_path / name, Columns(("text",), "label"))
