"""Short looks at what trials take, for a forecast: a few calls where a trial has thousands. Runs in a child.

Nothing here is a result: no sample is kept, nothing is recorded but the forecast that comes of it.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.beam import write_all
from bench.contract import Batch, PicturedTask, Places, Task, TextTask, TranslationTask, prepared, stream
from bench.decode import generate
from bench.execute.measurements import encoder_of, inputs_of
from bench.forecast.quiet import QuietClock
from bench.measure.graph import LINE_LENGTHS, MAX_OPERATIONS, Counts, trace
from bench.measure.memory import SavedBytes
from bench.models import build_encoder
from bench.registry import ARCHITECTURES
from bench.sampler import Sampler
from bench.training.evaluate import evaluate
from bench.training.loop import Training, precision
from bench.training.pictures import FIELD_IMAGES
from bench.training.recipe import Recipe
from bench.training.trials import model_of, read_by, recipe_of, task_of
from bench.translator import Writer, stacks
from bench.trial import Trial

LOOKED_AT = 32  # training batches whose sizes are looked at, to find usual ones
STEPS = 3  # of training, timed
SLOW, SLOWER, SLOWEST = 0.15, 2.0, 8.0  # seconds of a step after which two are enough, one, and the first itself
SLOW_PASS = 0.04  # seconds of a pass after which longer ones are extrapolated
TRACED_TOKENS = 8  # a short trace tells what longer ones take
TOKENS = 4  # generated
REACH_IMAGES = 15  # whose step takes as long as four in double precision with six backward passes


def probe_training(trial: Trial, places: Places, counted: bool) -> dict[str, Any]:
    """What a final trial takes: "build", "step", "count" of work (if `counted`), "token" (seconds each), "tune" and "test"
    (seconds of one pass over the split, or over all tests), "write" (seconds a split, by split), "tokens" (of a step),
    "memory" (bytes); of images "example" (a step's seconds for one) and "pictures" (of what was learnt).
    """
    clock, found, made = QuietClock(trial.device), cast(dict[str, Any], {}), []
    work, recipe = task_of(trial, places), recipe_of(trial)
    found["build"] = clock.seconds(lambda: made.append(model_of(trial, work.shape, recipe)))
    model: Any = made.pop()
    eager = recipe.model_copy(update={"compile": False})
    shape = read_by(work.shape, recipe)
    training = Training(model, work, eager, clock, trial.device, trial.dtype, trial.seed, shape=shape)
    with SavedBytes(model) as saved:  # the first step warms up, so it may as well count
        first = training.rehearse(_usual(work, recipe, trial.seed)[0])
    found["tokens"] = float(training.state.tokens)
    found["memory"] = _bytes_of_training(model, saved.total)
    found["step"] = _step(training, work, recipe, trial.seed, first)
    if counted:
        on_meta = model_of(trial, work.shape, recipe, "meta")
        found["count"] = sum(_count_seconds(stack, trial, clock) for stack in stacks(on_meta))
    found |= _evaluations(training, work, recipe, trial)
    if isinstance(work, PicturedTask):
        found["example"] = found["step"] / recipe.batch
        found["pictures"] = found["example"] * _pictured(work)
    if isinstance(work, TranslationTask):
        found["write"] = {split: _writing(trial, work, model, recipe, split, clock) for split in work.splits}
    asked = cast(dict[str, Any], trial.training)["generate"]
    if asked is not None and isinstance(work, TextTask) and trial.mode == "causal" and model.streams:
        found["token"] = _token(model, work, asked, clock)
    found["busy"] = clock.busy
    return found


def _pictured(work: PicturedTask) -> int:
    """Images whose step takes as long as the pictures of bench.training.pictures: fields of the model before and after, and
    what each layer reaches, in double precision."""
    sizes = (len(batch.inputs) for batch in work.eval_batches("test", FIELD_IMAGES))
    return 2 * min(FIELD_IMAGES, sum(itertools.islice(sizes, FIELD_IMAGES))) + REACH_IMAGES


def _usual(work: Task, recipe: Recipe, seed: int) -> list[int]:
    """Numbers of training batches, those first whose size is closest to the mean: where texts are padded, it varies."""
    sizes = [work.train_batch(i, recipe.batch, seed).inputs.shape for i in range(LOOKED_AT)]
    mean = statistics.fmean(shape[0] * shape[1] for shape in sizes)
    return sorted(range(LOOKED_AT), key=lambda i: abs(sizes[i][0] * sizes[i][1] - mean))


def _step(training: Training, work: Task, recipe: Recipe, seed: int, first: float) -> float:
    if first > SLOWEST:
        return first
    count = 1 if first > SLOWER else 2 if first > SLOW else STEPS
    return statistics.median(training.rehearse(step) for step in _usual(work, recipe, seed)[1 : count + 1])


def _bytes_of_training(model: nn.Module, saved: int) -> int:
    """Weights, gradients, two moments and the best weights so far, and what is saved for the backward pass."""
    return 5 * sum(p.numel() * p.element_size() for p in model.parameters()) + saved


def _count_seconds(stack: nn.Module, trial: Trial, clock: QuietClock) -> float:
    """Of what `bench.measure.graph.Counter` does at the trial's length, told from traces of few tokens: a trace takes as
    long as it has operations, and operations are a line in tokens. A grid has one size.
    """
    found: list[Counts] = []

    def traced(tokens: int) -> float:
        return clock.seconds(lambda: found.append(trace(stack, tokens, trial.width, backward=True)))

    if trial.grid:
        return traced(trial.length)
    short, longer, _ = LINE_LENGTHS
    seconds = traced(short) + traced(longer)
    first, second = (counts.operations for counts in found)

    def at(tokens: int) -> float:
        return first + (second - first) / (longer - short) * (tokens - short)

    operations = at(trial.length)
    if operations > MAX_OPERATIONS:  # it gives up there, and traces the three short ones
        operations = MAX_OPERATIONS + sum(map(at, LINE_LENGTHS))
    return seconds * operations / (first + second)


def _evaluations(training: Training, work: Task, recipe: Recipe, trial: Trial) -> dict[str, float]:
    """One batch of the tuning split, and all others in proportion to their tokens."""
    sizes = {
        split: [b.inputs.shape[0] * b.inputs.shape[1] for b in work.eval_batches(split, recipe.evaluate_batch)]
        for split in (*work.splits, *getattr(work, "unlabelled", ()))
    }
    mean = statistics.fmean(sizes["tune"])
    chosen = min(range(len(sizes["tune"])), key=lambda i: abs(sizes["tune"][i] - mean))
    batch = next(itertools.islice(work.eval_batches("tune", recipe.evaluate_batch), chosen, None))
    part: Any = _Part(work, batch)
    seconds = training.clock.seconds(
        lambda: evaluate(training.model, part, "tune", recipe.evaluate_batch, trial.device, training.precision)
    )
    each = seconds / sizes["tune"][chosen]
    return {"tune": each * sum(sizes.pop("tune")), "test": each * sum(map(sum, sizes.values()))}


class _Part:
    """A task that has one batch to be evaluated on."""

    def __init__(self, task: Task, batch: Batch) -> None:
        self.shape = task.shape
        self.batch = prepared(task, batch)

    def eval_batches(self, split: str, batch: int) -> Iterator[Batch]:
        yield self.batch


def _writing(
    trial: Trial, work: TranslationTask, model: Writer, recipe: Recipe, split: str, clock: QuietClock
) -> float:
    """Targets of a whole split, from one batch written anew: TOKENS of each target, and twice as many."""
    beam = 1 if split == "tune" else recipe.beam
    sources = list(work.sources(split, recipe.evaluate_batch))
    tokens = sum(b.targets.shape[1] for b in work.eval_batches(split, recipe.evaluate_batch))
    middle = sources[len(sources) // 2]

    def write(most: int) -> None:
        write_all(model, [middle], work.shape.end, lambda n: most, beam, recipe.length_penalty,
                  lambda: precision(trial.device, trial.dtype))  # fmt: skip

    _, few, many = (clock.seconds(lambda most=most: write(most)) for most in (TOKENS, TOKENS, 2 * TOKENS))  # type: ignore[misc]
    each = max(0.0, many - few) / TOKENS
    return max(0.0, few - TOKENS * each) * len(sources) + tokens * each


def _token(model: Any, work: TextTask, asked: dict[str, Any], clock: QuietClock) -> float:
    """A generated token, the prompt's own pass shared among them."""
    prompt_BS = torch.tensor([work.encode(asked["prompt"] or work.prompt)])
    return clock.seconds(lambda: generate(model, prompt_BS, TOKENS, Sampler(), stream("forecast"))) / TOKENS


def probe_scaling(trial: Trial, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """What one architecture takes: "trace" (seconds of a short count of work), and under "passes" a row for each size:
    "length", "batch", "forward", "forward_backward" (seconds, the better of two), "first" (of the first calls, what later
    ones take left out), "saved" (bytes). It ends after a size whose training pass took longer than SLOW_PASS.

    Args:
        sizes: batch and length, rising in length.
    """
    clock, found = QuietClock(trial.device), []
    for batch, length in sizes:
        one = replace(trial, batch=batch, length=length)
        encoder, x_BTD = encoder_of(one), inputs_of(one)
        saved = SavedBytes(encoder)

        def forward(encoder: nn.Module = encoder, x_BTD: Tensor = x_BTD) -> None:
            with torch.no_grad():
                encoder(x_BTD)

        def forward_backward(encoder: nn.Module = encoder, x_BTD: Tensor = x_BTD) -> None:
            y_BTD = encoder(x_BTD)
            y_BTD.backward(torch.ones_like(y_BTD))
            encoder.zero_grad(set_to_none=True)

        first = clock.seconds(forward)
        quick = min(clock.seconds(forward) for _ in range(2))
        encoder.train()
        with saved:
            slow = clock.seconds(forward_backward)
        whole = min(slow, clock.seconds(forward_backward))
        found.append({"length": length, "batch": batch, "forward": quick, "forward_backward": whole,
                      "first": max(0.0, first - quick) + max(0.0, slow - whole), "saved": saved.total})  # fmt: skip
        if whole > SLOW_PASS:
            break
    entry = ARCHITECTURES.get(trial.architecture)
    on_meta = build_encoder(entry, trial.settings, trial.width, trial.depth, trial.mode == "causal", device="meta")
    traced = clock.seconds(lambda: trace(on_meta, TRACED_TOKENS, trial.width, backward=True))
    return {"passes": found, "trace": traced, "busy": clock.busy}
