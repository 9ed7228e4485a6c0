"""Tables of examples: what is read, and the one line that says what is wrong where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.tables import Columns, distinct_labels, read_examples

ONE = Columns(("text",), "label", ("no", "yes"))
PAIR = Columns(("a", "b"), "score")


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", 'text\tlabel\n"so it is\tyes\nnot, it\tno\n'),
        ("x.csv", 'text,label\n"""so it is",yes\n"not, it",no\n'),
        ("x.jsonl", '{"text": "\\"so it is", "label": "yes"}\n\n{"text": "not, it", "label": "no", "more": 1}\n'),
        ("x.tsv", '\ufefftext\tlabel\r\n"so it is\tyes\r\nnot, it\tno'),
    ],
)
def test_the_same_examples_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    examples = read_examples(written(tmp_path, name, content), ONE)
    assert [(e.texts, e.label) for e in examples] == [(('"so it is',), 1), (("not, it",), 0)]
    assert distinct_labels(tmp_path / name, "label") == ("no", "yes")


def test_pairs_with_values_and_a_header_of_our_own(tmp_path: Path) -> None:
    path = written(tmp_path, "x.tsv", "a cat\ta dog\t2.5\n")
    (example,) = read_examples(path, Columns(("a", "b"), "score", header=("a", "b", "score")))
    assert example.texts == ("a cat", "a dog") and example.label == 2.5


def test_a_line_separator_within_a_text_ends_no_row(tmp_path: Path) -> None:
    (example,) = read_examples(written(tmp_path, "x.tsv", "text\tlabel\none\u2028two\x0bthree\tyes\n"), ONE)
    assert example.texts == ("one\u2028two\x0bthree",)


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("x.tsv", "text\tlabel\na\tmaybe\n", ONE, "row 2, column 'label': label 'maybe' is none of no, yes"),
        ("x.tsv", "text\tlabel\na\tyes\n \tno\n", ONE, "row 3, column 'text': the text is empty"),
        ("x.tsv", "words\tlabel\na\tyes\n", ONE, "no column 'text'; it has words, label"),
        ("x.csv", "text,label\n", ONE, "no rows of data"),
        ("x.csv", "", ONE, "no column 'text'; it has nothing"),
        ("x.tsv", "text\tlabel\na\tyes\tmore\n", ONE, "row 2: 3 columns, the first row has 2"),
        ("x.tsv", b"text\tlabel\na\tyes\n\xff\tno\n", ONE, "row 3: not UTF-8"),
        ("x.jsonl", '{"text": "a", "label": "yes"}\n{"text": "a"}\n', ONE, "row 2: no text or number at 'label'"),
        ("x.jsonl", '{"text": "a", "label": \n', ONE, "row 1: no JSON"),
        ("x.jsonl", "[1]\n", ONE, "row 1: no JSON object, but list"),
        ("x.tsv", "a\tb\tscore\nx\ty\thigh\n", PAIR, "row 2, column 'score': 'high' is no number"),
        ("x.tsv", "a\tb\tscore\nx\ty\tnan\n", PAIR, "row 2, column 'score': 'nan' is no finite number"),
        ("x.xlsx", "a", ONE, "what kind of table is this?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, columns: Columns, message: str
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_examples(path, columns)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_published_files_may_be_ragged_and_hold_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "x.tsv", "text\tlabel\n\tyes\nbroken\na\tno\n")
    columns = Columns(("text",), "label", ("no", "yes"), skip_ragged=True, allow_empty=True)
    assert [e.texts for e in read_examples(path, columns)] == [("",), ("a",)]
