"""What the CSV files of a scaling run hold: every measurement, every fit and every crossover."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from reports.bootstrap import median_places
from reports.csv_text import csv_cells
from reports.data import Key
from reports.fits import local_slopes
from reports.statistics import Analysis

if TYPE_CHECKING:
    import pandas as pd

FILES = ("cells", "fits", "crossovers")


def text(name: str, analysis: Analysis) -> str:
    """One of FILES, as CSV."""
    if name == "cells":
        return cells_csv(analysis)
    return str((fits_frame if name == "fits" else crossovers_frame)(analysis).to_csv(index=False))


def fits_frame(analysis: Analysis) -> pd.DataFrame:
    """One row a fit; `scaling_fits.csv`."""
    import pandas as pd  # slow to import; here the process that needs it does

    rows = []
    for key, judged in analysis.fits.items():
        fit = judged.fit
        rows.append(
            {
                "architecture": key.architecture,
                "regime": key.regime or "one sequence",
                "phase": key.phase,
                "quantity": _quantity(key),
                "exponent": fit.exponent,
                "low": fit.low,
                "high": fit.high,
                "verdict": judged.verdict,
                "theory": judged.theory,
                "theory_text": judged.theory_text,
                "offset": fit.offset,
                "coefficient": fit.coefficient,
                "unit": analysis.series[key].unit,
                "n_lengths": fit.n_lengths,
                "first_length": fit.first_length,
                "last_length": fit.last_length,
                "local_slope_long_end": fit.local_slope,
                "local_slope_low": fit.local_low,
                "local_slope_high": fit.local_high,
                "local_slopes": ";".join(f"{v:.4g}" for v in local_slopes(analysis.series[key])[0]),
                "outlying_lengths": ";".join(map(str, fit.outliers)),
                "method": fit.method,
                "note": judged.note or fit.reason,
            }
        )
    columns = ["architecture", "regime", "phase", "quantity", "exponent", "low", "high", "verdict", "theory"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _quantity(key: Key) -> str:
    return f"decode_{key.metric}" if key.kind == "decode" else key.metric


def crossovers_frame(analysis: Analysis) -> pd.DataFrame:
    """One row a pair of architectures, regime, phase and quantity; `scaling_crossovers.csv`."""
    import pandas as pd

    rows = [
        {
            "regime": regime,
            "phase": phase,
            "quantity": metric,
            "a": c.a,
            "b": c.b,
            "outcome": c.outcome,
            "winner_at_long_end": "" if c.outcome == "falls level" else c.winner,
            "crossing_length": c.length,
            "low": c.low,
            "high": c.high,
            "crossings": c.crossings,
            "first_common_length": c.first,
            "last_common_length": c.last,
            "ratio_at_last": c.ratio_at_last,
        }
        for (regime, phase, metric), pairs in analysis.crossovers.items()
        for c in pairs
    ]
    columns = ["regime", "phase", "quantity", "a", "b", "outcome", "winner_at_long_end", "crossing_length"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def cells_csv(analysis: Analysis) -> str:
    """One row a measurement of a trial, failed trials too; samples joined with ';'; `scaling_cells.csv`.

    A trial without measurements keeps one row, so that no failure is lost. `low` and `high` are a 95 % bootstrap
    interval of the trial's median; equal to it for counts.
    """
    buffer = io.StringIO()
    file = csv.writer(buffer, lineterminator="\n")
    file.writerow(_TRIAL + _MEASUREMENT)
    for r in analysis.data.records:
        trial = csv_cells((
            r.trial_id, r.kind, r.architecture, r.regime, r.length, r.batch, r.seed, r.status, r.reason, r.failed_phase,
            bool(r.extra.get("skipped")), r.width, r.depth, r.parameters, r.dtype, r.device, r.extra.get("load"),
            ";".join(map(str, r.extra.get("unstable") or ())),
        )) + ","  # fmt: skip
        for m in r.measurements:
            samples = m.samples if m.samples is not None else (m.value,)
            ends = _median_interval(samples) if len(samples) > 1 else samples * 3
            joined = ";".join([f"{v:.9g}" for v in samples])
            buffer.write(trial)
            file.writerow((m.phase, m.metric, m.unit, m.better, m.method, *ends, joined))
        if not r.measurements:
            buffer.write(trial)
            file.writerow((r.failed_phase, *[None] * (len(_MEASUREMENT) - 1)))
    return buffer.getvalue()


_TRIAL = [
    "trial_id", "kind", "architecture", "regime", "length", "batch", "seed", "status", "reason", "failed_phase", "skipped",
    "width", "depth", "parameters", "dtype", "device", "load", "unstable",
]  # fmt: skip
_MEASUREMENT = ["phase", "metric", "unit", "better", "method", "median", "low", "high", "samples"]


def _median_interval(samples: tuple[float, ...]) -> tuple[float, float, float]:
    """Median, low and high."""
    ordered = sorted(samples)
    size = len(ordered)
    places = ((size - 1) // 2, size // 2), *median_places(size)
    middle, low, high = ((ordered[i] + ordered[j]) / 2 for i, j in places)
    return middle, low, high
