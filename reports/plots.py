"""The figures of a scaling run, each in words as well: title, caption and alternative text come from the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from reports.bootstrap import Series
from reports.canvas import Line, Plot
from reports.charts import Point, Scale, forest_chart, line_chart
from reports.data import PAIRED, Stop
from reports.statistics import Analysis, work_metric
from reports.style import looks
from reports.verdicts import SYMBOLS
from reports.words import count, digits, integer, memory, names, phase, seconds, short

SHORT_STOPS = {"oom": "memory", "timeout": "time", "nan": "NaN", "unsupported": "unsupported", "error": "error"}


@dataclass(frozen=True)
class Group:
    """Figures that answer one question."""

    id: str
    nav: str
    title: str
    lead: str
    plots: list[Plot]


def groups(analysis: Analysis) -> list[Group]:
    """All figures for which the run holds data, grouped by question."""
    made = [_time(analysis), _parallel(analysis), _memory(analysis), _forest(analysis), _machine(analysis),
            _decode(analysis)]  # fmt: skip
    return [group for group in made if group.plots]


def _lines(analysis: Analysis, found: dict[str, Series], stops: list[Stop] | None = None) -> list[Line]:
    look = looks(analysis.data.architectures)
    why = {s.architecture: SHORT_STOPS.get(s.status, s.status) for s in stops or []}
    made = []
    for name, one in found.items():
        kept = one.values > 0
        if kept.any():
            low, high = one.interval
            made.append(Line(name, look[name], one.lengths[kept], one.values[kept], low[kept], high[kept],
                             why.get(name, "")))  # fmt: skip
    return made


def _beside(analysis: Analysis, quantity: tuple[str, str, str, str], stops: list[Stop] | None = None) -> list[Line]:
    """Lines of (kind, regime, phase, metric): this run's, then faint ones of the run beside it."""
    lines = _lines(analysis, analysis.by_architecture(*quantity), stops)
    other = analysis.beside
    if not lines or other is None:
        return lines
    look = looks(analysis.data.architectures)  # one colour for one architecture, whatever its place in the other run
    found = other.by_architecture(*quantity)
    return lines + [
        replace(line, look=look[line.name], low=None, high=None, faint=True) for line in _lines(other, found)
    ]


def _chart(identity: str, title: str, lines: list[Line], scale: Scale, caption: str) -> list[Plot]:
    if any(line.faint for line in lines):
        caption = f"{caption.strip()} Faint lines: the run beside this one."
    return [line_chart(identity, title, lines, scale, caption)] if lines else []


def _stops(analysis: Analysis, regime: str, step: str, metric: str = "time") -> list[Stop]:
    return [s for s in analysis.data.stops(step, metric) if s.regime == regime]


def stop_words(stops: list[Stop]) -> str:
    """One sentence that says what the crosses mean; empty where nothing stopped."""
    if not stops:
        return ""
    parts = [f"{short(s.architecture)} at {integer(s.length)} ({s.words})" for s in stops]
    return f"✕ marks the longest length that finished; the next one failed: {names(parts)}."


def _time_plots(analysis: Analysis, fixed_tokens: bool, prefix: str, axis: str, words: str) -> list[Plot]:
    """Time against length, a figure a phase, for the regimes with (or without) a fixed number of tokens."""
    plots: list[Plot] = []
    for regime in analysis.data.regimes:
        name = regime["name"]
        if analysis.data.fixed_tokens(name) != fixed_tokens:
            continue
        for step in ("forward", "forward_backward"):
            stops = _stops(analysis, name, step)
            lines = _beside(analysis, ("cell", name, step, "time"), stops)
            title = f"Time, {phase(step)}, {analysis.data.regime_title(name)}"
            caption = f"{words} {stop_words(stops)}"
            plots += _chart(f"{prefix}-{name}-{step}", title, lines, Scale(axis, seconds), caption)
    return plots


def _time(analysis: Analysis) -> Group:
    words = (
        "Lower is faster. On these axes T^p is a straight line, and the steeper it is the larger is p: twice "
        "the length takes twice the time at p = 1, four times at p = 2. Flat left ends are fixed cost "
        "(launches), not arithmetic."
    )
    lead = "How long one pass takes as the sequence grows. Points are medians, bands 95 % intervals."
    return Group("time", "Time", "Time against length", lead, _time_plots(analysis, False, "time", "time", words))


