"""The choice of settings: a pure function of what the tries scored on the tuning split, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.trial import Trial
from results.schema import Record


@dataclass(frozen=True)
class Try:
    """One learning rate tried. `score` is the primary metric on the tuning split; None where the try failed."""

    trial_id: str
    lr: float
    status: str
    score: float | None
    reason: str


@dataclass(frozen=True)
class Choice:
    """What a competitor's final trials will use; `lr` is None where every try failed."""

    task: str
    architecture: str
    variant: str
    status: Literal["chosen", "single", "none"]
    reason: str
    tries: tuple[Try, ...]
    lr: float | None

    @property
    def failure(self) -> str:
        """The status that all tries share, else "error": what has become of a competitor with nothing to choose from."""
        statuses = {t.status for t in self.tries}
        return statuses.pop() if len(statuses) == 1 else "error"

    def to_plan(self) -> dict[str, Any]:
        fields = {f: getattr(self, f) for f in ("task", "architecture", "variant", "status", "reason")}
        chosen = None if self.lr is None else {"lr": self.lr}
        return {**fields, "tries": [vars(t) for t in self.tries], "chosen": chosen}


def choose(tries: list[Trial], records: Mapping[str, Record], metric: str, better: str) -> Choice:
    """The best of a competitor's tries; of equal ones the smaller learning rate. A failed try is worse than any other.

    Args:
        records: the last record of each trial, by id.
        metric, better: the task's primary metric, and "lower" or "higher".
    """
    found = [_read(trial, records.get(trial.trial_id), metric) for trial in tries]
    done = [t for t in found if t.score is not None]
    first = tries[0]
    names = (first.task, first.architecture, first.variant)
    if not done:
        reason = f"none of {len(found)} tries ended well; the last: {found[-1].reason}"
        return Choice(*names, "none", reason, tuple(found), None)
    sign = 1.0 if better == "lower" else -1.0
    best = min(done, key=lambda t: (sign * (t.score or 0.0), t.lr))
    return Choice(*names, "chosen", "", tuple(found), best.lr)


def only(task: str, architecture: str, variant: str, lr: float) -> Choice:
    """The choice where there is nothing to choose."""
    return Choice(task, architecture, variant, "single", "", (), lr)


def _read(trial: Trial, record: Record | None, metric: str) -> Try:
    assert trial.training is not None
    lr = float(trial.training["recipe"]["lr"])
    if record is None:
        return Try(trial.trial_id, lr, "error", None, "it has no record")
    if record.status != "ok":
        return Try(trial.trial_id, lr, record.status, None, record.reason)
    score = next((m.value for m in record.measurements if (m.split, m.metric) == ("tune", metric)), None)
    return Try(trial.trial_id, lr, "ok", score, "" if score is not None else f"its record has no {metric}")
