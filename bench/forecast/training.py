"""What the trials of a suite that trains take, from short looks at each competitor."""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

from bench.training.recipe import Recipe
from bench.trial import Trial

# Measured on the machine of results/reference; all of them are small beside trainings.
START = 0.08  # seconds until a child answers
CHECK = 0.06
CHECK_IMAGES = 30  # whose step takes as long as the checks of one grid, in double precision
EACH = 0.04  # of any trial: build, record, synced to disk
KEPT_TASKS = 4  # that a child keeps, see bench.training.trials

Name = tuple[str, str, str]  # task, architecture, variant


class TrainingForecast:
    """Seconds of trials.

    Args:
        looks: what `bench.forecast.probe.probe_training` found of each competitor; None where it found nothing.
    """

    def __init__(self, looks: dict[Name, dict[str, Any] | None]) -> None:
        self.looks = looks
        self.known = [look for look in looks.values() if look is not None]
        self.guessed = tuple(dict.fromkeys(f"{a} {v}".strip() for (_, a, v), look in looks.items() if look is None))

    @property
    def busy(self) -> float:
        return statistics.fmean(look["busy"] for look in self.known) if self.known else 1.0

    @property
    def memory(self) -> int:
        return max((int(look["memory"]) for look in self.known), default=0)

    def seconds(self, trials: Iterable[Trial]) -> list[float]:
        """Of trials in the order in which they run: children start, and load the tasks that they do not hold."""
        held: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        found = []
        for trial in trials:
            if (trial.task, trial.architecture, trial.variant) not in self.looks:
                found.append(0.0)  # it cannot run, and becomes a row that says so
                continue
            spent = self.of(trial)
            if trial.worker not in held:
                spent += START
            if trial.kind in ("cost", "train") and trial.task not in held[trial.worker]:
                spent += self._value(trial, "task")
            if trial.kind in ("cost", "train"):
                held[trial.worker][trial.task] = None
                held[trial.worker].move_to_end(trial.task)
                while len(held[trial.worker]) > KEPT_TASKS:
                    held[trial.worker].popitem(last=False)
            else:
                held[trial.worker]  # it has started
            found.append(spent)
        return found

    def of(self, trial: Trial) -> float:
        """One trial in a child that has all it needs."""
        value = lambda name: self._value(trial, name)  # noqa: E731
        if trial.kind == "check":
            return CHECK + (CHECK_IMAGES * value("example") if trial.grid else 0.0)
        if trial.kind == "cost":
            return EACH + 2 * value("build") + value("count") + 3 * value("step")
        if trial.kind == "decode":
            return EACH + value("build") + 2 * trial.seconds
        return EACH + value("build") + self._training(trial)

    def _training(self, trial: Trial) -> float:
        assert trial.training is not None
        recipe = Recipe.model_validate(trial.training["recipe"])
        step, tune = self._value(trial, "step"), self._value(trial, "tune")
        last = recipe.last_step(self._value(trial, "tokens") or recipe.batch * recipe.accumulate * trial.length)
        steps = math.inf if last is None else last
        if recipe.seconds is not None and step:
            steps = min(steps, max(1.0, recipe.seconds / step))
        looks = math.ceil(steps / recipe.evaluate_every) + 1  # and one with the weights that are kept
        written = self._writing(trial, "tune")
        if trial.training["tests"]:
            written += self._value(trial, "test") + self._writing(trial, "test")
        generate = trial.training["generate"]
        said = self._value(trial, "token") * generate["tokens"] * len(generate["samplers"]) if generate else 0.0
        pictures = self._value(trial, "pictures") if trial.training["tests"] and trial.seed == 0 else 0.0
        return steps * step + looks * tune + written + said + pictures

    def _writing(self, trial: Trial, stage: str) -> float:
        look = self.looks.get((trial.task, trial.architecture, trial.variant)) or {}
        return sum(v for split, v in look.get("write", {}).items() if (split == "tune") == (stage == "tune"))

    def _value(self, trial: Trial, name: str) -> float:
        """Of the trial's own competitor; where that was not looked at, of the others on its task, or of all. A count of
        work is the architecture's."""
        own = self.looks.get((trial.task, trial.architecture, trial.variant))
        if name == "count":
            found = [look for (_, architecture, _), look in self.looks.items()
                     if look is not None and architecture == trial.architecture and name in look]  # fmt: skip
        elif own is not None:
            return float(own.get(name, 0.0))
        else:
            found = [look for (task, _, _), look in self.looks.items() if look is not None and task == trial.task]
        if not self.known:
            return math.nan
        return statistics.fmean(look.get(name, 0.0) for look in found or self.known)
