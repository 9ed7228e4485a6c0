"""What the page says of translations, on texts with a known answer."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from reports.translation import build
from reports.translation.alignment import diagonality, most_diagonal
from reports.translation.compare import paired

REFERENCES = [f"a small dog runs over field number {i} in the sun" for i in range(12)]
WORSE = [line.replace("small dog", "cat") for line in REFERENCES]
NOTHING = [""] * 12


def test_systems_that_no_sentence_tells_apart_differ_by_nothing() -> None:
    same, other = paired([WORSE, list(WORSE)], REFERENCES, False)
    assert same.p is None and other.p == 1.0 and same.score == other.score > 0
    assert [one.p for one in paired([NOTHING, NOTHING], REFERENCES, False)] == [None, 1.0]


def test_the_diagonal_is_one_and_looking_everywhere_nothing() -> None:
    assert diagonality(np.eye(5)) == pytest.approx(1) and diagonality(np.full((5, 7), 1 / 7)) == pytest.approx(0)
    assert diagonality(np.eye(5)[::-1]) < 0


def test_a_word_counts_by_how_much_of_it_goes_to_the_source() -> None:
    """In a decoder-only model the rest of a look goes to the target: a head that never looks at the source has no number."""
    assert math.isnan(diagonality(np.zeros((5, 5))))
    half = np.full((4, 4), 1 / 4)
    half[2:] = 0
    first = np.eye(4)[:, [0]] @ np.ones((1, 4)) / 4
    assert diagonality(half) == pytest.approx(diagonality(half * 0.1))
    assert diagonality(half) < 0.1 and diagonality(first) < 0.1
    assert most_diagonal(np.array([[math.nan, 0.2], [0.5, math.nan]])) == (1, 0)
    assert most_diagonal(np.array([[math.nan]])) is None


def test_a_system_that_is_worse_everywhere_is_told_apart() -> None:
    best, other = paired([REFERENCES, WORSE], REFERENCES, False)
    assert best.score > 99 and other.score < best.score and other.p is not None and other.p < 0.01


def test_files_of_systems_do_not_overwrite_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [("gru", "a b"), ("gru", "a+b"), ("gru", "a/b"), ("gru", "变体一"), ("gru", "变体二"), ("reference", "")]
    written = SimpleNamespace(references=["x"], first={name: [str(i)] for i, name in enumerate(names)})
    monkeypatch.setattr(build, "read_written", lambda task, folder: written)
    board = cast(Any, SimpleNamespace(task=SimpleNamespace(name="pairs")))
    files = build.text_files(board, tmp_path, "translation")
    assert sorted(files.values()) == ["0\n", "1\n", "2\n", "3\n", "4\n", "5\n", "x\n"]
    assert all("/" not in name and ".." not in name for name in files)


def test_a_text_of_tokenised_periods_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """sacrebleu scolds whoever gives it text with blanks before periods; a user's text may be so."""
    lines = [f"a dog runs {i} ." for i in range(150)]
    paired([lines, lines[::-1]], lines, lowercase=False)
    assert "detokenize" not in caplog.text
