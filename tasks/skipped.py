"""What a task leaves out of its data, counted by reason, so that the page can say it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Skipped:
    """What was left out or changed while reading: how often for each reason, and an example where one was given."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: str | None = None) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if example is not None:
            self.examples.setdefault(reason, example)
