"""Tables as plain data: a template escapes and draws them, the page's script sorts and filters them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field, replace

import numpy as np

from reports.data import FAMILIES, Architecture, Key, RunData
from reports.fits import P_HIGH, P_LOW, RESOLVED_WIDTH, Fit
from reports.ranks import Rank
from reports.statistics import Analysis, Judged, ranks_at, work_metric
from reports.verdicts import SYMBOLS, shape_errors
from reports.words import (
    bracket,
    count,
    digits,
    integer,
    memory,
    phase,
    power,
    quantity,
    rounded,
    seconds,
    short,
    trials,
)

LAST = 1e300  # sorts after every number; an infinity would turn a column of numbers into text


@dataclass(frozen=True)
class Value:
    """One cell: `text` is shown, `small` beside it, `order` is what a sort compares (text where None)."""

    text: str
    order: float | str | None = None
    small: str = ""
    title: str = ""
    verdict: str = ""
    slot: int | None = None
    number: bool = False
    claim: str = ""

    @property
    def plain(self) -> bool:
        """Whether its text is all that is shown."""
        return self.slot is None and not self.small and not self.verdict


@dataclass(frozen=True)
class Table:
    """`filters` are positions of columns that get a menu; `start` presets menus, position to text. `total` is how many rows
    there were before the table was thinned, and `whole` the file that has them all."""

    id: str
    columns: list[str]
    rows: list[list[Value]]
    filters: list[int] = field(default_factory=list)
    start: dict[int, str] = field(default_factory=dict)
    sort: tuple[int, str] | None = None
    help: dict[int, str] = field(default_factory=dict)
    total: int = 0
    whole: str = ""


def as_csv(table: Table) -> str:
    """Its texts, without menus and links."""
    buffer = io.StringIO()
    file = csv.writer(buffer, lineterminator="\n")
    file.writerow(table.columns)
    file.writerows([v.text for v in row] for row in table.rows)
    return buffer.getvalue()


MOST_ROWS = 1500  # more make a page slow to open, and nobody reads them there


def thinned(table: Table, whole: str) -> Table:
    """The table with at most MOST_ROWS rows: first those that its menus show at the start, then the others in order."""
    if len(table.rows) <= MOST_ROWS:
        return table
    shown = sorted(table.rows, key=lambda row: any(row[i].text != text for i, text in table.start.items()))
    return replace(table, rows=shown[:MOST_ROWS], total=len(table.rows), whole=whole)


@dataclass(frozen=True)
class FamilyRows:
    """A family's theory, and one row of measured values an architecture."""

    family: str
    theory: list[str]
    rows: list[tuple[Architecture, int, list[Value]]]


# Vaswani et al. 2017, table 1: complexity a layer, sequential operations, maximum path length.
# n sequence length, d width, k kernel, r neighbourhood.
THEORY = {
    "recurrent": ["O(n · d²)", "O(n)", "O(n)"],
    "convolution": ["O(k · n · d²)", "O(1)", "O(n / k), dilated O(logₖ n)"],
    "attention": ["O(n² · d)", "O(1)", "O(1)"],
    "windowed": ["O(r · n · d)", "O(1)", "O(n / r)"],
    "other": ["as claimed", "as claimed", "as claimed"],
}
PATH_WORDS = {"constant": "constant", "logarithmic": "~ log n", "linear": "~ n"}


def exponent(judged: Judged | None) -> Value:
    """An exponent with its interval and verdict; says so where there is none."""
    if judged is None:
        return Value("not measured", 99.0)
    fit = judged.fit
    theory = judged.theory_text and PATH_WORDS.get(judged.theory_text, judged.theory_text)
    if not theory and judged.theory is not None:
        theory = f"{judged.theory:g}"
    title = "; ".join(filter(None, [
        f"theory {theory}" if theory else "", judged.note or fit.reason, f"{fit.n_lengths} lengths, "
        f"{integer(fit.first_length)} to {integer(fit.last_length)}", f"last doubling {power(fit.local_slope)}",
    ]))  # fmt: skip
    if not np.isfinite(fit.exponent):
        return Value("–", 99.0, fit.reason, title, judged.verdict)
    if fit.high - fit.low > RESOLVED_WIDTH:
        return Value("?", 98.0, _ends(fit), title, judged.verdict)
    claim = f"theory {theory}" if theory else ""
    exact = power(fit.low) == power(fit.high)
    small = "" if exact else _ends(fit)
    if judged.note.startswith("by the last doubling"):
        small += f" last doubling {power(fit.local_slope)}"
    return Value(power(fit.exponent), fit.exponent, small, title, judged.verdict, claim=claim)


