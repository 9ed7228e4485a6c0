"""After a training of a model that writes: translations, their scores, what they took, and which word looked at which."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.beam import Written, write_all
from bench.contract import Score, TranslationTask
from bench.execute.session import Session
from bench.training.loop import precision
from bench.training.recipe import Recipe
from bench.translator import Writer, before_target, positions
from bench.trial import Trial
from results.predictions import has_examples, save_alignments, save_examples, save_translations

SHOWN_SENTENCES = 4  # of the test split, whose alignments are kept
SHOWN_TOKENS = (6, 16)  # of a sentence whose alignment is kept: shorter ones say little, longer ones cannot be read


def written(
    task: TranslationTask, model: Writer, recipe: Recipe, trial: Trial, split: str, beam: int, session: Session
) -> list[Written]:
    """Targets of a whole split, in the order of `task.shown(split)`; their number and time are recorded under the split."""
    limit, passes = _limit(model, recipe), 0

    def told(count: int) -> None:
        nonlocal passes
        passes += 1
        session.send("progress", count, 0, f"sentences of {split} written")

    start = time.perf_counter()
    sources = task.sources(split, recipe.evaluate_batch)
    found = write_all(model, sources, task.shape.end, limit, beam, recipe.length_penalty,
                      lambda: precision(trial.device, trial.dtype), told)  # fmt: skip
    seconds = time.perf_counter() - start
    tokens = sum(len(w.ids) + 1 for w in found)
    # Where no sentence may be padded, a batch goes in runs of one length: fewer go side by side.
    together = f"{len(found) / passes:.3g} at once" if model.equal_lengths else f"batch {recipe.evaluate_batch}"
    session.value("write", "time_per_sentence", seconds / len(found), "s", "lower", together, split)
    session.value("write", "tokens_per_second", tokens / seconds, "tokens/s", "higher", together, split)
    session.value(
        "write", "cut", sum(not w.ended for w in found) / len(found), "share", "lower", "no end written", split
    )
    return found


def _limit(model: Writer, recipe: Recipe) -> Callable[[int], int]:
    """The most tokens to write for a source of so many: what the recipe allows, and what the model's positions do."""
    most = positions(model)

    def limit(source_tokens: int) -> int:
        allowed = int(recipe.write_most * source_tokens) + 10
        return allowed if most is None else max(1, min(allowed, most - before_target(model, source_tokens) - 1))

    return limit


def judged(task: TranslationTask, split: str, found: list[Written]) -> tuple[list[str], tuple[Score, ...]]:
    """As text, and what it is worth."""
    texts = [task.write(list(w.ids)) for w in found]
    return texts, task.judge(split, texts)


def keep(
    trial: Trial,
    session: Session,
    task: TranslationTask,
    model: Writer,
    recipe: Recipe,
    run_folder: Path,
    texts: dict[str, list[str]],
) -> None:
    """Translations, the examples they are of, and of the first seed some alignments, into the run folder."""
    with session.sparing("translations", "translations or alignments were not kept"):
        save_translations(run_folder, trial.trial_id, texts)
        if not has_examples(run_folder, trial.task, trial.fingerprint):
            save_examples(run_folder, trial.task, trial.fingerprint, {split: task.shown(split) for split in texts})
        if trial.seed == 0:
            found = [aligned(task, model, ids, recipe, trial.device, trial.dtype) for ids in _chosen(task)]
            if found:
                save_alignments(run_folder, trial.trial_id, found)


def _chosen(task: TranslationTask) -> list[list[int]]:
    """Sentences of the test split that are long enough to say something, evenly over their lengths."""
    found = []
    for source_BS, keep_BS in task.sources("test", 64):
        lengths = [source_BS.shape[1]] * len(source_BS) if keep_BS is None else keep_BS.sum(1).tolist()
        found += [row[:n].tolist() for row, n in zip(source_BS, lengths, strict=True)]
    fits = [ids for ids in found if SHOWN_TOKENS[0] <= len(ids) <= SHOWN_TOKENS[1]]
    count = min(SHOWN_SENTENCES, len(fits))
    return [fits[(2 * i + 1) * len(fits) // (2 * count)] for i in range(count)]


def aligned(
    task: TranslationTask, model: Writer, ids: list[int], recipe: Recipe, device: str, dtype: str
) -> dict[str, Any]:
    """What the model writes for one source by the recipe's search, and how much each word of it took of each source word:
    "source", "target", "text" and "layers" (layer, head, target, source). No layers where the model looks at no source."""
    source_1S = torch.tensor([ids], device=device)
    with precision(device, dtype):  # as translations are written: in another format another one may be found
        (found,) = write_all(model, [(source_1S, None)], task.shape.end, _limit(model, recipe), recipe.beam,
                              recipe.length_penalty)  # fmt: skip
        given_1U = torch.tensor([[task.shape.end, *found.ids]], device=device)
        maps = model.alignments(source_1S, None, given_1U)
    return {
        "source": task.pieces(ids, "source"),
        "target": [*task.pieces(list(found.ids), "target"), "⏎"],
        "text": task.write(list(found.ids)),
        "layers": [[head.tolist() for head in layer[0].float()] for layer in maps],
    }
