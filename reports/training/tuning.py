"""The search: what each competitor was given to try, what the choice was, and what a smaller budget would have found."""

from __future__ import annotations

import math

import numpy as np

from reports.training.data import Choice, Metric, TaskRun, Try


def chosen_try(choice: Choice) -> Try | None:
    """The try whose settings were chosen; None where there was nothing to choose."""
    if not choice.chosen:
        return None
    wanted = choice.chosen.items()
    return next((t for t in choice.tries if all(t.settings.get(k, v) == v for k, v in wanted)), None)


def expected_best(scores: list[float], better: str) -> np.ndarray:
    """Expected best score of k = 1..n draws without replacement from n tries (after Dodge et al. 2019), exact.

    The i-th best of n is the best of k draws with probability C(n - i, k - 1) / C(n, k).
    """
    ordered = sorted(scores, reverse=better == "higher")
    n = len(ordered)
    return np.array([
        sum(value * math.comb(n - i, k - 1) for i, value in enumerate(ordered, start=1)) / math.comb(n, k)
        for k in range(1, n + 1)
    ])  # fmt: skip


def filled(choice: Choice, metric: Metric, worst: float) -> list[float]:
    """Scores of all tries; one that failed counts as `worst`, the worst score that any try of the task had."""
    return [worst if t.score is None or t.status != "ok" else float(t.score) for t in choice.tries]


def worst_try(task: TaskRun) -> float | None:
    """The worst score of all tries of a task that ended well; None where none did."""
    scores = [float(t.score) for c in task.choices.values() for t in c.tries
              if t.status == "ok" and t.score is not None]  # fmt: skip
    return task.primary.worst(scores) if scores else None


def nothing_to_choose(task: TaskRun) -> bool:
    """Each competitor had one try or none: its settings are the plan's."""
    counts = {len(choice.tries) for choice in task.choices.values()} - {0}
    return counts == {1} or (not counts and any(choice.status for choice in task.choices.values()))


def edge(choice: Choice) -> str:
    """Says "largest" or "smallest" where the chosen learning rate lies at the end of what was tried, else empty."""
    tried = sorted({t.lr for t in choice.tries if t.lr is not None})
    lr = (choice.chosen or {}).get("lr")
    if len(tried) < 2 or not isinstance(lr, int | float):
        return ""
    return "largest" if lr >= tried[-1] else "smallest" if lr <= tried[0] else ""
