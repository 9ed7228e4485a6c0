"""Repeats against records, with differences that are planted, and the rate of false alarms simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reports.agreement import FALSE_ALARM, TOLERANCE, judge, scatter, summary
from results.schema import Measurement, Record

CELL = Record(
    run_id="r", trial_id="t", environment_id="e", suite="s", kind="cell", architecture="a", variant="", task="", decoder="",
    mode="causal", regime="batch1", width=8, depth=1, parameters=10, batch=1, length=64, dtype="float32", device="cpu",
    seed=0, status="ok", reason="", failed_phase="", kernels=(), warnings=(), started_at="", wall_s=1.0, measured_s=1.0,
    git_commit="", git_dirty=False,
)  # fmt: skip


def timed(*samples: float) -> Measurement:
    return Measurement("forward", "time", "s", "lower", samples=samples)


def counted(value: float, metric: str = "flops", unit: str = "FLOP", phase: str = "forward") -> Measurement:
    return Measurement(phase, metric, unit, "lower", value=value)


def cells(rng: np.random.Generator, spread: float, lengths: int = 40, rounds: int = 3) -> list[Record]:
    """A run whose rounds scatter by `spread` on a logarithmic scale."""
    return [
        replace(CELL, trial_id=f"{n}-{s}", length=n, seed=s,
                measurements=(timed(float(1e-3 * n * np.exp(spread * rng.standard_normal()))),))
        for n in range(1, lengths + 1) for s in range(rounds)
    ]  # fmt: skip


def again(record: Record, factor: float) -> Record:
    (m,) = record.measurements
    assert m.samples is not None
    return replace(record, measurements=(timed(*(factor * s for s in m.samples)),))


@pytest.mark.parametrize("metric", ["flops", "span", "activation_memory"])
def test_a_count_agrees_exactly_or_not_at_all(metric: str) -> None:
    record = replace(CELL, measurements=(counted(1000, metric),))
    (same, other), _ = judge(
        [(record, record), (record, replace(CELL, measurements=(counted(1001, metric),)))], [record]
    )
    assert same.agrees and not other.agrees
    assert "1000" in other.words and "1001" in other.words and "exact" in other.words


def test_scores_and_weights_of_a_cpu_training_agree_to_the_bit() -> None:
    score = counted(0.5, "loss", "nats", "test")
    record = replace(CELL, kind="train", regime="final", measurements=(score,), extra={"weights": "abc"})
    close = replace(record, measurements=(counted(0.5 + 1e-15, "loss", "nats", "test"),))
    other = replace(record, extra={"weights": "abd"})
    (same, off, changed), _ = judge([(record, record), (record, close), (record, other)], [record])
    assert same.agrees and not off.agrees and not changed.agrees


def test_what_the_moment_decides_is_not_judged() -> None:
    clocked = (counted(3.0, "eval_time", "s", "train"), counted(9e6, "peak_memory", "B", "train"))
    record = replace(CELL, kind="train", regime="final", measurements=clocked)
    now = replace(
        record, measurements=(counted(7.0, "eval_time", "s", "train"), counted(1e6, "peak_memory", "B", "train"))
    )
    (found,), _ = judge([(record, now)], [record])
    assert found.agrees and [p.agrees for p in found.points] == [None, None]
    by_clock = replace(record, measurements=(counted(0.5, "loss", "nats", "test"),), extra={"recipe": {"seconds": 5}})
    on_gpu = replace(by_clock, device="cuda:0", extra={})
    for one in (by_clock, on_gpu):
        (found,), _ = judge([(one, replace(one, measurements=(counted(0.6, "loss", "nats", "test"),)))], [one])
        assert found.agrees and found.points[0].rule.startswith("not judged")


def test_another_end_and_a_missing_measurement_do_not_agree() -> None:
    record = replace(CELL, measurements=(counted(1), timed(1.0)))
    failed = replace(record, status="oom", reason="out of memory", measurements=())
    (ended, lost), _ = judge([(record, failed), (record, replace(record, measurements=(timed(1.0),)))], [record])
    assert not ended.agrees and "out of memory" in ended.words
    assert not lost.agrees and "missing" in lost.words


def test_a_timing_that_is_far_off_is_found() -> None:
    run = cells(np.random.default_rng(0), 0.02)
    (same, twice), rate = judge([(run[0], again(run[0], 1.0)), (run[3], again(run[3], 2.0))], run)
    assert same.agrees and not twice.agrees
    assert 0 < rate <= FALSE_ALARM + 2 / (len(run) + 1)
    text = "\n".join(summary([same, twice], rate, every_point=False))
    assert "1 of 2 trials agree" in text and "DIFFERS" in text and "false alarm" in text


def test_false_alarms_are_as_rare_as_is_said() -> None:
    """Checks of 4 timings on a machine that has not changed, at a spread where the tolerance does not decide."""
    rng = np.random.default_rng(1)
    alarms, stated, checks = 0, [], 300
    for _ in range(checks):
        run = cells(rng, 0.3, lengths=40)
        chosen = rng.choice(len(run), 4, replace=False)
        fresh = [replace(run[i], measurements=(timed(float(1e-3 * run[i].length * np.exp(0.3 * rng.standard_normal()))),))
                 for i in chosen]  # fmt: skip
        verdicts, rate = judge([(run[i], now) for i, now in zip(chosen, fresh, strict=True)], run)
        alarms += any(not v.agrees for v in verdicts)
        stated.append(rate)
    assert max(stated) <= 0.09
    # Within what chance allows around the stated rate: three standard errors.
    assert alarms / checks <= max(stated) + 3 * (max(stated) / checks) ** 0.5
    assert alarms > 0, "an interval that nothing can leave would find nothing"


def test_one_round_says_nothing_of_scatter() -> None:
    run = cells(np.random.default_rng(2), 0.02, rounds=1)
    assert scatter(run, "cell", 0.05).limit is None
    (found,), _ = judge([(run[0], again(run[0], 5.0))], run)
    assert found.agrees and found.points[0].agrees is None


def test_a_tenth_is_always_allowed() -> None:
    run = cells(np.random.default_rng(3), 1e-4)
    assert scatter(run, "cell", 0.05).limit == TOLERANCE
