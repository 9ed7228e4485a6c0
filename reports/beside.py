"""Another run drawn beside one's own: a reference of another machine, or yesterday's run, on the same axes.

A number is drawn only where it is of the same thing: the same architecture by name, and for times and bytes of a batch the
same regime and batch. That widths, machines or versions may differ stands in a warning of the page.
"""

from __future__ import annotations

from typing import Any

from reports.comparison.notices import differences
from reports.data import RunData, kind_of
from reports.notices import Warn
from reports.words import short


class Unlike(ValueError):
    """The two runs are not of the same kind, so nothing of one has a place on the page of the other."""


def check(plan: dict[str, Any], called: str, other: dict[str, Any]) -> None:
    """Raises Unlike where the page of the other plan is of another kind. `called`: what the user called its run."""
    own, theirs = kind_of(plan), kind_of(other)
    if own != theirs:
        raise Unlike(f"--beside {called}: that is a run of kind '{theirs}', '{plan.get('suite')}' is of kind '{own}'")


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
