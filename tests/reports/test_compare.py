"""Two runs compared, with known answers: what was planted is found, what was not is not, and no more often than stated."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.comparison.build import compare
from reports.comparison.changes import Change, alarms, corrected, limit_of
from reports.comparison.method import Effect, moderated, scores, two_samples
from reports.comparison.words import told
from reports.data import load
from reports.page import ReportError, render_comparison
from results.store import Run
from tests.synthetic_run import ARCHITECTURES, HOSTILE, Planted, make_run
from tests.synthetic_training import LANGUAGE, PROBE, make_training

PAIRS, CELLS, SAMPLES = 200, 24, 11
PLANTED = 8  # cells that are slower in B


@cache
def pairs(slower: float, rounds: int, together: float, seed: int = 0) -> list[list[Change]]:
    """Comparisons of PAIRS simulated pairs of runs: cells of 0.1 ms to 1 s; a round is slow as a whole by `together`, a
    cell in a round by 1 to 4 % more, a sample by 3 %, and one sample in twenty is late by an exponential quarter."""
    rng = np.random.default_rng(seed)
    shape = (PAIRS, 2, CELLS, rounds)
    centre = rng.uniform(math.log(1e-4), 0.0, (PAIRS, 1, CELLS, 1))
    cell_noise = rng.uniform(0.01, 0.04, (PAIRS, 1, CELLS, 1))
    level = centre + together * rng.normal(size=(PAIRS, 2, 1, rounds)) + cell_noise * rng.normal(size=shape)
    level[:, 1, :PLANTED] += math.log1p(slower)
    late = np.where(rng.random((*shape, SAMPLES)) < 0.05, rng.exponential(0.25, (*shape, SAMPLES)), 0.0)
    logs = np.median(level[..., None] + 0.03 * rng.normal(size=(*shape, SAMPLES)) + late, axis=-1)
    return [corrected([_time(i, *one) for i, one in enumerate(zip(a, b, two_samples(list(a), list(b)), strict=True))])
            for a, b in logs]  # fmt: skip


def _time(place: int, a: np.ndarray, b: np.ndarray, effect: Effect) -> Change:
    values = (float(np.exp(np.median(x))) for x in (a, b))
    return Change("time", (str(place),), (place,), "s", "lower", *values, effect, (len(a), len(b)), "rounds")


def most(rate: float = 0.05) -> float:
    """What PAIRS draws at a rate stay below in all but one of a thousand tests."""
    return rate + 3.1 * math.sqrt(rate * (1 - rate) / PAIRS)


@pytest.mark.parametrize(("rounds", "together"), [(3, 0.01), (5, 0.05)])
def test_no_change_is_no_alarm(rounds: int, together: float) -> None:
    """The chance of even one false word in a whole table is 5 %, also where rounds are slow as a whole."""
    found = pairs(0.0, rounds, together)
    assert np.mean([any(c.verdict in ("slower", "faster") for c in one) for one in found]) <= most()
    assert np.mean([bool(alarms(one, 0.05)) for one in found]) <= most()


@pytest.mark.parametrize(("rounds", "least"), [(3, 0.45), (5, 0.75)])
def test_a_tenth_slower_is_found(rounds: int, least: float) -> None:
    found = pairs(0.10, rounds, 0.01)
    words = np.array([[c.verdict for c in one] for one in found])
    assert (words[:, :PLANTED] == "slower").any(axis=1).mean() >= 0.98  # the pair is known to differ
    assert (words[:, :PLANTED] == "slower").mean() >= least  # and where
    assert not (words[:, :PLANTED] == "faster").any()
    assert (words[:, PLANTED:] != "not resolved").any(axis=1).mean() <= most()
    assert np.mean([bool(alarms(one, 0.02)) for one in found]) >= 0.85


def test_exactly_the_limit_is_no_alarm() -> None:
    """Slower by the limit itself in some cells, not by more: the gate may err in 5 % of cases."""
    assert np.mean([bool(alarms(one, 0.05)) for one in pairs(0.05, 3, 0.01)]) <= most()


def test_intervals_cover() -> None:
    held = [c.share[1] <= 0.1 <= c.share[2] for one in pairs(0.10, 3, 0.01) for c in one[:PLANTED]]
    assert 0.93 <= np.mean(held) <= 0.995


def test_variances_are_drawn_together_as_far_as_they_are_alike() -> None:
    rng = np.random.default_rng(0)
    alike = [float(v) for v in rng.chisquare(2, 500) / 2]  # all 1 in truth
    drawn_up = [v for v, _ in moderated(alike, [2] * 500)]
    assert min(drawn_up) > 0.75 and all(v >= own for v, own in zip(drawn_up, alike, strict=True))
    apart = [float(v) for v in rng.chisquare(2, 500) / 2 * np.exp(rng.normal(0, 3, 500))]
    drawn = np.log([v for v, _ in moderated(apart, [2] * 500)])
    assert np.corrcoef(drawn, np.log(apart))[0, 1] > 0.9
    assert np.std(drawn) > 2
    assert moderated([1.0, math.nan], [2, 0])[1][1] == 0  # what nobody repeated stays unknown


def test_scores_pair_by_seed() -> None:
    a = {0: 1.0, 1: 2.0, 2: 3.0}
    b = {seed: value + 0.1 + 0.001 * seed for seed, value in a.items()}
    assert scores(a, b, paired=True).p < 1e-3
    assert scores(a, b, paired=False).p > 0.5
    assert scores(a, a, paired=True).p == 1.0
    assert math.isnan(scores({0: 1.0}, {0: 2.0}, paired=True).p)
    collapse = scores(dict.fromkeys(range(3), 1.0), dict.fromkeys(range(3), 0.5), paired=True)
    assert math.isnan(collapse.p) and math.isnan(replace(collapse, value=0.5).p_beyond(0.1))  # told as not tested
    assert collapse.p_beyond(0.1) == 1.0


def test_what_is_worse_has_a_direction() -> None:
    up = Change("score", ("t",), (0,), "", "higher", 0.8, 0.6, Effect(-0.2, 0.01, 10), (3, 3), "", adjusted=0.001)
    assert up.verdict == "worse" and up.worse == pytest.approx(0.25)
    assert up.p_worse(0.05) < 0.001 < 0.9 < up.p_worse(0.40)
    assert replace(up, better="lower").verdict == "better"
    from_nothing = replace(up, a=0.0, b=-0.2)  # a score of chance in A: no share of it can be given, but it is worse
    assert from_nothing.verdict == "worse" and from_nothing.p_worse(0.05) < 0.001
    assert [c.b for c in alarms([up, from_nothing], 0.05)] == [-0.2, 0.6]
    counts = [Change("count", ("t",), (0,), "B", "lower", 100, b, Effect(b / 100 - 1, 0, math.inf), (1, 1), "")
              for b in (100, 106, 94)]  # fmt: skip
    assert [c.verdict for c in counts] == ["same", "more", "less"]
    assert [c.b for c in alarms(counts, 0.05)] == [106]


def test_what_no_longer_ends_well_is_no_pass(tmp_path: Path) -> None:
    failing = tuple(replace(p, oom_from=4096) if p.name == "attention" else p for p in ARCHITECTURES)
    found = compare(load(make_run(tmp_path, "a")), load(make_run(tmp_path, "b", failing)))
    assert len(found.lost) == 2 and all(
        t.startswith("attention, ") and "from 4,096 tokens (oom: " in t for t in found.lost
    )
    assert "2 no longer end well, such as attention" in told([], 0.05, found)
    assert not compare(load(Run(tmp_path / "b")), load(Run(tmp_path / "a"))).lost  # it got better
    ends = tuple(replace(r, ends={1: ("nan", "loss is nan at step 3")}) if r.architecture == "conv" else r
                 for r in PROBE.runners)  # fmt: skip
    one, other = (
        make_training(tmp_path, "one", (PROBE,)),
        make_training(tmp_path, "two", (replace(PROBE, runners=ends),)),
    )
    assert compare(load(one), load(other)).lost == ["conv on copying (nan: loss is nan at step 3)"]


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), (" 2.5 % ", 0.025), ("0%", 0.0)])
def test_limits(text: str, share: float) -> None:
    assert limit_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "five%", "-1%", "nan%", "", "1e9%"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="such as 5%"):
        limit_of(text)


@pytest.fixture(scope="module")
def scaling_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """B: attention is half as fast again, one architecture is missing, one is new, and much of the machine is other."""
    folder = tmp_path_factory.mktemp("pair")
    slower = tuple(replace(p, overhead=1.5 * p.overhead, power=1.5 * p.power) if p.name == "attention" else p
                   for p in ARCHITECTURES[:-1])  # fmt: skip
    hostile = Planted(HOSTILE, "other", 5e-4, 1e-5, 0, 1)
    a, b = make_run(folder, "before"), make_run(folder, "after", architectures=(*slower, hostile))
    change = {"torch": "2.10.0", "device_name": "Other <CPU>", "cores": 64}
    b.write_json("environment.json", b.read_json("environment.json") | change)
    return a, b


def test_a_scaling_pair(scaling_pair: tuple[Run, Run]) -> None:
    found = compare(*map(load, scaling_pair))
    assert {c.where[0] for c in found.changes if c.verdict == "slower"} == {"attention"}
    assert not [c for c in found.changes if c.verdict == "faster"]
    times = [c for c in found.changes if c.where[0] == "attention" and c.kind == "time" and c.order[1] == "cell"]
    assert all(c.share[1] < 0.5 < c.share[2] for c in times if c.verdict == "slower")
    assert found.count("more", "less") == 0 < found.count("same")
    assert any(line.startswith("windowed_naive") for line in found.only["A"])
    assert any("script" in line for line in found.only["B"])
    warned = {w.short: w.detail for w in found.warnings}
    assert "torch 2.9.0 and 2.10.0" in warned["different torch versions"]
    assert "cores 2 and 64" in warned["different machines"]
    worse = alarms(found.changes, 0.2)
    assert worse and {c.where[0] for c in worse} == {"attention"}
    assert "attention" in told(worse, 0.2, found) and not alarms(found.changes, 0.9)


def test_the_page_of_a_pair(scaling_pair: tuple[Run, Run], tmp_path: Path) -> None:
    page, found = render_comparison(*scaling_pair, tmp_path)
    text = page.read_text()
    assert HOSTILE not in text and "Other &lt;CPU&gt;" in text
    assert "Content-Security-Policy" in text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    assert text.count('class="notice"') == 1
    table = pd.read_csv(page.parent / "compare.csv")
    assert len(table) == len(found.changes)
    assert set(table[table.verdict == "slower"].architecture) == {"attention"}


def test_a_plan_of_others_writes_nothing_elsewhere(scaling_pair: tuple[Run, Run], tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(scaling_pair[0].folder, tmp_path / "runs" / "copy")))
    run.write_json("plan.json", run.read_json("plan.json") | {"run_id": f"../../../{tmp_path.name}-x"})
    page, _ = render_comparison(run, scaling_pair[1], tmp_path / "deep" / "site")
    assert page.is_relative_to(tmp_path / "deep" / "site") and {p.name for p in tmp_path.iterdir()} == {"runs", "deep"}
    run.write_json("plan.json", run.read_json("plan.json") | {"architectures": [{}]})
    with pytest.raises(ReportError, match=r"cannot be shown .* damaged"):
        render_comparison(run, scaling_pair[1], tmp_path / "deep" / "site")


def test_a_training_pair(tmp_path: Path) -> None:
    worse = replace(PROBE, runners=tuple(replace(r, score=r.score - 0.2) if r.architecture == "conv" else r
                                         for r in PROBE.runners))  # fmt: skip
    a, b = make_training(tmp_path, "one", (PROBE, LANGUAGE)), make_training(tmp_path, "two", (worse,))
    found = compare(load(a), load(b))
    assert {c.where[1] for c in found.changes if c.kind == "score" and c.verdict == "worse"} == {"conv"}
    assert {c.how for c in found.changes if c.kind == "score"} == {"seed by seed"}
    assert any("characters, attention" in line for line in found.only["A"])
    assert {c.where[1] for c in alarms(found.changes, 0.05)} == {"conv"}

    def other_data(plan: dict[str, Any]) -> None:
        plan["tasks"][0]["fingerprint"] = "0" * 16

    c = make_training(tmp_path, "three", (worse,), change_plan=other_data)
    assert {x.how for x in compare(load(a), load(c)).changes if x.kind == "score"} == {"seeds, not paired"}
    render_comparison(a, b, tmp_path / "site")


def test_pairs_that_cannot_be_compared(scaling_pair: tuple[Run, Run], tmp_path: Path) -> None:
    training = make_training(tmp_path, "one", (PROBE,))
    with pytest.raises(ReportError, match="of the same kind"):
        render_comparison(scaling_pair[0], training, tmp_path)
    nothing = make_run(tmp_path, "failed", all_fail=True)
    with pytest.raises(ReportError, match="nothing in common"):
        render_comparison(scaling_pair[0], nothing, tmp_path)


def test_other_plans_and_protocols_are_said(scaling_pair: tuple[Run, Run], tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(scaling_pair[0].folder, tmp_path / "copy")))
    lines = [json.loads(line) | {"protocol": "9.9"} for line in run.records_path.read_text().splitlines()]
    run.records_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = run.read_json("plan.json")
    plan["preset"], plan["architectures"][0]["width"] = "full", 256
    run.write_json("plan.json", plan)
    warned = {w.short: w.detail for w in compare(load(scaling_pair[0]), load(run)).warnings}
    assert "9.9" in warned["different protocol versions"]
    assert "preset quick and full" in warned["different plans"] and "lstm (width)" in warned["different plans"]
