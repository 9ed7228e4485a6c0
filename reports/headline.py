"""The result in words, computed from the analysis: what a student takes away in ten seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reports.crossover import Crossover
from reports.statistics import Analysis, ranks_at
from reports.tables import is_time, verdict_counts
from reports.verdicts import MARGINS
from reports.words import digits, integer, memory, phase, rounded, seconds, short
from reports.words import names as joined


@dataclass(frozen=True)
class Headline:
    """`cards` are (number, what it says, detail); `sentences` carry the rest."""

    cards: list[tuple[str, str, str]]
    sentences: list[str]


def headline(analysis: Analysis) -> Headline:
    """Cards and sentences; both may be empty where nothing was measured."""
    regime = analysis.time_regime()
    step = "forward_backward" if analysis.by_architecture("cell", regime, "forward_backward", "time") else "forward"
    cards = [
        _fastest(analysis, regime, step),
        _doubling(analysis, regime, step),
        _crossing(analysis, regime, step),
        _leanest(analysis, regime),
    ]
    sentences = [
        _growth(analysis, regime, step),
        _crossings(analysis, regime, step),
        _stopped(analysis, regime),
        _verdicts(analysis),
    ]
    return Headline([c for c in cards if c], [s for s in sentences if s])


def _at(analysis: Analysis, regime: str, step: str, metric: str, length: int) -> dict[str, float]:
    found = analysis.by_architecture("cell", regime, step, metric)
    return {n: float(s.values[s.at(length)]) for n, s in found.items() if length in s.lengths}


def _fastest(analysis: Analysis, regime: str, step: str) -> tuple[str, str, str] | None:
    length = analysis.longest_common(regime, step)
    if length is None:
        return None
    times = _at(analysis, regime, step, "time", length)
    reach = {a.name: a.receptive_field for a in analysis.data.architectures}
    ranks = ranks_at(analysis, regime, step, "time", length)
    first = sorted((n for n in ranks if ranks[n].low == 1), key=lambda n: times[n])
    slowest = max(times, key=lambda n: times[n])
    detail = f"{seconds(times[first[0]])} a pass ({phase(step)}, {analysis.data.regime_title(regime)})"
    if len(times) > 1 and slowest not in first:
        detail += f"; the slowest, {short(slowest)}, takes {digits(times[slowest] / times[first[0]], 2)} times as long"
    who = joined([short(n) for n in first[:3]]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")
    common = "the longest length that all finished" if len(times) > 1 else "the longest length"
    near = [(n, tokens) for n in first[:3] if (tokens := reach[n]) is not None and tokens < length]
    if near:
        detail += f". {joined([f'{short(n)} sees {integer(tokens)} tokens' for n, tokens in near])} at this depth"
    tie = " (tied)" if len(first) > 1 else ""
    return who, f"fastest at {integer(length)} tokens, {common}{tie}", detail


def _last_doubling(analysis: Analysis, regime: str, step: str) -> dict[str, float]:
    """Factor in time for a doubling of the length, from the last two lengths of each architecture."""
    found = analysis.by_architecture("cell", regime, step, "time")
    factors = {}
    for name in found:
        judged = analysis.fit(name, "cell", regime, step, "time")
        if judged is not None and np.isfinite(judged.fit.local_slope):
            factors[name] = 2.0**judged.fit.local_slope
    return factors


def _doubling(analysis: Analysis, regime: str, step: str) -> tuple[str, str, str] | None:
    factors = _last_doubling(analysis, regime, step)
    if not factors:
        return None
    low, high = min(factors, key=lambda n: factors[n]), max(factors, key=lambda n: factors[n])
    if low == high:
        return f"× {factors[low]:.1f}", "time for twice the length", low
    return (f"× {factors[low]:.1f} to × {factors[high]:.1f}", "time for twice the length, each at its own longest two",
            f"least: {_with_equals(analysis, regime, step, low, factors)}; "
            f"most: {_with_equals(analysis, regime, step, high, factors)}")  # fmt: skip


def _with_equals(analysis: Analysis, regime: str, step: str, name: str, others: Iterable[str]) -> str:
    """An end of the range, how far it went, and how many others its interval does not leave out."""
    fits = {n: judged.fit for n in others if (judged := analysis.fit(n, "cell", regime, step, "time")) is not None}
    own = fits[name]
    equal = [
        n for n, f in fits.items() if n != name and f.local_low <= own.local_high and own.local_low <= f.local_high
    ]
    who = f"{short(name)}{_longest(analysis, regime, step, name)}"
    if not equal:
        return who
    return f"{who}, not told apart from {short(equal[0]) if len(equal) == 1 else f'{len(equal)} others'}"


def _longest(analysis: Analysis, regime: str, step: str, name: str) -> str:
    judged = analysis.fit(name, "cell", regime, step, "time")
    return f" (up to {integer(judged.fit.last_length)} tokens)" if judged is not None else ""


def _representatives(analysis: Analysis, regime: str, step: str) -> dict[str, str]:
    """Of each family the architecture that went furthest, and of those the fastest there."""
    found = analysis.by_architecture("cell", regime, step, "time")
    best: dict[str, tuple[float, float, str]] = {}
    for a in analysis.data.architectures:
        if a.name in found:
            one = found[a.name]
            entry = (-float(one.lengths[-1]), float(one.values[-1]), a.name)
            best[a.family] = min(best.get(a.family, entry), entry)
    return {family: name for family, (_, _, name) in best.items()}


def _notable(analysis: Analysis, regime: str, step: str) -> list[Crossover]:
    """Single, well-resolved crossings between the families' representatives, the largest change of growth first."""
    chosen = set(_representatives(analysis, regime, step).values())
    growth = {n: j.fit.exponent for n in chosen if (j := analysis.fit(n, "cell", regime, step, "time")) is not None}
    found = [
        c for c in analysis.crossovers.get((regime, step, "time"), [])
        if c.outcome == "crosses" and c.crossings == 1 and {c.a, c.b} <= chosen and c.low > 0 and np.isfinite(c.high)
    ]  # fmt: skip

    def gain(c: Crossover) -> float:
        difference = growth.get(c.loser, np.nan) - growth.get(c.winner, np.nan)
        return float(difference) if np.isfinite(difference) else 0.0

    return sorted(found, key=lambda c: (-round(gain(c), 1), c.length))


