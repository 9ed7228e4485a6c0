"""Another run drawn beside one's own: a reference of another machine, or yesterday's run, on the same axes.

A number is drawn only where it is of the same thing: the same architecture by name, and for times and bytes of a batch the
same regime and batch. That widths, machines or versions may differ stands in a warning of the page.
"""

from __future__ import annotations

from reports.comparison.notices import differences
from reports.data import RunData
from reports.notices import Warn
from reports.words import short


class Unlike(ValueError):
    """The two runs are not of the same kind, so nothing of one has a place on the page of the other."""


def check(own: RunData, other: RunData) -> None:
    """Raises Unlike where the other run's page is of another kind."""
    kinds = [str(data.plan.get("kind") or data.plan.get("suite") or "") for data in (own, other)]
    if kinds[0] != kinds[1]:
        raise Unlike(f"--beside {other.run_id}: that is a run of kind '{kinds[1]}', this one of kind '{kinds[0]}'; name "
                     "one of the same kind")  # fmt: skip


def name(other: RunData) -> str:
    """What the page calls it: the run and its machine."""
    device = str(other.environment.get("device_name") or other.plan.get("device") or "unknown device")
    return f"{short(other.run_id, 40)} ({short(device, 60)})"


def warning(own: RunData, other: RunData, shown: bool, how: str) -> Warn:
    """What a reader must know of the other run; `how` says in which form its numbers are shown."""
    if not shown:
        return Warn("nothing beside", f"{name(other)} was to be shown beside this run, but has no number that fits: no "
                    "architecture, task or regime of the same name and batch.")  # fmt: skip
    said = "; ".join(part for parts in differences(own, other).values() for part in parts)
    return Warn("another run beside", f"{how} of {name(other)}."
                + (f" This run and that one: {said}." if said else ""))  # fmt: skip
