"""Trials of a run that are run again, each in a child of its own, away from the run's records."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execute.executor import LocalExecutor
from bench.execute.runner import Runner, Stage, Stamp
from bench.execute.worker import Pool
from bench.spec import SpecError
from bench.trial import Trial
from results.schema import PROTOCOL_VERSION, Record
from results.store import Run

# What makes two machines the same for a comparison; see bench.measure.environment.
MACHINE = ("device_name", "cpu", "cores", "threads", "memory_bytes", "os", "python", "torch", "cuda", "driver")


@dataclass(frozen=True)
class Repeat:
    """A trial, what is on record of it, and what it gave now."""

    trial: Trial
    recorded: Record
    now: Record


def find(trials: dict[str, Trial], recorded: dict[str, Record], name: str) -> str:
    """The id of a trial that has a record, from its first letters. Raises SpecError where none or several begin so."""
    found = [i for i in trials if i.startswith(name) and i in recorded]
    if name in found or len(found) == 1:
        return name if name in found else found[0]
    if found:
        raise SpecError(f"--rerun: {len(found)} trials begin with '{name}'; give more of the id")
    raise SpecError(f"--rerun: no trial '{name}' in this run; its page names each in the tables' tooltips")


def draw(trials: dict[str, Trial], records: Iterable[Record], size: int, number: int) -> list[str]:
    """Ids of trials that ended ok, balanced over kinds (tries and final trainings are two), then over architectures.

    Args:
        size: how many, or all where there are fewer. number: of the draw; the same number gives the same trials.
    """
    chance = random.Random(f"verify {number}")
    waiting: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.trial_id):
        if record.status == "ok" and record.trial_id in trials:
            waiting[f"{record.kind} {record.regime if record.kind == 'train' else ''}"].append(record)
    for found in waiting.values():
        chance.shuffle(found)
    chosen: list[str] = []
    taken: Counter[str] = Counter()
    kinds = sorted(waiting)
    chance.shuffle(kinds)
    while len(chosen) < size and any(waiting.values()):
        for kind in kinds:
            if waiting[kind] and len(chosen) < size:
                record = min(waiting[kind], key=lambda r: taken[r.architecture])
                waiting[kind].remove(record)
                taken[record.architecture] += 1
                chosen.append(record.trial_id)
    return chosen


def run_again(
    chosen: Iterable[Trial], pool: Pool, stamp: Stamp, on_end: Callable[[Trial, Record], None]
) -> list[Record]:
    """What each trial gives now. No trial bears on another: each has a runner and a child of its own."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, trial in enumerate(chosen):
            run = Run.create(Path(folder), f"again-{number}")
            executor = LocalExecutor(pool)
            executor.attach(run.folder)
            Runner(run, executor, stamp).execute([Stage("again", (trial,))])
            (record,) = run.read()[0]
            found.append(record)
            on_end(trial, record)
    return found


def doubts(run: Run, chosen: Iterable[Trial], recorded: Iterable[Record], known: dict[str, Any]) -> list[str]:
    """What is not as it was when the run was made: machine, source, measurement protocol.

    Args:
        known: registry and environment of now, as a child describes them.
    """
    then, now = run.read_json("environment.json"), known["environment"]
    found = [f"{key}: {then.get(key)} then, {now.get(key)} now" for key in MACHINE if then.get(key) != now.get(key)]
    lines = [f"another machine or software ({'; '.join(found)})"] if found else []
    hashes = {known["engine_hash"], known["training_hash"]}
    hashes |= {entry["hash"] for kind in ("architectures", "tasks") for entry in known[kind]}
    stale = sorted({t.architecture or "the machine" for t in chosen if not set(t.source.split()) <= hashes})
    if stale:
        lines.append(f"the source has changed since, for {', '.join(stale)}")
    if protocols := sorted({r.protocol for r in recorded} - {PROTOCOL_VERSION}):
        lines.append(f"measured by protocol {', '.join(protocols)}, this is {PROTOCOL_VERSION}")
    return lines