def _ends(fit: Fit) -> str:
    """The interval of an exponent; an end at the edge of what was searched is no bound."""
    above, below = fit.high < P_HIGH - 0.01, fit.low > P_LOW + 0.01
    if above and below:
        return bracket(fit.low, fit.high)
    return f"above {power(fit.low)}" if below else f"below {power(fit.high)}" if above else "no bound"


def longest_path(analysis: Analysis, name: str) -> Value:
    """The shape of the longest path and how far it goes; an exponent of a few short lengths would say little."""
    judged, one = (
        analysis.fit(name, "path", "", "forward", "path_length"),
        analysis.find(name, "path", "", "forward", "path_length"),
    )
    if judged is None or one is None or not np.isfinite(judged.fit.exponent):
        return exponent(judged)
    errors = shape_errors(one)
    best = min(errors, key=lambda shape: (errors[shape], list(errors).index(shape)))
    first, last = one.values[0], one.values[-1]
    small = f"{count(first)} ops" if first == last else f"{count(first)} to {count(last)} ops"
    title = f"{integer(one.lengths[0])} to {integer(one.lengths[-1])} tokens; {judged.note}"
    claim = f"theory {PATH_WORDS[judged.theory_text]}" if judged.theory_text in PATH_WORDS else ""
    return Value(PATH_WORDS[best], judged.fit.exponent, small, title, judged.verdict, claim=claim)


WAYS_COLUMNS = [
    "work (FLOPs)",
    "sequential operations (span)",
    "longest path",
    "activation memory",
    "time, training step",
]


def ways(analysis: Analysis) -> list[FamilyRows]:
    """The four ways of processing a sequence: theory a family, measured exponents an architecture."""
    regime = analysis.time_regime()
    slots = {a.name: i for i, a in enumerate(analysis.data.architectures)}
    families = []
    for family in FAMILIES:
        rows = []
        for a in (a for a in analysis.data.architectures if a.family == family):
            cells = [
                exponent(analysis.fit(a.name, "graph", "", "forward", work_metric(analysis, a.name))),
                exponent(analysis.fit(a.name, "graph", "", "forward", "span")),
                longest_path(analysis, a.name),
                exponent(analysis.fit(a.name, "cell", regime, "forward_backward", "activation_memory")),
                exponent(analysis.fit(a.name, "cell", regime, "forward_backward", "time")),
            ]
            rows.append((a, slots[a.name] % 10, cells))
        if rows:
            families.append(FamilyRows(family, THEORY[family], rows))
    return families


def _name(analysis: Analysis, name: str) -> Value:
    slots = {a.name: i for i, a in enumerate(analysis.data.architectures)}
    found = next((a for a in analysis.data.architectures if a.name == name), None)
    title = " · ".join(filter(None, [name, found.summary, found.reference, found.source])) if found else ""
    return Value(short(name) or "the machine", name, title=title, slot=slots[name] % 10 if name in slots else None)


def _number(text: str, order: float, small: str = "") -> Value:
    return Value(text, order, small, number=True)


