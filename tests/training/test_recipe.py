"""Budgets and the learning rate against formulas written out here."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.training.toys import recipe


def nanogpt(step: int, lr: float, warmup: int, last: int, final: float) -> float:
    """nanoGPT's get_lr, train.py."""
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    ratio = (step - warmup) / (last - warmup)
    return final + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr - final)


@pytest.mark.parametrize("step", [0, 1, 99, 100, 101, 1000, 1999])
def test_schedule_is_nanogpts(step: int) -> None:
    ours = recipe(steps=2000, warmup=100, lr=1e-3).learning_rate(step, 0, 0.0)
    assert ours == pytest.approx(nanogpt(step, 1e-3, 100, 2000, 1e-4))


@given(st.integers(1, 500), st.integers(0, 50), st.floats(0, 1))
def test_schedule_rises_then_falls_and_ends_at_its_floor(steps: int, warmup: int, final: float) -> None:
    made = recipe(steps=steps, warmup=warmup, final_lr=final, lr=0.1)
    rates = [made.learning_rate(step, 0, 0.0) for step in range(steps + 1)]
    top = min(warmup, steps)
    assert all(a < b for a, b in itertools.pairwise(rates[:top]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[warmup:]))
    if steps > warmup:
        assert rates[-1] == pytest.approx(0.1 * final, abs=1e-12)


def test_time_decays_where_time_is_the_budget() -> None:
    made = recipe(steps=None, seconds=100, warmup=0, final_lr=0, lr=1.0)
    assert made.learning_rate(5, 0, 0.0) == pytest.approx(1.0)
    assert made.learning_rate(5, 0, 50.0) == pytest.approx(0.5)
    assert made.learning_rate(5, 0, 100.0) == pytest.approx(0.0)


def test_the_first_budget_to_be_used_up_counts() -> None:
    assert recipe(steps=100, tokens=None).last_step(10) == 100
    assert recipe(steps=100, tokens=1000).last_step(40) == 25
    assert recipe(steps=None, tokens=1001).last_step(80) == 13
    assert recipe(steps=None, seconds=3).last_step(10) is None


def test_tokens_decay_by_those_that_are_there_not_by_places_for_them() -> None:
    by_tokens, by_steps = (
        recipe(**budget, warmup=10, lr=1.0) for budget in ({"steps": None, "tokens": 3000}, {"steps": 100})
    )
    for step in (0, 5, 10, 50, 99):
        assert by_tokens.learning_rate(step, 30 * step, 0.0) == pytest.approx(by_steps.learning_rate(step, 0, 0.0))


def test_a_share_scales_every_budget() -> None:
    half = recipe(steps=101, tokens=1000, seconds=8, warmup=10).scaled(0.5)
    assert (half.steps, half.tokens, half.seconds, half.warmup) == (50, 500, 4, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": None},
        {"stepz": 3},
        {"lr": 0},
        {"clip": -1},
        {"clip": float("inf")},
        {"target": float("nan")},
        {"keep": "worst"},
        {"teacher_forcing": 1.5},
        {"teacher_forcing": 0.5, "decoder": "prefix"},
    ],
)
def test_mistakes(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        recipe(**changes)


def test_inverse_square_root_halves_in_four_times_the_steps() -> None:
    made = recipe(steps=8000, warmup=1999, lr=5e-3, schedule="inverse_sqrt")
    assert made.learning_rate(999, 0, 0.0) == pytest.approx(2.5e-3)
    assert made.learning_rate(1999, 0, 0.0) == pytest.approx(5e-3)
    assert made.learning_rate(7999, 0, 0.0) == pytest.approx(2.5e-3)
    endless = recipe(steps=None, tokens=10, warmup=1999, lr=5e-3, schedule="inverse_sqrt")
    assert endless.learning_rate(7999, 99, 0.0) == made.learning_rate(7999, 0, 0.0)  # it has no end


def test_records_say_what_a_decoder_was_given() -> None:
    assert recipe(cross="additive").decoder_words == "matched, additive"
    assert recipe(cross="additive", teacher_forcing=0.5).decoder_words == "matched, additive, teacher forcing 0.5"
