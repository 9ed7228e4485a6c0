"""Seqbench's command line: parse, plan, run, report. The only file that knows all the packages.

    python run_all.py --suite scaling

Heavy imports are inside functions: --help answers at once, and children forked from here start light.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parent
REFERENCE = ROOT / "results" / "reference"  # records of other machines, one folder a machine
PACKAGES = ("architectures", "tasks")
IMAGE_TASK = "image_file"
FILE_TASKS = (
    "sentence_file",
    "parallel_file",
    IMAGE_TASK,
)  # which of them a YAML file describes is the suite's matter
FILE_TASKS_PATHS = ("path", "test_path", "target_path", "test_target_path")
OK, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LONG = 300.0  # seconds of a run, from which on it matters that trainings could run side by side
MOST_AT_ONCE = 8  # of them that are suggested: each has but its part of the memory


class Stop(Exception):
    """Ends the program with one line and an exit status."""

    def __init__(self, message: str, status: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Places:
    """Where runs, pages and local data are."""

    runs: Path
    site: Path
    data: Path | None

    def workplace(self) -> Any:
        """Folders that trials may use: the user's data, and a cache for what can be made again."""
        from bench.execute.child import Workplace

        own = os.environ.get("SEQBENCH_CACHE")
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        local = str(self.data.resolve()) if self.data is not None else ""
        return Workplace(local, own or str(base / "seqbench"))


