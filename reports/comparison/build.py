"""The page of a comparison: rows, figures, words and warnings for the template, and the CSV file beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from reports.canvas import Line, Plot
from reports.charts import Scale, line_chart
from reports.comparison import notices, scaling, training
from reports.comparison.changes import SYMBOLS, Change, Comparison, corrected
from reports.comparison.words import place
from reports.data import RunData, kind_of
from reports.style import looks
from reports.tables import LAST, Table, Value, thinned
from reports.training.charts import Row, difference_chart
from reports.training.tables import score_text
from reports.words import digits, integer, names, p_value, quantity, short, signed

TEMPLATE = "compare.html.j2"
_ROWS = 24  # of a figure with one row a competitor


def compare(a: RunData, b: RunData) -> Comparison:
    """Everything that both runs have. Raises ValueError (one line) where they are of different kinds of suite."""
    kinds = [kind_of(data.plan) for data in (a, b)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{a.run_id} and {b.run_id} cannot be compared: one is a run of kind '{kinds[0]}', the other "
                         f"'{kinds[1]}'; name two runs of the same kind")  # fmt: skip
    way = scaling if kinds[0] == "scaling" else training
    found, only, lost = way.changes(a, b)
    if not found:
        raise ValueError(
            f"{a.run_id} and {b.run_id} have nothing in common that ended well, so there is nothing to compare"
        )
    changes = sorted(corrected(found), key=lambda c: (SYMBOLS[c.verdict] not in "✗✓", -abs(c.share[0])))
    said = scaling.machine(a, b) if way is scaling else []
    labels = [f"{data.run_id} in {data.folder}" if a.run_id == b.run_id else data.run_id for data in (a, b)]
    if lost:
        more = f" and {integer(len(lost) - 6)} more" if len(lost) > 6 else ""
        said.insert(0, f"No longer ends well in B: {names(lost[:6])}{more}.")
    return Comparison(labels[0], labels[1], way.COLUMNS, changes, only, notices.gather(a, b), said, lost)


def build(a: RunData, b: RunData, found: Comparison) -> tuple[dict[str, Any], dict[str, str]]:
    """Context for the template, and CSV files by name."""
    tested = [c for c in found.changes if c.kind != "count"]
    counts = [c for c in found.changes if c.kind == "count"]
    csv = {"compare.csv": frame(found).to_csv(index=False)}
    context = {
        "tests": integer(_tests(tested)),
        "title": f"{short(found.a, 40)} and {short(found.b, 40)} compared",
        "a": a, "b": b, "found": found,
        "cards": _cards(found, tested),
        "sentences": _sentences(found, tested),
        "tested": thinned(_table("changes", found.columns, tested), "compare.csv"),
        "counts": thinned(_table("counts", found.columns, counts), "compare.csv"),
        "plots": _ratio_plots(a, tested) if found.columns == scaling.COLUMNS else _score_plots(b, tested),
        "scaling": found.columns == scaling.COLUMNS,
        "symbols": SYMBOLS,
        "csv_names": list(csv),
    }  # fmt: skip
    return context, csv


def _cards(found: Comparison, tested: list[Change]) -> list[tuple[str, str, str]]:
    cards = []
    for bad, good, kind in (("slower", "faster", "time"), ("worse", "better", "score")):
        rows = [c for c in tested if c.kind == kind]
        if rows:
            what = "times" if kind == "time" else "scores"
            unknown = sum(c.verdict in ("not resolved", "not tested") for c in rows)
            detail = f"{integer(unknown)} not resolved; after Holm's correction over {integer(_tests(tested))} tests"
            cards.append(
                (
                    f"{found.count(bad)} {bad}, {found.count(good)} {good}",
                    f"of {integer(len(rows))} {what} in B",
                    detail,
                )
            )
    return cards


def _tests(rows: list[Change]) -> int:
    return sum(math.isfinite(c.adjusted) for c in rows)


def _sentences(found: Comparison, tested: list[Change]) -> list[str]:
    said = []
    for kind, word in (("time", "time"), ("score", "score")):
        rows = [c for c in tested if c.kind == kind and math.isfinite(c.share[0])]
        if rows:
            middle = float(np.median([c.share[0] for c in rows]))
            said.append(f"The median change of a {word} from A to B is {signed(100 * middle, 2)} %.")
        for verdict in ("slower", "worse", "faster", "better"):
            few = [c for c in rows if c.verdict == verdict][:3]
            if few:
                said.append(f"Most {verdict}: {names([f'{place(c)} ({signed(100 * c.share[0], 2)} %)' for c in few])}.")
    changed = [c for c in found.changes if c.kind == "count" and c.verdict != "same"]
    same = found.count("same")
    if changed or same:
        said.append(
            f"Of {integer(len(changed) + same)} exact counts (bytes, FLOPs, span), {integer(len(changed))} changed."
        )
    return [*said, *found.said]


def _table(identity: str, columns: tuple[str, ...], rows: list[Change]) -> Table:
    head = [*columns, "A", "B", "B against A", "95 % interval", "verdict", "p (Holm)", "by", "n in A, B", "note"]
    return Table(identity, head, [_row(c) for c in rows], [*range(len(columns) - 1), len(columns) + 4], help={
        len(columns) + 3: "of this row alone; the verdict counts all rows",
    })  # fmt: skip


def _row(c: Change) -> list[Value]:
    value, low, high = c.share
    exact = c.kind == "count"
    interval = "exact" if exact else _percents(low, high) if math.isfinite(low) else "–"
    small = signed(c.effect.value) if c.kind == "score" else ""
    p = c.adjusted
    return [
        *(Value(short(text, 40), key) if not isinstance(key, int) else Value(text, key, number=True)
          for text, key in zip(c.where, _orders(c), strict=True)),
        *(_number(score_text(v) if c.kind == "score" else quantity(v, c.unit), v) for v in (c.a, c.b)),
        _number(_percent(value), value, small), _number(interval, low),
        Value(c.verdict, verdict=c.verdict),
        _number("–" if not math.isfinite(p) else p_value(p), p),
        Value(c.how), _number(f"{c.n[0]}, {c.n[1]}", min(c.n)), Value(c.note),
    ]  # fmt: skip


def _orders(c: Change) -> list[Any]:
    """What sorts the parts of a place: a length by its number, all else by its words."""
    last = c.order[-1]
    return [*c.where[:-1], last if isinstance(last, int) else c.where[-1]]


def _number(text: str, order: float, small: str = "") -> Value:
    return Value(text, order if math.isfinite(order) else LAST, small, number=True)


def _percent(share: float) -> str:
    return f"{signed(100 * share, 3)} %" if math.isfinite(share) else "–"


def _percents(low: float, high: float) -> str:
    return f"[{signed(100 * low, 3)}, {signed(100 * high, 3)}] %"


def _ratio_plots(a: RunData, tested: list[Change]) -> list[Plot]:
    """Time of B over time of A against length, a figure a regime and phase."""
    look = looks(a.architectures)
    figures: dict[tuple[str, str], dict[str, list[Change]]] = {}
    for c in tested:
        figures.setdefault((c.where[1], c.where[2]), {}).setdefault(c.order[0], []).append(c)
    plots = []
    for i, ((regime, step), by_name) in enumerate(sorted(figures.items())):
        lines = []
        for name in (n for n in look if n in by_name):
            rows = sorted(by_name[name], key=lambda c: c.order[-1])
            y, low, high = (1 + np.array(column) for column in zip(*(c.share for c in rows), strict=True))
            whole = bool(np.isfinite(low).all())
            lines.append(Line(name, look[name], np.array([c.order[-1] for c in rows]), y, low if whole else None,
                              high if whole else None))  # fmt: skip
        caption = (
            "Time in B over time in A: 1 is no change, above it B is slower. Bands are 95 % intervals of each point alone; "
            "what holds over all of them stands in the table."
        )
        scale = Scale("time of B / time of A", lambda v: f"{digits(v)}×", 1.0, "no change")
        if lines:
            plots.append(line_chart(f"ratio-{i}", f"{step.capitalize()}, {regime}", lines, scale, caption))
    return plots


def _score_plots(b: RunData, tested: list[Change]) -> list[Plot]:
    """Difference of scores, a figure a task and split, a competitor a row."""
    look = looks(b.architectures)
    figures: dict[tuple[str, str, str], list[Change]] = {}
    for c in tested:
        if c.kind == "score" and c.order[1] in look:
            figures.setdefault((c.where[0], c.where[2], c.where[3]), []).append(c)
    plots = []
    for i, ((task, split, score), rows) in enumerate(figures.items()):
        shown = sorted(rows, key=lambda c: c.order)[:_ROWS]
        points = [Row(c.where[1], look[c.order[1]], c.effect.value, *c.effect.interval,
                      f"{signed(c.effect.value, 2)} {c.verdict}") for c in shown]  # fmt: skip
        caption = (
            "B minus A with its 95 % interval. "
            "“Better” and “worse” hold after Holm's correction over all rows of the page."
        )
        if len(rows) > len(shown):
            caption += f" {len(shown)} of {integer(len(rows))} are drawn; all are in the table."
        plots.append(difference_chart(f"scores-{i}", f"{short(task)}: {split} {score}", points, f"{score}, B minus A",
                                      rows[0].better, caption))  # fmt: skip
    return plots


def frame(found: Comparison) -> pd.DataFrame:
    """One row a change; `compare.csv`. Shares are of A; `low` and `high` are the row's own 95 % interval."""
    keys = [name.split(" (")[0].replace(" ", "_") for name in found.columns]
    rows = []
    for c in found.changes:
        share, low, high = c.share
        rows.append({
            **dict(zip(keys, c.where, strict=True)), "kind": c.kind, "unit": c.unit, "better": c.better, "a": c.a, "b": c.b,
            "share": share, "low": low, "high": high, "effect": c.effect.value, "error": c.effect.error,
            "freedom": c.effect.freedom, "p": c.effect.p if c.kind != "count" else math.nan, "p_holm": c.adjusted,
            "verdict": c.verdict, "compared_by": c.how, "n_a": c.n[0], "n_b": c.n[1], "note": c.note,
        })  # fmt: skip
    return pd.DataFrame(rows)
