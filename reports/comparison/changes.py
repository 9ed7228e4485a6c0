"""What a comparison holds: one change a quantity that both runs have, its verdict, and the alarm of --fail-if-worse."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reports.comparison.method import Effect
from reports.notices import Warn
from reports.paired import SIGNIFICANT, holm

Kind = Literal["time", "score", "count"]
GOOD, BAD = ("faster", "better", "less"), ("slower", "worse", "more")
SYMBOLS = {"faster": "✓", "better": "✓", "less": "✓", "slower": "✗", "worse": "✗", "more": "✗", "other": "≠", "same": "=",
           "not resolved": "?", "not tested": "–"}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One quantity in both runs.

    Attributes:
        where: what it is, in the order of the comparison's columns.
        a, b: its value in either run, in `unit`. n: rounds or seeds of either.
        effect: of a `time` the logarithm of b / a; of a `score` b - a; of a `count` b / a - 1, which is exact.
        how: how the two were put side by side. adjusted: p after the correction over the whole comparison.
    """

    kind: Kind
    where: tuple[str, ...]
    order: tuple[Any, ...]
    unit: str
    better: str
    a: float
    b: float
    effect: Effect
    n: tuple[int, int]
    how: str
    adjusted: float = math.nan
    note: str = ""

    @property
    def share(self) -> tuple[float, float, float]:
        """b over a, minus 1: value, low and high."""
        ends = (self.effect.value, *self.effect.interval)
        if self.kind == "time":
            return tuple(math.expm1(v) for v in ends)  # type: ignore[return-value]
        if self.kind == "score":
            return tuple(v / abs(self.a) if self.a else math.nan for v in ends)  # type: ignore[return-value]
        return ends

    @property
    def worse(self) -> float:
        """The share by which b is worse than a; negative where it is better. NaN where neither way is better."""
        return self._sign * self.share[0]

    @property
    def _sign(self) -> float:
        return {"lower": 1.0, "higher": -1.0}.get(self.better, math.nan)

    @property
    def verdict(self) -> str:
        good, bad = {"time": ("faster", "slower"), "score": ("better", "worse"), "count": ("less", "more")}[self.kind]
        if self.kind == "count":
            return "same" if self.effect.value == 0 else good if self.effect.value < 0 else bad
        if math.isnan(self.adjusted):
            return "not tested"
        if self.adjusted >= SIGNIFICANT:
            return "not resolved"
        return bad if self._sign * self.effect.value > 0 else good

    def p_worse(self, limit: float) -> float:
        """Is b worse than a by more than `limit` (a share of a)? NaN where that cannot be tested or means nothing."""
        if math.isnan(self._sign):
            return math.nan
        if self.kind == "count":
            return 0.0 if self.worse > limit else 1.0
        up = self.better == "lower"
        turned = self.effect if up else replace(self.effect, value=-self.effect.value)
        if self.kind == "time":
            return turned.p_beyond(math.log1p(limit))
        return turned.p_beyond(limit * abs(self.a))


@dataclass(frozen=True)
class Comparison:
    """Two runs of one kind of suite. `columns` name the parts of `where`; `only` lists what one run alone has."""

    a: str
    b: str
    columns: tuple[str, ...]
    changes: list[Change]
    only: dict[str, list[str]]
    warnings: list[Warn] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """What ended well in a and was tried in b without ending well: with its reason."""

    def count(self, *verdicts: str) -> int:
        return sum(c.verdict in verdicts for c in self.changes)


def corrected(changes: list[Change]) -> list[Change]:
    """Holm's correction over all that was tested; counts are exact and need no test."""
    adjusted = holm([math.nan if c.kind == "count" else c.effect.p for c in changes])
    return [replace(c, adjusted=p) for c, p in zip(changes, adjusted, strict=True)]


def alarms(changes: list[Change], limit: float) -> list[Change]:
    """Those that are worse in b by more than `limit`, at 95 % over all of them together; the worst first."""
    tested = [c for c in changes if c.kind != "count"]
    found = [c for c, p in zip(tested, holm([c.p_worse(limit) for c in tested]), strict=True) if p < SIGNIFICANT]
    found += [c for c in changes if c.kind == "count" and c.p_worse(limit) == 0.0]
    return sorted(found, key=lambda c: -c.worse if math.isfinite(c.worse) else -math.inf)


def limit_of(text: str) -> float:
    """A share from "5%" or "5 %". Raises ValueError whose message is one line."""
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number) / 100 if text.strip().endswith("%") else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 10:
        raise ValueError(f"--fail-if-worse {text!r}: give a share in percent, from 0% to 1000%, such as 5%")
    return value