def leaderboard(analysis: Analysis) -> Table:
    """One row an architecture, regime and length; the menus start at the longest length that all finished."""
    columns = ["architecture", "family", "regime", "length (tokens)", "rank", "training step", "against best",
               "forward", "activation memory", "peak memory", "FLOPs a sequence", "parallelism",
               "parameters"]  # fmt: skip
    rows: list[list[Value]] = []
    for regime in analysis.data.regimes:
        name = regime["name"]
        steps = analysis.by_architecture("cell", name, "forward_backward", "time")
        step_name = "forward_backward" if steps else "forward"
        steps = steps or analysis.by_architecture("cell", name, "forward", "time")
        stops = {(s.architecture, s.regime): s for s in analysis.data.stops(step_name)}
        for length in sorted({int(t) for s in steps.values() for t in s.lengths}):
            ranks = ranks_at(analysis, name, step_name, "time", length)
            best = min(float(steps[n].values[steps[n].at(length)]) for n in ranks)
            for a in analysis.data.architectures:
                stop = stops.get((a.name, name))
                if a.name in ranks:
                    rows.append(_leader(analysis, a, regime, length, ranks[a.name], step_name, best))
                elif stop is not None and length >= stop.length:
                    rows.append(_leader(analysis, a, regime, length, None, step_name, best, stop.words))
    first = analysis.time_regime()
    common = analysis.longest_common(first, "forward_backward") or analysis.longest_common(first, "forward")
    start = {2: analysis.data.regime_title(first)}
    if common:
        start[3] = integer(common)
    return Table("leaderboard", columns, rows, [1, 2, 3], start, (4, "asc"), {
        4: "95 % interval of the rank by time of a training step; ranges may overlap",
        6: "time over that of the fastest at this length",
        9: "on a CPU the pages that were touched: what of a workspace is not filled is not in it; can be below activations",
        10: "matrix products and convolutions of one forward pass, as the reference computes them (a causal kernel skips "
            "about half of the products of tokens with tokens)",
        11: "counted FLOPs over span of one forward pass",
    })  # fmt: skip


def _leader(analysis: Analysis, a: Architecture, regime: dict[str, object], length: int, rank: Rank | None,
            step_name: str, best: float, why: str = "") -> list[Value]:  # fmt: skip
    """Without a rank the row stands after all ranks: `why` in place of the time, and what else was measured or counted."""
    name = str(regime["name"])

    def cell(kind: str, step: str, metric: str) -> tuple[float, float, float] | None:
        one = analysis.find(a.name, kind, name if kind == "cell" else "", step, metric)
        if one is None or length not in one.lengths:
            return None
        i = one.at(length)
        low, high = one.interval
        return float(one.values[i]), float(low[i]), float(high[i])

    def timing(found: tuple[float, float, float] | None) -> Value:
        if found is None:
            return _number("–", LAST)
        return _number(seconds(found[0]), found[0], f"[{seconds(found[1])}, {seconds(found[2])}]")

    def plain(found: tuple[float, float, float] | None, words: str) -> Value:
        if found is None:
            return _number("–", LAST)
        return _number(memory(found[0]) if words == "B" else count(found[0], words), found[0])

    step = cell("cell", step_name, "time")
    flops, span = cell("graph", "forward", "flops"), cell("graph", "forward", "span")
    ratio = flops[0] / span[0] if flops and span and span[0] else None
    return [
        _name(analysis, a.name), Value(a.family), Value(analysis.data.regime_title(name)),
        _number(integer(length), length),
        _number(str(rank), rank.low + rank.high / 1000, "tie" if rank.tied else "") if rank else _number("–", 1e6),
        timing(step) if rank else _number(f"✕ {why}", LAST),
        _number(f"{digits(step[0] / best)}×", step[0] / best) if step and rank else _number("–", LAST),
        timing(cell("cell", "forward", "time")), plain(cell("cell", "forward_backward", "activation_memory"), "B"),
        plain(cell("cell", "forward_backward", "peak_memory"), "B"), plain(flops, "FLOP"),
        _number(count(ratio), ratio) if ratio else _number("–", LAST),
        _number(integer(a.parameters), a.parameters) if a.parameters else _number("–", LAST),
    ]  # fmt: skip