def main(
    suite: Annotated[str, typer.Option(help="what to run; --list shows all. A path of a YAML file works too")] = "",
    preset: Annotated[
        str, typer.Option(help="smoke, quick (default on a CPU), standard (default on a GPU) or full")
    ] = "",
    architectures: Annotated[str, typer.Option(help="comma-separated names; all by default")] = "all",
    tasks: Annotated[
        str, typer.Option(help="comma-separated tasks or groups of the suite, or a file or folder of yours")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    seeds: Annotated[int, typer.Option(help="rounds, each with its own initialisation and order; 0: the preset's")] = 0,
    set_: Annotated[list[str], typer.Option("--set", help="key=value, any setting of the suite; may be repeated")] = [],  # noqa: B006
    plugin: Annotated[list[str], typer.Option(help="file.py or package.module to register; may be repeated")] = [],  # noqa: B006
    data_dir: Annotated[str, typer.Option(envvar="SEQBENCH_DATA", help="folder with local copies of data sets")] = "",
    out: Annotated[str, typer.Option(help="folder for runs and pages, in place of results/runs and reports/site")] = "",
    pretrained: Annotated[
        str, typer.Option(metavar="RUN", help="start from this run's encoders (id or folder), each also from nothing")
    ] = "",
    report_only: Annotated[str, typer.Option(metavar="RUN", help="render a run's page again; its id or folder")] = "",
    beside: Annotated[
        str, typer.Option(metavar="RUN", help="with --suite or --report-only: show this run's numbers on the same page")
    ] = "",
    compare: Annotated[
        tuple[str, str], typer.Option(metavar="RUN_A RUN_B", help="a page of what differs in B; ids or folders")
    ] = ("", ""),
    fail_if_worse: Annotated[
        str, typer.Option(metavar="X%", help="with --compare: status 1 where B is worse by more than X % at 95 %")
    ] = "",
    export: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="WHAT RUN",
            help="csv or parquet (all measurements), markdown or latex (leaderboards), glue-submission (zips)",
        ),
    ] = ("", ""),
    translate: Annotated[str, typer.Option(metavar="TEXT", help="through the models that --run has kept")] = "",
    run: Annotated[str, typer.Option(metavar="RUN", help="the run that --translate takes models from")] = "",
    rerun: Annotated[
        tuple[str, str], typer.Option(metavar="RUN TRIAL_ID", help="one trial of a run again, beside its record")
    ] = ("", ""),
    verify: Annotated[str, typer.Option(metavar="RUN", help="some trials of a run again: do they agree?")] = "",
    sample: Annotated[int, typer.Option(min=1, help="how many trials --verify takes")] = 8,
    draw: Annotated[int, typer.Option(help="which ones --verify takes: another number, other trials")] = 0,
    executor: Annotated[
        str, typer.Option(help="local: on this machine; ray: on many devices, see docs/cluster.md")
    ] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="of the Ray cluster; by default this machine's, or a new one of it")
    ] = "",
    trainings_per_device: Annotated[
        int,
        typer.Option(min=1, help="that may share a GPU (or a machine's cores); timings never do"),
    ] = 1,
    devices_per_trial: Annotated[
        int, typer.Option(min=1, help="GPUs that one training spreads over, data-parallel")
    ] = 1,
    list_: Annotated[bool, typer.Option("--list", help="show architectures, tasks, suites and runs")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show what would be run and what it takes, and stop")
    ] = False,
    budget: Annotated[
        str,
        typer.Option(metavar="TIME", help="2h, 30m: run the part of the plan that fits, equal for all architectures"),
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="start a new run even where an old one could go on")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show stack traces")] = False,
) -> None:
    """Measure and compare sequence architectures.

    python run_all.py --suite scaling      then open reports/site/index.html

    The same command again goes on where it stopped. Exit status: 0 done (running out of memory or time is a result),
    1 some trials failed (or --verify, --rerun or --fail-if-worse found something), 2 stopped in one line: bad input, or no
    room for records or the page (finished trials are kept), 130 interrupted.
    """
    try:
        places = _places(out, data_dir)
        if beside and (list_ or not (suite or report_only)):
            raise Stop("--beside shows a run on the page of another; it goes with --suite or --report-only")
        if list_:
            _list(places, tuple(plugin))
        elif report_only:
            _report_only(places, report_only, beside)
        elif compare[0] or fail_if_worse:
            raise typer.Exit(_compare(places, *compare, fail_if_worse))
        elif export[0]:
            _export(places, *export)
        elif translate or run:
            _translate(places, translate, run, tuple(plugin))
        elif rerun[0] or verify:
            raise typer.Exit(_again(places, rerun[0] or verify, rerun[1], sample, draw, tuple(plugin)))
        elif suite:
            choice = _Choice(
                suite,
                preset,
                _names(architectures),
                _names(tasks),
                device,
                seeds,
                tuple(set_),
                tuple(plugin),
                pretrained,
                budget,
                executor,
                address,
                trainings_per_device,
                devices_per_trial,
                beside,
            )
            raise typer.Exit(_run(choice, places, dry_run=dry_run, fresh=fresh, debug=debug))
        else:
            raise Stop("nothing to do: name a suite (--suite scaling), or see --list and --help")
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _say("interrupted; finished trials are kept, the same command goes on from them")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        _say(f"error: {_one_line(error)}")
        raise typer.Exit(error.status if isinstance(error, Stop) else BAD_INPUT) from None


@dataclass(frozen=True)
class _Choice:
    """What the command line asks for."""

    suite: str
    preset: str
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    device: str
    seeds: int
    overrides: tuple[str, ...]
    plugins: tuple[str, ...]
    pretrained: str = ""
    budget: str = ""
    executor: str = "local"
    address: str = ""
    trainings_per_device: int = 1
    devices_per_trial: int = 1
    beside: str = ""


