"""Suites that train: tries on the tuning split, a choice, final trials with seeds of their own, each tested once."""

from __future__ import annotations

import copy
import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

from bench.allowance import Part
from bench.execute.runner import Stage
from bench.forecast.ask import Asker
from bench.forecast.training import TrainingForecast
from bench.kinds.common import Context, Sizer, architecture_entries, task_entry
from bench.kinds.pretrained import Start, starts
from bench.provenance import write_trials
from bench.spec import BASELINE, OF_CHANGES, Search, SpecError, Study, TaskPlan, TrainSpec, resolve
from bench.training.choose import Choice, choose, only
from bench.training.recipe import DROPOUTS, Recipe
from bench.trial import Trial, beam_phase
from results.schema import Record
from results.store import Run, latest

IMAGES = "image"  # the family of tasks for which architectures of images are there
SEARCH_SEED = 1_000_000  # no final trial has it: a choice must not be made on the seed that is then reported


@dataclass(frozen=True)
class LearntTask:
    """A task of the run with what was resolved for it. `found` is the child's description of it, `seconds` what building it
    took."""

    name: str
    entry: dict[str, Any]
    plan: TaskPlan
    recipe: Recipe
    search: Search
    seeds: int
    found: dict[str, Any]
    seconds: float = 0.0

    @property
    def length(self) -> int:
        return int(self.found["shape"]["length"])


