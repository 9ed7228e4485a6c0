"""What the page says of translations, on texts with a known answer."""

from __future__ import annotations

from reports.translation.compare import paired

REFERENCES = [f"a small dog runs over field number {i} in the sun" for i in range(12)]
WORSE = [line.replace("small dog", "cat") for line in REFERENCES]
NOTHING = [""] * 12


def test_systems_that_no_sentence_tells_apart_differ_by_nothing() -> None:
    same, other = paired([WORSE, list(WORSE)], REFERENCES, False)
    assert same.p is None and other.p == 1.0 and same.score == other.score > 0
    assert [one.p for one in paired([NOTHING, NOTHING], REFERENCES, False)] == [None, 1.0]


def test_a_system_that_is_worse_everywhere_is_told_apart() -> None:
    best, other = paired([REFERENCES, WORSE], REFERENCES, False)
    assert best.score > 99 and other.score < best.score and other.p is not None and other.p < 0.01