def _run(choice: _Choice, places: Places, *, dry_run: bool, fresh: bool, debug: bool) -> int:
    """Plan and run one suite, render its page. Returns the exit status."""
    from bench.allowance import read_budget
    from bench.execute.executor import LocalExecutor
    from bench.execute.progress import Progress, duration
    from bench.execute.runner import Runner, Stamp
    from bench.execute.side_by_side import SideBySide, share_cores
    from bench.execute.worker import Pool
    from bench.forecast.estimate import FILE, foreseen, lines, past
    from bench.kinds.common import Context
    from bench.kinds.foresight import foresee
    from bench.provenance import write_source
    from bench.spec import files_named, load_suite, resolve
    from results.store import Run, list_runs

    began, sections = time.perf_counter(), {}
    suite = load_suite(choice.suite)
    start = _find_run(places, choice.pretrained).folder if choice.pretrained else None
    other = _find_run(places, choice.beside) if choice.beside else None
    if other is not None:  # found out before hours of measuring, not after
        from reports.beside import check

        check({"suite": suite.suite, "kind": suite.kind}, choice.beside, other.read_json("plan.json"))
    at_once = choice.trainings_per_device
    for option, wanted in (
        ("--pretrained", start is not None), ("--devices-per-trial", choice.devices_per_trial > 1),
        ("--trainings-per-device", at_once > 1),
    ):  # fmt: skip
        if wanted and suite.kind != "train":
            raise Stop(f"suite '{suite.suite}' trains nothing; leave {option} out")
    if choice.budget:
        read_budget(choice.budget)  # a mistake is told before anything is looked at
    pool = Pool(PACKAGES, choice.plugins, data=places.workplace())
    cluster = _cluster(choice, pool)
    if at_once > 1 and not cluster:
        share_cores(at_once)
    known = _describe(pool, "cpu" if cluster else choice.device, choice.devices_per_trial)
    device = cluster.device if cluster else known["environment"]["device"]
    preset = choice.preset or ("quick" if device == "cpu" else "standard")
    spec = resolve(suite, preset, _overrides(choice, suite, preset))
    if cluster:
        paths = files_named([spec.model_dump(mode="json"), str(start.resolve()) if start else ""])
        known = cluster.describe(known, paths)
    environment = known["environment"]
    device = environment["device"]
    sections["start-up"] = time.perf_counter() - began

    began_planning = time.perf_counter()
    context = Context(suite, preset, spec, known, pool, device, _command(), _now(), start, plugins=choice.plugins,
                      devices=choice.devices_per_trial, at_once=at_once)  # fmt: skip
    prepared = _kind(suite.kind)(context)
    sections["planning"] = time.perf_counter() - began_planning
    name = _fresh_name(places.runs, prepared.run_id) if fresh else prepared.run_id
    prepared, guess = foresee(
        prepared, places.runs / name, choice.budget, sections, always=dry_run, never=preset == "smoke",
        slots=cluster.slots if cluster else at_once, at_once=at_once,
    )  # fmt: skip
    for words in prepared.left_out:
        _say(f"left out for --budget {choice.budget}: {words}")
    if dry_run:
        print("\n".join(prepared.describe()))
        if guess is not None:
            print("\n".join(lines(guess, past(list_runs(places.runs), environment["environment_id"]))))
            for words in _side_by_side(choice, suite, environment, guess.wall_s):
                print(words)
        return OK
    if prepared.problem:
        raise Stop(f"nothing can be run: {prepared.problem}")

    run = Run.create(places.runs, name)
    lock = run.lock()
    _check_writable(places.site)
    prepared.write_plan(run)
    run.write_json("environment.json", environment)
    write_source(run, environment["git_dirty"], choice.plugins)
    if guess is not None and math.isfinite(guess.wall_s):
        run.write_json(FILE, guess.to_plain())
    _say(f"{suite.suite} {preset} on {environment['device_name']}: {prepared.headline()}")
    for words in _side_by_side(choice, suite, environment, guess.wall_s) if guess is not None else ():
        _say(words)
    stamp = Stamp(suite.suite, environment["environment_id"], environment["git_commit"], environment["git_dirty"])
    terminal = sys.stdout.isatty() and not os.environ.get("CI")
    interrupted = False
    executor = cluster or (SideBySide(pool, at_once) if at_once > 1 else LocalExecutor(pool))
    executor.attach(run.folder)
    planned = prepared.planned()
    seconds = guess.seconds if guess is not None else foreseen(run, planned)
    with Progress(planned, terminal, seconds, lambda: executor.slots) as progress:
        runner = Runner(run, executor, stamp, progress.start, progress.end, progress.inside)
        try:
            runner.execute(progress.watch(prepared.stages(run)))
        except KeyboardInterrupt:
            interrupted = True
    lock.close()
    tally = runner.tally
    run.write_json("summary.json", _summary(run, tally, sections, began, interrupted, prepared.expected))
    if debug:
        for trace in tally.traces:
            _say(trace)
    try:
        page = _render(run, places, other)
    except Exception as error:
        raise Stop(
            f"trials are kept; the page was not made: {_one_line(error)}; try --report-only {run.run_id}"
        ) from error
    for status, reasons in _failures(run).items():
        _say(f"{status}: {reasons}")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(tally.statuses.items()))
    reused = f" ({tally.reused} from before)" if tally.reused else ""
    _say(f"{counts}{reused} in {duration(time.perf_counter() - began)}; open {page}")
    if interrupted:
        raise KeyboardInterrupt
    return SOME_FAILED if tally.statuses["error"] or tally.statuses["nan"] else OK


