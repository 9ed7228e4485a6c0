"""Encoders that an earlier run trained and kept, as a place to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.spec import SpecError
from bench.training.recipe import DROPOUTS
from results.store import Run, StoreError

WAY = "pretrain with --suite pretrain, or with --set recipe.save_weights=true"
OWN = (*DROPOUTS, "init")  # settings that the recipe of the new task decides


@dataclass(frozen=True)
class Start:
    """The kept encoders of one architecture, which are all of one size.

    Attributes:
        settings: those it was built with. init: of the recipe, since embeddings are scaled by it.
        weights: seed -> file. seconds: of training, mean over seeds. task: what it was trained on.
        tokenizer: file of the tokeniser that its embedding belongs to; empty where it was trained on images.
    """

    architecture: str
    width: int
    depth: int
    settings: dict[str, Any]
    init: str
    weights: dict[int, str]
    seconds: float
    task: str
    tokenizer: str

    def of(self, seed: int) -> str:
        """The encoder for a final seed: that of the same seed, else one of the others in turn."""
        seeds = sorted(self.weights)
        return self.weights[seed if seed in self.weights else seeds[seed % len(seeds)]]

    @property
    def words(self) -> str:
        return f"pretrained on {self.task} for {self.seconds:.0f} s"


def starts(folder: Path, mode: str) -> dict[str, Start]:
    """By architecture. Raises SpecError where the run kept nothing that can be used."""
    try:
        run = Run.open(folder)
        plan, records = run.read_json("plan.json"), run.current()
    except (StoreError, OSError) as error:
        raise SpecError(f"--pretrained {folder}: {error}") from error
    if plan.get("mode") != mode:
        raise SpecError(f"--pretrained {folder}: its encoders are {plan.get('mode')}, this suite's are {mode}; {WAY}")
    sizes = {(c["task"], c["architecture"]): c for c in plan.get("competitors") or () if not c.get("variant")}
    kept: dict[str, list[Any]] = {}
    for r in records:
        path = run.inside(str(r.extra.get("checkpoint") or ""))
        wanted = r.kind == "train" and r.regime == "final" and r.status == "ok" and (r.task, r.architecture) in sizes
        usable = path is not None and ((path.parent / "tokenizer.json").is_file() or r.extra.get("image"))
        if wanted and not r.variant and path is not None and path.is_file() and usable:
            kept.setdefault(r.architecture, []).append((r, path))
    if not kept:
        raise SpecError(f"--pretrained {folder}: the run kept no encoders of text or images; {WAY}")
    tasks = sorted({r.task for found in kept.values() for r, _ in found})
    if len(tasks) > 1:
        raise SpecError(f"--pretrained {folder}: encoders of several tasks ({', '.join(tasks)}); pretrain on one")
    return {name: _start(name, found, sizes[tasks[0], name]) for name, found in kept.items()}


def _start(name: str, found: list[Any], size: dict[str, Any]) -> Start:
    first, path = found[0]
    tokenizer = path.parent / "tokenizer.json"
    seconds = [m.value or 0.0 for r, _ in found for m in r.measurements if m.metric == "train_time"]
    return Start(
        architecture=name,
        width=int(size["width"]),
        depth=int(size["depth"]),
        settings={k: v for k, v in size["settings"].items() if k not in OWN},
        init=str(first.extra["recipe"]["init"]),
        weights={r.seed: str(p.resolve()) for r, p in found},
        seconds=sum(seconds) / max(1, len(seconds)),
        task=first.task,
        tokenizer=str(tokenizer.resolve()) if tokenizer.is_file() else "",
    )
