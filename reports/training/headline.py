"""Who wins where and by how much, in words that are computed; what the seeds do not show is not said."""

from __future__ import annotations

import math

from reports.headline import Headline
from reports.training.ablations import Ablation
from reports.training.curves import reached, target
from reports.training.data import Name, TaskRun, label
from reports.training.scores import Board, Standing
from reports.training.tables import score_text
from reports.words import digits, duration, integer, memory, names, short, signed

_CLOSE = 1.02  # costs nearer than this are called the same


def headline(board: Board, ablations: list[Ablation]) -> Headline:
    """Cards and sentences of one task; both may be empty where nothing ended well."""
    cards = [winner(board), _margin(board), _soonest(board), _leanest(board)]
    sentences = [_ties(board), *_references(board), _changes(ablations), _absent(board)]
    return Headline([c for c in cards if c], [s for s in sentences if s])


def _who(standings: list[Standing], most: int = 5) -> str:
    shown = [short(s.label) for s in standings]
    return names(shown) if len(shown) <= most else f"{', '.join(shown[:most])} and {len(shown) - most} more"


def winner(board: Board) -> tuple[str, str, str] | None:
    """The leader and those tied with it."""
    if not board.ranked:
        return None
    task, lead = board.task, board.ranked[0]
    if lead.mean is None:
        return None
    what = f"{task.test_split} {task.primary.words} {score_text(lead.mean.value)}"
    if (nothing := board.nothing_learnt) is not None:
        name = short(nothing.label, 60)
        detail = f"{name}: {score_text(nothing.value)}; the best mean has {short(lead.label)}, {what}"
        return "nobody", f"shown to be better than “{name}” on {short(task.name)}", detail
    one_seed = lead.mean.n < 2
    interval = f"[{score_text(lead.mean.low)}, {score_text(lead.mean.high)}], {lead.mean.n} seeds"
    if len(board.ranked) == 1:
        detail = f"{what}; one seed gives no interval" if one_seed else f"{what} {interval}"
        return short(lead.label), f"alone with a score on {short(task.name)}", detail
    if one_seed:
        return short(lead.label), f"best on {short(task.name)} in a single seed", f"{what}; one seed gives no rank"
    first = board.first
    if len(first) == 1:
        return short(lead.label), f"best on {short(task.name)}", f"{what} {interval}"
    detail = f"{short(lead.label)} has the best mean, {what} {interval}"
    apart = f"not told apart at the top of {short(task.name)}, by {lead.mean.n} seeds"
    return _who(first), apart, detail


def _margin(board: Board) -> tuple[str, str, str] | None:
    """Leader against the runner-up: a difference with its interval."""
    if len(board.ranked) < 2:
        return None
    task, (lead, second) = board.task, board.ranked[:2]
    pair = board.pair(lead.name, second.name)
    if pair is None or lead.mean is None or second.mean is None:
        return None
    forward = (lead.name, second.name) in board.pairs
    turned = 1.0 if forward == (task.primary.better == "higher") else -1.0  # so that ahead is positive
    d = pair.difference
    low, high = sorted((turned * d.low, turned * d.high))
    says = (f"{short(lead.label)} ahead of the next, {short(second.label)}, in {task.primary.words}"
            + ("" if pair.significant else " (not shown)" if d.n > 1 else " (one seed)"))  # fmt: skip
    detail = (
        f"95 % interval of this pair alone [{signed(low)}, {signed(high)}], paired by seed"
        if d.n > 1
        else "no interval with one seed"
    )
    if low > 0 and not pair.significant:
        detail += f"; among {integer(len(board.pairs))} pairs that shows nothing (p {pair.adjusted:.2f}, Holm)"
    last = board.ranked[-1]
    if len(board.ranked) > 2 and last.mean is not None:
        detail += f"; last: {short(last.label)}, {score_text(last.mean.value)}"
    return digits(turned * d.value), says, detail


