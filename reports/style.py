"""One look for one architecture, everywhere: colour and marker by registry order, line style by family.

Plots are drawn in stand-in colours that are replaced by CSS variables, so that one SVG serves light and dark.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.data import Architecture

# Okabe and Ito's palette, yellow left out and tones moved for 3:1 contrast on white and on near-black.
LIGHT = ("#0072b2", "#d55e00", "#008a64", "#b5508b", "#a87000", "#2e93cf", "#6a3d9a", "#8c510a", "#555b66", "#b01c2e")
DARK = ("#5ab4f0", "#ff8a4c", "#2cc79a", "#f09bcb", "#f5b83d", "#8ad8ff", "#bd9bf5", "#d9a066", "#b4bac6", "#ff7d8a")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "p", ">", "h", "*")
LINES: dict[str, object] = {
    "recurrent": (0, (5, 1.6)),
    "convolution": (0, (6, 1.4, 1.4, 1.4)),
    "attention": "-",
    "windowed": (0, (1.5, 1.2)),
    "other": (0, (6, 1.4, 1.4, 1.4, 1.4, 1.4)),
}
LINE_WORDS = {
    "recurrent": "dashed", "convolution": "dash-dot", "attention": "solid", "windowed": "dotted",
    "other": "dash-dot-dot",
}  # fmt: skip
TEXT, GRID, MUTED, SURFACE = "#fd0001", "#fd0002", "#fd0003", "#fd0004"
_VARIABLES = {TEXT: "var(--text)", GRID: "var(--grid)", MUTED: "var(--muted)", SURFACE: "var(--surface)"}


@dataclass(frozen=True)
class Look:
    """How an architecture is drawn. `slot` is its colour variable, `--s<slot>` in the page."""

    slot: int
    marker: str
    line: object

    @property
    def color(self) -> str:
        return f"#fe{self.slot:02x}01"


def looks(architectures: list[Architecture]) -> dict[str, Look]:
    """The look of each architecture by name. Colours repeat after 10 and markers after 11: 110 differ."""
    return {
        a.name: Look(i % len(LIGHT), MARKERS[i % len(MARKERS)], LINES[a.family]) for i, a in enumerate(architectures)
    }


def to_variables(svg: str) -> str:
    """Replace the stand-in colours of a drawn SVG by CSS variables."""
    for slot in range(len(LIGHT)):
        svg = svg.replace(f"#fe{slot:02x}01", f"var(--s{slot})")
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg
