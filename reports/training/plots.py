"""The figures of a task: learning curves, scores against costs, positions, lengths, the search, changes, decoding."""

from __future__ import annotations

import numpy as np

from reports.canvas import Line, Plot
from reports.charts import Scale, line_chart
from reports.paired import mean
from reports.plots import SHORT_STOPS, Group
from reports.training.ablations import Ablation
from reports.training.charts import (
    Axis,
    Row,
    Rule,
    Spot,
    cost_chart,
    curve_chart,
    difference_chart,
    spans_decades,
)
from reports.training.curves import AXES, FEW_POSITIONS, Curve, curve, positions
from reports.training.data import Metric, Name, TaskRun, label, measured
from reports.training.looks import Cast
from reports.training.scores import Board, Standing, average
from reports.training.tables import score_text
from reports.training.tuning import edge, expected_best, filled, nothing_to_choose, worst_try
from reports.words import count, digits, duration, integer, memory, names, seconds, short, signed

_AXIS_WORDS = {"step": "step", "tokens": "tokens seen", "seconds": "training time"}


def _tick(value: float) -> str:
    return digits(value, 3)


_SAME = 1.01  # costs nearer than this make no plot
CLOCK = (86400.0, 3600.0, 60.0, 1.0)
BYTES = (2.0**30, 2.0**20, 2.0**10, 1.0)


def _spent_axis(axis: str) -> Axis:
    if axis == "seconds":
        return Axis(_AXIS_WORDS[axis], duration, units=CLOCK)
    return Axis(_AXIS_WORDS[axis], count)


def _score_axis(name: str, metric: Metric, values: np.ndarray) -> Axis:
    """Logarithmic where a score that is better lower spans decades; shares such as accuracy stay linear."""
    return Axis(name, _tick, metric.better == "lower" and spans_decades(values))


def left_out(cast: Cast) -> str:
    """A sentence that names who is not drawn; empty where all are."""
    if not cast.left_out:
        return ""
    named = [short(label(n)) for n in cast.left_out]
    few = names(named) if len(named) <= 12 else f"{', '.join(named[:12])} and {len(named) - 12} more"
    return f"Not drawn, so that lines stay apart: {few}."


def _rules(task: TaskRun, split: str, metric: str, kinds: tuple[str, ...] = ()) -> list[Rule]:
    """Lines for what a task refers to; of some kinds alone, if any are named."""
    held = [r for r in task.references if r.metric == metric and r.holds(split)]
    return [Rule(r.value, r.label) for r in held if not kinds or r.kind in kinds]


def _lines(cast: Cast, found: dict[Name, Curve], axis: str) -> list[Line]:
    made = []
    for name, one in found.items():
        kept = np.isfinite(one.x[axis])
        if kept.any():
            several = one.seeds > 1
            made.append(Line(label(name), cast.looks[name], one.x[axis][kept], one.mean[kept],
                             one.low[kept] if several else None, one.high[kept] if several else None,
                             SHORT_STOPS.get(one.stop, one.stop)))  # fmt: skip
    return made


def learning(board: Board, cast: Cast) -> Group:
    """Tuning score by step, token and second, and training loss by step."""
    task = board.task
    plots: list[Plot] = []
    whose = ("Each line is the mean over the seeds' final trials, its band the smallest and largest seed; "
             "✕ marks where a seed failed.")  # fmt: skip
    watched = task.watched
    scores = _curves(task, cast, "tune", watched.name)
    fewer = [
        f"{short(label(n))} ({c.seeds} of {task.planned(n)})" for n, c in scores.items() if c.seeds < task.planned(n)
    ]
    whose += f" Fewer seeds than planned: {names(fewer)}." if fewer else ""
    alike = _tokens_a_step(list(scores.values()))
    whose += f" All see {count(alike)} tokens a step: by tokens seen the curves are the same." if alike else ""
    for axis in (a for a in AXES if not (alike and a == "tokens")):  # else the same figure twice
        lines = _lines(cast, scores, axis)
        if lines:
            way = f"{watched.better.capitalize()} is better."
            caption = f"{whose if axis == 'step' else _AXIS_CAPTION[axis]} {way} {left_out(cast)}"
            plots.append(_curve_plot(f"{task.id}-tune-{axis}", f"Tuning {watched.name.replace('_', ' ')} by "
                                     f"{_AXIS_WORDS[axis]}", lines, axis, watched, caption,
                                     _rules(task, "tune", watched.name)))  # fmt: skip
    lines = _lines(cast, _curves(task, cast, "train", "loss"), "step")
    if lines:
        caption = f"Loss on the training batches as they came{_besides(task)}. {whose} {left_out(cast)}"
        unit = next((m.unit for m in (*task.metrics("tune"), watched) if m.name == "loss"), "")
        plots.append(_curve_plot(f"{task.id}-train-step", "Training loss by step", lines, "step",
                                 Metric("training_loss", unit, "lower"), caption, []))  # fmt: skip
    lead = "How fast each learns, and what it costs in tokens and in time on this machine."
    return Group(f"{task.id}-curves", "Curves", "Learning curves", lead, plots)


