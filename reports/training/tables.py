"""Tables of a run that trains: who is ahead, every score, the search, the way to a target, changes, failures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from reports.data import RunData
from reports.paired import Mean, mean
from reports.tables import LAST, Table, Value
from reports.training.ablations import Ablation, Effect
from reports.training.curves import Reached, reached, target
from reports.training.data import Competitor, Metric, Name, Reference, TaskRun, Training, label
from reports.training.looks import Cast
from reports.training.scores import Board, Standing, average
from reports.training.tuning import chosen_try, edge
from reports.words import count, digits, duration, integer, memory, p_value, short, signed, trials

_NONE = Value("–", LAST, number=True)


def score_text(value: float) -> str:
    """Four significant digits: neighbours on a board differ in the third or fourth."""
    return digits(value, 4)


def interval_text(found: Mean) -> str:
    """The t interval; empty for one seed, which has none."""
    return f"[{score_text(found.low)}, {score_text(found.high)}]" if found.n > 1 else ""


def who(cast: Cast, name: Name, title: str = "") -> Value:
    """A competitor with its colour."""
    look = cast.looks.get(name)
    text = label(name)
    return Value(short(text, 40), text, title=title or text, slot=look.slot if look else None)


def _number(text: str, order: float, small: str = "", title: str = "") -> Value:
    return Value(text, order if math.isfinite(order) else LAST, small, title, number=True)


def _maybe(value: float | None, text: Any, small: str = "") -> Value:
    return _NONE if value is None or not math.isfinite(value) else _number(text(value), value, small)


def _seeds(values: dict[int, float], planned: int) -> str:
    """Small print where a mean lacks seeds."""
    return f"{len(values)} of {planned} seeds" if 0 < len(values) < planned else ""


def _ordered(value: float, metric: Metric) -> float:
    """What sorts a score so that ascending is best first."""
    return -value if metric.better == "higher" else value


def alike(board: Board, there: Board) -> set[Name]:
    """Competitors with a mean in both, where both are ranked by the same score on the same split."""
    same = (board.task.test_split, board.task.primary) == (there.task.test_split, there.task.primary)
    return {s.name for s in board.ranked} & {s.name for s in there.ranked} if same else set()


def leaderboard(board: Board, cast: Cast, there: Board | None = None) -> Table:
    """One row a competitor, best first; one that failed keeps its row with the reason and has no rank. `there`: the same
    task in a run beside this one, for columns that say what it gave.
    """
    task = board.task
    split = task.test_split
    unit, each = task.example
    # A score of part of the examples ("BLEU: 1 to 8 source words") has its place among all scores.
    others = [m for m in task.metrics(split) if m.name != task.primary.name and ": " not in m.name]
    marks = [r for r in task.references if r.metric == task.primary.name and r.holds(split)]
    has_energy = any(task.effort(c.name, "energy") for c in task.competitors)
    pads = any(value > 0 for c in task.competitors for value in task.effort(c.name, "padding").values())
    both = alike(board, there) if there is not None else set()
    columns = ["rank", "competitor", "family", f"{split} {task.primary.words}", *(f"{split} {m.words}" for m in others),
               f"tune {task.primary.words}", *(f"distance to {short(r.label, 28)}" for r in marks), "parameters",
               f"FLOPs {each}", "training time", f"{unit}s/s", "activation memory", "peak memory",
               *(["energy"] if has_energy else []), *(["padding"] if pads else []), "lr", "seeds", "note",
               *([f"beside: {split} {task.primary.words}", "beside: training time"] if both else [])]  # fmt: skip
    rows = []
    for place, s in enumerate(board.standings):
        name = s.name
        value = s.mean.value if s.mean else None
        extra = [_mean(list(task.scores(name, split, m.name).values()), m) if s.mean else _NONE for m in others]
        distances = [_NONE if value is None else _distance(value, r) for r in marks]
        rows.append([
            _rank(s, place), who(cast, name, _title(s.competitor)), Value(s.competitor.family),
            _primary(task, s),
            *extra, _tuning(task, name), *distances, _parameters(s.competitor),
            _maybe(task.cost(name, f"flops_per_{unit}"), count),
            _spent(task, name, "train_time", duration), _spent(task, name, f"{unit}s_per_second", count),
            _maybe(task.cost(name, "activation_memory"), memory), _maybe(task.cost(name, "peak_memory"), memory),
            *([_spent(task, name, "energy", lambda v: count(v, "J"))] if has_energy else []),
            *([_spent(task, name, "padding", lambda v: f"{100 * v:.1f} %")] if pads else []), _lr(task, name),
            _number(f"{s.done} of {task.planned(name)}", s.done), Value(f"✕ {s.reason}" if s.reason else ""),
            *(_beside(there.task, name, name in both) if there and both else []),
        ])  # fmt: skip
    tell = {
        0: "from 1 + those significantly better to N - those significantly worse; overlapping ranges may be told apart"
    }
    return Table(f"{task.id}-board", columns, rows, [2], {}, (0, "asc"), tell)


def _beside(task: TaskRun, name: Name, whole: bool) -> list[Value]:
    """What the run beside this one gave: its score and its training time."""
    if not whole:
        return [_NONE, _NONE]
    score = _mean(list(task.scores(name, task.test_split, task.primary.name).values()), task.primary)
    return [score, _spent(task, name, "train_time", duration)]


def _primary(task: TaskRun, s: Standing) -> Value:
    """The score that ranks, or in a few words why there is none."""
    if s.mean is None:
        return Value(f"✕ {s.short}", LAST, title=s.reason, number=True)
    return _mean(list(task.scores(s.name, task.test_split, task.primary.name).values()), task.primary)


def _rank(s: Standing, place: int) -> Value:
    """A rank interval; without one (single seed) the place alone orders the row."""
    if s.rank is None:
        return Value("–", (1e3 if s.mean else 1e6) + place, number=True)
    return _number(str(s.rank), s.rank.low + s.rank.high / 1e3 + place / 1e6, "tie" if s.rank.tied else "")


def _title(c: Competitor) -> str:
    sizes = f"width {c.width}, depth {c.depth}" if c.width else ""
    return " · ".join(filter(None, [c.label, sizes, ", ".join(f"{k} {v}" for k, v in c.settings.items())]))


def _mean(values: list[float], metric: Metric) -> Value:
    if not values:
        return _NONE
    found = mean(values)
    return Value(score_text(found.value), _ordered(found.value, metric), interval_text(found),
                 "seeds: " + ", ".join(map(score_text, values)), number=True)  # fmt: skip


def _distance(value: float, reference: Reference) -> Value:
    """Score minus reference; as a share of it too, but not of chance, which is where nothing was learnt."""
    gap = value - reference.value
    share = f"{signed(100 * gap / abs(reference.value), 2)} %" if reference.value and reference.kind != "chance" else ""
    return _number(signed(gap), abs(gap), share)


def _tuning(task: TaskRun, name: Name) -> Value:
    values = task.scores(name, "tune", task.primary.name)
    if not values:
        return _NONE
    return Value(score_text(average(values)), _ordered(average(values), task.primary), _seeds(values, task.planned(name)),
                 "mean over seeds at the weights that were kept", number=True)  # fmt: skip


def _parameters(c: Competitor) -> Value:
    small = f"{integer(c.embedding_parameters)} embedding" if c.embedding_parameters else ""
    return _number(integer(c.parameters), c.parameters, small) if c.parameters else _NONE


def _spent(task: TaskRun, name: Name, metric: str, text: Any) -> Value:
    values = task.effort(name, metric)
    return _number(text(average(values)), average(values), _seeds(values, task.planned(name))) if values else _NONE


def _lr(task: TaskRun, name: Name) -> Value:
    """The learning rate that ran; small print says how it came about."""
    choice = task.choices[name]
    value = (choice.chosen or {}).get("lr")
    if value is None:
        recipes = [r.extra.get("recipe") or {} for r in task.finals.get(name, {}).values()]
        value = next((r["lr"] for r in recipes if isinstance(r.get("lr"), int | float)), None)
    small = {"single": "not searched", "chosen": f"of {len(choice.tries)}"}.get(choice.status, "")
    return _maybe(value, lambda v: f"{v:g}", f"{edge(choice)} {small}".strip())


def all_scores(board: Board, cast: Cast) -> Table:
    """Every score on every split, with the value of each seed."""
    task = board.task
    rows = []
    for s in board.standings:
        for split in task.splits:
            for metric in task.metrics(split):
                values = task.scores(s.name, split, metric.name)
                if not values:
                    continue
                whole = len(values) >= task.planned(s.name)
                found = mean(list(values.values())) if whole else None
                rows.append([
                    who(cast, s.name), Value(split), Value(metric.words), Value(metric.better),
                    _number(score_text(found.value), found.value) if found else _NONE,
                    _maybe(found.low if found else None, score_text), _maybe(found.high if found else None, score_text),
                    _number(f"{len(values)} of {task.planned(s.name)}", len(values)),
                    Value(", ".join(score_text(v) for v in values.values()),
                          title=trials(task.ok(s.name)[seed].trial_id for seed in values)),
                ])  # fmt: skip
    columns = ["competitor", "split", "score", "better", "mean", "95 % low", "95 % high", "seeds", "each seed"]
    return Table(f"{task.id}-scores", columns, rows, [0, 1, 2])


def tries(board: Board, cast: Cast) -> Table:
    """Every try of the search, the choice marked; empty where there was nothing to choose."""
    task = board.task
    rows = []
    searched = any(len(choice.tries) > 1 or choice.status == "none" for choice in task.choices.values())
    for c in task.competitors if searched else []:
        choice = task.choices[c.name]
        picked = chosen_try(choice)
        for t in choice.tries:
            rest = ", ".join(f"{k} {v}" for k, v in t.settings.items() if k != "lr")
            mark = "✓ chosen" if t is picked else ""
            ok = t.score is not None and t.status == "ok"
            rows.append([
                who(cast, c.name), _maybe(t.lr, lambda v: f"{v:g}", rest),
                _number(score_text(t.score), _ordered(t.score, task.primary)) if ok and t.score is not None else _NONE,
                Value(t.status), Value(mark, small=f"{edge(choice)} tried" if t is picked and edge(choice) else ""),
                Value(t.reason),
            ])  # fmt: skip
        if choice.status in ("single", "none") and not choice.tries:
            rows.append([who(cast, c.name), _NONE, _NONE, Value(choice.status), Value(""), Value(choice.reason)])
    columns = ["competitor", "lr", f"tune {task.primary.words}", "status", "choice", "reason"]
    return Table(f"{task.id}-tries", columns, rows, [0, 3, 4])


def targets(board: Board, cast: Cast) -> tuple[Table, str]:
    """Step, tokens and seconds until the target, mean over seeds; and the target in words."""
    task = board.task
    found = target(task, board.learnt)
    columns = ["competitor", "step", "tokens", "seconds of training", "seeds that reached it"]
    if found is None:
        return Table(f"{task.id}-target", columns, []), ""
    value, origin = found
    rows = []
    for s in board.standings:
        there = [spot for spot in reached(task, s.name, value) if spot is not None]
        whole = bool(there) and len(there) == task.planned(s.name)
        rows.append([who(cast, s.name), *_reached(there, whole),
                     _number(f"{len(there)} of {task.planned(s.name)}", -len(there))])  # fmt: skip
    rows.sort(key=lambda row: float(row[3].order or 0.0))  # the soonest first
    words = f"{task.watched.words} {score_text(value)} on the tuning split: {origin}."
    return Table(f"{task.id}-target", columns, rows), words


def _reached(there: list[Reached], whole: bool) -> list[Value]:
    if not whole:
        text = "not reached" if not there else "not by every seed"
        return [Value(text, LAST, number=True), _NONE, _NONE]
    step, tokens, seconds = (
        mean([getattr(spot, axis) for spot in there]).value for axis in ("step", "tokens", "seconds")
    )
    found = [_number(integer(step), step), _maybe(tokens, count), _maybe(seconds, duration)]
    if not any(spot.at_once for spot in there):
        return found
    why = "there at the first look, and perhaps before it"
    return [v if v is _NONE else replace(v, text=f"≤ {v.text}", title=why) for v in found]


def effects(one: Ablation, cast: Cast, identity: str) -> Table:
    """The baseline, then each change: what it did to the score, to size and to time."""
    task = one.task
    columns = ["variant", "change", f"{task.test_split} {task.primary.words}", "difference", "95 % interval",
               "p (Holm)", "verdict", "parameters", "training time"]  # fmt: skip
    before = any(e.standing.competitor.pretraining_s for e in one.effects)
    columns += ["pretraining time"] if before else []
    rows = [_effect_row(one.baseline, None, task, cast)]
    rows += [_effect_row(e.standing, e, task, cast) for e in one.effects]
    if before:
        for row, s in zip(rows, [one.baseline, *(e.standing for e in one.effects)], strict=True):
            spent = s.competitor.pretraining_s
            row.append(_number(duration(spent), spent) if spent else _NONE)
    return Table(identity, columns, rows)


def _variant(cast: Cast, s: Standing) -> Value:
    """The change by its own name; the table's title names the architecture."""
    look = cast.looks.get(s.name)
    return Value(short(s.name[1] or s.name[0], 40), title=s.label, slot=look.slot if look else None)