def times_to_target(task: TaskRun, goal: float) -> dict[Name, float]:
    """Mean seconds to a score, of competitors all of whose seeds reached it; nothing where the soonest may have been there
    before anybody looked."""
    found, early = {}, set()
    for c in task.competitors:
        spots = [spot for spot in reached(task, c.name, goal) if spot is not None]
        seconds = sum(spot.seconds for spot in spots) / len(spots) if spots else math.nan
        if len(spots) >= task.planned(c.name) and math.isfinite(seconds):
            found[c.name] = seconds
            early |= {c.name} if any(spot.at_once for spot in spots) else set()
    return {} if found and min(found, key=lambda n: found[n]) in early else found


def _soonest(board: Board) -> tuple[str, str, str] | None:
    goal = target(board.task, board.learnt)
    if goal is None:
        return None
    times = times_to_target(board.task, goal[0])
    if len(times) < 2:
        return None
    first, last = min(times, key=lambda n: times[n]), max(times, key=lambda n: times[n])
    detail = f"{duration(times[first])} of training on this machine"
    if times[last] > _CLOSE * times[first] > 0:
        slow = digits(times[last] / times[first], 2)
        detail += f"; the slowest to get there, {short(label(last))}, takes {slow} times as long"
    detail += f". This score is {goal[1]}"
    what = f"first to reach {board.task.watched.words} {score_text(goal[0])} on the tuning split"
    return short(label(first)), what, detail


def _leanest(board: Board) -> tuple[str, str, str] | None:
    held = {s.label: v for s in board.ranked if (v := board.task.cost(s.name, "activation_memory")) is not None}
    if len(held) < 2:
        return None
    low, high = min(held, key=lambda n: held[n]), max(held, key=lambda n: held[n])
    if held[high] < _CLOSE * held[low]:
        return memory(held[low]), "of activations in a training step, the same for all", ""
    return (f"{memory(held[low])} to {memory(held[high])}", "of activations kept in a training step",
            f"least: {short(low)}; most: {short(high)}")  # fmt: skip


def _ties(board: Board) -> str:
    several = [s for s in board.ranked if s.rank is not None]
    if len(several) < 2:
        return ""
    apart = sum(pair.significant for pair in board.pairs.values())
    return (f"Of {integer(len(board.pairs))} pairs of competitors, {integer(apart)} can be told apart by "
            f"{several[0].mean.n if several[0].mean else 0} seeds (paired t-tests at 5 %, Holm's correction): all pairs "
            "stand below the leaderboard.")  # fmt: skip


def _references(board: Board) -> list[str]:
    """How far the leader is from each reference of the test split."""
    task = board.task
    if not board.ranked or board.ranked[0].mean is None:
        return []
    lead, value = board.ranked[0], board.ranked[0].mean.value
    made = []
    for r in task.references:
        if r.metric == task.primary.name and r.holds(task.test_split):
            gap = value - r.value
            share = f" ({digits(100 * abs(gap / r.value), 2)} %)" if r.value and r.kind != "chance" else ""
            side = "above" if gap > 0 else "below"
            made.append(f"{short(lead.label)} is {digits(abs(gap))}{share} {side} {short(r.label, 60)} "
                        f"({score_text(r.value)}).")  # fmt: skip
    return made


def _changes(ablations: list[Ablation]) -> str:
    parts = []
    for one in ablations:
        better = one.task.primary.better
        found = {v: [e for e in one.effects if e.verdict(better) == v]
                 for v in ("better", "worse", "not shown", "one seed", "no result")}  # fmt: skip
        said = [f"{len(found[v])} {words}" for v, words in (
            ("better", "better"), ("worse", "worse"), ("not shown", "not told from it"),
            ("one seed", "with one seed only"), ("no result", "without a result")) if found[v]]  # fmt: skip
        parts.append(f"{short(one.baseline.label)} has {len(one.effects)} change{'' if len(one.effects) == 1 else 's'}: "
                     f"{names(said)}")  # fmt: skip
    return f"Against their baselines: {'; '.join(parts)}." if parts else ""


def _absent(board: Board) -> str:
    absent = [s for s in board.standings if s.mean is None]
    return f"Without a mean, and so unranked: {names([f'{short(s.label)} ({short(s.reason, 90)})' for s in absent])}." \
        if absent else ""  # fmt: skip


def overall(boards: list[Board]) -> list[tuple[str, str, str]]:
    """One card a task, for a run of several."""
    return [card for board in boards if (card := winner(board)) is not None]
