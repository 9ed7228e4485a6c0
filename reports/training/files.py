"""What the CSV files hold: every score, curve, try, difference and cost, nothing averaged over tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.csv_text import csv_cells
from reports.paired import Pair, mean
from reports.training.ablations import Ablation
from reports.training.curves import columns
from reports.training.data import Name, TaskRun, value_of
from reports.training.scores import Board
from reports.training.tuning import chosen_try

if TYPE_CHECKING:
    import pandas as pd


FILES = ("curves", "scores", "tries", "differences", "costs")


def text(name: str, boards: list[Board], ablations: list[Ablation]) -> str:
    """One of FILES, as CSV."""
    return curves_csv(boards) if name == "curves" else str(_frame(name, boards, ablations).to_csv(index=False))


def _frame(name: str, boards: list[Board], ablations: list[Ablation]) -> pd.DataFrame:
    import pandas as pd  # slow to import; here the process that needs it does

    tasks = [b.task for b in boards]
    if name == "differences":
        rows = [*(row for b in boards for row in _pairs(b)), *(row for a in ablations for row in _effects(a))]
        return pd.DataFrame(rows, columns=_DIFFERENCES)
    of_task, names = {"scores": (_scores, _SCORES), "tries": (_tries, _TRIES), "costs": (_costs, _COSTS)}[name]
    return pd.DataFrame([row for t in tasks for row in of_task(t)], columns=names)


_WHO = ["task", "architecture", "variant"]
_SCORES = [*_WHO, "split", "metric", "unit", "better", "mean", "low", "high", "n", "planned", "seeds", "values"]
_CURVES = [*_WHO, "seed", "status", "curve", "quantity", "step", "tokens", "seconds", "value"]
_TRIES = [*_WHO, "lr", "settings", "status", "metric", "score", "chosen", "choice", "reason"]
_DIFFERENCES = ["task", "metric", "better", "family", "a", "a_variant", "b", "b_variant", "difference", "low", "high", "n",
                "p", "p_holm", "significant"]  # fmt: skip
_COSTS = [*_WHO, "phase", "metric", "unit", "method", "mean", "n", "seeds", "values"]


def _who(task: TaskRun, name: Name) -> dict[str, Any]:
    return {"task": task.name, "architecture": name[0], "variant": name[1]}


def _scores(task: TaskRun) -> list[dict[str, Any]]:
    rows = []
    for c in task.competitors:
        for split in task.splits:
            for metric in task.metrics(split):
                values = task.scores(c.name, split, metric.name)
                if values:
                    whole = len(values) >= task.planned(c.name)  # a mean of survivors is no mean
                    m = mean(list(values.values()))
                    rows.append({
                        **_who(task, c.name), "split": split, "metric": metric.name, "unit": metric.unit,
                        "better": metric.better, "mean": m.value if whole else np.nan, "low": m.low if whole else np.nan,
                        "high": m.high if whole else np.nan, "n": len(values), "planned": task.planned(c.name),
                        "seeds": _join(values), "values": _join(values.values()),
                    })  # fmt: skip
    return rows


def _join(values: Any) -> str:
    return ";".join(map(str, values))


def curves_csv(boards: list[Board]) -> str:
    """Every point of every curve as CSV: a million rows in a large run, so they are joined as text, trial by trial."""
    return "".join(_curves(boards))


def _curves(boards: list[Board]) -> Iterator[str]:
    yield ",".join(_CURVES) + "\n"
    places: dict[tuple[bytes, bytes], list[str]] = {}
    for task in (b.task for b in boards):
        for c in task.competitors:
            for seed, record in sorted(task.finals.get(c.name, {}).items()):
                for part, raw in sorted((record.extra.get("curves") or {}).items()):
                    for quantity in (k for k in raw if k not in ("step", "tokens", "seconds")):
                        found = columns(record, part, quantity)
                        if found is not None:
                            head = csv_cells([task.name, *c.name, seed, record.status, part, quantity])
                            yield _lines(head, found, places)


def _lines(head: str, found: dict[str, np.ndarray], places: dict[tuple[bytes, bytes], list[str]]) -> str:
    """One curve. `places`: "step,tokens" of each point, made once for all curves that have these in common."""
    place = (found["step"].tobytes(), found["tokens"].tobytes())
    if place not in places:
        steps = found["step"].astype(int).tolist()
        places[place] = [f"{s},{t}" for s, t in zip(steps, _texts(found["tokens"]), strict=True)]
    rows = zip(places[place], _texts(found["seconds"]), _texts(found["value"]), strict=True)
    return "".join([f"{head},{at},{s},{v}\n" for at, s, v in rows])


def _texts(values: np.ndarray) -> list[str]:
    """Each number as `repr` has it, NaN as nothing. NaN is looked for in all at once, since a curve hardly ever has one."""
    texts = list(map(repr, values.tolist()))
    return ["" if text == "nan" else text for text in texts] if np.isnan(values).any() else texts


def _tries(task: TaskRun) -> list[dict[str, Any]]:
    rows = []
    for c in task.competitors:
        choice = task.choices[c.name]
        picked = chosen_try(choice)
        for t in choice.tries:
            settings = _join(f"{k}={v}" for k, v in t.settings.items())
            rows.append({**_who(task, c.name), "lr": t.lr, "settings": settings, "status": t.status,
                         "metric": task.primary.name, "score": t.score, "chosen": t is picked, "choice": choice.status,
                         "reason": t.reason})  # fmt: skip
    return rows


def _pair(task: TaskRun, family: str, a: Name, b: Name, pair: Pair) -> dict[str, Any]:
    d = pair.difference
    return {"task": task.name, "metric": task.primary.name, "better": task.primary.better, "family": family, "a": a[0],
            "a_variant": a[1], "b": b[0], "b_variant": b[1], "difference": d.value, "low": d.low, "high": d.high, "n": d.n,
            "p": d.p, "p_holm": pair.adjusted, "significant": pair.significant}  # fmt: skip


def _pairs(board: Board) -> list[dict[str, Any]]:
    return [_pair(board.task, "all pairs", a, b, pair) for (a, b), pair in board.pairs.items()]


def _effects(one: Ablation) -> list[dict[str, Any]]:
    family = f"against the baseline of {one.architecture}"
    return [_pair(one.task, family, e.standing.name, one.baseline.name, e.pair) for e in one.effects if e.pair]


def _costs(task: TaskRun) -> list[dict[str, Any]]:
    rows = []
    for c in task.competitors:
        found: dict[tuple[str, str, str, str], dict[int, float]] = {}
        cost = task.costs.get(c.name)
        for seed, record in [*([(cost.seed, cost)] if cost else []), *task.ok(c.name).items()]:
            for m in record.measurements:
                if m.phase not in ("tune", "test"):
                    found.setdefault((m.phase, m.metric, m.unit, m.method), {})[seed] = value_of(m)
        for (phase, metric, unit, method), values in found.items():
            rows.append({**_who(task, c.name), "phase": phase, "metric": metric, "unit": unit, "method": method,
                         "mean": float(np.mean(list(values.values()))), "n": len(values), "seeds": _join(values),
                         "values": _join(values.values())})  # fmt: skip
        if c.parameters:
            rows.append({**_who(task, c.name), "phase": "plan", "metric": "parameters", "unit": "", "method": "counted",
                         "mean": float(c.parameters), "n": 1, "seeds": "", "values": str(c.parameters)})  # fmt: skip
    return rows
