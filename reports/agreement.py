"""Does a trial that was run again agree with its record? Counts and CPU trainings to the bit, timings within an interval.

The rule for timings: on a logarithmic scale, the median of now may be as far from the mean of the recorded rounds' medians
as one recorded round of such a trial was from the mean of its other rounds, in all but a share of this run's trials. A
repeat is one more round, so on an unchanged machine that share is the rate of false alarms (conformal prediction: nothing is
assumed of the distribution). It is chosen so that a check as a whole gives one in FALSE_ALARM of checks; where a run has too
few rounds to tell so fine, `judge` returns the rate they allow. TOLERANCE is allowed in any case: alarms are then rarer.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from reports.words import quantity
from results.schema import Measurement, Record
from results.store import Run

FALSE_ALARM = 0.05  # of checks
TOLERANCE = 1.10  # a ratio that is always allowed: what the page calls unstable begins there
CLOCKED = ("s", "tokens/s", "J", "FLOP/s", "B/s", "W")  # units of what depends on the moment
EXACT = "exact"
SCORED = ("tune", "test", "write")  # phases of what a training found


@dataclass(frozen=True)
class Point:
    """One measurement, then and now. `agrees` is None where there is no rule for it; `rule` says which there is."""

    phase: str
    split: str
    metric: str
    unit: str
    recorded: float | str
    now: float | str | None
    rule: str
    agrees: bool | None

    @property
    def words(self) -> str:
        name = " ".join(p for p in (self.phase, self.split if self.split != "none" else "", self.metric) if p)
        exact = self.rule == EXACT
        then, now = (_shown(value, self.unit, exact) for value in (self.recorded, self.now))
        return f"{name.replace('_', ' ')} {then} recorded, {now} now ({self.rule})"


@dataclass(frozen=True)
class Verdict:
    """A trial that was run again. `reason`: why it does not agree, where it ended otherwise than it did."""

    trial_id: str
    what: str
    points: tuple[Point, ...]
    reason: str = ""

    @property
    def agrees(self) -> bool:
        return not self.reason and all(p.agrees is not False for p in self.points)

    @property
    def words(self) -> str:
        if self.reason:
            return self.reason
        wrong = [p.words for p in self.points if p.agrees is False]
        judged = sum(p.agrees is not None for p in self.points)
        if not self.points:
            return "it ended as it did"
        return "; ".join(wrong) if wrong else f"{judged} of {len(self.points)} measurements judged"

    def to_plain(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


@dataclass(frozen=True)
class Scatter:
    """How far rounds of a run lie from one another, for one kind of trial.

    Attributes:
        limit: ratio that is allowed; None where no trial has two rounds. rate: of false alarms, of one trial.
    """

    limit: float | None
    rate: float


def judge(pairs: Iterable[tuple[Record, Record]], records: list[Record]) -> tuple[list[Verdict], float]:
    """A verdict for each pair (record, repeat), and the rate of false alarms of all their intervals together.

    Args:
        records: the last record of each trial of the run, where the rounds are that a repeat is held against.
    """
    found = list(pairs)
    timed = sum(any(m.samples is not None for m in recorded.measurements) for recorded, _ in found)
    scatters = {
        k: scatter(records, k, FALSE_ALARM / max(1, timed)) for k in {_group(recorded) for recorded, _ in found}
    }
    rounds = _rounds(records)
    verdicts, rate = [], 0.0
    for recorded, now in found:
        what = " ".join(str(part) for part in (
            recorded.kind, recorded.task if recorded.kind == "train" else "", recorded.architecture or "machine",
            recorded.variant, recorded.regime, f"T={recorded.length:,}" if recorded.length else "", f"seed {recorded.seed}",
        ) if part)  # fmt: skip
        if now.status != recorded.status:
            verdicts.append(Verdict(recorded.trial_id, what, (), f"it ended {now.status} now: {now.reason}"))
            continue
        one = scatters[_group(recorded)]
        points = [_point(m, _same(m, now), recorded, rounds[_place(recorded)], one) for m in recorded.measurements]
        if "weights" in recorded.extra and not _on_gpu(recorded) and not _by_clock(recorded):
            then, again = str(recorded.extra["weights"]), str(now.extra.get("weights"))
            points.append(Point("train", "none", "weights", "", then, again, "to the bit", then == again))
        verdicts.append(Verdict(recorded.trial_id, what, tuple(points)))
        rate += one.rate if one.limit is not None and any(m.samples is not None for m in recorded.measurements) else 0.0
    return verdicts, min(1.0, rate)


def summary(verdicts: list[Verdict], rate: float, every_point: bool) -> list[str]:
    """For people: a line a trial (and, if asked, one a measurement), then how many agree and what that is worth."""
    lines = []
    for one in verdicts:
        lines.append(f"{'agrees ' if one.agrees else 'DIFFERS'}  {one.trial_id[:8]}  {one.what}: {one.words}")
        if every_point:
            signs = {True: "agrees ", False: "DIFFERS", None: "       "}
            lines += [f"  {signs[point.agrees]}  {point.words}" for point in one.points]
    agreeing = sum(one.agrees for one in verdicts)
    timed = any(p.agrees is not None and p.rule != EXACT for one in verdicts for p in one.points)
    alarms = f"; on a machine that has not changed at most {100 * rate:.0f} % of such checks give a false alarm"
    return [*lines, f"{agreeing} of {len(verdicts)} trials agree{alarms if timed else ''}"]


def next_file(run: Run) -> str:
    """A name that no earlier check of this run has."""
    number = 1
    while (run.folder / f"verify-{number}.json").exists():
        number += 1
    return f"verify-{number}.json"


def scatter(records: list[Record], group: str, rate: float) -> Scatter:
    """The ratio past which one round of a trial lies from its others in no more than the share `rate` of this run's."""
    distances: list[float] = []
    for found in _rounds(r for r in records if _group(r) == group).values():
        for seed in {seed for by_seed in found.values() for seed in by_seed}:
            own = [
                abs(_log_distance(by_seed, seed)) for by_seed in found.values() if seed in by_seed and len(by_seed) > 1
            ]
            if own:
                distances.append(max(own))
    count = len(distances)
    if not count:
        return Scatter(None, 0.0)
    rank = min(count, math.ceil((count + 1) * (1 - rate)))
    return Scatter(max(TOLERANCE, math.exp(sorted(distances)[rank - 1])), 1 - rank / (count + 1))


