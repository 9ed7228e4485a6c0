"""Charts hold with intervals that a logarithmic axis cannot show."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reports.canvas import Line
from reports.style import Look
from reports.training.charts import Axis, Spot, cost_chart, curve_chart

LOG, LINEAR = Axis("score", lambda v: f"{v:.3g}", log=True), Axis("cost", lambda v: f"{v:.3g}")
LOOK = Look(0, "o", "-")


@pytest.mark.parametrize("low", [-0.2, 0.0, 1e-12])
def test_a_spot_whose_interval_reaches_zero_on_a_log_axis(low: float) -> None:
    spots = [Spot("a", LOOK, 1.0, 0.06, low, 0.3, True), Spot("b", LOOK, 2.0, 0.0001, 0.00009, 0.00011, False)]
    plot = cost_chart("x", "x", spots, LINEAR, LOG, "Bars are intervals.", "lower")
    assert "leaves the plot at the bottom" in plot.caption and "nan" not in plot.svg
    kept = [Spot("a", LOOK, 1.0, 0.06, 0.05, 0.07, True), spots[1]]
    assert "leaves the plot" not in cost_chart("x", "x", kept, LINEAR, LOG, "", "lower").caption


@pytest.mark.parametrize("focus", [True, False])
def test_a_band_that_reaches_zero_on_a_log_axis(focus: bool) -> None:
    x, y = np.arange(1.0, 9.0), np.geomspace(1.0, 0.001, 8)
    line = Line("a", LOOK, x, y, y - 0.01, y + 0.01)
    plot = curve_chart("x", "x", [line], LINEAR, LOG, "", focus=focus)
    assert "leaves the plot at the bottom" in plot.caption and not re.search(r"\bnan\b", plot.svg)