def _effect_row(s: Standing, effect: Effect | None, task: TaskRun, cast: Cast) -> list[Value]:
    d = effect.pair.difference if effect and effect.pair else None
    verdict = effect.verdict(task.primary.better) if effect else "baseline"
    interval = f"[{signed(d.low)}, {signed(d.high)}]" if d and d.n > 1 else "–"
    p = effect.pair.adjusted if effect and effect.pair else math.nan
    parameters = f"{digits(effect.parameters_ratio)}×" if effect and effect.parameters_ratio else ""
    time = _spent(task, s.name, "train_time", duration)
    if effect and effect.time_ratio:
        time = _number(time.text, float(time.order or 0), f"{digits(effect.time_ratio)}×")
    size = s.competitor.parameters
    return [
        _variant(cast, s), Value(effect.change if effect else "none"),
        _primary(task, s), _maybe(d.value if d else None, signed),
        _number(interval, d.low if d and d.n > 1 else LAST),
        _maybe(p, p_value), Value(verdict),
        _number(integer(size), size, parameters) if size else _NONE, time,
    ]  # fmt: skip


def failures(training: Training) -> Table:
    """Every trial that did not end ok, and every competitor that could not take part."""
    columns = ["task", "competitor", "kind", "stage", "seed", "status", "failed in", "reason"]
    rows = [
        [Value(short(r.task) or "–"), Value(short(label((r.architecture, r.variant)), 40)),
         Value(r.kind, title=trials([r.trial_id])),
         Value(r.regime or "–"), _number(str(r.seed), r.seed),
         Value(r.status + (" (not tried)" if r.extra.get("skipped") else "")),
         Value(r.failed_phase.replace("_", " ") or "–"), Value(r.reason)]
        for r in training.run.records if r.status != "ok"
    ]  # fmt: skip
    rows += [
        [Value(short(t.name)), Value(short(c.label, 40)), Value("plan"), Value("–"), _NONE, Value("left out"),
         Value("planning"), Value(c.problem)]
        for t in training.tasks for c in t.competitors if c.problem
    ]  # fmt: skip
    return Table("failures", columns, rows, [0, 2, 3, 5])


