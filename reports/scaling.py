"""The page of the scaling suite: puts analysis, tables, figures and words into one template."""

from __future__ import annotations

from functools import partial
from typing import Any

from reports import beside, notices, scaling_files, tables
from reports.data import RunData
from reports.headline import headline
from reports.statistics import analyse, lay_beside
from reports.style import LINE_WORDS
from reports.together import Errand, Text
from reports.verdicts import SYMBOLS
from reports.words import integer

TEMPLATE = "scaling.html.j2"


def build(data: RunData, other: RunData | None = None) -> tuple[dict[str, Any], dict[str, Text]]:
    """Context for the template, and CSV files by name. What `other` measured of the same cells is drawn beside."""
    from reports.plots import groups  # matplotlib, see `reports.page`

    analysis = analyse(data)
    notes = notices.gather(data)
    if other is not None:
        notes.append(beside.warning(data, other, lay_beside(analysis, other), "Faint lines are"))
    errand = Errand([partial(scaling_files.text, name, analysis) for name in scaling_files.FILES])
    csv: dict[str, Text] = {f"scaling_{name}.csv": errand.later(i) for i, name in enumerate(scaling_files.FILES)}
    measured = any(k.kind == "cell" for k in analysis.series)
    lengths = data.plan.get("lengths") or []
    context = {
        "title": "How sequence architectures scale with length",
        "range": f"{integer(min(lengths))} to {integer(max(lengths))} tokens" if lengths else "",
        "measured": measured,
        "headline": headline(analysis),
        "notes": notes,
        "notes_line": notices.line(notes),
        "ways": tables.ways(analysis),
        "ways_columns": tables.WAYS_COLUMNS,
        "groups": groups(analysis),
        "leaderboard": tables.thinned(tables.leaderboard(analysis), "scaling_cells.csv"),
        "fits": tables.thinned(tables.fits(analysis), "scaling_fits.csv"),
        "cells": tables.thinned(tables.cells(analysis), "scaling_cells.csv"),
        "failures": tables.thinned(tables.failures(analysis), "scaling_cells.csv"),
        "compared": tables.compared(data),
        "matrices": tables.crossover_matrices(analysis),
        "line_words": {f: w for f, w in LINE_WORDS.items() if any(a.family == f for a in data.architectures)},
        "symbols": SYMBOLS,
        "csv_names": list(csv),
    }
    return context, csv