def crossing_words(c: Crossover) -> str:
    """One crossover as a sentence without a full stop."""
    return (
        f"{short(c.winner)} beats {short(c.loser)} from T = {rounded(c.length)} [{rounded(c.low)}; {rounded(c.high)}]"
    )


def _crossing(analysis: Analysis, regime: str, step: str) -> tuple[str, str, str] | None:
    found = _notable(analysis, regime, step)
    if not found:
        return None
    c = found[0]
    return (f"T ≈ {rounded(c.length)}", f"from there on {short(c.winner)} is faster than {short(c.loser)}",
            f"95 % interval [{rounded(c.low)}; {rounded(c.high)}] tokens, {phase(step)}, on this machine")  # fmt: skip


def _leanest(analysis: Analysis, regime: str) -> tuple[str, str, str] | None:
    length = analysis.longest_common(regime, "forward_backward", "activation_memory")
    if length is None:
        return None
    held = _at(analysis, regime, "forward_backward", "activation_memory", length)
    if len(held) < 2:
        return None
    low, high = min(held, key=lambda n: held[n]), max(held, key=lambda n: held[n])
    if held[high] < 1.01 * held[low]:
        return memory(held[low]), f"of activations at {integer(length)} tokens, the same for all", ""
    who = [n for n in held if held[n] < 1.01 * held[low]]
    few = (
        joined([short(n) for n in who])
        if len(who) <= 3
        else f"{joined([short(n) for n in who[:2]], 'or')} ({len(who)} are equal)"
    )
    return (f"{memory(held[low])} to {memory(held[high])}",
            f"of activations kept for training at {integer(length)} tokens",
            f"least: {few}; most: {short(high)}")  # fmt: skip