def _parallel(analysis: Analysis) -> Group:
    words = (
        "The same number of tokens in every batch, cut into longer and fewer sequences. Flat: work is done in "
        "parallel whatever the length. Rising: steps wait for each other (recurrent), or work grows faster "
        "than the length (attention)."
    )
    plots = _time_plots(analysis, True, "tokens", "time a batch", words)
    flops = analysis.by_architecture("graph", "", "forward", "flops")
    spans = analysis.by_architecture("graph", "", "forward", "span")
    ratio = {n: _ratio(flops[n], spans[n], "FLOP") for n in flops if n in spans}
    plots += _chart(
        "parallelism", "Parallelism: work over span", _lines(analysis, {n: r for n, r in ratio.items() if r}),
        Scale("FLOPs per step of the chain", lambda v: count(v)),
        "How much work could run at the same time, on a machine without limits: counted FLOPs of one forward pass over "
        "the longest chain of dependent operations. Higher is more parallel.",
    )  # fmt: skip
    plots += _chart(
        "span", "Span: operations that must wait for each other", _lines(analysis, spans),
        Scale("span (operations)", lambda v: count(v)),
        "The longest chain of dependent operations in one forward pass, counted on the unfused graph. Flat: the chain "
        "does not grow with the sequence. Twice as long for twice the length: one step after the other.",
    )  # fmt: skip
    return Group(
        "parallelism", "Parallelism", "Parallelism", "Can a longer sequence be spread over the machine?", plots
    )


def _ratio(top: Series, bottom: Series, unit: str, factor: Callable[[int], float] = lambda _: 1.0) -> Series | None:
    """top / bottom at their common lengths, deviations carried along."""
    common = np.intersect1d(top.lengths, bottom.lengths)
    if not len(common):
        return None
    i, j = np.isin(top.lengths, common), np.isin(bottom.lengths, common)
    values = top.values[i] / bottom.values[j] * np.array([factor(int(t)) for t in common])
    return Series(common, values, top.deviations[:, i] - bottom.deviations[:, j], bottom.rounds[j], unit, False)


def _memory(analysis: Analysis) -> Group:
    plots: list[Plot] = []
    for regime in analysis.data.regimes:
        name = regime["name"]
        if analysis.data.fixed_tokens(name):
            continue
        for metric, title, why in (
            ("activation_memory", "Activation memory", "Bytes kept for the backward pass; parameters are left out."),
            ("peak_memory", "Peak memory", "The most that forward and backward held at once, over what was held before "
             "(weights were; optimiser state is not there yet). On a CPU it is the resident set's high-water mark: rough "
             "below some MiB, and low where freed memory is used again."),
        ):  # fmt: skip
            stops = _stops(analysis, name, "forward_backward", metric)
            lines = _beside(analysis, ("cell", name, "forward_backward", metric), stops)
            caption = f"{why} Lower is leaner. {stop_words(stops)}"
            plots += _chart(f"{metric}-{name}", f"{title}, {analysis.data.regime_title(name)}", lines,
                            Scale("memory", memory, binary=True), caption)  # fmt: skip
    return Group("memory", "Memory", "Memory against length", "What a training step must keep.", plots)


