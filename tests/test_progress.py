"""The time left, against a run whose trials take a time that is known."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench.execute.progress import Estimator
from bench.trial import Trial

TRY = Trial(
    kind="train", architecture="a", task="t", mode="causal", regime="tune", width=8, depth=1, parameters=1000, batch=1,
    length=64, dtype="float32", device="cpu", seed=100, phases=("train",), worker="a",
    training={"recipe": {"steps": 50, "lr": 1e-3}},
)  # fmt: skip


def trained(trial: Trial, lr: float, **changes: Any) -> Trial:
    steps = 100 if changes.get("regime") == "final" else 50
    return replace(trial, training={"recipe": {"steps": steps, "lr": lr}}, **changes)


def took(seconds: float) -> Any:
    return SimpleNamespace(wall_s=seconds, status="ok", extra={})


def planned(lr: float) -> list[Trial]:
    """One try and three final trials of a, and of b, which is foreseen to take twice as long."""
    tries = [replace(TRY, architecture=name) for name in "ab"]
    return [*tries, *(trained(t, lr, regime="final", seed=seed) for t in tries for seed in range(3))]


def test_trainings_that_wait_for_a_choice_are_part_of_what_is_left() -> None:
    estimator = Estimator(planned(1e-3), [1.0, 2.0, *3 * [2.0], *3 * [4.0]])
    assert estimator.left() == pytest.approx(21.0)
    estimator.done(TRY, took(2.0))  # twice what was foreseen
    assert estimator.left() == pytest.approx(2 * 20.0)
    estimator.expect(t for t in planned(3e-3) if t.regime == "final")  # the search chose another rate
    assert estimator.left() == pytest.approx(2 * 20.0)
    estimator.done(trained(TRY, 3e-3, regime="final", seed=0), took(4.0))
    assert estimator.left() == pytest.approx(2 * 18.0)


def test_without_a_forecast_nothing_is_known_before_the_first_training_has_ended() -> None:
    estimator = Estimator(planned(1e-3))
    assert math.isnan(estimator.left())
    estimator.done(TRY, took(1.0))
    assert estimator.left() == pytest.approx((50 + 6 * 100) / 50)


def test_a_training_that_went_on_from_a_checkpoint_says_what_a_whole_one_takes() -> None:
    estimator = Estimator(planned(1e-3), [2.0, 4.0, *3 * [4.0], *3 * [8.0]])
    rest = SimpleNamespace(wall_s=0.4, status="ok", extra={"steps": 50, "resumed_at": [10, 40]})
    estimator.done(TRY, rest)  # a fifth of it in 0.4 s: as long as was foreseen
    assert estimator.left() == pytest.approx(4 + 3 * 4 + 3 * 8)


def test_what_could_not_be_foreseen_stands_at_the_mean_of_the_others() -> None:
    estimator = Estimator(planned(1e-3), [math.nan, 4.0, *3 * [4.0], *3 * [8.0]])
    assert math.isnan(estimator.left())
    estimator.done(TRY, took(2.0))
    assert estimator.left() == pytest.approx(4 + 3 * 4 + 3 * 8)
