"""Models that write and that a run has kept, as plain data for the child that makes them speak."""

from __future__ import annotations

from typing import Any

from bench.spec import SpecError
from results.store import Run


def kept_writers(run: Run, text: str) -> list[dict[str, Any]]:
    """One call of `bench.training.translate` for every task of the run that has kept models: its first seed's.

    Raises SpecError where there are none.
    """
    plan = run.read_json("plan.json")
    sizes = {(c["task"], c["architecture"], c.get("variant") or ""): c for c in plan.get("competitors") or ()}
    calls = []
    for task in plan.get("tasks") or ():
        models = []
        for r in run.current():
            one = sizes.get((r.task, r.architecture, r.variant))
            path = run.inside(str(r.extra.get("checkpoint") or ""))
            wanted = r.kind == "train" and r.regime == "final" and r.status == "ok" and r.task == task["name"]
            if wanted and r.decoder and r.seed == 0 and one is not None and path is not None:
                models.append({
                    "competitor": f"{r.architecture} {r.variant}".strip(), "architecture": r.architecture,
                    "settings": one["settings"], "width": one["width"], "depth": one["depth"],
                    "recipe": r.extra["recipe"], "weights": str(path),
                })  # fmt: skip
        if models:
            calls.append({"text": text, "task": task["name"], "task_settings": task["settings"], "mode": plan["mode"],
                          "dtype": plan["dtype"], "fingerprint": task["fingerprint"], "models": models})  # fmt: skip
    if not calls:
        raise SpecError(
            f"run {run.run_id} has kept no model that translates; run --suite translation (with recipe.save_weights)"
        )
    return calls
