"""Records as tidy pandas frames: one row a trial, or one row a measurement."""

from __future__ import annotations

import dataclasses

import pandas as pd

from results.schema import Measurement, Record

_NESTED = ("measurements", "kernels", "warnings", "extra")
TRIAL_COLUMNS = [f.name for f in dataclasses.fields(Record) if f.name not in _NESTED] + ["kernels", "warnings"]
MEASUREMENT_COLUMNS = [f.name for f in dataclasses.fields(Measurement)]


def trials(records: list[Record]) -> pd.DataFrame:
    """One row a trial; `kernels` and `warnings` joined with '; '."""
    return pd.DataFrame([_flat(record) for record in records], columns=TRIAL_COLUMNS)


def measurements(records: list[Record], failed: bool = False) -> pd.DataFrame:
    """One row a measurement, the trial's columns repeated; `samples` stays a tuple (None where `value` is given).

    With `failed`, a trial that did not end ok and has no measurement keeps one row, its measurement's columns empty.
    """
    rows = []
    for record in records:
        head = tuple(_flat(record).values())
        rows += [(*head, *(getattr(m, name) for name in MEASUREMENT_COLUMNS)) for m in record.measurements]
        if failed and record.status != "ok" and not record.measurements:
            rows.append((*head, *[None] * len(MEASUREMENT_COLUMNS)))
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS + MEASUREMENT_COLUMNS)


def _flat(record: Record) -> dict[str, object]:
    row = {name: getattr(record, name) for name in TRIAL_COLUMNS if name not in _NESTED}
    return {**row, "kernels": "; ".join(record.kernels), "warnings": "; ".join(record.warnings)}