def _side_by_side(choice: _Choice, suite: Any, environment: dict[str, Any], seconds: float) -> list[str]:
    """What would make a long run on a CPU shorter, where it is not used: small models gain little from a second core."""
    used = choice.trainings_per_device > 1 or choice.devices_per_trial > 1 or choice.executor != "local"
    if suite.kind != "train" or environment["device"] != "cpu" or used or not seconds > LONG:
        return []
    many = min(environment["cores"], MOST_AT_ONCE)
    return (
        [f"  --trainings-per-device {many} would train {many} models at once, see docs/running.md"] if many > 1 else []
    )


def _cluster(choice: _Choice, pool: Any) -> Any:
    """The cluster that was asked for; None to run here."""
    from bench.registry import did_you_mean

    if choice.executor not in ("local", "ray"):
        raise Stop(f"--executor: no '{choice.executor}'; {did_you_mean(choice.executor, ['local', 'ray'])}")
    if choice.executor == "local":
        if choice.address:
            raise Stop("--address is for --executor ray; add that, or leave it out")
        return None
    from bench.execute.cluster import Cluster

    lanes, devices = choice.trainings_per_device, choice.devices_per_trial
    return Cluster(choice.address, pool, choice.device, lanes, devices, _say)


def _overrides(choice: _Choice, suite: Any, preset: str) -> dict[str, Any]:
    """What the command line changes in the suite's settings."""
    from bench.spec import parse_override, studies_among

    overrides = dict(parse_override(text) for text in choice.overrides)
    if choice.seeds:
        overrides["seeds"] = choice.seeds
    if choice.architectures != ("all",):
        if not choice.architectures:
            raise Stop("--architectures: name at least one, or leave it out for all")
        overrides["architectures"] = list(choice.architectures)
    if choice.tasks and suite.kind == "scaling":
        if len(choice.tasks) > 1:
            raise Stop(f"suite '{suite.suite}' measures cost on one task's inputs; give one name to --tasks")
        overrides["task"] = choice.tasks[0]
    elif choice.tasks:
        # First, so that --set can change the settings of a task that is named here.
        tasks = _chosen_tasks(choice.tasks, suite, preset)
        overrides = {"tasks": tasks, "run": list(tasks), "studies": studies_among(suite, preset, tasks), **overrides}
    return overrides


def _chosen_tasks(names: tuple[str, ...], suite: Any, preset: str) -> dict[str, Any]:
    """The named tasks with the suite's settings for them. A text file by its path is a task too, and so are examples in a
    file that a YAML file describes."""
    from bench.spec import read_settings, resolve

    spec: Any = resolve(suite, preset, {})
    known = spec.model_dump(mode="python", exclude_unset=True)["tasks"]
    usual = known[next(iter(spec.chosen))].get("settings", {})
    found: dict[str, Any] = {}
    for name in (member for named in names for member in spec.groups.get(named, (named,))):
        if name.endswith((".yaml", ".yml")):
            kind = next((task for task in FILE_TASKS if task in known), FILE_TASKS[0])
            if kind in found:
                raise Stop(f"--tasks {name}: one such file a run; run the command once for each")
            plan = known.get(kind, {})
            own = read_settings(Path(name), paths=FILE_TASKS_PATHS)
            found[kind] = {**plan, "settings": {**plan.get("settings", {}), **own}}
        elif IMAGE_TASK in known and name not in known and (name.endswith(".parquet") or Path(name).is_dir()):
            plan = known[IMAGE_TASK]
            own = {**plan.get("settings", {}), "path": str(Path(name).resolve())}
            found[IMAGE_TASK] = {**plan, "settings": own}
        elif "/" in name or name.endswith(".txt"):
            if "text_lm" in found:
                raise Stop(f"--tasks {name}: one text file a run; run the command once for each")
            alike = {key: usual[key] for key in ("context", "tune_tokens") if key in usual}
            found["text_lm"] = {"settings": {**alike, "path": str(Path(name).resolve())}}
        else:
            found[name] = known.get(name, {})
    return found


def _kind(kind: str) -> Any:
    from bench.kinds.scaling import Scaling
    from bench.kinds.training import TrainingSuite

    return {"scaling": Scaling, "train": TrainingSuite}[kind]


def _check_writable(site: Path) -> None:
    """Find out before hours of measuring, not after, that the page has no place."""
    try:
        site.mkdir(parents=True, exist_ok=True)
        probe = site / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise Stop(f"cannot write pages to {site}: {error.strerror}; choose another place with --out DIR") from error


def _describe(pool: Any, device: str, devices: int = 1) -> dict[str, Any]:
    """Registry and environment, as a child sees them."""
    worker = pool.start()
    try:
        answer = worker.call("describe", {"device": device, "devices": devices}, timeout=300)
    finally:
        worker.close()
    if answer.status != "ok":
        reason = answer.reason.removeprefix("ValueError: ")
        named = not pool.plugins or any(plugin in reason for plugin in pool.plugins)
        raise Stop(reason if named else f"{reason} (while loading {', '.join(pool.plugins)})")
    for note in answer.notes:
        _say(f"warning: {note}")
    described: dict[str, Any] = answer.result
    return described


def _summary(
    run: Any, tally: Any, sections: dict[str, float], began: float, interrupted: bool, expected: int
) -> dict[str, Any]:
    from collections import Counter

    # A run that went on from an earlier session holds what both measured, so it also counts the time of both.
    earlier = run.earlier() if tally.reused else {}
    spent = Counter({**sections, **tally.sections})
    spent.update(earlier.get("sections", {}))
    return {
        "ended": _now(),
        "sessions": earlier.get("sessions", 0) + 1,
        "wall_s": time.perf_counter() - began + earlier.get("wall_s", 0.0),
        "measured_s": tally.measured_s + earlier.get("measured_s", 0.0),
        "sections": dict(spent),
        "trials": dict(tally.statuses),
        "reused": tally.reused,
        "interrupted": interrupted,
        "complete": sum(tally.statuses.values()) == expected,
        "warnings": tally.warnings,
    }


def _report_only(places: Places, name: str, beside: str) -> None:
    other = _find_run(places, beside) if beside else None
    _say(f"open {_render(_find_run(places, name), places, other)}")


def _compare(places: Places, one: str, other: str, limit: str) -> int:
    """Render what differs between two runs; with a limit, say whether anything is worse by more. Returns the status."""
    if not one:
        raise Stop(f"--fail-if-worse {limit} says nothing alone; it wants --compare RUN_A RUN_B")
    from reports.comparison.changes import alarms, limit_of
    from reports.comparison.words import told
    from reports.page import render_comparison

    try:
        share = limit_of(limit) if limit else None
    except ValueError as error:
        raise Stop(str(error)) from None
    page, found = render_comparison(_find_run(places, one), _find_run(places, other), places.site)
    for warning in found.warnings:
        _say(f"warning: {warning.short}: {warning.detail}")
    for line in found.said:
        _say(line)
    _say(f"open {page}")
    if share is None:
        return OK
    worse = alarms(found.changes, share)
    _say(told(worse, share, found))
    return SOME_FAILED if worse or found.lost else OK