@dataclass(frozen=True)
class Competitor:
    """An architecture, or one with a named change, at the size it has for one task; or why it cannot be had."""

    task: str
    architecture: str
    variant: str
    source: str
    settings: dict[str, Any]
    depth: int
    baseline: bool
    recipe: Recipe
    start: Start | None = None
    found: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    status: str = "ok"
    lr: float | None = None
    """A learning rate of its own, which a change names: then nothing is searched."""
    target: int | None = None
    """A size of its own, which a change names, in what others have the same of."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.task, self.architecture, self.variant


class TrainingSuite:
    """Implements `bench.kinds.common.Prepared`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.spec = cast(TrainSpec, context.spec)
        self.images = any(task_entry(context, name)["family"] == IMAGES for name in self.spec.chosen)
        self.entries = architecture_entries(context, self._wanted(), self._named())
        self.starts = starts(context.pretrained, self.spec.mode) if context.pretrained is not None else {}
        if self.starts:
            self._refuse_what_is_fixed()
        self.tasks = self._describe_tasks()
        self.competitors = self._size()
        self.problem = self.competitors[0].problem if all(c.problem for c in self.competitors) else ""
        self._lay_out()
        self.run_id = self._run_id(self.planned())

    def _lay_out(self) -> None:
        self.searches = {c.key: self._tries(c) for c in self.competitors}
        self.tries = [trial for tries in self.searches.values() for trial in tries]
        self.choices: dict[tuple[str, str, str], Choice] = {}
        self.first = self._checks() + self._costs()
        self.decodes = self._decodes()
        self.expected = len(self.planned())

    # What is asked for.

    def _refuse_what_is_fixed(self) -> None:
        """Kept encoders are as the other run made them. Raises SpecError where a plan asks for others."""
        if any(self.spec.changes_of(task) for task in self.spec.chosen):
            raise SpecError(f"--pretrained: suite '{self.context.suite.suite}' compares changes, kept encoders have none; "
                            "take a suite without changes, or leave --pretrained out")  # fmt: skip
        usual = resolve(self.context.suite, self.context.preset, {})
        fixed = ("settings", "depth", "match", "target")
        if asked := [name for name in fixed if getattr(self.spec, name) != getattr(usual, name)]:
            raise SpecError(
                f"--pretrained: encoders are as the run that kept them made them; leave out {', '.join(asked)}"
            )

    def _wanted(self) -> tuple[str, ...]:
        if self.spec.architectures != "all":
            return self.spec.architectures
        if all(lists := [self.spec.changes_of(task) for task in self.spec.chosen]):
            return tuple(dict.fromkeys(name for changes in lists for name in changes))
        entries, left_out = self.context.known["architectures"], self.spec.leave_out
        return tuple(e["name"] for e in entries if e["name"] not in left_out and (self.images or not e["images"]))

    def _named(self) -> list[str]:
        """Every architecture that the settings name anywhere, to be checked for mistakes."""
        plans, spec = self.spec.chosen.values(), self.spec
        lists = [(p.architectures or (), p.architecture_settings, p.fronts, p.changes or ()) for p in plans]
        by_tasks = [name for of_task in lists for names in of_task for name in names]
        return [*spec.settings, *spec.changes, *spec.leave_out, *spec.fronts, *by_tasks]

    def _describe_tasks(self) -> list[LearntTask]:
        """Build every task once, in a child: missing data or a wrong setting ends the command before anything runs."""
        self.worker = worker = self.context.pool.start()  # it holds the tasks, so a forecast can go on with it
        found = []
        try:
            for name, plan in self.spec.chosen.items():
                entry = task_entry(self.context, name)
                tokenizer = next((start.tokenizer for start in self.starts.values()), "")
                if tokenizer:  # texts are cut as the encoders know them
                    own = {"tokenizer_file": tokenizer, "lowercase": False, **plan.settings}
                    plan = plan.model_copy(update={"settings": own})
                recipe = self.spec.recipe_of(name)
                request = {
                    "name": name, "settings": plan.settings, "mode": self.spec.mode, "patches": recipe.patch_plan,
                }  # fmt: skip
                began = time.perf_counter()
                answer = worker.call("task", request, timeout=1800)
                if answer.status != "ok":
                    raise SpecError(answer.reason)
                if recipe.batch < self.context.devices:
                    raise SpecError(
                        f"{name}: a batch of {recipe.batch} cannot be spread over {self.context.devices} devices; set "
                        "recipe.batch, and keep the batch of a step by recipe.accumulate"
                    )
                search = plan.search or self.spec.search
                seeds = plan.seeds or self.spec.seeds
                found.append(LearntTask(name, entry, plan, recipe, search, seeds, answer.result,
                                        time.perf_counter() - began))  # fmt: skip
        except BaseException:
            worker.close()
            raise
        return found

    def _size(self) -> list[Competitor]:
        sizer = Sizer(self.context.pool)
        competitors = []
        for task in self.tasks:
            allowed = task.plan.architectures or tuple(self.spec.changes_of(task.name)) or None
            for entry in self.entries:
                # A task's own list says which built-ins are worth the time; what the user brings or names is always run.
                named = self.spec.architectures != "all" or entry["source"] != "built-in"
                if allowed is None or named or entry["name"] in allowed:
                    competitors += [self._sized(sizer, task, entry, c) for c in self._variants(task, entry)]
        sizer.close()
        if not competitors:
            raise SpecError("no architecture is left for any task; see --architectures and the tasks' own lists")
        return competitors

    def _variants(self, task: LearntTask, entry: dict[str, Any]) -> Iterator[Competitor]:
        name = entry["name"]
        source = f"{entry['hash']} {self.context.known['training_hash']} {task.entry['hash']}"
        if self.starts:
            yield from self._started(task, name, source)
            return
        settings = {**self.spec.settings.get(name, {}), **task.plan.architecture_settings.get(name, {})}
        depth = task.plan.depth or self.spec.depth
        changes = self.spec.changes_of(task.name).get(name, {})
        usual = self.spec.recipe_of(task.name, name)
        if not any(change.get("baseline") for change in changes.values()):
            first = BASELINE if changes else ""
            yield Competitor(task.name, name, first, source + self._shared(usual), settings, depth, True, usual)
        for variant, change in changes.items():
            own = {**settings, **{k: v for k, v in change.items() if k not in OF_CHANGES}}
            recipe = self.spec.recipe_of(task.name, name, change.get("recipe", {}))
            base = bool(change.get("baseline"))
            runs = source + self._shared(recipe)
            lr = recipe.lr if "lr" in change.get("recipe", {}) else None
            yield Competitor(
                task.name, name, variant, runs, own, change.get("depth", depth), base, recipe, lr=lr,
                target=change.get("target"),
            )  # fmt: skip

    def _shared(self, recipe: Recipe) -> str:
        """Source of the decoder, where it is another architecture's."""
        if recipe.decoder != "shared":
            return ""
        (entry,) = architecture_entries(self.context, (recipe.shared_decoder,), [])
        return f" {entry['hash']}"

    def _started(self, task: LearntTask, name: str, source: str) -> Iterator[Competitor]:
        """The pretrained encoder, and the same one from nothing as its baseline."""
        start = self.starts.get(name)
        if start is None:
            problem = f"the run that --pretrained names kept no encoder of it; it has {', '.join(self.starts)}"
            yield Competitor(
                task.name, name, "", source, {}, task.plan.depth or self.spec.depth, True, task.recipe, problem=problem,
                status="unsupported",
            )  # fmt: skip
            return
        recipe = self.spec.recipe_of(task.name, name).model_copy(update={"init": start.init})
        for variant, begun in ((BASELINE, None), ("pretrained", start)):
            yield Competitor(
                task.name, name, variant, source, start.settings, start.depth, begun is None, recipe, begun
            )

    def _sized(self, sizer: Sizer, task: LearntTask, entry: dict[str, Any], c: Competitor) -> Competitor:
        if c.problem:
            return c
        dropout, init = c.recipe.dropout, c.recipe.init
        settings = c.settings
        for name in DROPOUTS:
            if name in entry["settings"] and (share := getattr(c.recipe, name)):
                settings = {name: share, **settings}
        if init != "torch" and "init" in entry["settings"]:
            settings = {"init": init, **settings}
        elif init != "torch":  # it starts as it likes, so its embeddings are not made small for blocks that start small
            c = replace(c, recipe=c.recipe.model_copy(update={"init": "torch"}))
        request = {
            "settings": settings, "mode": self.spec.mode, "depth": c.depth,
            "shape": _read_by(c.recipe, task.found["shape"]),
            "match": task.plan.match or self.spec.match,
            "target": c.target or task.plan.target or self.spec.target,
        }  # fmt: skip
        if (start := self.starts.get(c.architecture)) is not None:
            request |= {"match": "width", "target": start.width}
        answer = sizer.size(entry, request, f"{c.architecture} {c.variant}".strip() if c.settings else "")
        if answer.status == "ok" and dropout and "dropout" not in entry["settings"]:
            answer.status = "unsupported"
            answer.reason = "the recipe asks for dropout, and it has no such setting; add one, or use recipe.dropout=0"
        if answer.status != "ok":
            return replace(c, settings=settings, problem=f"could not be built: {answer.reason}", status=answer.status)
        return replace(c, settings=settings, found=answer.result)

    # Trials.

    def _task(self, competitor: Competitor) -> LearntTask:
        return next(t for t in self.tasks if t.name == competitor.task)

    def _trial(self, kind: Any, c: Competitor, recipe: Recipe, fields: dict[str, Any]) -> Trial:
        task, spec, context = self._task(c), self.spec, self.context
        defaults: dict[str, Any] = {
            "regime": "", "batch": recipe.batch, "seed": 0, "phases": ("train",),
            "timeout": spec.timeout, "worker": c.architecture if context.device == "cpu" else "device",
        }  # fmt: skip
        shape = c.found.get("shape", task.found["shape"])
        defaults |= {"length": shape["length"], "grid": tuple(c.found.get("grid") or ())}
        training = {
            "recipe": recipe.model_dump(mode="json"), "shape": task.found["shape"], "tests": False, "generate": None,
            **fields.pop("training", {}),
        }  # fmt: skip
        if context.devices > 1 and kind in ("train", "cost"):  # left out for one, so that ids stay what they are
            training["devices"] = context.devices
        if c.start is not None and kind == "train":
            training["pretrained"] = c.start.of(fields["seed"])
        part = 1 / context.at_once if kind == "train" else 1.0
        return Trial(
            kind=kind, architecture=c.architecture, variant=c.variant, task=c.task, mode=spec.mode,
            width=c.found.get("width", 0), depth=c.depth, parameters=c.found.get("parameters", 0), dtype=spec.dtype,
            device=context.device, settings=c.found.get("config", c.settings), seconds=spec.seconds, limit=spec.limit,
            memory=int(context.memory_limit * part), silence=spec.silence, device_memory=spec.device_memory_share * part,
            source=c.source, fingerprint=task.found["fingerprint"],
            task_settings=task.plan.settings, training=training,
            decoder=recipe.decoder_words if task.found["shape"]["target_length"] else "", **{**defaults, **fields},
        )  # fmt: skip

    def _checks(self) -> list[Trial]:
        """Every competitor of every task: settings and sizes differ between them."""
        fields = {"phases": (), "length": 0, "batch": 1}
        trials = [_without_training(self._trial("check", c, c.recipe, dict(fields))) for c in self.competitors]
        return [replace(t, source=f"{t.source} {self.context.known['engine_hash']}") for t in trials]  # the checks' own

    def _costs(self) -> list[Trial]:
        # On a GPU in a child of their own: the profiler that names kernels may slow what is timed after it.
        place = {} if self.context.device == "cpu" else {"worker": "cost"}
        return [self._trial("cost", c, c.recipe, place) for c in self.competitors]

    def _tries(self, c: Competitor) -> list[Trial]:
        task = self._task(c)
        if len(self._rates(c)) == 1:
            return []
        found = []
        for lr in self._rates(c):
            recipe = c.recipe.scaled(task.search.share).model_copy(update={"lr": lr, "save_weights": False})
            fields = {"regime": "tune", "seed": SEARCH_SEED, "timeout": self.spec.train_timeout}
            found.append(self._trial("train", c, recipe, fields))
        return found

    def _rates(self, c: Competitor) -> tuple[float, ...]:
        return self._task(c).search.lr if c.lr is None else (c.lr,)

    def _final(self, c: Competitor, lr: Any, seed: int) -> Trial:
        recipe = c.recipe.model_copy(update={"lr": float(lr or 1.0)})
        generate = self.spec.generate.model_dump(mode="json") if self.spec.generate and seed == 0 else None
        fields = {
            "regime": "final", "seed": seed, "timeout": self.spec.train_timeout,
            "training": {"tests": True, "generate": generate if self._task(c).found["text"] else None},
        }  # fmt: skip
        return self._trial("train", c, recipe, fields)

    def _rounds(self) -> list[tuple[Competitor, int]]:
        """Final trials in order: seed by seed, so that an interrupted run has whole rounds, shuffled within each."""
        found: list[tuple[Competitor, int]] = []
        for seed in range(max(t.seeds for t in self.tasks)):
            group = [(c, seed) for c in self.competitors if seed < self._task(c).seeds]
            random.Random(f"order {seed}").shuffle(group)
            found += group
        return found

    def _decodes(self) -> list[Trial]:
        """Of language models that are baselines, and of everything that writes: there a change is what differs."""
        found = []
        for c in self.competitors:
            writes = self._task(c).found["shape"]["target_length"] > 0
            speaks = self._task(c).found["text"] and self.spec.mode == "causal" and c.baseline
            sizes = [(length, 1) for length in self.spec.decode_lengths] if writes or speaks else []
            beams: tuple[int, ...] = ()
            if writes and sizes:
                sizes += [(sizes[0][0], batch) for batch in self.spec.decode_batches if batch != 1]
                beams = self.spec.decode_beams
            widest = (sizes[0][0], max(batch for _, batch in sizes)) if beams else None
            for length, batch in sizes:
                searches = tuple(beam_phase(beam) for beam in beams) if (length, batch) == widest else ()
                fields = {"length": length, "batch": batch, "phases": ("decode", *searches)}
                found.append(self._trial("decode", c, c.recipe, fields))
        return found

    def _run_id(self, trials: list[Trial]) -> str:
        """Sources left out, as for scaling: a run goes on after a change, and what the change made stale is run again."""
        digest = hashlib.sha256(str(self.context.known["environment"]["environment_id"]).encode())
        for t in trials:
            digest.update(
                repr((t.kind, t.task, t.architecture, t.variant, t.length, t.seed, t.width, t.settings)).encode()
            )
            digest.update(repr((t.training, t.fingerprint, t.task_settings, t.dtype, t.device, t.mode)).encode())
        return f"{self.context.suite.suite}-{self.context.preset}-{digest.hexdigest()[:8]}"

    # Before running: what it takes, and a part of it.

    def planned(self) -> list[Trial]:
        finals = [self._final(c, c.found and self._rates(c)[0], s) for c, s in self._rounds()]
        return [*self.first, *self.tries, *finals, *self.decodes]

    def forecast(self) -> TrainingForecast:
        """A look at every competitor, tasks described last first: the child still holds them."""
        looks: dict[tuple[str, str, str], dict[str, Any] | None] = {}
        asker = Asker(self.context.pool, self.worker)
        order, counted = [task.name for task in self.tasks], set()
        for c in sorted(self.competitors, key=lambda c: -order.index(c.task)):
            if not c.problem:
                task = self._task(c)
                trial = self._final(c, self._rates(c)[0], 0)
                looks[c.key] = look = asker.look(trial, {"counted": c.architecture not in counted})
                if look is not None:
                    look["task"] = task.seconds
                    counted.add(c.architecture)
        self.worker = asker.worker or self.worker
        self.close()
        return TrainingForecast(looks)

    def close(self) -> None:
        self.worker.close()

    @property
    def left_out(self) -> list[str]:
        return list(self.context.budget.get("left_out", ()))

    @property
    def whole(self) -> Part:
        return Part(max(t.seeds for t in self.tasks), tuple(t.name for t in self.tasks), self.spec.decode_lengths)

    def reduced(self, part: Part, budget: dict[str, Any]) -> TrainingSuite:
        other = copy.copy(self)
        other.context = replace(self.context, budget=budget)
        other.tasks = [replace(t, seeds=min(t.seeds, part.rounds)) for t in self.tasks if t.name in part.tasks]
        other.competitors = [c for c in self.competitors if c.task in part.tasks]
        other.spec = self.spec.model_copy(update={"decode_lengths": part.lengths, "run": part.tasks})
        other._lay_out()
        return other

    # Running.

    def headline(self) -> str:
        names = ", ".join(t.name for t in self.tasks)
        return f"{self.expected} trials, {len(self.competitors)} competitors, {names}"

    def stages(self, run: Run) -> Iterator[Stage]:
        problems = {c.key: (c.status, c.problem) for c in self.competitors if c.problem}
        yield Stage("contract checks and costs", tuple(self.first), problems)
        yield Stage("search, outside training steps", tuple(self.tries), problems)
        self._choose({r.trial_id: r for r in latest(run.read("measured")[0])})
        self.write_plan(run)
        unlucky = {k: (choice.failure, choice.reason) for k, choice in self.choices.items() if choice.lr is None}
        yield Stage("training, outside steps", tuple(self._finals()), unlucky | problems)
        yield Stage("decoding", tuple(self.decodes), problems)

    def _choose(self, records: dict[str, Record]) -> None:
        for c in self.competitors:
            task, tries = self._task(c), self.searches[c.key]
            primary = task.found["primary"]
            self.choices[c.key] = (
                choose(tries, records, primary["metric"], primary["better"])
                if tries
                else only(*c.key, self._rates(c)[0])
            )

    def _finals(self) -> list[Trial]:
        return [self._final(c, self.choices[c.key].lr, seed) for c, seed in self._rounds()]

    def _finals_among(self, known: set[str]) -> list[Trial]:
        """Final trials, with whichever of its tries' settings, that are already known."""
        possible = (self._final(c, lr, seed) for c, seed in self._rounds() if not c.problem
                    for lr in self._rates(c))  # fmt: skip
        return [trial for trial in possible if trial.trial_id in known]

    # The plan, for people and for the page.

    def describe(self) -> list[str]:
        own = [c.target is not None for c in self.competitors]
        equal = f"equal {self.spec.match}" + (", some of their own size" if any(own) else "")
        sizes = "sizes of their own" if all(own) else equal
        where = f"preset {self.context.preset} on {self.context.device}, {self.spec.mode}"
        lines = [f"run {self.run_id}: {where}, {sizes}"]
        for task in self.tasks:
            r = task.recipe
            budget = " or ".join(
                f"{v:g} {n}" for n in ("steps", "tokens", "seconds") if (v := getattr(r, n)) is not None
            )
            lines.append(
                f"  {task.name}: {budget}, {r.batch * r.accumulate} x {task.length} tokens a step at most, "
                f"{len(task.search.lr)} learning rates, {task.seeds} seeds"
            )
            for c in self.competitors:
                if c.task == task.name:
                    name = f"{c.architecture} {c.variant}".strip()
                    size = f"width {c.found.get('width', 0):>5}  {c.found.get('parameters', 0):>12,} parameters"
                    lines.append(f"    {name:<34} {c.problem or size}")
        kinds = Counter(t.kind for t in [*self.first, *self.tries, *self.decodes])
        kinds["train"] += len(self._rounds())
        return [*lines, *(f"  {count:>5} {kind} trials" for kind, count in kinds.items())]

    def write_plan(self, run: Run) -> None:
        # While the search is not over, what an earlier session chose and trained stays on the page.
        before = {} if self.choices else run.left("plan.json")
        finals = self._finals() if self.choices else self._finals_among(set(before.get("trial_ids") or ()))
        trials = [*self.first, *self.tries, *finals]
        shown: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            own = next((c.found for c in self.competitors if c.architecture == entry["name"] and c.found), None)
            nothing: dict[str, Any] = {"width": 0, "depth": 0, "parameters": 0, "config": {}, "traits": None}
            shown[entry["name"]] = {**entry, **(own or nothing), "settings": (own or {}).get("settings", {})}
        content = {
            **self.context.plan_head(run), "title": self.spec.title,
            "seeds": list(range(max(t.seeds for t in self.tasks))), "expected_trials": self.expected,
            "trial_ids": [t.trial_id for t in (*trials, *self.decodes)],
            "tasks": [self._task_plan(t) for t in self.tasks],
            "architectures": list(shown.values()),
            "competitors": [_competitor_plan(c, self._task(c).recipe) for c in self.competitors],
            "studies": [study.model_dump(mode="json") for study in self._studies()],
        }  # fmt: skip
        if self.choices:
            content["choices"] = [choice.to_plan() for choice in self.choices.values()]
        elif finals and before.get("choices"):
            content["choices"] = before["choices"]
        run.write_json("plan.json", content)
        write_trials(run, [*trials, *self.decodes])

    def _studies(self) -> list[Study]:
        """Those of which at least two tasks are run, with these alone."""
        names = [t.name for t in self.tasks]
        found = [s.model_copy(update={"tasks": tuple(n for n in s.tasks if n in names)}) for s in self.spec.studies]
        return [study for study in found if len(study.tasks) > 1]

    def _task_plan(self, task: LearntTask) -> dict[str, Any]:
        found = task.found
        return {
            "name": task.name, "family": task.entry["family"], "summary": task.entry["summary"],
            "reference": task.entry["reference"], "settings": task.plan.settings, "length": task.length,
            "shape": found["shape"], "primary": found["primary"], "splits": found["splits"],
            "references": found["references"], "facts": found["facts"], "fingerprint": found["fingerprint"],
            "recipe": task.recipe.model_dump(mode="json"), "search": task.search.model_dump(mode="json"),
            "seeds": task.seeds, "match": task.plan.match or self.spec.match,
            "target": task.plan.target or self.spec.target,
        }  # fmt: skip