def _besides(task: TaskRun) -> str:
    """What makes losses in training larger than those of looks at other data, however well a model generalises."""
    recipe = task.raw.get("recipe") or {}
    shares = ("dropout", "attention_dropout", "mlp_dropout", "label_smoothing")
    parts = [f"{name.replace('_', ' ')} {recipe[name]:g}" for name in shares if recipe.get(name)]
    return f", with {names(parts)}, which looks at the tuning split are without: levels do not compare" if parts else ""


def _tokens_a_step(curves: list[Curve]) -> float | None:
    """Tokens a step, where they are the same for all curves and throughout."""
    rates = [c.x["tokens"][c.x["step"] > 0] / c.x["step"][c.x["step"] > 0] for c in curves]
    found = np.concatenate(rates) if rates else np.array([np.nan])
    same = len(found) and np.isfinite(found).all() and float(np.ptp(found)) < 1e-3 * float(found[0])
    return float(found[0]) if same else None


_AXIS_CAPTION = {
    "tokens": "The same curves against tokens seen: equal data side by side.",
    "seconds": "The same curves against seconds of training steps (evaluation, saving and compiling left out; mean "
    "over seeds): equal time side by side, on this machine.",
}


def _curves(task: TaskRun, cast: Cast, part: str, quantity: str) -> dict[Name, Curve]:
    found = {name: curve(task, name, part, quantity) for name in cast.shown}
    return {name: one for name, one in found.items() if one is not None}


def _curve_plot(identity: str, title: str, lines: list[Line], axis: str, metric: Metric, caption: str,
                rules: list[Rule]) -> Plot:  # fmt: skip
    values = np.concatenate([line.y for line in lines])
    y = _score_axis(metric.words, metric, values)
    return curve_chart(identity, title, lines, _spent_axis(axis), y, caption, rules, focus=True)


def costs(board: Board, cast: Cast) -> Group:
    """Test score against what it took."""
    task = board.task
    unit, each = task.example
    wanted = (
        ("time", "training time", "Training time", duration, lambda s: average(task.effort(s.name, "train_time"))),
        ("memory", "activation memory of a training step", "Activation memory", memory,
         lambda s: task.cost(s.name, "activation_memory")),
        ("flops", f"FLOPs {each} (forward + backward)", f"FLOPs {each}", count,
         lambda s: task.cost(s.name, f"flops_per_{unit}")),
        ("rate", "images a second in training", "Images a second", count,
         lambda s: average(task.effort(s.name, "images_per_second"))),
    )  # fmt: skip
    plots, same = [], []
    for key, words, title, tick, cost in wanted:
        there = [
            (s, value) for s in board.ranked if (value := cost(s)) is not None and np.isfinite(value) and value > 0
        ]
        if len(there) < 2:
            continue
        if max(v for _, v in there) < _SAME * min(v for _, v in there):
            same.append(f"{title} is the same for all ({tick(there[0][1])}).")
            continue
        spots = _spots(task, cast, there, more=key == "rate")
        beaten = [short(s.name) for s in spots if not s.front]
        absent = [short(s.label) for s in board.standings if s.label not in {spot.name for spot in spots}]
        caption = ("Filled and joined: the Pareto front, which nobody beats at both (by means). Bars: 95 % t intervals. "
                   + (f"Dominated: {names(beaten)}. " if beaten else "Nobody is dominated. ")
                   + (f"Without a score or a cost: {names(absent)}." if absent else ""))  # fmt: skip
        across = np.array([s.x for s in spots])
        y = _score_axis(f"{task.test_split} {task.primary.words}", task.primary, np.array([s.y for s in spots]))
        units = {"time": CLOCK, "memory": BYTES}.get(key, (1.0,))
        x = Axis(words, tick, bool(across.max() > 2.5 * across.min()), units=units)
        plots.append(cost_chart(f"{task.id}-cost-{key}", f"Test score against {title[0].lower()}{title[1:]}"
                                if not title.startswith("FLOP") else f"Test score against {title}", spots, x, y,
                                caption, task.primary.better))  # fmt: skip
    return Group(
        f"{task.id}-costs", "Costs", "Score against cost", " ".join(["What a better score costs.", *same]), plots
    )