def _growth(analysis: Analysis, regime: str, step: str) -> str:
    """In words of the verdicts' margin: an interval must lie within it, or wholly beyond it, to say so."""
    near = MARGINS["time"]
    unsettled = "by a power that is not settled"
    kinds: dict[str, list[str]] = {}
    for a in analysis.data.architectures:
        judged = analysis.fit(a.name, "cell", regime, step, "time")
        if judged is None:
            continue
        if not judged.fit.resolved:
            kinds.setdefault(unsettled, []).append(short(a.name))
            continue
        f = judged.fit
        if abs(f.low - 1) <= near and abs(f.high - 1) <= near:
            kinds.setdefault("in proportion to the length", []).append(short(a.name))
        elif abs(f.low - 2) <= near and abs(f.high - 2) <= near:
            kinds.setdefault("with the square of the length", []).append(short(a.name))
        elif f.low > 1 + near:
            kinds.setdefault("faster than the length", []).append(f"{short(a.name)} (T^{f.exponent:.2f})")
        elif f.high < 1 - near:
            kinds.setdefault("slower than the length", []).append(f"{short(a.name)} (T^{f.exponent:.2f})")
        else:
            between = f"{short(a.name)} (T^{f.low:.2f} to T^{f.high:.2f})"
            kinds.setdefault(unsettled, []).append(between)
    if not kinds:
        return ""
    last = [(unsettled, kinds.pop(unsettled))] if unsettled in kinds else []
    parts = [f"{how} for {joined(who)}" for how, who in (*kinds.items(), *last)]
    return f"Beyond its fixed cost, time of a pass ({phase(step)}) grows {'; '.join(parts)}."


def _crossings(analysis: Analysis, regime: str, step: str) -> str:
    found = _notable(analysis, regime, step)[:3]
    return f"Crossings on this machine: {'; '.join(map(crossing_words, found))}." if found else ""


def _stopped(analysis: Analysis, regime: str) -> str:
    stops = [s for s in analysis.data.stops("forward_backward") if s.regime == regime]
    if not stops:
        lengths = analysis.data.plan.get("lengths") or []
        done = analysis.by_architecture("cell", regime, "forward_backward", "time")
        whole = len(done) == len(analysis.data.architectures) and all(
            set(lengths) <= set(s.lengths.tolist()) for s in done.values()
        )
        return (
            f"Every architecture finished every length up to {integer(max(lengths))} tokens."
            if lengths and whole
            else ""
        )
    parts = [f"{short(s.architecture)} at {integer(s.length)} tokens ({s.words})" for s in stops]
    where = analysis.data.regime_title(regime)
    limit = analysis.data.plan.get("spec", {}).get("limit")
    if limit and any(s.status == "timeout" for s in stops):
        where += f"; this preset's limit is {seconds(limit)} a call"
    return f"Stopped early ({where}): {joined(parts)}."


def _verdicts(analysis: Analysis) -> str:
    """Counts and bytes carry no noise, so their agreement says little of time: the two are told apart."""
    said = []
    for what, timed in (("counts and exact bytes", False), ("time", True)):
        counts = verdict_counts(analysis, timed)
        if total := sum(counts.values()):
            said.append(f"Of {total} claims of theory about {what}, {_told(counts)}{_against(analysis, timed)}.")
    return " ".join(said)


def _told(counts: dict[str, int]) -> str:
    verbs = {"agrees": ("agrees", "agree"), "disagrees": ("disagrees", "disagree"),
             "not resolved": ("is not resolved by this run", "are not resolved by this run")}  # fmt: skip
    if counts["agrees"] == sum(counts.values()) > 1:
        return "all agree with what was found"
    return joined([f"{n} {verbs[verdict][n != 1]}" for verdict, n in counts.items() if n])


def _against(analysis: Analysis, timed: bool) -> str:
    found = sorted({f"{short(k.architecture)} ({k.metric.replace('_', ' ')}, {phase(k.phase)})"
                    for k, j in analysis.fits.items() if j.verdict == "disagrees" and is_time(k) == timed})  # fmt: skip
    return f" (against: {joined(found[:4])}{' and others' if len(found) > 4 else ''})" if found else ""
