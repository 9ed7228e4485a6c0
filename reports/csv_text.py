"""Cells as a line of CSV, for files whose rows have a beginning in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_cells(cells: Iterable[object]) -> str:
    """The cells quoted as in any row of a file, without a newline at their end."""
    buffer = io.StringIO()
    # The writer quotes a cell for what is in its own end of line, and for no other: both characters are in this one.
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()[:-2]