EXPORTS = ("csv", "parquet", "markdown", "latex", "glue-submission")


def _export(places: Places, what: str, name: str) -> None:
    """Write what others want of a run, in their form, beside the run's own files."""
    from bench.registry import did_you_mean

    if what not in EXPORTS:
        raise Stop(f"--export: no form '{what}'; {did_you_mean(what, list(EXPORTS))}")
    run = _find_run(places, name)
    if what == "glue-submission":
        from reports.data import load
        from reports.sentences.submission import export
        from tasks.glue import TASKS

        labels = {t.name: t.columns.labels for t in TASKS}
        for path, absent in export(load(run), run.folder, run.folder / "submissions", labels):
            _say(f"{path}" + (f" (the board also wants {', '.join(absent)})" if absent else ""))
        return
    from reports.export import write

    for path in write(run, what):
        _say(str(path))


def _translate(places: Places, text: str, name: str, plugins: tuple[str, ...]) -> None:
    """One text through every model that a run has kept: on the screen, and as a page with alignments."""
    from bench.execute.worker import Pool
    from bench.kinds.kept import kept_writers
    from bench.provenance import plugins_of
    from reports.page import render_translation

    if not name or not text:
        raise Stop('--translate wants a text and a run: --translate "Ein Hund läuft." --run RUN; see --list for runs')
    run = _find_run(places, name)
    worker = Pool(PACKAGES, plugins or plugins_of(run), data=places.workplace()).start()
    found: list[dict[str, Any]] = []
    try:
        for call in kept_writers(run, text):
            answer = worker.call("translate", call, timeout=600)
            if answer.status != "ok":
                raise Stop(answer.reason.removeprefix("ValueError: "))
            found += answer.result
    finally:
        worker.close()
    notes = list(dict.fromkeys(one["note"] for one in found if one["note"]))
    found = [one for one in found if "text" in one]
    if not found:
        raise Stop(f"--translate: {'; '.join(notes)}; give the text sentence by sentence")
    for note in notes:
        _say(f"warning: {note}")
    if len({one["task"] for one in found}) > 1:
        found = [{**one, "competitor": f"{one['task']}: {one['competitor']}"} for one in found]
    for one in found:
        print(f"{one['competitor']:<28} {one['text']}")
    places.site.mkdir(parents=True, exist_ok=True)
    _say(f"open {render_translation(run.run_id, text, found, places.site)}")


def _again(places: Places, name: str, trial_id: str, size: int, number: int, plugins: tuple[str, ...]) -> int:
    """Trials of a run once more, each held against its record. The run's own records stay as they are."""
    from bench.execute.again import doubts, draw, find, run_again
    from bench.execute.runner import Stamp
    from bench.execute.side_by_side import THREADS
    from bench.execute.worker import Pool
    from bench.provenance import plugins_of, read_trials
    from reports.agreement import judge, next_file, summary

    run = _find_run(places, name)
    threads = (run.left("environment.json").get("variables") or {}).get(THREADS)
    if threads:  # as it was made: another number of threads, other bits
        os.environ.setdefault(THREADS, str(threads))
    trials, records = read_trials(run), run.current()
    recorded = {r.trial_id: r for r in records}
    ids = [find(trials, recorded, trial_id)] if trial_id else draw(trials, records, size, number)
    if not ids:
        raise Stop(f"{run.run_id} has no trial that ended ok, so there is nothing to hold a repeat against")
    pool = Pool(PACKAGES, plugins or plugins_of(run), data=places.workplace())
    chosen, known = [trials[i] for i in ids], _describe(pool, trials[ids[0]].device)
    environment, warnings = known["environment"], doubts(run, chosen, [recorded[i] for i in ids], known)
    for words in warnings:
        _say(f"warning: {words}")
    stamp = Stamp(recorded[ids[0]].suite, environment["environment_id"], environment["git_commit"],
                  environment["git_dirty"])  # fmt: skip
    now = run_again(chosen, pool, stamp, lambda trial, record: _say(f"ran {record.kind} {record.architecture} again"))
    verdicts, rate = judge([(recorded[i], record) for i, record in zip(ids, now, strict=True)], records)
    print("\n".join(summary(verdicts, rate, every_point=bool(trial_id))))
    file = next_file(run)
    run.write_json(file, {"created": _now(), "command": _command(), "draw": number, "warnings": warnings,
                          "environment": environment, "false_alarms": rate, "verdicts": [v.to_plain() for v in verdicts],
                          "records": [asdict(record) for record in now]})  # fmt: skip
    _say(f"kept in {run.folder / file}")
    return OK if all(v.agrees for v in verdicts) else SOME_FAILED