def compared(task: TaskRun, run: RunData) -> Table:
    """What each competitor was: sizes, reach, settings, kernels that ran."""
    columns = ["competitor", "width", "depth", "parameters", "embedding", "receptive field", "settings",
               "kernels that ran"]  # fmt: skip
    kernels: dict[Name, set[str]] = {}
    for r in run.records:
        if r.task == task.name:
            kernels.setdefault((r.architecture, r.variant), set()).update(r.kernels)
    everything = "all before" if run.plan.get("mode") == "causal" else "all"
    rows = [
        [Value(short(c.label, 40)), *(_maybe(n, integer) for n in (c.width, c.depth, c.parameters, c.embedding_parameters)),
         Value(f"{integer(c.receptive_field)} tokens" if c.receptive_field else everything),
         Value(", ".join(f"{k} {v}" for k, v in c.settings.items() if v is not None) or "none"),
         Value(", ".join(sorted(kernels.get(c.name, ()))) or "not recorded")]
        for c in task.competitors
    ]  # fmt: skip
    return Table(f"{task.id}-compared", columns, rows)


def facts(task: TaskRun) -> list[tuple[str, str]]:
    """What a reader should know of the data and of how it was trained on."""
    raw = task.raw
    listed = [("what", raw.get("summary")), ("reference", raw.get("reference")),
              ("ranked by", f"{task.primary.words}, {task.primary.better} is better"), ("splits", ", ".join(task.splits)),
              ("training length", f"{integer(task.length)} tokens" if task.length else "")]  # fmt: skip
    listed += [(str(k).replace("_", " "), v) for k, v in (raw.get("facts") or {}).items()]
    listed += [("settings", raw.get("settings")), ("fingerprint", raw.get("fingerprint")),
               ("recipe", _recipe(task)), ("search", raw.get("search")), ("seeds", task.seeds)]  # fmt: skip
    listed += [(r.kind, f"{r.label}: {r.metric} {score_text(r.value)}"
                + (f" ({', '.join(r.splits)})" if r.splits else "") + f"; {r.source}") for r in task.references]  # fmt: skip
    return [(k, plain(v)) for k, v in listed if v not in (None, "", {}, [])]


_OF_IMAGES = {"patch", "patch_reach", "class_token", "positions"}
_OF_WRITING = {
    "decoder", "shared_decoder", "cross", "cross_heads", "input_feeding", "teacher_forcing", "reverse_source", "tied",
    "beam", "length_penalty", "write_most",
}  # fmt: skip


def _recipe(task: TaskRun) -> dict[str, Any]:
    """The recipe, without what this task does not use, and without the learning rate where a search sets it."""
    recipe = dict(task.raw.get("recipe") or {})
    searched = [lr for lr in (task.raw.get("search") or {}).get("lr") or () if isinstance(lr, int | float)]
    unused = {"lr"} if searched else set()
    unused |= set() if task.example[0] == "image" else _OF_IMAGES
    unused |= set() if (task.raw.get("facts") or {}).get("signatures") else _OF_WRITING
    return {k: v for k, v in recipe.items() if k not in unused}


def plain(value: Any) -> str:
    """Nested plain data on one line, without the punctuation of JSON."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items() if v not in (None, ""))
    if isinstance(value, list | tuple):
        return " / ".join(plain(v) for v in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value)
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
