"""Cells as a line of CSV, for files whose rows have a beginning in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_cells(cells: Iterable[object]) -> str:
    """The cells quoted as in any row of a file, without a newline at their end."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(
        cells
    )  # it quotes cells that hold what ends a line, and no other end
    return buffer.getvalue()[:-2]