def cells(analysis: Analysis) -> Table:
    """Every measured time and memory, one row an architecture, regime, phase, quantity and length."""
    columns = ["architecture", "regime", "phase", "quantity", "length (tokens)", "batch", "median", "95 % low",
               "95 % high", "rounds", "samples", "note"]  # fmt: skip
    rows = []
    for key, one in analysis.series.items():
        if key.kind not in ("cell", "decode") or key.metric not in ("time", "activation_memory", "peak_memory",
                                                                    "state_memory"):  # fmt: skip
            continue
        low, high = one.interval
        regime = analysis.data.regime_title(key.regime) if key.regime else "decode"
        for i, length in enumerate(one.lengths):
            cell = analysis.data.cells[key][int(length)]
            drawn = sum(len(s) for s in cell.rounds)
            rows.append([
                _name(analysis, key.architecture), Value(regime), Value(phase(key.phase)),
                Value(key.metric.replace("_", " ")), _number(integer(length), int(length)),
                _number(integer(cell.batch), cell.batch), _number(quantity(one.values[i], one.unit), one.values[i]),
                *(_number(quantity(v[i], one.unit) if drawn > 1 else "–", v[i]) for v in (low, high)),
                Value(str(len(cell.rounds)), len(cell.rounds), title=trials(cell.trials), number=True),
                _number(str(drawn), drawn),
                Value("unstable" if cell.unstable else ""),
            ])  # fmt: skip
    return Table("cells", columns, rows, [0, 1, 2, 3])


def fits(analysis: Analysis) -> Table:
    """Every fit, with what theory claims."""
    columns = ["architecture", "regime", "phase", "quantity", "exponent", "95 % interval", "theory", "verdict",
               "last doubling", "lengths", "why"]  # fmt: skip
    rows = []
    for key, judged in analysis.fits.items():
        fit = judged.fit
        theory = judged.theory_text or (f"{judged.theory:g}" if judged.theory is not None else "–")
        why = judged.note or fit.reason
        if fit.outliers:
            why = "; ".join(filter(None, [why, "outlying at " + ", ".join(map(integer, fit.outliers))]))
        decode = "decode " if key.kind == "decode" else ""
        rows.append([
            _name(analysis, key.architecture),
            Value(analysis.data.regime_title(key.regime) if key.regime else "one sequence"), Value(phase(key.phase)),
            Value(decode + key.metric.replace("_", " ")), _number(power(fit.exponent), _last(fit.exponent)),
            _number(_ends(fit) if np.isfinite(fit.low) else "–", _last(fit.low)),
            _number(theory, judged.theory if judged.theory is not None else 99.0),
            Value(judged.verdict, verdict=judged.verdict), _number(power(fit.local_slope), _last(fit.local_slope)),
            _number(f"{fit.n_lengths}", fit.n_lengths, f"{integer(fit.first_length)}–{integer(fit.last_length)}"),
            Value(why),
        ])  # fmt: skip
    return Table("fits", columns, rows, [0, 1, 2, 3, 7])


def _last(value: float) -> float:
    return value if np.isfinite(value) else 99.0


def compared(data: RunData) -> Table:
    """What each architecture was: sizes, reach, settings, and the kernels that really ran."""
    columns = [
        "architecture",
        "width",
        "depth",
        "parameters",
        "receptive field",
        "settings",
        "kernels that ran",
        "source",
    ]
    settings = {
        str(raw.get("name")): raw.get("settings") or raw.get("config") or {}
        for raw in data.plan.get("architectures", [])
    }
    kernels: dict[str, set[str]] = {}
    for record in data.records:
        kernels.setdefault(record.architecture, set()).update(record.kernels)
    rows = []
    for a in data.architectures:
        shown = ", ".join(f"{k} {v}" for k, v in settings.get(a.name, {}).items() if v is not None)
        everything = "all before" if data.plan.get("mode") == "causal" else "all"
        reach = f"{integer(a.receptive_field)} tokens" if a.receptive_field else everything
        sizes = [_number(integer(n or 0), n or 0) for n in (a.width, a.depth, a.parameters)]
        ran = ", ".join(sorted(kernels.get(a.name, ()))) or "not recorded"
        rows.append([Value(short(a.name), a.name), *sizes, *map(Value, (reach, shown or "none", ran, a.source))])
    return Table("compared", columns, rows)


