"""Before a run: what it will take, and, where there is less time than that, which part of it to run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.allowance import Part, entry, fit, part_from, parts, read_budget
from bench.forecast.estimate import FILE, Estimate, Forecast, estimate
from bench.kinds.common import Prepared
from results.store import Run


def foresee(
    prepared: Prepared,
    folder: Path,
    budget: str,
    begun: dict[str, float],
    always: bool,
    never: bool = False,
    slots: int = 1,
    at_once: int = 1,
) -> tuple[Prepared, Estimate | None]:
    """The plan, cut where a budget asks for it, and its estimate; None where an earlier session has made one.

    A run that was cut keeps its cut when the same budget is asked for again: what is left to do does not depend on how
    fast the machine looked today.

    Args:
        folder: where the run is, or will be. budget: as typed, "" for none. begun: seconds that the command has spent.
        always: look even where an estimate is there. never: look only where it is asked for, by `always` or a budget: for a
            run that takes no longer than the look. slots: trials that run side by side. at_once: of these,
            those that share a device.
    """
    asked = bool(budget)
    try:
        allowed = read_budget(budget) if budget else 0.0
        found = Run(folder).left("plan.json").get("budget")
        before: dict[str, Any] = found if isinstance(found, dict) else {}
        if budget and before.get("asked_s") == allowed:
            prepared, budget = prepared.reduced(part_from(before["kept"]), before), ""
        foreseen = (folder / FILE).is_file() and (asked or not before)  # what was cut and goes on whole is another plan
        if prepared.problem or ((foreseen or never) and not budget and not always):
            return prepared, None
        start = time.perf_counter()
        forecast = prepared.forecast()
        begun["looking at what it takes"] = time.perf_counter() - start
        whole = estimate(prepared.planned(), forecast, begun, slots, at_once)
        if not budget:
            return prepared, whole
        kept, seconds = fit(
            parts(prepared.whole, lambda names: _dearest(prepared, forecast, names)),
            lambda part: estimate(prepared.reduced(part, {}).planned(), forecast, begun, slots, at_once).wall_s,
            allowed,
        )
        cut = prepared.reduced(kept, entry(budget, allowed, prepared.whole, kept, seconds, whole.wall_s))
        return cut, estimate(cut.planned(), forecast, begun, slots, at_once)
    finally:
        prepared.close()


def _dearest(prepared: Prepared, forecast: Forecast, names: tuple[str, ...]) -> str:
    """The task that takes most time; of equal ones the last."""
    alone = {name: Part(prepared.whole.rounds, (name,), prepared.whole.lengths) for name in names}
    spent = {n: sum(forecast.seconds(prepared.reduced(part, {}).planned())) for n, part in alone.items()}
    return max(reversed(names), key=lambda name: spent[name])