Medians = dict[tuple[str, str], dict[int, float]]  # (phase, metric) -> seed -> median


def _rounds(records: Iterable[Record]) -> dict[tuple, Medians]:
    """Medians of raw samples of trials that differ in nothing but their seed. Tries have one seed, and other steps."""
    found: dict[tuple, Medians] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.status == "ok" and not (record.kind == "train" and record.regime == "tune"):
            for m in record.measurements:
                if m.samples is not None and (value := statistics.median(m.samples)) > 0:
                    found[_place(record)][m.phase, m.metric][record.seed] = value
    return found


def _place(record: Record) -> tuple:
    return record.kind, record.task, record.architecture, record.variant, record.regime, record.length, record.batch


def _group(record: Record) -> str:
    """Kinds whose timings scatter alike: decoding takes microseconds, trainings minutes."""
    return record.kind if record.kind in ("decode", "train") else "cell"


def _log_distance(by_seed: dict[int, float], seed: int) -> float:
    others = [math.log(value) for other, value in by_seed.items() if other != seed]
    return math.log(by_seed[seed]) - statistics.fmean(others)


def _same(wanted: Measurement, record: Record) -> Measurement | None:
    """The repeat's measurement of the same thing."""
    key = (wanted.phase, wanted.split, wanted.metric)
    return next((m for m in record.measurements if (m.phase, m.split, m.metric) == key), None)


def _point(then: Measurement, now: Measurement | None, record: Record, rounds: Medians, one: Scatter) -> Point:
    name = (then.phase, then.split, then.metric, then.unit)
    value = statistics.median(then.samples) if then.samples is not None else then.value or 0.0
    if now is None:
        return Point(*name, value, None, "missing", False)
    again = statistics.median(now.samples) if now.samples is not None else now.value or 0.0
    if then.samples is not None:
        by_seed = rounds.get((then.phase, then.metric)) or {}
        if one.limit is None or not by_seed or again <= 0:
            return Point(*name, value, again, "not judged: the run has one round", None)
        middle = math.exp(statistics.fmean(map(math.log, by_seed.values())))
        ratio = again / middle
        agrees = 1 / one.limit <= ratio <= one.limit
        return Point(*name, value, again, f"{ratio:.2f} times the rounds' mean, allowed {one.limit:.2f}", agrees)
    if then.unit in CLOCKED or then.metric.startswith("peak_"):
        return Point(*name, value, again, "not judged: it depends on the moment", None)
    if _by_clock(record):
        return Point(*name, value, again, "not judged: training was ended by the clock", None)
    if _on_gpu(record) and then.phase in SCORED:
        return Point(*name, value, again, "not judged: trainings on a GPU do not repeat to the bit", None)
    return Point(*name, value, again, EXACT, value == again)


def _by_clock(record: Record) -> bool:
    return record.kind == "train" and bool((record.extra.get("recipe") or {}).get("seconds"))


def _on_gpu(record: Record) -> bool:
    return record.kind == "train" and record.device != "cpu"


def _shown(value: float | str | None, unit: str, exact: bool) -> str:
    if value is None or isinstance(value, str):
        return value[:12] if value else "nothing"
    return f"{value!r} {unit}" if exact else quantity(value, unit)
