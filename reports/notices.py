"""What a reader must know before believing a run: gathered from every file of the run folder."""

from __future__ import annotations

from dataclasses import dataclass

from reports.data import RunData
from reports.words import integer
from results.schema import Record


@dataclass(frozen=True)
class Warn:
    """`short` goes into the line near the top, `detail` into the list below."""

    short: str
    detail: str


BUSY = 0.25  # cores


def gather(data: RunData) -> list[Warn]:
    """All warnings, the gravest first."""
    env, summary = data.environment, data.summary
    found = []
    expected, done = data.plan.get("expected_trials"), len(data.records)
    if summary.get("interrupted") or summary.get("complete") is False or not summary:
        share = f"{integer(done)} of {integer(expected)} trials" if expected else f"{integer(done)} trials"
        found.append(Warn("incomplete run", f"The run did not end by itself; it holds {share}."))
    elif expected and done < expected:
        found.append(
            Warn("missing trials", f"{integer(expected - done)} of {integer(expected)} trials left no record.")
        )
    budget = data.plan.get("budget") or {}
    if budget.get("left_out"):
        found.append(Warn("cut to a budget", f"To fit --budget {budget.get('asked')} this run leaves out, for all "
                          f"competitors alike: {'; '.join(map(str, budget['left_out']))}. These are no failures; the same "
                          "command with a larger budget goes on with them."))  # fmt: skip
    seeds = {r.seed for r in data.records if r.kind == "cell" and r.status == "ok"}
    if 0 < len(seeds) < 3:
        found.append(Warn("few rounds", f"{len(seeds)} of at least 3 rounds: intervals hardly show what differs "
                                        "between rounds; they are too narrow."))  # fmt: skip
    if env.get("debug_build"):
        found.append(Warn("debug build", "torch is a debug build; times say little."))
    if env.get("git_dirty") or any(r.git_dirty for r in data.records):
        found.append(Warn("uncommitted changes", "The code had changes that no commit holds."))
    unstable = [r for r in data.records if r.extra.get("unstable")]
    if unstable:
        places = "; ".join(map(_place, unstable[:12]))
        more = f"; and {len(unstable) - 12} more" if len(unstable) > 12 else ""
        found.append(Warn(f"{integer(len(unstable))} unstable trials",
                          "The spread of step times (interquartile range over median) passed 10 %: "
                          f"{places}{more}."))  # fmt: skip
    loads = [float(r.extra["load"]) for r in data.records if isinstance(r.extra.get("load"), int | float)]
    busy = [v for v in loads if v > BUSY]
    if busy:
        found.append(Warn("other load", f"During {integer(len(busy))} of {integer(len(loads))} trials other work "
                                        f"used more than {BUSY} cores (at most {max(busy):.1f})."))  # fmt: skip
    at_once = [n for r in data.records if isinstance(n := r.extra.get("at_once"), int) and n > 1]
    if at_once:
        found.append(Warn(
            "trainings side by side",
            f"{integer(len(at_once))} trainings shared their device, up to {max(at_once)} at once: they learnt what each "
            "would have learnt alone, but their seconds, rates and energy are those of a shared device. Costs and decoding "
            "were timed alone.",
        ))  # fmt: skip
    protocols = sorted({r.protocol for r in data.records})
    if len(protocols) > 1:
        found.append(Warn("mixed protocols", f"Records of protocols {', '.join(protocols)}; times may not compare."))
    for text in data.unreadable:
        found.append(Warn("unreadable line", text))
    for origin, texts in (("environment", env.get("warnings")), ("run", summary.get("warnings"))):
        found += [Warn(f"{origin} note", str(text)) for text in dict.fromkeys(texts or ())]
    trial_notes: dict[str, int] = {}
    for record in data.records:
        for text in dict.fromkeys(w for w in record.warnings if not w.startswith(("other programs", "other work"))):
            trial_notes[text] = trial_notes.get(text, 0) + 1
    found += [Warn("trial note", f"{text} ({integer(n)} trials)") for text, n in sorted(trial_notes.items())]
    return found


def _place(r: Record) -> str:
    """Which trial this was, told from all others of a run."""
    name = " · ".join(part for part in (r.architecture, r.variant) if part)
    where = [r.task if r.kind == "train" else "", r.regime, f"{integer(r.length)} tokens" if r.length else ""]
    return " ".join([name, *(part for part in where if part), f"(seed {r.seed})"])


def line(found: list[Warn]) -> str:
    """The short names, each once, with counts."""
    shorts: dict[str, int] = {}
    for warn in found:
        shorts[warn.short] = shorts.get(warn.short, 0) + 1
    return ", ".join(s if n == 1 else f"{s} ({n})" for s, n in shorts.items())
