"""What a run is expected to take, in a form that is kept beside what it then took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Protocol

from bench.execute.executor import company
from bench.trial import Trial
from results.store import Run, StoreError

FILE = "estimate.json"
BUSY = 1.15  # less than that is not worth a line
SHOWN = 8  # past estimates that are told of
RECORD_BYTES, CURVE_POINT_BYTES, MOST_POINTS, STRETCH = (
    1_800,
    90,
    400,
    10,
)  # see results.schema and bench.training.trials


@dataclass(frozen=True)
class Estimate:
    """What a run takes from its command to its last record, the page left out.

    Attributes:
        wall_s: while other programs use the machine as they did when this was made. quiet_s: if they let go of it.
        parts: seconds by what they go into, those of the command until now included; they add up to `wall_s` where one
            device works.
        devices: how many work at it. memory_bytes: of the largest trial; on a GPU the device's.
        disk_bytes: of the run folder when all is done. peak_disk_bytes: with what trainings keep to go on from.
        guessed: competitors that could not be looked at, and stand at the mean of the others.
        seconds: of each trial in the order of the plan; not kept. trainings: of each competitor's tries and final
            trainings on a task, their mean, by `_training`.
    """

    trials: int
    wall_s: float
    quiet_s: float
    devices: int
    memory_bytes: int
    disk_bytes: int
    peak_disk_bytes: int
    parts: dict[str, float]
    guessed: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()
    trainings: dict[str, float] = field(default_factory=dict)

    @property
    def device_s(self) -> float:
        return self.wall_s * self.devices

    def to_plain(self) -> dict[str, Any]:
        found = {**asdict(self), "device_s": self.device_s}
        del found["seconds"]
        return found


class Forecast(Protocol):
    """What trials take, from short looks at them."""

    guessed: tuple[str, ...]
    """What could not be looked at."""

    @property
    def busy(self) -> float:
        """How many times as long as on a quiet machine the looks took."""
        ...

    @property
    def memory(self) -> int:
        """Bytes of the largest trial, once their seconds were asked for."""
        ...

    def seconds(self, trials: Iterable[Trial]) -> list[float]:
        """Of each trial, in the order in which they run."""
        ...


def estimate(
    trials: Sequence[Trial], forecast: Forecast, begun: dict[str, float], slots: int = 1, at_once: int = 1
) -> Estimate:
    """Put together what the trials of a plan take, one by one.

    Args:
        begun: seconds that the command has already spent, by name. slots: trials that run side by side. at_once: of these,
            those that share a device.
    """
    parts: dict[str, float] = dict(begun)
    records, kept, state, wall = 0, 0, 0, 0.0
    each = [spent * forecast.busy for spent in forecast.seconds(trials)]
    trainings: dict[str, list[float]] = {}
    for trial, spent in zip(trials, each, strict=True):
        name = f"{trial.kind} {trial.regime}" if trial.kind == "train" else trial.kind
        parts[name] = parts.get(name, 0.0) + spent
        wall += spent / company(trial, slots, at_once)
        records += _record_bytes(trial)
        if trial.kind == "train" and trial.training is not None:
            trainings.setdefault(_training(trial), []).append(spent)
            wanted = trial.training["recipe"]["save_weights"]
            kept += 4 * trial.parameters if wanted is True or (wanted == "first" and trial.seed == 0) else 0
            state = max(state, 16 * trial.parameters)  # weights, two moments, the best weights so far
    disk = records + kept
    already = sum(begun.values())
    return Estimate(
        len(trials), already + wall, already + wall / forecast.busy, slots // at_once, forecast.memory, disk, disk + state,
        {k: round(v, 2) for k, v in parts.items()}, forecast.guessed, tuple(each),
        {name: round(fmean(spent), 2) for name, spent in trainings.items()},
    )  # fmt: skip


def foreseen(run: Run, trials: Iterable[Trial]) -> list[float]:
    """Seconds of each training of a run, as an earlier session expected them; not a number where it did not, and for all
    other trials."""
    found = run.left(FILE).get("trainings")
    known = {k: v for k, v in found.items() if isinstance(v, int | float)} if isinstance(found, dict) else {}
    return [known.get(_training(trial), math.nan) if trial.kind == "train" else math.nan for trial in trials]


def _training(trial: Trial) -> str:
    return " ".join(part for part in (trial.task, trial.architecture, trial.variant, trial.regime) if part)


def _record_bytes(trial: Trial) -> int:
    """About; timings keep up to a hundred samples of a dozen digits a phase, trainings a curve."""
    if trial.kind != "train" or trial.training is None:
        return RECORD_BYTES + (250 * len(trial.phases) if trial.kind == "cell" else 0)
    recipe = trial.training["recipe"]
    steps = recipe["steps"] or (recipe["tokens"] or 0) // max(1, trial.length * trial.batch) or MOST_POINTS * STRETCH
    positions = 16 * trial.length if trial.training["shape"]["output"] == "token" else 0
    return 2 * RECORD_BYTES + CURVE_POINT_BYTES * min(MOST_POINTS, steps // STRETCH) + positions


def past(runs: Iterable[Run], environment_id: str) -> list[float]:
    """Estimated over measured wall time of the last runs on this machine that went through in one session, newest first."""
    found: list[float] = []
    for run in runs:
        try:
            guess, summary, environment = (run.read_json(n) for n in (FILE, "summary.json", "environment.json"))
        except StoreError:
            continue  # --list and the index tell of damaged runs
        alone = summary.get("sessions") == 1 and summary.get("complete") and not summary.get("reused")
        usable = alone and math.isfinite(float(guess.get("wall_s", math.nan)))
        if usable and environment.get("environment_id") == environment_id and summary.get("wall_s"):
            found.append(float(guess["wall_s"]) / float(summary["wall_s"]))
    return found[:SHOWN]


def lines(found: Estimate, ratios: list[float]) -> list[str]:
    """For people, as --dry-run shows it."""
    if not math.isfinite(found.wall_s):
        return ["  not estimated: no competitor could be looked at"]
    largest = sorted(found.parts.items(), key=lambda part: -part[1])[:4]
    shown = [
        f"  estimated: {found.trials:,} trials, {_hours(found.wall_s)} on the clock, {_hours(found.device_s)} of device "
        f"time ({found.devices} device{'' if found.devices == 1 else 's'})",
        f"    most of it: {', '.join(f'{name} {_hours(spent)}' for name, spent in largest)}",
        f"    peak memory of the largest trial {_bytes(found.memory_bytes)}; on disk {_bytes(found.disk_bytes)}, "
        f"at most {_bytes(found.peak_disk_bytes)} meanwhile; the page not counted",
    ]
    if found.guessed:
        shown.append(f"    could not be looked at, so taken for the mean of the others: {', '.join(found.guessed)}")
    if found.wall_s > BUSY * found.quiet_s:
        shown.append(f"    other programs keep the machine busy; without them it would take {_hours(found.quiet_s)}")
    if ratios:
        many = f"the last {len(ratios)} estimates were" if len(ratios) > 1 else "the last estimate was"
        span = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else f"{ratios[0]:.2f}"
        shown.append(f"    {many} {span} times what was then measured on this machine")
    else:
        shown.append("    no run on this machine has shown yet how good such estimates are")
    return shown


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