def _forest(analysis: Analysis) -> Group:
    regime = analysis.time_regime()
    look = looks(analysis.data.architectures)
    wanted = (
        ("Work (FLOPs)", "graph", "", "forward", ""),
        ("Span", "graph", "", "forward", "span"),
        ("Activation memory", "cell", regime, "forward_backward", "activation_memory"),
        ("Time, forward", "cell", regime, "forward", "time"),
        ("Time, forward + backward", "cell", regime, "forward_backward", "time"),
    )
    plots: list[Plot] = []
    for title, kind, place, step, metric in wanted:
        points = []
        for a in analysis.data.architectures:
            judged = analysis.fit(a.name, kind, place, step, metric or work_metric(analysis, a.name))
            if judged is not None:
                f = judged.fit
                points.append(Point(a.name, look[a.name], f.exponent, f.low, f.high, judged.theory,
                                    f"{SYMBOLS[judged.verdict]} {judged.verdict}"))  # fmt: skip
        if points:
            caption = (
                "Filled marker and bar: measured exponent and its 95 % interval. Hollow diamond: what theory claims. "
                "A short bar on its diamond agrees; one that reaches far past it says that this run cannot tell."
            )
            if not metric:
                caption += " Token-to-token products where the architecture has any, else all FLOPs."
            plots.append(forest_chart(f"forest-{len(plots)}", f"Exponent of {title[0].lower()}{title[1:]}", points,
                                      caption))  # fmt: skip
    return Group("exponents", "Fits", "Measured exponents against theory", "How each cost grows: cost ~ T^p.", plots)


def _machine(analysis: Analysis) -> Group:
    plots: list[Plot] = []
    roof = analysis.find("", "roof", "", "all_threads", "matmul_throughput")
    for regime in analysis.data.regimes:
        name = regime["name"]
        shares: dict[str, Series | None] = {}
        for arch, time in analysis.by_architecture("cell", name, "forward", "time").items():
            flops = analysis.find(arch, "graph", "", "forward", "flops")
            if roof is None or flops is None:
                continue
            cells = analysis.data.cells
            batches = {t: c.batch for k, v in cells.items() if k.architecture == arch and k.kind == "cell"
                       and k.regime == name and k.phase == "forward" for t, c in v.items()}  # fmt: skip
            peak = float(roof.values[0])
            shares[arch] = _ratio(flops, time, "share", lambda t, b=batches, p=peak: b.get(t, 1) / p)  # type: ignore[misc]
        plots += _chart(
            f"roof-{name}", f"Share of the matrix-product roof, forward, {analysis.data.regime_title(name)}",
            _lines(analysis, {n: s for n, s in shares.items() if s}),
            Scale("achieved / roof", lambda v: f"{digits(100 * v, 2)} %", 1.0, "roof"),
            f"Counted FLOPs per second, over what a large matrix product reaches on this machine "
            f"({count(float(roof.values[0]), 'FLOP/s') if roof is not None else 'not measured'}). Low: waiting for "
            "launches, memory or earlier steps. FLOPs are counted as the reference computes them; fused causal attention "
            "skips about half of its token-to-token products, so it can pass 100 %.",
        )  # fmt: skip
        threads = analysis.data.environment.get("threads")
        one = analysis.by_architecture("cell", name, "forward_1_thread", "time") if threads != 1 else {}
        every = analysis.by_architecture("cell", name, "forward", PAIRED)
        gains = {n: _ratio(one[n], every[n], "times") for n in one if n in every}
        plots += _chart(
            f"threads-{name}", f"Speed-up from 1 thread to {threads or 'all'}, {analysis.data.regime_title(name)}",
            _lines(analysis, {n: s for n, s in gains.items() if s}),
            Scale("speed-up", lambda v: f"{v:.1f}×", 1.0, "no gain", linear=True),
            "Forward time with one thread over forward time with all, both of one visit in the first round, so bands show "
            "its samples alone. 1.0× means that more cores do not help.",
        )  # fmt: skip
    return Group("machine", "Machine", "Use of the machine", "What this machine makes of it.", plots)


def _decode(analysis: Analysis) -> Group:
    plots = _chart(
        "decode-time", "Decoding: time a token",
        _beside(analysis, ("decode", "", "decode", "time")), Scale("time a token", seconds),
        "One more token after a context of the given length and of up to a hundred more, batch 1. Flat: the cost of a "
        "token does not depend on what came before.",
    ) + _chart(
        "decode-state", "Decoding: size of the state",
        _beside(analysis, ("decode", "", "decode", "state_memory")),
        Scale("state", memory, binary=True),
        "What must be kept to go on after a context of the given length: a fixed state, or keys and values of all "
        "tokens. A state that is emptied whenever a window is full is at its least at multiples of that window.",
    )  # fmt: skip
    return Group("decode", "Decoding", "Decoding one token at a time", "The cost of generating text.", plots)
