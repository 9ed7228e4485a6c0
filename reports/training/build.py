"""The page of suites that train: puts scores, tables, figures and words of each task into one template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from reports import beside, notices
from reports.data import RunData
from reports.headline import Headline
from reports.images.build import PictureSection, pictures
from reports.plots import Group
from reports.sentences import build as sentences
from reports.sentences.errors import Errors, errors
from reports.tables import Table, Value, as_csv, thinned
from reports.together import Errand, Text
from reports.training import files, plots, tables
from reports.training import notices as training_notices
from reports.training.ablations import Ablation, ablations
from reports.training.data import TaskRun, read
from reports.training.glossary import scores_shown
from reports.training.headline import headline, overall
from reports.training.looks import Cast, cast
from reports.training.pairs import pairs_table
from reports.training.scores import Board, board
from reports.training.studies import studies
from reports.translation.build import Translations, numbers, text_files, translations
from reports.verdicts import SYMBOLS
from reports.words import count, names

TEMPLATE = "training.html.j2"


@dataclass(frozen=True)
class Sample:
    """What a competitor wrote: all is plain text, escaped by the template."""

    who: Value
    prompt: str
    text: str
    how: str


@dataclass(frozen=True)
class Forest:
    """An ablation: its table and, where there is a result, its plot."""

    title: str
    plots: list[Any]
    table: Table


@dataclass(frozen=True)
class Section:
    """All that the page says about one task; what is empty is left out by the template."""

    task: TaskRun
    measured: bool
    headline: Headline
    board: Table
    pairs: Table
    scores: Table
    groups: list[Group]
    search: Group
    tries: Table
    target: Table
    target_words: str
    forests: list[Forest]
    samples: list[Sample]
    decoding: list[Any]
    errors: Errors | None
    written: Translations | None
    pictures: PictureSection | None
    facts: list[tuple[str, str]]
    compared: Table


def build(data: RunData, other: RunData | None = None) -> tuple[dict[str, Any], dict[str, Text]]:
    """Context for the template, and CSV files by name. Scores and times of `other` stand in columns of their own."""
    training = read(data)
    boards = [board(task) for task in training.tasks]
    changed = [ablations(one) for one in boards]
    suite = str(data.plan.get("suite") or "run")
    # A million rows in a large run: on their way while the page is made.
    changes = [a for found in changed for a in found]
    errand = Errand([partial(files.text, name, boards, changes) for name in files.FILES])
    csv: dict[str, Text] = {f"{suite}_{name}.csv": errand.later(i) for i, name in enumerate(files.FILES)}
    there = {task.name: board(task) for task in read(other).tasks} if other is not None else {}
    sections = [
        _section(one, found, data, there.get(one.task.name)) for one, found in zip(boards, changed, strict=True)
    ]
    benchmarks = sentences.sections(boards, cast(boards[0], data.architectures)) if boards else []
    if benchmarks:
        csv[f"{suite}_benchmarks.csv"] = sentences.frame(training.tasks).to_csv(index=False)
    for one in boards:
        csv |= text_files(one, data.folder, suite)
    for section in sections:
        if section.written is not None:
            csv |= numbers(section.written, section.task.name, suite)
    failures = thinned(tables.failures(training), f"{suite}_failures.csv")
    if failures.total:
        csv[failures.whole] = as_csv(tables.failures(training))
    notes = notices.gather(data) + training_notices.gather(boards)
    if other is not None:
        shown = any(tables.alike(one, there[one.task.name]) for one in boards if one.task.name in there)
        notes.append(beside.warning(data, other, shown, "The last columns of the leaderboards are"))
    context = {
        "title": str(data.plan.get("title") or f"Results of the suite {suite}"),
        "tasks": sections,
        "benchmarks": benchmarks,
        "studies": studies(data.plan, boards, cast(boards[0], data.architectures)) if boards else [],
        "measured": any(s.measured for s in sections),
        "overall": [*(b.card for b in benchmarks if b.card), *(overall(boards) if len(boards) > 1 else [])],
        "scores": scores_shown(training.tasks),
        "notes": notes,
        "notes_line": notices.line(notes),
        "failures": failures,
        "equal": _equal(data),
        "compared": len({s.competitor.name[0] for b in boards for s in b.standings}) or len(data.architectures),
        "symbols": SYMBOLS,
        "csv_names": list(csv),
    }
    return context, csv


def _equal(data: RunData) -> str:
    """What competitors have in common: "equal parameters (about 800 k)"; tasks may differ in it. Nothing where each has a
    size of its own."""
    plan = data.plan
    own = [bool(c.get("target")) for c in plan.get("competitors") or () if isinstance(c, dict)]
    if own and all(own):
        return ""
    targets: dict[str, set[float]] = {}
    for task in [t for t in plan.get("tasks") or () if isinstance(t, dict)] or [{}]:
        match, target = str(task.get("match") or plan.get("match") or ""), task.get("target") or plan.get("target")
        found = targets.setdefault(match, set()) if match else set()
        if isinstance(target, int | float) and target:
            found.add(float(target))
    equal = " and ".join(_equal_words(match, sorted(found)) for match, found in targets.items())
    return f"{equal}, some of their own size" if any(own) else equal


def _equal_words(match: str, targets: list[float]) -> str:
    match = {"flops": "FLOPs of the encoder's forward pass"}.get(match, match)
    if not targets:
        return f"equal {match}"
    about = names([count(t) for t in targets]) if len(targets) < 4 else f"{count(targets[0])} to {count(targets[-1])}"
    return f"equal {match} (about {about}{', by task' if len(targets) > 1 else ''})"


def _section(one: Board, found: list[Ablation], data: RunData, there: Board | None) -> Section:
    task = one.task
    who = cast(one, data.architectures)
    suite = str(data.plan.get("suite") or "run")
    groups = [plots.learning(one, who), plots.by_length(one, who), plots.by_position(one, who), plots.costs(one, who)]
    target, words = tables.targets(one, who)
    return Section(
        task=task,
        measured=bool(one.ranked),
        headline=headline(one, found),
        board=tables.leaderboard(one, who, there),
        pairs=thinned(_pairs(one), f"{suite}_differences.csv"),
        scores=thinned(tables.all_scores(one, who), f"{suite}_scores.csv"),
        groups=[g for g in groups if g.plots],
        search=plots.search(one, who),
        tries=thinned(tables.tries(one, who), f"{suite}_tries.csv"),
        target=target,
        target_words=words,
        forests=[_forest(a, who, f"{task.id}-forest-{i}") for i, a in enumerate(found)],
        samples=_samples(task, who),
        decoding=plots.decoding(one, who),
        errors=errors(one, who, data.folder),
        written=translations(one, who, data.folder),
        pictures=pictures(one, who, data.folder),
        facts=tables.facts(task),
        compared=tables.compared(task, data),
    )


def _pairs(one: Board) -> Table:
    """Empty where a single seed tells nobody apart."""
    task = one.task
    found = one.pairs if any(s.rank is not None for s in one.ranked) else {}
    seeds = {s.name: task.scores(s.name, task.test_split, task.primary.name) for s in one.ranked}
    return pairs_table(f"{task.id}-pairs", found, seeds, task.primary.better, f"difference in {task.primary.words}")


def _forest(one: Ablation, who: Cast, identity: str) -> Forest:
    return Forest(f"Changes to {one.architecture}", plots.forest(one, who, identity),
                  tables.effects(one, who, f"{identity}-table"))  # fmt: skip


def _samples(task: TaskRun, who: Cast) -> list[Sample]:
    """Of each competitor what the first seed that wrote anything wrote."""
    made = []
    for c in task.competitors:
        record = next((r for r in task.ok(c.name).values() if r.extra.get("samples")), None)
        for sample in (record.extra.get("samples") or ()) if record else ():
            rate = sample.get("tokens_per_second")
            parts = [str(sample.get("sampler") or "sampler not recorded"), f"seed {record.seed}" if record else "",
                     f"{sample['tokens']} tokens" if sample.get("tokens") else "",
                     f"{count(float(rate))} tokens/s" if rate else ""]  # fmt: skip
            made.append(Sample(tables.who(who, c.name), str(sample.get("prompt") or ""), str(sample.get("text") or ""),
                               ", ".join(p for p in parts if p)))  # fmt: skip
    return made
