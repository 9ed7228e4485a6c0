"""The choice is made on the tuning split, by a rule without chance."""

from __future__ import annotations

from typing import Any

import pytest

from bench.training.choose import choose
from bench.trial import Trial
from results.schema import Measurement, Record


def attempt(lr: float) -> Trial:
    return Trial(
        kind="train", architecture="a", task="t", mode="causal", regime="tune", width=8, depth=1, parameters=1, batch=1,
        length=1, dtype="float32", device="cpu", seed=9, phases=("train",), training={"recipe": {"lr": lr}},
    )  # fmt: skip


def record(trial: Trial, tune: float | None, test: float = 0.0, status: Any = "ok") -> Record:
    found = () if tune is None else (
        Measurement("test", "loss", "nats", "lower", value=test, split="test"),
        Measurement("tune", "loss", "nats", "lower", value=tune, split="tune"),
    )  # fmt: skip
    return Record(
        run_id="r", trial_id=trial.trial_id, environment_id="e", suite="s", kind="train", architecture="a", variant="",
        task="t", decoder="", mode="causal", regime="tune", width=8, depth=1, parameters=1, batch=1, length=1,
        dtype="float32", device="cpu", seed=9, status=status, reason="" if status == "ok" else "it broke",
        failed_phase="", kernels=(), warnings=(), started_at="", wall_s=1, measured_s=1, git_commit="", git_dirty=False,
        measurements=found,
    )  # fmt: skip


RATES = (1e-3, 3e-3, 1e-2)


def choice(tunes: tuple[float | None, ...], better: str = "lower", tests: tuple[float, ...] = (0, 0, 0)) -> Any:
    tries = [attempt(lr) for lr in RATES]
    records = {
        t.trial_id: record(t, tune, test, "ok" if tune is not None else "nan")
        for t, tune, test in zip(tries, tunes, tests, strict=True)
    }
    return choose(tries, records, "loss", better)


@pytest.mark.parametrize(
    ("tunes", "better", "lr"),
    [
        ((2.0, 1.0, 3.0), "lower", 3e-3),
        ((2.0, 1.0, 3.0), "higher", 1e-2),
        ((1.0, 1.0, 3.0), "lower", 1e-3),  # a tie goes to the smaller rate
        ((None, 5.0, None), "lower", 3e-3),
        ((0.0, 0.0, 0.0), "higher", 1e-3),
    ],
)
def test_known_answers(tunes: Any, better: str, lr: float) -> None:
    assert choice(tunes, better).lr == lr


def test_wrong_labels_in_the_test_split_do_not_move_the_choice() -> None:
    """Whatever is planted in the test scores, the choice is the tuning split's."""
    for tests in ((0.0, 9.0, 9.0), (9.0, 9.0, 0.0), (-1e9, 1e9, -1e9)):
        assert choice((2.0, 1.0, 3.0), tests=tests).lr == 3e-3


def test_where_every_try_failed_there_is_nothing_to_choose() -> None:
    found = choice((None, None, None))
    assert (found.status, found.lr) == ("none", None)
    assert "none of 3 tries" in found.reason and "it broke" in found.reason
    assert found.to_plan()["chosen"] is None


def test_a_try_without_a_record_is_a_failed_try() -> None:
    tries = [attempt(lr) for lr in RATES]
    found = choose(tries, {tries[0].trial_id: record(tries[0], 3.0)}, "loss", "lower")
    assert found.lr == 1e-3
    assert [t.status for t in found.tries] == ["ok", "error", "error"]


def test_limits_are_no_part_of_a_training() -> None:
    """A longer time limit or more memory must not make finished trainings stale; a learning rate must."""
    from dataclasses import replace

    trial = attempt(1e-3)
    assert replace(trial, timeout=9, memory=9).trial_id == trial.trial_id
    assert attempt(2e-3).trial_id != trial.trial_id
