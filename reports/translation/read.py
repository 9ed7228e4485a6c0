"""Translations that a run kept, split by split; empty where it kept none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reports.training.data import Name, TaskRun
from results.predictions import load_examples, load_translations


@dataclass(frozen=True)
class Written:
    """The test split that ranks, and what each competitor wrote for it. `texts`: competitor -> seed -> one text a source."""

    sources: list[str]
    references: list[str]
    texts: dict[Name, dict[int, list[str]]]

    @property
    def first(self) -> dict[Name, list[str]]:
        """What the first seed of each wrote."""
        return {name: seeds[min(seeds)] for name, seeds in self.texts.items()}


def read_written(task: TaskRun, folder: Path) -> Written | None:
    shown = load_examples(folder, task.name, str(task.raw.get("fingerprint") or "")).get(task.test_split) or {}
    if not shown.get("references"):
        return None
    texts: dict[Name, dict[int, list[str]]] = {}
    for c in task.competitors:
        for seed, record in task.ok(c.name).items():
            kept = load_translations(folder, record.trial_id).get(task.test_split, [])
            if len(kept) == len(shown["references"]):
                texts.setdefault(c.name, {})[seed] = kept
    return Written(shown["sources"], shown["references"], texts) if texts else None