def _spots(task: TaskRun, cast: Cast, there: list[tuple[Standing, float]], more: bool) -> list[Spot]:
    """`more`: more of it is better, as of a rate, where costs are better low."""
    points = [(s, x, s.mean.value) for s, x in there if s.mean is not None]
    sign = -1 if more else 1
    made = []
    for s, x, y in points:
        beaten = any(
            (task.primary.beats(v, y) and sign * u <= sign * x) or (v == y and sign * u < sign * x)
            for _, u, v in points
        )
        low, high = (s.mean.low, s.mean.high) if s.mean else (np.nan, np.nan)
        made.append(Spot(s.label, cast.looks[s.name], x, y, low, high, not beaten))
    return made


def by_position(board: Board, cast: Cast) -> Group:
    """Loss against the position in the context."""
    task = board.task
    found = {name: one for name in cast.shown if (one := positions(task, name)) is not None}
    plots = []
    lines = [line for line in _lines(cast, found, "position") if len(line.x) > 1]
    if lines:
        longest = max(float(line.x[-1]) for line in lines)
        values = np.concatenate([line.y for line in lines])
        binned = " Positions are joined in bins that grow with the position." if longest > FEW_POSITIONS else ""
        caption = (f"Mean loss of the prediction at each position of the {task.test_split} sequences, mean over seeds, "
                   f"band from the smallest to the largest seed.{binned} Compare lines with each other at one position: "
                   "along a line, positions differ in what is asked there, and late ones may come from long sequences "
                   f"only. {left_out(cast)}")  # fmt: skip
        plots.append(curve_chart(
            f"{task.id}-positions", "Loss by position in the context", lines,
            Axis("position (tokens before it + 1)", integer, log=longest > 16),
            Axis("loss (nats)", _tick, spans_decades(values)), caption,
            # A floor is a mean over easy and hard positions: as a line it would be wrong at each.
            _rules(task, task.test_split, "loss", ("chance", "published")),
        ))  # fmt: skip
    lead = "Where in a sequence does one predict better than the other?"
    return Group(f"{task.id}-positions-group", "Positions", "Loss by position", lead, plots)


def split_lengths(task: TaskRun) -> dict[str, int]:
    """Tokens of the inputs of each test split that has one length."""
    found: dict[str, int] = {}
    for trials in task.finals.values():
        for record in trials.values():
            for split, length in (record.extra.get("lengths") or {}).items():
                if str(split).startswith("test") and isinstance(length, int | float) and length > 0:
                    found[str(split)] = int(length)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def by_length(board: Board, cast: Cast) -> Group:
    """Primary score against the length of the test sequences."""
    task = board.task
    lengths = split_lengths(task)
    whole = {s.name for s in board.standings if s.mean is not None}
    lines = []
    for name in cast.shown:
        at: dict[int, tuple[float, float, float]] = {}
        for split, length in lengths.items():
            scores = list(task.scores(name, split, task.primary.name).values())
            if name in whole and scores:
                one = mean(scores)
                at[length] = (one.value, one.low, one.high)
        if len(at) > 1:
            y, low, high = (np.array(column) for column in zip(*at.values(), strict=True))
            several = bool(np.isfinite(low).all())
            lines.append(Line(label(name), cast.looks[name], np.array(list(at), dtype=float), y,
                              low if several else None, high if several else None))  # fmt: skip
    plots = []
    absent = [short(label(name)) for name in cast.shown if name not in whole]
    if lines:
        values = np.concatenate([line.y for line in lines])
        caption = (f"Mean over seeds, bars are 95 % t intervals. The dotted line marks the training length, "
                   f"{integer(task.length)} tokens: right of it sequences are longer than any seen in training. "
                   f"{task.primary.better.capitalize()} is better. {left_out(cast)}"
                   + (f" Without a whole set of seeds: {names(absent)}." if absent else ""))  # fmt: skip
        rules, told = _length_rules(task, lengths)
        plots.append(curve_chart(
            f"{task.id}-lengths", f"Test {task.primary.name.replace('_', ' ')} by length", lines,
            Axis("length of the test sequences (tokens)", integer, True, tuple(float(v) for v in lengths.values())),
            _score_axis(f"test {task.primary.words}", task.primary, values), f"{caption} {told}".strip(), rules,
            Rule(task.length, "training length") if task.length else None, bars=True,
        ))  # fmt: skip
    lead = "Does what was learnt hold on sequences of other lengths?"
    return Group(f"{task.id}-lengths-group", "Lengths", "Length generalisation", lead, plots)


