"""What a budget keeps: as much as fits, the same for every architecture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.allowance import Part, entry, fit, left_out, part_from, parts, read_budget
from bench.spec import SpecError


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5 h", 5400), ("10 MIN", 600)]
)
def test_budgets_that_can_be_read(text: str, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "two hours", "0m", "-1h", "2h later", "1w", ""])
def test_others_are_one_clear_line(text: str) -> None:
    with pytest.raises(SpecError, match="--budget"):
        read_budget(text)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Part, dict[tuple[str, str, int], float]]:
    """A plan, and what one round of each cell (architecture, task, length) takes."""
    tasks = tuple(f"task{i}" for i in range(draw(st.integers(1, 4))))
    lengths = tuple(64 * 2**i for i in range(draw(st.integers(1, 4))))
    cost = st.floats(0.1, 100)
    cells = {(a, task, length): draw(cost) for a in ("slow", "fast", "odd") for task in tasks for length in lengths}
    return Part(draw(st.integers(1, 4)), tasks, lengths), cells


def seconds(part: Part, cells: dict[tuple[str, str, int], float]) -> float:
    return part.rounds * sum(s for (_, task, n), s in cells.items() if task in part.tasks and n in part.lengths)


def kept(part: Part, cells: dict[tuple[str, str, int], float]) -> set[tuple[str, str, int, int]]:
    return {(a, t, n, r) for a, t, n in cells if t in part.tasks and n in part.lengths for r in range(part.rounds)}


def candidates(whole: Part, cells: dict[tuple[str, str, int], float]) -> Iterator[Part]:
    def dearest(tasks: tuple[str, ...]) -> str:
        return max(tasks, key=lambda t: seconds(Part(1, (t,), whole.lengths), cells))

    return parts(whole, dearest)


@given(plans(), st.floats(0.05, 1.2))
def test_a_cut_fits_and_is_balanced(plan: tuple[Part, dict], share: float) -> None:
    whole, cells = plan
    allowed = share * seconds(whole, cells)
    try:
        part, spent = fit(candidates(whole, cells), lambda p: seconds(p, cells), allowed)
    except SpecError:
        smallest = min(seconds(p, cells) for p in candidates(whole, cells))
        assert smallest > allowed
        return
    assert spent == seconds(part, cells) <= allowed
    found = kept(part, cells)
    by_architecture = [{cell[1:] for cell in found if cell[0] == a} for a in ("slow", "fast", "odd")]
    assert by_architecture[0] == by_architecture[1] == by_architecture[2] != set()
    larger = [p for p in candidates(whole, cells)][: list(candidates(whole, cells)).index(part)]
    assert all(seconds(p, cells) > allowed for p in larger)
    if part == whole:
        assert not left_out(whole, part)
    else:
        assert left_out(whole, part)


@given(plans())
def test_rounds_go_before_tasks_and_tasks_before_lengths(plan: tuple[Part, dict]) -> None:
    whole, cells = plan
    found = list(candidates(whole, cells))
    assert found[0] == whole
    assert len(set(found)) == len(found)
    order = [(-len(p.lengths), -len(p.tasks), -p.rounds) for p in found]
    assert order == sorted(order)
    assert all(p.lengths == whole.lengths for p in found if len(p.tasks) > 1)
    assert all(p.lengths == whole.lengths[: len(p.lengths)] for p in found)


def test_what_is_left_out_in_words_and_in_the_plan() -> None:
    whole, part = Part(3, ("adding", "parity"), (64, 128)), Part(1, ("parity",), (64,))
    plain = entry("2h", 7200, whole, part, 7000.123, 20000)
    assert plain["left_out"] == ["2 of 3 rounds (seeds 1 and on)", "task adding", "lengths past 64 tokens (up to 128)"]
    assert part_from(plain["kept"]) == part
    with pytest.raises(SpecError, match="about 3m"):
        fit(iter([part]), lambda p: 130.0, 60.0)
