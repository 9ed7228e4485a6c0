"""What the trials of a scaling suite take: from passes over a few lengths, by the rules that the runner stops by."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.trial import Trial

# Measured on the machine of results/reference.
START = 0.08  # seconds until a child answers
CHECK = 0.06
EACH = 0.02  # of any trial: build, record, synced to disk
REPEATS = 1.4  # timings whose spread is past 10 % run twice as long; about four in ten do
MEMORY = 1.6  # a pass in memory that was never touched before takes that many times one in warm memory
ROOF, ROOF_SHARE = 0.6, 4 * 1.2  # to make its matrices, and to repeat a rate, see bench.execute.measurements
TRACE_TOKENS, TRACE_STEPS = 8, 56  # bench.measure.graph: a recurrence is counted over 8 + 16 + 32 steps
PATH = 0.06  # a search of the longest path
PATH_LENGTH = 550  # tokens at which a search through layers that see their neighbours takes a second


class ScalingForecast:
    """Seconds of trials.

    Args:
        looks: what `bench.forecast.probe.probe_scaling` found of each architecture, its rows under each regime's name.
        traits: what each architecture claims, as the plan has it.
        threads: that the machine's passes run on.
    """

    def __init__(
        self, looks: dict[str, dict[str, Any] | None], traits: dict[str, dict[str, Any]], threads: int
    ) -> None:
        self.looks, self.traits, self.threads = looks, traits, threads
        self.guessed = tuple(name for name, look in looks.items() if look is None)
        self.memory = 0

    @property
    def busy(self) -> float:
        found = [look["busy"] for look in self.looks.values() if look is not None]
        return statistics.fmean(found) if found else 1.0

    def seconds(self, trials: Iterable[Trial]) -> list[float]:
        """Of trials in the order in which they run. Longer cells of what runs out of time or memory are not tried."""
        started: set[str] = set()
        stopped: dict[tuple[str, str, str, str], tuple[int, int]] = {}
        found = []
        for trial in trials:
            if trial.architecture and trial.architecture not in self.looks:
                found.append(0.0)  # it cannot run, and becomes a row that says so
                continue
            spent = 0.0 if trial.worker in started else START
            started.add(trial.worker)
            if trial.kind in ("cell", "decode"):
                spent += self._cell(trial, stopped)
            elif trial.kind == "graph":
                spent += self._graph(trial)
            elif trial.kind == "path":
                spent += self._path(trial)
            elif trial.kind == "roof":
                spent += ROOF + ROOF_SHARE * trial.seconds * (len(trial.phases) + 1)
            else:
                spent += CHECK
            found.append(spent)
        return found

    def _cell(self, trial: Trial, stopped: dict[tuple[str, str, str, str], tuple[int, int]]) -> float:
        spent = EACH
        if trial.kind == "decode":
            token = self.time(replace(trial, length=1), "forward")  # as long as the shortest pass: both are of overhead
            return spent + self.time(trial, "forward") + _timing(token, trial.seconds, False)
        over = False
        for phase in trial.phases_on(self.threads):
            key = (trial.architecture, trial.regime, phase, trial.kind)
            stop = stopped.get(key)
            known = stop is not None and trial.length >= stop[0] and (trial.length, trial.seed) != stop
            if over or known:
                if over and (stop is None or trial.length < stop[0]):
                    stopped[key] = (trial.length, trial.seed)
                continue
            if phase == "memory":
                need = self._saved(trial)
                if math.isfinite(need):
                    self.memory = max(self.memory, int(min(need, trial.memory or need)))
                if trial.memory and need > trial.memory:
                    over = True
                spent += MEMORY * self.time(trial, "forward_backward")
            elif phase in ("forward", "forward_backward", "forward_1_thread"):
                slack = self.threads if phase == "forward_1_thread" else 1
                time = self.time(trial, phase) * math.sqrt(slack)
                over = time > trial.limit * slack
                spent += _timing(time, trial.seconds, over) + self._first(trial) / 2
            if over:
                stopped[key] = (trial.length, trial.seed)
        return spent

    def time(self, trial: Trial, phase: str) -> float:
        """Seconds of one pass: between the lengths that were looked at on a straight line in log-log, beyond them as its
        claim says."""
        return self._at(trial, "forward_backward" if phase == "forward_backward" else "forward", "time_exponent")

    def _saved(self, trial: Trial) -> float:
        return self._at(trial, "saved", "memory_exponent")

    def _at(self, trial: Trial, name: str, claim: str) -> float:
        looks = [self.looks.get(trial.architecture)]
        if looks[0] is None:
            looks = [look for look in self.looks.values() if look is not None]
        exponent = float((self.traits.get(trial.architecture) or {}).get(claim) or 1.0)
        values = []
        for look in looks:
            rows = (look or {}).get(trial.regime) or (look or {}).get("passes")
            if rows:
                shrinks = rows[0]["batch"] != rows[-1]["batch"]  # so that a batch has the same number of tokens
                powers = (0.0, 1.0, exponent - 1 if shrinks else exponent)
                points = [(row["length"], max(row[name], 1e-9)) for row in rows]
                values.append(along(points, trial.length, powers))
        return statistics.fmean(values) if values else math.nan

    def _first(self, trial: Trial) -> float:
        rows = (self.looks.get(trial.architecture) or {}).get(trial.regime) or []
        return statistics.median(row["first"] for row in rows) if rows else 0.0

    def _graph(self, trial: Trial) -> float:
        """Of work: what is parallel is traced anew at each length; a recurrence once over short ones, then it is a line."""
        look = self.looks.get(trial.architecture)
        trace = float(look["trace"]) if look else 0.0
        if (self.traits.get(trial.architecture) or {}).get("parallel_in_time", True):
            return EACH / 4 + 1.3 * trace
        return 1.3 * trace * TRACE_STEPS / TRACE_TOKENS * 2 if self._shortest(trial) else 0.002

    def _shortest(self, trial: Trial) -> bool:
        rows = (self.looks.get(trial.architecture) or {}).get("passes") or ()
        return trial.length <= min((row["length"] for row in rows), default=trial.length)

    def _path(self, trial: Trial) -> float:
        traits = self.traits.get(trial.architecture) or {}
        if traits.get("path") != "linear":
            return PATH
        if not traits.get("parallel_in_time", True):
            return PATH + min(trial.length, 128) / PATH_LENGTH
        return PATH + (trial.length / PATH_LENGTH) ** 2


def _timing(time: float, seconds: float, over: bool) -> float:
    """What bench.measure.timing spends on calls of so long."""
    if over:
        return 3 * time
    repeated = max(2 * time, REPEATS * seconds)
    return 2 * time + min(repeated, 100 * time) if time < seconds / 2 else time + repeated


def along(points: list[tuple[int, float]], length: int, powers: tuple[float, ...]) -> float:
    """The value at a length, from values at others: interpolated in log-log, and extrapolated as a sum of powers of the
    length with positive weights that goes through the last of them."""
    points = sorted(points)
    lengths, values = [p[0] for p in points], [p[1] for p in points]
    if length <= lengths[-1]:
        return float(np.exp(np.interp(math.log(length), np.log(lengths), np.log(values))))
    weights = _positive(lengths, values, powers)
    curve = lambda n: sum(w * n**p for w, p in zip(weights, powers, strict=True))  # noqa: E731
    return float(values[-1] * curve(length) / curve(lengths[-1]))


def _positive(lengths: list[int], values: list[float], powers: tuple[float, ...]) -> list[float]:
    """Weights >= 0 with the smallest relative errors, over all choices of which are 0; there are few powers."""
    columns = np.array([[n**p / v for p in powers] for n, v in zip(lengths, values, strict=True)])
    best, least = [0.0] * (len(powers) - 1) + [1.0], math.inf
    for size in range(1, min(len(powers), len(lengths)) + 1):
        for chosen in itertools.combinations(range(len(powers)), size):
            weights, *_ = np.linalg.lstsq(columns[:, chosen], np.ones(len(lengths)), rcond=None)
            error = float(((columns[:, chosen] @ weights - 1) ** 2).sum())
            if (weights > 0).all() and error < 0.999 * least:
                least = error
                best = [0.0] * len(powers)
                for index, weight in zip(chosen, weights, strict=True):
                    best[index] = float(weight)
    return best
