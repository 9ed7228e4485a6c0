"""The critical-difference diagram (Demšar 2006): mean ranks over tasks, and who cannot be told apart."""

from __future__ import annotations

from matplotlib.figure import Figure

from reports.canvas import WIDTH, Plot, new_axes
from reports.sentences.board import Standings
from reports.style import MUTED, TEXT
from reports.training.data import label
from reports.training.looks import Cast
from reports.words import short

ROW = 17.0  # points a competitor


def critical_difference_diagram(s: Standings, cast: Cast) -> list[Plot]:
    """Mean ranks on one axis, 1 at the left; a bar joins those that lie within the critical difference."""
    if len(s.ranks) < 3:
        return []
    placed = sorted(s.ranks.items(), key=lambda item: item[1])
    groups = cliques([rank for _, rank in placed], s.critical)
    best = ", ".join(f"{label(name)} {rank:.1f}" for name, rank in placed)
    alt = f"Mean ranks over {len(s.tasks)} tasks: {best}."

    def draw() -> tuple[Figure, str]:
        height = 62 + ROW * len(placed) + 7 * len(groups)
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        axes = new_axes(figure, 14, 108)
        bottom = -len(placed) - 0.5 * len(groups)
        axes.set_xlim(0.8, len(placed) + 0.2)
        axes.set_ylim(bottom - 0.6, 0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.set_xticks(range(1, len(placed) + 1))
        axes.set_xlabel(f"mean rank over {len(s.tasks)} tasks (1 is best)")
        for i, (name, rank) in enumerate(placed):
            look = cast.looks[name]
            axes.plot([rank, len(placed) + 0.2], [-i, -i], color=look.color, lw=0.8, ls=(0, (1, 1.5)))
            axes.plot([rank], [-i], color=look.color, marker=look.marker, ms=6, ls="")
            axes.annotate(f"{short(label(name), 16)} {rank:.1f}", (len(placed) + 0.2, -i), (4, 0), va="center", fontsize=8.5,
                          textcoords="offset points", color=look.color, annotation_clip=False)  # fmt: skip
        for j, (low, high) in enumerate(groups):
            y = -len(placed) - 0.5 * j
            axes.plot([low - 0.04, high + 0.04], [y, y], color=TEXT, lw=2.5, solid_capstyle="butt")
        axes.tick_params(colors=MUTED)
        return figure, ""

    test = "" if s.friedman is None else f" Friedman's test that all are alike: p = {s.friedman:.3f}."
    joined = "Bars join those that cannot be told apart" if groups else "No two are within the critical difference"
    caption = (
        f"{joined}: mean ranks closer than {s.critical:.2f} (Nemenyi, 5 %).{test} "
        f"With {len(s.tasks)} tasks only large differences show. This asks what other tasks would give; the ranks of the "
        "table ask what other seeds of these tasks would."
    )
    return [Plot(f"{s.benchmark.id}-cd", "Mean rank over tasks", draw, alt, caption)]


def cliques(ranks: list[float], critical: float) -> list[tuple[float, float]]:
    """Largest runs of sorted ranks that span less than the critical difference, of two or more."""
    found: list[tuple[int, int]] = []
    for i in range(len(ranks)):
        last = max(j for j in range(i, len(ranks)) if ranks[j] - ranks[i] < critical)
        if last > i and not (found and found[-1][1] >= last):
            found.append((i, last))
    return [(ranks[i], ranks[j]) for i, j in found]