def _length_rules(task: TaskRun, lengths: dict[str, int]) -> tuple[list[Rule], str]:
    """References that hold at every length as lines; those that change with it in words."""
    rules, told = [], []
    for reference in task.references:
        if reference.metric != task.primary.name:
            continue
        held = [length for split, length in lengths.items() if reference.holds(split)]
        if len(held) == len(lengths):
            rules.append(Rule(reference.value, reference.label))
        elif held:
            at = names([integer(v) for v in held])
            told.append(f"{reference.label} at {at} tokens: {score_text(reference.value)}.")
    return rules, " ".join(told)


def search(board: Board, cast: Cast) -> Group:
    """The search: expected best score by tries, and score by learning rate."""
    task = board.task
    worst = worst_try(task)
    plots: list[Plot] = []
    if worst is not None:
        lines, rates, at_edge = [], [], []
        for name in cast.shown:
            choice = task.choices[name]
            if len(choice.tries) > 1:
                best = expected_best(filled(choice, task.primary, worst), task.primary.better)
                lines.append(Line(label(name), cast.looks[name], np.arange(1.0, len(best) + 1), best))
            points = sorted((t.lr, float(t.score)) for t in choice.tries
                            if t.lr and t.status == "ok" and t.score is not None)  # fmt: skip
            if points and len({t.lr for t in choice.tries}) > 1:
                rates.append(Line(label(name), cast.looks[name], np.array([p[0] for p in points]),
                                  np.array([p[1] for p in points])))  # fmt: skip
            if edge(choice):
                at_edge.append(f"{short(label(name))} ({edge(choice)})")
        y_label = f"tune {task.primary.words}"
        if rates:
            said = f"The choice lies at the edge of what was tried for {names(at_edge)}: a better one may lie beyond. " \
                if at_edge else "No choice lies at the edge of what was tried. "  # fmt: skip
            values = np.concatenate([line.y for line in rates])
            ticks = tuple(sorted({float(v) for line in rates for v in line.x}))
            plots.append(curve_chart(
                f"{task.id}-rates", "Tuning score by learning rate", rates,
                Axis("learning rate", lambda v: f"{v:g}", True, ticks), _score_axis(y_label, task.primary, values),
                f"One point a try that ended well. {said}{left_out(cast)}",
            ))  # fmt: skip
        if lines:
            values = np.concatenate([line.y for line in lines])
            ticks = tuple(float(k) for k in range(1, max(len(line.x) for line in lines) + 1))
            plots.append(curve_chart(
                f"{task.id}-budget", "Expected best score by number of tries", lines,
                Axis("tries", integer, ticks=ticks), _score_axis(y_label, task.primary, values),
                "What the best of k tries would score on average, were k of those made drawn at random without putting "
                "back (exact; after Dodge et al. 2019). A failed try counts as the worst score of the task. A curve that "
                f"still moves at its right end wants a larger search. {left_out(cast)}",
            ))  # fmt: skip
    lead = budget_words(task)
    return Group(f"{task.id}-search", "Search", "Equal tuning budget", lead, plots)


def budget_words(task: TaskRun) -> str:
    """How many tries each competitor was given; says so where they are not equal. Empty before the search."""
    counts = sorted({len(choice.tries) for choice in task.choices.values()} - {0})
    if nothing_to_choose(task):
        return "Each competitor ran with the plan's settings: with one try there was nothing to choose."
    if not counts:
        return ""
    given = (
        f"{counts[0]} tries" if len(counts) == 1 else f"between {counts[0]} and {counts[-1]} tries: not the same number"
    )
    share = (task.raw.get("search") or {}).get("share")
    shorter = (
        f" A try ends after {share:g} of the steps, so its scores are not those of final trials."
        if isinstance(share, int | float) and share < 1
        else ""
    )
    own = [
        short(label(name)) for name, choice in task.choices.items() if choice.status == "single" and not choice.tries
    ]
    alone = f" Not searched, with a learning rate that the plan gives it: {names(own)}." if own else ""
    return f"Every competitor was given {given}.{shorter} Its choice looks at the tuning split only.{alone}"


