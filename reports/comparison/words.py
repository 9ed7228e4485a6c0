"""What --fail-if-worse says, in one line."""

from __future__ import annotations

from reports.comparison.changes import Change, Comparison
from reports.words import digits, integer, short, signed


def place(change: Change) -> str:
    """What a change is about, in a few words."""
    return " ".join(short(part) for part in change.where if part != "–")


def told(worse: list[Change], limit: float, found: Comparison) -> str:
    """How many are worse by more than the limit, and the worst of them; what could not be tested is said, never passed."""
    lost = f"; {integer(len(found.lost))} no longer end well, such as {found.lost[0]}" if found.lost else ""
    total, untested = len(found.changes), found.count("not tested")
    open_ = (
        f" ({integer(untested)} could not be tested: one round or seed, or all differ by the same)" if untested else ""
    )
    if not worse:
        most = f"by more than {digits(100 * limit)} %"
        return f"none of {integer(total)} is shown to be worse in {found.b} {most}{open_}{lost}"
    first = worse[0]
    change = signed(100 * first.share[0], 3)
    return (f"{integer(len(worse))} of {integer(total)} worse in {found.b} by more than {digits(100 * limit)} %, the worst: "
            f"{place(first)}, {change} %{open_}{lost}")  # fmt: skip
