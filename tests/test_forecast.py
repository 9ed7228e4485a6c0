"""Forecasts against answers that are known: curves of known shape, rules of the runner, a clock that is set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.forecast import quiet
from bench.forecast.ask import MOST_SECONDS, Asker
from bench.forecast.estimate import FILE, estimate, foreseen, lines, past
from bench.forecast.scaling import ScalingForecast, along
from bench.forecast.training import TrainingForecast
from bench.trial import Trial
from results.store import Run

CELL = Trial(
    kind="cell", architecture="a", task="", mode="causal", regime="batch1", width=8, depth=1, parameters=1000, batch=1,
    length=64, dtype="float32", device="cpu", seed=0, phases=("forward", "forward_backward"), seconds=0.04, limit=0.3,
    worker="a",
)  # fmt: skip
RECIPE = {"batch": 4, "lr": 1e-3, "steps": 100, "tokens": None, "evaluate_every": 25, "save_weights": False}
FINAL = replace(
    CELL, kind="train", task="t", regime="final", phases=("train",),
    training={"recipe": RECIPE, "shape": {"output": "sequence"}, "tests": True, "generate": None},
)  # fmt: skip
LOOK = {"build": 0.0, "step": 0.1, "tune": 2.0, "test": 3.0, "memory": 1 << 20, "count": 0.0, "task": 7.0, "busy": 1.0}


@given(st.floats(1e-4, 1e-2), st.floats(1e-7, 1e-5), st.floats(1e-10, 1e-8))
def test_a_sum_of_powers_is_found_again(a: float, b: float, c: float) -> None:
    cost = lambda n: a + b * n + c * n**2  # noqa: E731
    points = [(n, cost(n)) for n in (64, 256, 1024, 4096)]
    assert along(points, 1024, (0.0, 1.0, 2.0)) == pytest.approx(cost(1024))
    assert along(points, 16384, (0.0, 1.0, 2.0)) == pytest.approx(cost(16384), rel=0.02)


def scaling(time: Any, **claims: Any) -> ScalingForecast:
    rows = [
        {"length": n, "batch": 1, "forward": time(n) / 3, "forward_backward": time(n), "first": 0.0, "saved": 100 * n}
        for n in (64, 256, 1024)
    ]
    look = {"passes": rows, "batch1": rows, "trace": 0.01, "busy": 1.0}
    traits = {"time_exponent": 1.0, "memory_exponent": 1.0, "parallel_in_time": True, **claims}
    return ScalingForecast({"a": look}, {"a": traits}, threads=1)


def test_what_is_over_the_limit_ends_its_phase_as_the_runner_does() -> None:
    """A pass of 0.3 ms a token: forward + backward is over the limit from 1,024 tokens on, forward from 4,096 on."""
    trials = [replace(CELL, length=n, seed=s) for s in (0, 1) for n in (256, 512, 1024, 2048, 4096, 8192)]
    found = scaling(lambda n: 3e-4 * n).seconds(trials)
    first, second = found[:6], found[6:]
    assert first[2] > 3 * 0.3  # three calls that show it is over
    assert first[3] == pytest.approx(3 * 2048e-4, rel=0.1)  # one call and two samples of forward alone
    assert first[5] < 0.05 and second[5] < 0.05 and second[2] < first[2]
    assert second[0] == pytest.approx(first[0], rel=0.3)


def test_an_architecture_that_cannot_run_takes_no_time() -> None:
    assert scaling(lambda n: 1e-5 * n).seconds([replace(CELL, architecture="broken")]) == [0.0]


def test_a_training_is_its_steps_its_looks_and_its_tests() -> None:
    forecast = TrainingForecast({("t", "a", ""): LOOK})
    assert forecast.of(FINAL) == pytest.approx(100 * 0.1 + (4 + 1) * 2.0 + 3.0, abs=0.1)
    training = {**FINAL.training, "tests": False}  # type: ignore[dict-item]
    assert forecast.of(replace(FINAL, training=training)) == pytest.approx(20.0, abs=0.1)
    limited = {**training, "recipe": {**RECIPE, "seconds": 5.0}}
    assert forecast.of(replace(FINAL, training=limited)) == pytest.approx(5.0 + 3 * 2.0, abs=0.1)


def test_a_child_loads_a_task_once() -> None:
    forecast = TrainingForecast({("t", "a", ""): LOOK, ("t", "b", ""): LOOK})
    found = forecast.seconds([FINAL, FINAL, replace(FINAL, architecture="b", worker="b")])
    assert found[0] - found[1] == pytest.approx(7.0, abs=0.2)
    assert found[2] == pytest.approx(found[0])


def test_what_could_not_be_looked_at_stands_at_the_mean_and_is_named() -> None:
    forecast = TrainingForecast({("t", "a", ""): LOOK, ("t", "b", "wide"): None})
    assert forecast.guessed == ("b wide",)
    assert forecast.of(replace(FINAL, architecture="b", variant="wide")) == pytest.approx(forecast.of(FINAL))
    nothing = TrainingForecast({("t", "a", ""): None})
    found = estimate([FINAL], nothing, {})
    assert math.isnan(found.wall_s) and "not estimated" in lines(found, [])[0]


def test_a_scaling_suite_of_which_nothing_could_be_looked_at_is_not_estimated() -> None:
    cell = replace(CELL, phases=("memory", "forward", "forward_backward"))
    found = estimate([cell], ScalingForecast({"a": None}, {}, 1), {})
    assert math.isnan(found.wall_s) and "not estimated" in lines(found, [])[0]


def test_an_estimate_adds_up_and_a_busy_machine_takes_longer() -> None:
    alone = estimate([FINAL, FINAL], TrainingForecast({("t", "a", ""): LOOK}), {"start-up": 3.0})
    busy = estimate([FINAL, FINAL], TrainingForecast({("t", "a", ""): {**LOOK, "busy": 2.0}}), {"start-up": 3.0})
    assert sum(alone.parts.values()) == pytest.approx(alone.wall_s, abs=0.05)
    assert alone.wall_s == alone.quiet_s == busy.quiet_s
    assert busy.wall_s - 3 == pytest.approx(2 * (alone.wall_s - 3))
    assert "other programs" in "\n".join(lines(busy, [])) and "other programs" not in "\n".join(lines(alone, []))
    assert alone.trials == 2 and alone.memory_bytes == 1 << 20 and alone.peak_disk_bytes > alone.disk_bytes > 0


def test_a_session_that_goes_on_knows_what_the_first_one_foresaw(tmp_path: Path) -> None:
    trials = [replace(CELL, kind="check", task="t"), FINAL, replace(FINAL, seed=1), replace(FINAL, variant="unseen")]
    looks = {("t", "a", ""): {**LOOK, "busy": 2.0}}
    found = estimate(trials[:3], TrainingForecast(looks), {})
    run = Run.create(tmp_path, "run")
    assert all(math.isnan(s) for s in foreseen(run, trials))
    run.write_json(FILE, found.to_plain())
    again = foreseen(run, trials)
    assert again[1] == again[2] == pytest.approx((found.seconds[1] + found.seconds[2]) / 2, abs=0.01)
    assert again[1] > 40 and math.isnan(again[0]) and math.isnan(again[3])
    run.write_json(FILE, {"trainings": {"t a final": "soon"}})
    assert all(math.isnan(s) for s in foreseen(run, trials))


def test_checks_and_pictures_of_large_images_count() -> None:
    looks = {("t", "a", ""): {**LOOK, "example": 0.5, "pictures": 40.0}}
    of, without = TrainingForecast(looks).of, TrainingForecast({("t", "a", ""): LOOK}).of
    assert of(FINAL) - without(FINAL) == pytest.approx(40)
    assert of(replace(FINAL, seed=1)) == pytest.approx(without(replace(FINAL, seed=1)))
    check = replace(FINAL, kind="check", training=None)
    assert of(replace(check, grid=(14, 14))) > of(check) + 10 and of(check) == without(check)


def test_trainings_share_a_device_and_timings_do_not() -> None:
    class Seconds(TrainingForecast):
        def seconds(self, trials: Any) -> list[float]:
            return [60.0 if trial.kind == "train" else 10.0 for trial in trials]

    trials, forecast = [FINAL, FINAL, CELL], Seconds({("t", "a", ""): LOOK})
    assert estimate(trials, forecast, {}).wall_s == 130
    shared = estimate(trials, forecast, {}, slots=2, at_once=2)
    assert (shared.wall_s, shared.devices, shared.device_s) == (70, 1, 70)
    two = estimate(trials, forecast, {}, slots=2)
    assert (two.wall_s, two.devices, two.device_s) == (65, 2, 130)
    both = estimate(trials, forecast, {}, slots=4, at_once=2)
    assert (both.wall_s, both.devices) == (35, 2)


def test_time_counts_as_lost_only_where_others_used_it(monkeypatch: pytest.MonkeyPatch) -> None:
    at = {"wall": 0.0, "own": 0.0, "everybody": 0.0}
    clock = quiet.QuietClock("cpu")
    monkeypatch.setattr(quiet.time, "process_time", lambda: at["own"])
    monkeypatch.setattr(quiet, "busy_seconds", lambda: at["everybody"])

    def call(wall: float, own: float, others: float = 0.0) -> float:
        def step() -> None:
            at["wall"], at["own"], at["everybody"] = at["wall"] + wall, at["own"] + own, at["everybody"] + own + others

        def seconds(step: Callable[[], object]) -> float:
            before = at["wall"]
            step()
            return at["wall"] - before

        monkeypatch.setattr(clock.device, "seconds", seconds)
        return clock.seconds(step)

    assert call(1.0, 2.0) == pytest.approx(1.0)  # on two cores
    assert call(1.0, 1.0) == pytest.approx(1.0)  # on one, the other idle: nothing was lost
    assert clock.busy == pytest.approx(1.0)
    assert call(2.0, 2.0, others=2.0) == pytest.approx(1.0)  # each had half of the machine
    assert call(2.0, 2.0, others=0.5) == pytest.approx(1.5)
    assert clock.busy == pytest.approx(6 / 4.5)


def test_past_estimates_are_held_against_what_was_measured(tmp_path: Path) -> None:
    def run(name: str, guess: float, wall: float, **changes: Any) -> Run:
        made = Run.create(tmp_path, name)
        made.write_json("environment.json", {"environment_id": changes.pop("machine", "here")})
        made.write_json(FILE, {"wall_s": guess})
        summary = {"wall_s": wall, "sessions": 1, "complete": True, "reused": 0}
        made.write_json("summary.json", {**summary, **changes})
        return made

    runs = [
        run("a", 80, 100), run("b", 13, 10), run("elsewhere", 1, 9, machine="there"),
        run("stopped", 9, 1, complete=False), run("twice", 9, 1, sessions=2), run("nothing", float("nan"), 1),
    ]  # fmt: skip
    assert past(runs, "here") == [0.8, 1.3]
    found = estimate([FINAL], TrainingForecast({("t", "a", ""): LOOK}), {})
    assert "the last 2 estimates were 0.80 to 1.30 times what was then measured" in "\n".join(lines(found, [0.8, 1.3]))


def test_looking_ends_in_time_and_outlives_what_fails() -> None:
    now = [0.0]

    class Worker:
        def call(self, name: str, payload: Any, **_: Any) -> Any:
            now[0] += 0.7 * MOST_SECONDS
            ok = payload["trial"].architecture == "a"
            return SimpleNamespace(status="ok" if ok else "error", result={"step": 1.0} if ok else None)

        def alive(self) -> bool:
            return True

        def close(self) -> None:
            pass

    asker = Asker(SimpleNamespace(start=Worker), clock=lambda: now[0])  # type: ignore[arg-type]
    assert asker.look(replace(FINAL, architecture="raises"), {}) is None
    assert asker.look(FINAL, {}) == {"step": 1.0}
    assert asker.look(FINAL, {}) is None