def _read_by(recipe: Recipe, shape: dict[str, Any]) -> dict[str, Any]:
    """A task's shape with what the recipe decides of the model around the encoder."""
    decoder = recipe.decoder_plan if shape["target_length"] else None
    patches = recipe.patch_plan if shape["image"] else None
    return {**shape, "towers": recipe.pair == "towers", "decoder": decoder, "patches": patches}


def _without_training(trial: Trial) -> Trial:
    return replace(trial, training=None, task_settings={}, fingerprint="")


def _competitor_plan(c: Competitor, usual: Recipe) -> dict[str, Any]:
    found = c.found
    changed = {k: v for k, v in c.recipe.model_dump(mode="json").items() if v != getattr(usual, k)}
    return {
        "task": c.task, "architecture": c.architecture, "variant": c.variant, "baseline": c.baseline,
        "target": c.target, "width": found.get("width", 0), "depth": c.depth, "parameters": found.get("parameters", 0),
        "embedding_parameters": found.get("embedding_parameters", 0),
        "settings": found.get("settings", c.settings), "receptive_field": found.get("receptive_field"),
        "recipe": changed, "change": c.start.words if c.start else "",
        "pretraining_s": round(c.start.seconds, 3) if c.start else 0.0, "problem": c.problem,
    }  # fmt: skip