def forest(one: Ablation, cast: Cast, identity: str) -> list[Plot]:
    """Differences to the baseline, a variant a row."""
    task = one.task
    rows, absent = [], []
    for e in one.effects:
        if e.pair is None:
            absent.append(f"{short(e.standing.competitor.name[1])} ({e.standing.reason or 'no common seed'})")
            continue
        d = e.pair.difference
        rows.append(Row(e.standing.competitor.name[1], cast.looks[e.standing.name], d.value, d.low, d.high,
                        f"{signed(d.value, 2)} {e.verdict(task.primary.better)}"))  # fmt: skip
    if not rows or one.baseline.mean is None:
        return []
    name = short(one.baseline.label)
    caption = (
        f"Difference to {name} ({score_text(one.baseline.mean.value)}), paired by seed, with 95 % t intervals (a hollow "
        "point: one seed, no interval). “Better” and “worse” hold after Holm's correction over the changes shown; “not "
        "shown”: these seeds cannot tell, which does not mean equal."
        + (f" Without a result: {'; '.join(absent)}." if absent else "")
    )
    axis = f"difference in {task.test_split} {task.primary.words}"
    title = f"Changes to {short(one.architecture)}: {task.test_split} {task.primary.name.replace('_', ' ')}"
    return [difference_chart(identity, title, rows, axis, task.primary.better, caption)]


def decoding(board: Board, cast: Cast) -> list[Plot]:
    """Time a token and size of the state against the context."""
    task = board.task
    times, states = [], []
    for name in cast.shown:
        timed = {r.length: m.samples for r in task.decodes.get(name, []) if r.batch == 1 for m in r.measurements
                 if m.phase == "decode" and m.metric == "time" and m.samples is not None}  # fmt: skip
        held = {r.length: v for r in task.decodes.get(name, [])
                if r.batch == 1 and (v := measured(r, "decode", "state_memory")) is not None and v > 0}  # fmt: skip
        if timed:
            low, middle, high = (np.array([float(np.quantile(s, q)) for s in timed.values()]) for q in (0.1, 0.5, 0.9))
            times.append(Line(label(name), cast.looks[name], np.array(list(timed)), middle, low, high))
        if held:
            states.append(Line(label(name), cast.looks[name], np.array(list(held)), np.array(list(held.values()))))
    plots = []
    if times:
        plots.append(line_chart(
            f"{task.id}-decode-time", "Decoding: time a token", times, Scale("time a token", seconds),
            "One more token of the whole model after a context of the given length, batch 1; median, band from the 10th to "
            f"the 90th percentile of the samples of one trial. {left_out(cast)}",
        ))  # fmt: skip
    if states:
        plots.append(line_chart(
            f"{task.id}-decode-state", "Decoding: size of the state", states, Scale("state", memory, binary=True),
            "What must be kept to go on after a context of the given length: a fixed state, or keys and values of all "
            f"tokens. {left_out(cast)}",
        ))  # fmt: skip
    if rates := _by_batch(task, cast):
        ticks = tuple(sorted({float(x) for line in rates for x in line.x}))
        plots.append(curve_chart(
            f"{task.id}-decode-batch", "Decoding: tokens a second by batch", rates, Axis("batch", integer, True, ticks),
            Axis("tokens a second", count, True),
            f"One more token for each of a batch, after {integer(min(_contexts(task)))} tokens of context; median. "
            f"{left_out(cast)}",
        ))  # fmt: skip
    return plots


def _contexts(task: TaskRun) -> list[int]:
    return [r.length for found in task.decodes.values() for r in found]


def _by_batch(task: TaskRun, cast: Cast) -> list[Line]:
    """Tokens a second at the shortest context, where more than one batch was timed."""
    lines = []
    for name in cast.shown:
        first = [r for r in task.decodes.get(name, []) if r.length == min(_contexts(task))]
        found = {r.batch: r.batch / v for r in first if (v := measured(r, "decode", "time")) is not None}
        if len(found) > 1:
            batches = sorted(found)
            lines.append(Line(label(name), cast.looks[name], np.array(batches), np.array([found[b] for b in batches])))
    return lines