def _find_run(places: Places, name: str) -> Any:
    from results.store import Run, StoreError, list_runs

    here = [folder for folder in (Path(name), places.runs / name, REFERENCE / name) if (folder / "plan.json").is_file()]
    try:
        return Run.open(here[0] if here else Path(name))
    except StoreError:
        from bench.registry import did_you_mean

        known = [r.run_id for r in list_runs(places.runs)]
        known += [f"{machine.name}/{r.run_id}" for machine in sorted(REFERENCE.glob("*/")) for r in list_runs(machine)]
        raise Stop(f"no run '{name}'; {did_you_mean(name, known)}") from None


def _render(run: Any, places: Places, other: Any = None) -> Path:
    from reports.page import render, render_index
    from results.store import list_runs

    page = render(run, places.site, other)
    own = list_runs(places.runs)
    # A run from elsewhere, such as a reference record, has a page here now, so it has its row too.
    render_index(own if run.run_id in {r.run_id for r in own} else [*own, run], places.site)
    return page


def _failures(run: Any) -> dict[str, str]:
    """For each architecture that failed: how, in one line."""
    found: dict[str, str] = {}
    failed = [r for r in run.current("ends") if r.status in ("error", "nan")]
    tried = {r.architecture for r in failed if not r.extra.get("skipped")}
    for (
        record
    ) in failed:  # of an architecture that never ran at all, a skipped row has the reason: it could not be built
        if not record.extra.get("skipped") or record.architecture not in tried:
            found.setdefault(f"{record.architecture or 'machine'} {record.status}", record.reason)
    return found


def _list(places: Places, plugins: tuple[str, ...]) -> None:
    from bench.execute.worker import Pool
    from bench.spec import load_suite, suite_names
    from results.store import list_runs

    known = _describe(Pool(PACKAGES, plugins), "")
    print("suites")
    for name in suite_names():
        suite = load_suite(name)
        print(f"  {name:<18} {suite.summary} ({', '.join(suite.presets)})")
    for kind in ("architectures", "tasks"):
        print(kind)
        for e in known[kind]:
            source = "" if e["source"] == "built-in" else f" [{e['source']}]"
            print(f"  {e['name']:<18} {e['summary']}{source}")
    print("runs")
    for run in list_runs(places.runs):
        print(f"  {run.run_id:<30} {run.created}")


def _places(out: str, data_dir: str) -> Places:
    data = Path(data_dir) if data_dir else None
    if data is not None and not data.is_dir():
        raise Stop(f"--data-dir {data}: no such folder")
    if out:
        return Places(Path(out) / "runs", Path(out) / "site", data)
    return Places(ROOT / "results" / "runs", ROOT / "reports" / "site", data)


def _fresh_name(runs: Path, name: str) -> str:
    number = 2
    while (runs / f"{name}-{number}").exists():
        number += 1
    return f"{name}-{number}" if (runs / name).exists() else name


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")


def _command() -> str:
    import shlex

    return shlex.join(["python", "run_all.py", *sys.argv[1:]])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    known = isinstance(error, Stop) or type(error).__module__.startswith(("bench", "results", "reports"))
    return text if known and text else f"{type(error).__name__}: {text} (--debug shows where)"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(main)
    try:
        app()
    finally:
        gc.freeze()  # else the interpreter looks through all that was read once more before it ends: seconds, for nothing
