"""Suites that measure cost against length."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from bench.allowance import Part
from bench.execute.runner import Stage
from bench.forecast.ask import Asker
from bench.forecast.scaling import ScalingForecast
from bench.kinds.common import Context, Sizer, architecture_entries, task_entry
from bench.plan import Plan, Sized, plan_scaling, run_id
from bench.provenance import write_trials
from bench.spec import ScalingSpec, SpecError
from bench.trial import Trial
from results.store import Run


class Scaling:
    """Implements `bench.kinds.common.Prepared`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.spec = cast(ScalingSpec, context.spec)
        task = task_entry(context, self.spec.task)
        if task["family"] != "vectors":
            raise SpecError(f"suite '{context.suite.suite}' measures cost on random vectors, not on '{self.spec.task}'")
        entries = architecture_entries(context, self.spec.architectures, list(self.spec.settings))
        self.sized, self.shown = self._size(entries)
        self._lay_out()
        environment = context.known["environment"]
        self.run_id = run_id(context.suite.suite, context.preset, self.plan.trials, environment["environment_id"])
        self.problem = self.sized[0].problem if all(a.problem for a in self.sized) else ""

    def _size(self, entries: list[dict[str, Any]]) -> tuple[list[Sized], list[dict[str, Any]]]:
        spec, sized, shown = self.spec, [], []
        sizer = Sizer(self.context.pool)
        for entry in entries:
            settings = spec.settings.get(entry["name"], {})
            request = {"settings": settings, "mode": spec.mode, "depth": spec.depth, "match": spec.match,
                       "target": spec.target}  # fmt: skip
            answer = sizer.size(entry, request, entry["name"] if entry["name"] in spec.settings else "")
            source = (
                f"{entry['hash']} {self.context.known['engine_hash']} {task_entry(self.context, spec.task)['hash']}"
            )
            if answer.status != "ok":
                sized.append(Sized(entry["name"], source, f"could not be built: {answer.reason}", answer.status))
                found: dict[str, Any] = {"width": 0, "depth": spec.depth, "parameters": 0, "config": {}, "traits": None}
            else:
                found = answer.result
                sized.append(
                    Sized(
                        entry["name"], source, width=found["width"], depth=found["depth"],
                        parameters=found["parameters"], config=found["config"],
                        parallel_in_time=found["traits"]["parallel_in_time"],
                    )
                )  # fmt: skip
            shown.append({**entry, **found})
        sizer.close()
        return sized, shown

    def _lay_out(self) -> None:
        self.plan: Plan = plan_scaling(
            self.spec, self.sized, self.context.device, self.context.memory_limit, self.context.known["engine_hash"]
        )
        self.expected = len(self.plan.trials)

    def headline(self) -> str:
        return f"{self.expected} trials, {len(self.sized)} architectures"

    def describe(self) -> list[str]:
        spec = self.spec
        lines = [
            f"run {self.run_id}: preset {self.context.preset} on {self.context.device}, {spec.mode}, "
            f"equal {spec.match} ({spec.target:,}), depth {spec.depth}"
        ]
        problems = {a.name: a.problem for a in self.sized}
        for a in self.shown:
            size = f"width {a['width']:>5}  {a['parameters']:>12,} parameters"
            lines.append(f"  {a['name']:<18} {size if a['width'] else problems.get(a['name'], '')}")
        return [*lines, *(f"  {n:>5} {kind} trials" for kind, n in Counter(t.kind for t in self.plan.trials).items())]

    def planned(self) -> list[Trial]:
        return list(self.plan.trials)

    def forecast(self) -> ScalingForecast:
        looks: dict[str, dict[str, Any] | None] = {}
        asker = Asker(self.context.pool)
        usable = [a for a in self.sized if not a.problem]
        for sized in usable:
            of_it = [t for t in self.plan.timed if t.architecture == sized.name and t.kind == "cell"]
            looks[sized.name] = self._look(asker, of_it) if of_it else None
        asker.close()
        traits = {a["name"]: a["traits"] or {} for a in self.shown}
        return ScalingForecast(looks, traits, int(self.context.known["environment"]["threads"]))

    def _look(self, asker: Asker, cells: list[Trial]) -> dict[str, Any] | None:
        """Passes of every second length of each regime, and a short trace."""
        found: dict[str, Any] = {}
        for name in dict.fromkeys(t.regime for t in cells):
            sizes = sorted({(t.length, t.batch) for t in cells if t.regime == name})
            answer = asker.look(cells[0], {"sizes": [(batch, length) for length, batch in sizes[::2]]})
            if answer is None:
                return None
            found |= {**answer, name: answer["passes"]}
        return found

    def close(self) -> None:
        pass

    @property
    def left_out(self) -> list[str]:
        return list(self.context.budget.get("left_out", ()))

    @property
    def whole(self) -> Part:
        return Part(self.spec.seeds, ("",), self.spec.lengths)

    def reduced(self, part: Part, budget: dict[str, Any]) -> Scaling:
        other = copy.copy(self)
        other.context = replace(self.context, budget=budget)
        shorter = {
            name: tuple(n for n in getattr(self.spec, name) if n <= part.longest)
            for name in ("decode_lengths", "path_lengths")
        }
        cut = shorter if part.longest < self.whole.longest else {}
        changes = {"seeds": part.rounds, "last_length": part.longest, **cut}
        other.spec = self.spec.model_copy(update=changes)
        other._lay_out()
        return other

    def write_plan(self, run: Run) -> None:
        spec = self.spec
        own = {
            "regimes": [
                {"name": name, "title": r.title, **({"tokens": r.tokens} if r.tokens else {"batch": r.batch})}
                for name, r in spec.regimes.items()
            ],
            "lengths": list(spec.lengths),
            "seeds": list(range(spec.seeds)),
            "expected_trials": self.expected,
            "trial_ids": [t.trial_id for t in self.plan.trials],
            "architectures": self.shown,
        }
        run.write_json("plan.json", {**self.context.plan_head(run), **own})
        write_trials(run, self.plan.trials)

    def stages(self, run: Run) -> Iterator[Stage]:
        problems = {("", a.name, ""): (a.status, a.problem) for a in self.sized if a.problem}
        yield Stage("contract checks and tracing", (*self.plan.checks, *self.plan.counts), problems)
        yield Stage("trials outside measured steps", self.plan.timed, problems)
