"""Numbers as a reader wants them: sensible digits, thousands separators, units."""

from __future__ import annotations

import math
from collections.abc import Iterable

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_COUNTS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def digits(value: float, significant: int = 3) -> str:
    """Three significant digits, thousands separated: 0.123, 12.3, 1,230."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    if value == 0:
        return "0"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}" if places < 8 else f"{value:.{significant - 1}e}"


def integer(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def rounded(value: float) -> str:
    """A length that was interpolated: two significant digits, 1,900 rather than 1,913."""
    if not math.isfinite(value) or value <= 0:
        return "–"
    step = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / step) * step:,.0f}"


def seconds(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    scale, unit = next((s for s in _TIMES if abs(value) >= s[0]), _TIMES[-1])
    return f"{digits(value / scale)} {unit}"


def duration(value: float) -> str:
    """A wall time: 12 s, 3 min 05 s, 2 h 10 min."""
    if not math.isfinite(value):
        return "–"
    if value < 60:
        return f"{digits(value, 2)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def memory(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    scale, unit = next((s for s in _BYTES if abs(value) >= s[0]), (1, "B"))
    return f"{digits(value / scale)} {unit}"


def count(value: float, unit: str = "") -> str:
    """12.3 GFLOP, 1,230 operations (below a million whole, if it is)."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e5 and value == int(value):
        return f"{integer(value)} {unit}".strip()
    scale, prefix = next((s for s in _COUNTS if abs(value) >= s[0]), (1.0, ""))
    return f"{digits(value / scale)} {prefix}{unit}".strip()


def quantity(value: float, unit: str) -> str:
    """Format by the unit that a record gives."""
    if unit == "s":
        return seconds(value)
    if unit in ("bytes", "B"):
        return memory(value)
    return count(value, unit)


def power(value: float) -> str:
    """An exponent, two decimals, never minus zero."""
    if not math.isfinite(value):
        return "–"
    return f"{round(value, 2) + 0.0:.2f}"


def bracket(low: float, high: float) -> str:
    return f"[{power(low)}, {power(high)}]"


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def phase(name: str) -> str:
    return {"forward": "forward", "forward_backward": "forward + backward",
            "forward_1_thread": "forward, 1 thread"}.get(name, name.replace("_", " "))  # fmt: skip


SCORE_NAMES = {
    "f1": "F1",
    "f1_accuracy_mean": "mean of F1 and accuracy",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "pearson_spearman_mean": "mean of Pearson and Spearman correlation",
    "spearman": "Spearman correlation",
}


def score_name(metric: str) -> str:
    """A score as people write it; what stands behind a colon, such as a subset's name, stays."""
    name, colon, rest = metric.partition(":")
    return SCORE_NAMES.get(name, name.replace("_", " ")) + colon + rest


def names(items: list[str], last: str = "and") -> str:
    """a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


def short(name: str, longest: int = 32) -> str:
    """A name on one line, cut with an ellipsis; names come from plug-ins and may be of any length."""
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def signed(value: float, significant: int = 3) -> str:
    """A difference with its sign: +0.012, −1.3, 0."""
    if not math.isfinite(value):
        return digits(value)
    text = digits(abs(value), significant)
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text if text == "0" else f"{'+' if value > 0 else '−'}{text}"


def trials(ids: Iterable[str]) -> str:
    """For a tooltip: what `--rerun` calls these trials. The first letters are enough for it."""
    found = [trial_id[:8] for trial_id in ids]
    return f"{'trial' if len(found) == 1 else 'trials'} {', '.join(found)}" if found else ""
