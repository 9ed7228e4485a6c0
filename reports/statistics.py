"""All statistics of a scaling run: series, fits with verdicts, crossovers and ranks, computed once for every output."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np

from reports.bootstrap import Series, generator, series
from reports.crossover import Crossover, crossover
from reports.data import Architecture, Key, RunData
from reports.fits import MIN_LENGTHS, Fit, fit_counts, fit_power
from reports.ranks import Rank, rank
from reports.together import side_by_side
from reports.verdicts import MARGINS, Verdict, judge_path, judge_time, judge_with_tail
from reports.words import digits

_MANY = 2000  # records: fewer are not worth a process
EXACT_KINDS = ("graph", "path")
COUNTS = ("flops", "mixing_flops", "span")
MEMORY = ("activation_memory", "peak_memory")
COMPARED = (("forward_backward", "time"), ("forward", "time"), ("forward_backward", "activation_memory"))


@dataclass(frozen=True)
class Judged:
    """A fit, what theory claims for it, and the verdict."""

    key: Key
    fit: Fit
    theory: float | None
    verdict: Verdict
    note: str = ""
    theory_text: str = ""


@dataclass
class Analysis:
    """Everything that tables, plots and words are made of."""

    data: RunData
    series: dict[Key, Series] = field(default_factory=dict)
    fits: dict[Key, Judged] = field(default_factory=dict)
    crossovers: dict[tuple[str, str, str], list[Crossover]] = field(default_factory=dict)
    beside: Analysis | None = None
    """The series of another run that may be drawn on the same axes; without fits."""

    def find(self, architecture: str, kind: str, regime: str, phase: str, metric: str) -> Series | None:
        return self.series.get(Key(architecture, kind, regime, phase, metric))

    def fit(self, architecture: str, kind: str, regime: str, phase: str, metric: str) -> Judged | None:
        return self.fits.get(Key(architecture, kind, regime, phase, metric))

    def by_architecture(self, kind: str, regime: str, phase: str, metric: str) -> dict[str, Series]:
        """Series of one quantity, in registry order."""
        found = {a.name: self.find(a.name, kind, regime, phase, metric) for a in self.data.architectures}
        return {name: s for name, s in found.items() if s is not None}

    def time_regime(self) -> str:
        """The regime that the headline speaks of: the first with a fixed batch, else the first."""
        names = [r["name"] for r in self.data.regimes]
        return next((n for n in names if not self.data.fixed_tokens(n)), names[0] if names else "")

    def longest_common(self, regime: str, phase: str, metric: str = "time") -> int | None:
        """The longest length that every architecture with any result has finished."""
        found = self.by_architecture("cell", regime, phase, metric).values()
        common = set.intersection(*(set(s.lengths.tolist()) for s in found)) if found else set()
        return max(common, default=None)


def analyse(data: RunData) -> Analysis:
    """Fit, compare and judge. A run without any ok trial gives an empty analysis."""
    analysis = Analysis(data)
    names = [a.name for a in data.architectures]
    names += dict.fromkeys(key.architecture for key in data.cells if key.architecture not in names)  # "": the machine
    jobs = [partial(_of_one, data, name) for name in names]
    parts = side_by_side(jobs) if len(data.records) > _MANY else [job() for job in jobs]
    for series_of_one, fits in parts:
        analysis.series |= series_of_one
        analysis.fits |= fits
    for regime in data.regimes:
        for phase, metric in COMPARED:
            found = analysis.by_architecture("cell", regime["name"], phase, metric)
            pairs = [crossover(a, found[a], b, found[b]) for a, b in combinations(found, 2)]
            if pairs:
                analysis.crossovers[regime["name"], phase, metric] = pairs
    return analysis


def _of_one(data: RunData, name: str) -> tuple[dict[Key, Series], dict[Key, Judged]]:
    """Series and fits of one architecture: they need nothing of any other."""
    alone = Analysis(data, _series(data, name))
    for architecture in (a for a in data.architectures if a.name == name):
        for key, one in alone.series.items():
            judged = _judge(alone, architecture, key, one)
            if judged is not None:
                alone.fits[key] = judged
    return alone.series, alone.fits


def lay_beside(analysis: Analysis, other: RunData) -> bool:
    """Put what another run measured of the same cells beside an analysis; says whether there was any."""
    own = analysis.data
    names = {a.name for a in own.architectures}
    regimes = {"", *(r["name"] for r in own.regimes)}
    kept = {
        key: one
        for key, one in _series(other).items()
        if key.kind in ("cell", "decode") and key.architecture in names and key.regime in regimes
        and _same_batches(own, other, key)
    }  # fmt: skip
    analysis.beside = Analysis(other, kept) if kept else None
    return bool(kept)


def _same_batches(own: RunData, other: RunData, key: Key) -> bool:
    """Whether both runs took the same batch at every length that both have."""
    left, right = own.cells.get(key, {}), other.cells[key]
    return all(left[t].batch == right[t].batch for t in left if t in right)


def _series(data: RunData, name: str | None = None) -> dict[Key, Series]:
    made = {key: series(key, cells, exact=key.kind in EXACT_KINDS) for key, cells in data.cells.items()
            if name is None or key.architecture == name}  # fmt: skip
    return {key: one for key, one in made.items() if one is not None}


def _judge(analysis: Analysis, architecture: Architecture, key: Key, one: Series) -> Judged | None:
    if key.kind == "cell" and key.metric == "time":
        return _judge_time(analysis, architecture, key, one)
    if (
        key.kind in ("cell", "decode")
        and key.metric in (*MEMORY, "state_memory")
        and len(set(one.values.tolist())) == 1
        and not one.deviations.any()
    ):
        constant = fit_counts(one)  # the same to the byte: exponent 0, no interval
        theory = _memory_theory(analysis, architecture, key)
        return Judged(key, constant, theory, *judge_with_tail(constant, theory, MARGINS["memory"]))
    if key.kind == "cell" and key.metric in MEMORY:
        theory = _memory_theory(analysis, architecture, key)
        fit = fit_power(one, _rng(key), with_offset=theory != 0 and (theory is not None or not _flat(one)))
        return Judged(key, fit, theory, *judge_with_tail(fit, theory, MARGINS["memory"]))
    if key.kind == "graph" and key.metric in COUNTS:
        fit = fit_counts(one)
        theory = _count_theory(analysis, architecture, key)
        return Judged(key, fit, theory, *judge_with_tail(fit, theory, MARGINS["count"]))
    if key.kind == "path" and key.metric == "path_length":
        fit = fit_counts(one) if len(set(one.values.tolist())) == 1 else fit_power(one, _rng(key))
        number = {"constant": 0.0, "linear": 1.0}.get(architecture.path or "")
        verdict, note = judge_path(one, architecture.path)
        return Judged(key, fit, number, verdict, note, theory_text=architecture.path or "")
    if key.kind == "decode" and key.metric in ("time", "state_memory"):
        fit = fit_power(one, _rng(key), not _flat(one), key.metric == "time" and _launches_overlap(analysis))
        return Judged(key, fit, None, "not judged")
    return None


def _judge_time(analysis: Analysis, architecture: Architecture, key: Key, one: Series) -> Judged:
    theory = architecture.time_exponent
    fixed_tokens = analysis.data.fixed_tokens(key.regime)
    note = ""
    if fixed_tokens and theory is not None:
        if architecture.parallel_in_time:
            theory -= 1
        else:
            theory, note = None, "sequential: time rises because steps cannot be batched away"
    # Theory says flat: an offset and a power of zero are the same curve, so only one of them can be fitted.
    fit = fit_power(one, _rng(key), theory != 0, _launches_overlap(analysis))
    if theory is not None and one.rounds.max() < 2:
        return Judged(key, fit, theory, "not judged", "one round: how rounds differ is not known")
    work = None
    metric = work_metric(analysis, architecture.name)
    counted = analysis.find(architecture.name, "graph", "", "forward", metric)
    # Counts that contradict the claim are no reason to wait for longer sequences.
    believed = counted is None or (
        judge_with_tail(fit_counts(counted), architecture.time_exponent, MARGINS["count"])[0] != "disagrees"
    )
    flops = analysis.find(architecture.name, "graph", "", "forward", "flops")
    if flops is not None and theory is not None and believed:
        kept = np.isin(flops.lengths, one.lengths)
        if kept.sum() >= MIN_LENGTHS:
            values = _work_done(analysis, architecture.name, flops)[kept] / (flops.lengths[kept] if fixed_tokens else 1)
            exact = np.zeros((1, int(kept.sum())))  # its interval is not looked at
            same = Series(flops.lengths[kept], values, exact, flops.rounds[kept], "FLOP", False)
            work = fit_power(same, _rng(key), with_offset=theory != 0)
    verdict, why = judge_time(fit, theory, work)
    return Judged(key, fit, theory, verdict, note or why or (_change(one) if theory == 0 else ""))


def _work_done(analysis: Analysis, name: str, flops: Series) -> np.ndarray:
    """FLOPs as a kernel does them: a causal one skips about half of the products of tokens with tokens, which are counted as
    the reference computes them."""
    mixing = analysis.find(name, "graph", "", "forward", "mixing_flops")
    if (
        analysis.data.plan.get("mode") != "causal"
        or mixing is None
        or mixing.lengths.tolist() != flops.lengths.tolist()
    ):
        return flops.values
    return flops.values - 0.5 * mixing.values


def _change(one: Series) -> str:
    """How far a series that theory calls flat is from flat: an exponent is a small number even where much changes."""
    return f"the longest takes {digits(one.values[-1] / one.values[0], 2)} times as long as the shortest"


def _launches_overlap(analysis: Analysis) -> bool:
    """On a GPU the host launches ahead while the device works: a fixed cost hides behind work."""
    return str(analysis.data.plan.get("device", "")).startswith("cuda")


def _flat(one: Series) -> bool:
    """Changes by less than a quarter in all: an offset and a power cannot be told apart, so the offset is left out."""
    return bool(one.values.max() < 1.25 * one.values.min())


def _memory_theory(analysis: Analysis, architecture: Architecture, key: Key) -> float | None:
    if key.metric != "activation_memory" or architecture.memory_exponent is None:
        return None
    # With fixed tokens the batch shrinks as 1 / T.
    return architecture.memory_exponent - (1 if analysis.data.fixed_tokens(key.regime) else 0)


def _count_theory(analysis: Analysis, architecture: Architecture, key: Key) -> float | None:
    if key.metric == "span":
        return None if architecture.parallel_in_time is None else 0.0 if architecture.parallel_in_time else 1.0
    if key.phase != "forward":
        return None
    return architecture.time_exponent if key.metric == work_metric(analysis, architecture.name) else None


def work_metric(analysis: Analysis, name: str) -> str:
    """The count that `time_exponent` speaks of: token-to-token products, or all FLOPs where there are none."""
    mixing = analysis.find(name, "graph", "", "forward", "mixing_flops")
    return "mixing_flops" if mixing is not None and bool((mixing.values > 0).any()) else "flops"


def _rng(key: Key) -> np.random.Generator:
    return generator("fit", key.architecture, key.kind, key.regime, key.phase, key.metric)


def ranks_at(analysis: Analysis, regime: str, phase: str, metric: str, length: int) -> dict[str, Rank]:
    """Rank intervals of the architectures that finished a length."""
    found = analysis.by_architecture("cell", regime, phase, metric)
    found = {name: s for name, s in found.items() if length in s.lengths}
    if not found:
        return {}
    logs = np.stack([np.log(s.values[s.at(length)]) + s.deviations[:, s.at(length)] for s in found.values()], axis=1)
    return dict(zip(found, rank(logs), strict=True))
