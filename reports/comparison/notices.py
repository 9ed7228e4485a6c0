"""What else differs between two runs: whoever reads a change must know it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reports import notices
from reports.data import RunData
from reports.notices import Warn
from reports.words import integer, names, short

_ENVIRONMENT = (
    ("machines", "device_name", "machine"), ("machines", "cores", "cores"), ("machines", "threads", "threads"),
    ("torch versions", "torch", "torch"), ("torch versions", "cuda", "CUDA"), ("devices", "device", "device"),
    ("systems", "os", "system"), ("systems", "python", "Python"),
)  # fmt: skip
_PLAN = ("preset", "device", "dtype", "mode", "match", "target", "lengths", "regimes")
_ROWS = {"architectures": ("name",), "tasks": ("name",), "competitors": ("task", "architecture", "variant")}
_OWN = ("order", "summary", "source", "reference", "hash")  # of an architecture's row: what is not what was run


def differences(a: RunData, b: RunData) -> dict[str, list[str]]:
    """What else differs between two runs, by kind of difference, each with both values."""
    found: dict[str, list[str]] = {}
    for short_name, key, words in _ENVIRONMENT:
        x, y = a.environment.get(key), b.environment.get(key)
        if x != y:
            found.setdefault(short_name, []).append(f"{words} {_text(x)} and {_text(y)}")
    protocols = [", ".join(sorted({r.protocol for r in data.records})) or "none" for data in (a, b)]
    if protocols[0] != protocols[1]:
        found["protocol versions"] = [
            f"protocol {protocols[0]} and {protocols[1]}: numbers were taken in different ways"
        ]
    code = [str(data.environment.get("git_commit") or "unknown")[:10] for data in (a, b)]
    if code[0] != code[1]:
        found["code"] = [f"commit {code[0]} and {code[1]} (often what is being compared)"]
    planned = list(_plan(a.plan, b.plan))
    if planned:
        found["plans"] = planned
    return found


def gather(a: RunData, b: RunData) -> list[Warn]:
    """One warning a kind of difference, then what is wrong with either run by itself."""
    made = [Warn(f"different {name}", f"A and B: {'; '.join(parts)}.") for name, parts in differences(a, b).items()]
    for name, data in (("A", a), ("B", b)):
        own = [w for w in notices.gather(data) if w.short != "trial note"]
        if own:
            made.append(Warn(f"warnings of {name}", f"Run {name} ({data.run_id}) by itself: {notices.line(own)}."))
    return made


def _plan(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    for key in _PLAN:
        if a.get(key) != b.get(key):
            yield f"{key} {_text(a.get(key))} and {_text(b.get(key))}"
    for kind, keys in _ROWS.items():
        left, right = (
            {tuple(str(row.get(k) or "") for k in keys): row for row in plan.get(kind) or () if isinstance(row, dict)}
            for plan in (a, b)
        )
        changed = [
            f"{' '.join(filter(None, name))} ({_fields(left[name], right[name])})"
            for name in left if name in right and _fields(left[name], right[name])
        ]  # fmt: skip
        if changed:
            more = f" and {integer(len(changed) - 6)} more" if len(changed) > 6 else ""
            yield f"{kind} set otherwise: {'; '.join(changed[:6])}{more}"


def _fields(x: dict[str, Any], y: dict[str, Any]) -> str:
    keys = [k for k in dict.fromkeys([*x, *y]) if k not in _OWN and x.get(k) != y.get(k)]
    return names([k.replace("_", " ") for k in keys])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} ({short(', '.join(str(v.get('name') if isinstance(v, dict) else v) for v in value), 60)})"
    return "none" if value in (None, "") else str(value)
