"""Suites that measure cost against length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from bench.execute.runner import Stage
from bench.kinds.common import Context, Sizer, architecture_entries, task_entry
from bench.plan import Plan, Sized, plan_scaling, run_id
from bench.spec import ScalingSpec, SpecError
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
        self.plan: Plan = plan_scaling(
            self.spec, self.sized, context.device, context.memory_limit, context.known["engine_hash"]
        )
        environment = context.known["environment"]
        self.run_id = run_id(context.suite.suite, context.preset, self.plan.trials, environment["environment_id"])
        self.expected = len(self.plan.trials)
        self.problem = self.sized[0].problem if all(a.problem for a in self.sized) else ""

    def _size(self, entries: list[dict[str, Any]]) -> tuple[list[Sized], list[dict[str, Any]]]:
        spec, sized, shown = self.spec, [], []
        sizer = Sizer(self.context.pool)
        for entry in entries:
            settings = spec.settings.get(entry["name"], {})
            request = {"settings": settings, "mode": spec.mode, "depth": spec.depth, "match": spec.match,
                       "target": spec.target}  # fmt: skip
            answer = sizer.size(entry, request, entry["name"] if entry["name"] in spec.settings else "")
            source = f"{entry['hash']} {self.context.known['engine_hash']}"
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
        lines += [f"  {count:>5} {kind} trials" for kind, count in Counter(t.kind for t in self.plan.trials).items()]
        seconds = sum(spec.seconds * 1.4 * len(t.phases) + 0.15 for t in self.plan.trials)
        more = f"cells near the limit of {spec.limit:g} s a call add to that"
        return [*lines, f"  at least {seconds / 60:.0f} minutes; {more}"]

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

    def stages(self, run: Run) -> Iterator[Stage]:
        problems = {("", a.name, ""): (a.status, a.problem) for a in self.sized if a.problem}
        yield Stage("contract checks and tracing", (*self.plan.checks, *self.plan.counts), problems)
        yield Stage("trials outside measured steps", self.plan.timed, problems)