def failures(analysis: Analysis) -> Table:
    """Every trial that did not end ok."""
    columns = ["architecture", "kind", "regime", "length (tokens)", "seed", "status", "failed in", "reason"]
    rows = [
        [_name(analysis, r.architecture), Value(r.kind, title=trials([r.trial_id])),
         Value(analysis.data.regime_title(r.regime) or "–"),
         _number(integer(r.length), r.length), _number(str(r.seed), r.seed),
         Value(r.status + (" (not tried)" if r.extra.get("skipped") else "")), Value(phase(r.failed_phase) or "–"),
         Value(r.reason)]
        for r in analysis.data.records if r.status != "ok"
    ]  # fmt: skip
    return Table("failures", columns, rows, [0, 5])


@dataclass(frozen=True)
class Matrix:
    """Who beats whom: `cells[i][j]` says from which length row i is better than column j."""

    id: str
    title: str
    names: list[Value]
    cells: list[list[Value]]
    range: str


def crossover_matrices(analysis: Analysis) -> list[Matrix]:
    """One matrix a regime, phase and quantity."""
    made = []
    for (regime, step, metric), pairs in analysis.crossovers.items():
        names = list(analysis.by_architecture("cell", regime, step, metric))
        place = {n: i for i, n in enumerate(names)}
        grid = [[Value("") for _ in names] for _ in names]
        for c in pairs:
            i, j = place[c.a], place[c.b]
            if c.outcome == "no common lengths":
                grid[i][j] = grid[j][i] = Value("no common length")
            elif c.outcome == "tie":
                grid[i][j] = grid[j][i] = Value("tie", small=f"at {integer(c.last)}")
            else:
                winner, loser = place[c.winner], place[c.loser]
                span = f"{integer(c.first)} to {integer(c.last)}"
                if c.outcome in ("throughout", "pulls ahead"):
                    always = c.outcome == "throughout"
                    words = c.outcome if always else f"from {integer(int(c.length))}"
                    ratio = f"{digits(c.ratio_at_last, 2)}× at {integer(c.last)}{'' if always else '; ties before'}"
                    grid[winner][loser] = Value(words, small=ratio, verdict="wins",
                                                title=f"no crossing between {span}")  # fmt: skip
                    grid[loser][winner] = Value("–")
                elif c.outcome == "falls level":
                    grid[winner][loser] = Value(f"up to {integer(int(c.length))}", small=f"tied at {integer(c.last)}",
                                                title=f"no crossing between {span}")  # fmt: skip
                    grid[loser][winner] = Value("–", small=f"tied at {integer(c.last)}")
                else:
                    interval = f"[{_end(c.low)}; {_end(c.high)}]"
                    note = f"; {c.crossings} changes of order, the last is given" if c.crossings > 1 else ""
                    grid[winner][loser] = Value(f"from {rounded(c.length)}", small=interval, verdict="wins",
                                                title=f"measured {span}{note}")  # fmt: skip
                    grid[loser][winner] = Value(f"below {rounded(c.length)}", small=interval)
        title = f"{metric.replace('_', ' ').capitalize()}, {phase(step)}, {analysis.data.regime_title(regime)}"
        lengths = [t for c in pairs for t in (c.first, c.last) if t]
        span = f"{integer(min(lengths))} to {integer(max(lengths))} tokens" if lengths else "no common lengths"
        made.append(Matrix(f"matrix-{regime}-{step}-{metric}", title, [_name(analysis, n) for n in names], grid, span))
    return made


def _end(value: float) -> str:
    return "shortest" if value <= 0 else "beyond" if np.isinf(value) else rounded(value)


def is_time(key: Key) -> bool:
    """Whether a claim is about time, which carries noise, and not about counts and exact bytes, which do not."""
    return key.metric == "time"


def verdict_counts(analysis: Analysis, timed: bool) -> dict[str, int]:
    """How many claims of theory agree, disagree and are not resolved: of those about time, or of all others."""
    found = [j.verdict for key, j in analysis.fits.items() if is_time(key) == timed]
    return {v: found.count(v) for v in SYMBOLS if v != "not judged"}  # type: ignore[arg-type]
