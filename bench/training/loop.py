"""The one training loop: every task, every architecture.

Whatever is random is a function of (seed, what for, step): initial values, order of data, dropout. So a state on disk
holds no generator, and a trial that goes on from it ends with the same bits as one that was never stopped (on a CPU).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.contract import Batch, Outcome, Score, Task, TaskShape, prepared, stream
from bench.execute.failures import NotFinite
from bench.measure.energy import Meter
from bench.training import checkpoint
from bench.training.evaluate import evaluate
from bench.training.losses import loss_sum, positions, predictions, tokens
from bench.training.recipe import Recipe

STRETCH = 10  # steps timed as one, and between two looks at whether the loss is still a number


class Clock(Protocol):
    def seconds(self, step: Callable[[], object]) -> float:
        """Run a step to its end on the device; how long it took."""
        ...


def unheard(*_: object) -> None:
    pass


@dataclass
class State:
    """All that changes while training, but for weights and the optimiser: what a checkpoint holds beside them.

    Attributes:
        seconds: spent in steps, compiling left out. timed_tokens: seen in those steps. samples: seconds a step, one for
            each stretch but the first.
        first_step_seconds: the first step's, that of every process where the model is compiled.
        best_score, best_step, waited: the best look at the tuning split, and how many looks ago that was.
        resumed_at: steps at which training went on from a checkpoint.
    """

    step: int = 0
    tokens: int = 0
    timed_tokens: int = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0
    first_step_seconds: float = 0.0
    joules: float = 0.0
    samples: list[float] = field(default_factory=list)
    best_score: float | None = None
    positions: int = 0
    best_step: int = 0
    waited: int = 0
    target_seconds: float | None = None
    resumed_at: list[int] = field(default_factory=list)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {"train": {}, "tune": {}})

    def point(self, curve: str, values: Mapping[str, float]) -> None:
        """Add a point to a learning curve, at the step, tokens and seconds of now."""
        place = {"step": float(self.step), "tokens": float(self.tokens), "seconds": round(self.seconds, 6)}
        for name, value in {**place, **values}.items():
            self.curves[curve].setdefault(name, []).append(value)


class Training:
    """Trains one model on one task.

    Args:
        folder: where states are kept while training; None to keep none.
        on_curve: called with (curve, its columns) when training ends, however it ends.
        on_progress: called with (steps done, steps in all or 0, words).
        on_note: called with one sentence on what did not go as planned.
        shape: the task's, as the recipe reads it; the task's own by default.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        recipe: Recipe,
        clock: Clock,
        device: str = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        folder: Path | None = None,
        meter: Meter | None = None,
        on_curve: Callable[[str, dict[str, list[float]]], None] = unheard,
        on_progress: Callable[[int, int, str], None] = unheard,
        on_note: Callable[[str], None] = unheard,
        shape: TaskShape | None = None,
    ) -> None:
        self.shape = shape or task.shape
        self.model, self.task, self.recipe, self.clock, self.device = model, task, recipe, clock, device
        self.dtype, self.seed, self.meter = dtype, seed, meter
        self.draws_of: tuple[int, ...] = ()  # more names of the stream that dropout draws from
        self.path = folder / "state.pt" if folder is not None else None
        self.on_curve, self.on_progress, self.on_note = on_curve, on_progress, on_note
        self.optimizer = make_optimizer(model, recipe)
        self.parameters = list(model.parameters())  # once: walking the modules at every step is time
        self.state = State()
        self.best_weights: dict[str, Tensor] | None = None
        self.recent: list[dict[str, Tensor]] = []  # weights of the last looks, where they are to be averaged
        self.stopped_by = ""
        self.saved_at = time.monotonic()
        self.prepared = False
        self.forward: Callable[..., Tensor] = torch.compile(model) if recipe.compile else model
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._rates: list[float] = []

    def precision(self) -> AbstractContextManager[object]:
        return precision(self.device, self.dtype)

    def run(self) -> State:
        """Train to the end of the budget, or until the tuning split says stop.

        Raises NotFinite with the step where loss or gradient stopped being numbers.
        """
        self._resume()
        try:
            while not self.stopped_by:
                stop = self._next_stop()
                while self.state.step < stop and not self._out_of_tokens() and not self._out_of_time():
                    if self.state.step % self.recipe.evaluate_every or not self.state.step:
                        self._save_state()  # never between the last step before a look and the look itself
                    self._stretch(min(STRETCH, stop - self.state.step))
                self._look()
                self._judge()
                self._save_state()
        finally:  # of a training that fails, what came before is told as well
            for curve, columns in self.state.curves.items():
                if columns:
                    self.on_curve(curve, columns)
        return self.state

    def rehearse(self, batch: int) -> float:
        """Seconds of one step on batch number `batch`: for a forecast, with nothing looked at, kept or told."""
        self.state.step = batch
        self._losses, self._norms = [], []
        self.model.train()
        return self.clock.seconds(self._one_step)

    def outcome(self, split: str) -> Outcome:
        """One pass over a split with the weights as they are."""
        outcome = evaluate(self.model, self.task, split, self.recipe.evaluate_batch, self.device, self.precision)
        if not math.isfinite(outcome.loss):
            raise NotFinite(f"the loss on '{split}' is not a number after step {self.state.step}")
        return outcome

    def take_best(self) -> None:
        """Put the weights of the best look into the model, or the mean of the last ones, where the recipe asks for those."""
        if self.recipe.keep == "best" and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        if self.recent:
            self.model.load_state_dict(mean_of(self.recent))

    def _next_stop(self) -> int:
        """The step of the next look at the tuning split."""
        every = self.recipe.evaluate_every
        stop = (self.state.step // every + 1) * every
        return stop if self.recipe.steps is None else min(stop, self.recipe.steps)

    def _stretch(self, steps: int) -> None:
        # On a GPU kernels are loaded, chosen and (FlexAttention's) compiled at a process's first step, whatever the recipe.
        prepares = self.recipe.compile or self.device != "cpu"
        first = self.state.step == 0 or (prepares and not self.prepared)
        self.prepared = True
        steps = 1 if first else min(steps, STRETCH - self.state.step % STRETCH)  # the same stretches after a resume
        self._losses, self._norms, self._rates = [], [], []
        self.model.train()
        step, tokens_before = self.state.step, self.state.tokens
        joules = self.meter.joules() if self.meter else 0.0
        seconds = self.clock.seconds(lambda: self._steps(steps))
        joules = self.meter.joules() - joules if self.meter else 0.0
        if first:
            self.state.first_step_seconds += seconds
        else:
            self.state.samples.append(round(seconds / (self.state.step - step), 9))
        if not (first and prepares):
            self.state.seconds += seconds
            self.state.joules += joules
            self.state.timed_tokens += self.state.tokens - tokens_before
        losses, norms = torch.stack(self._losses).tolist(), torch.stack(self._norms).tolist()
        self._check(losses, norms)
        self.state.point("train", {"loss": losses[-1], "lr": self._rates[-1], "gradient_norm": norms[-1]})
        last = self.recipe.last_step(self.state.tokens / self.state.step)
        self.on_progress(self.state.step, last or 0, f"loss {losses[-1]:.3g}")

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self._one_step()
            if self._out_of_tokens():
                break

    def _one_step(self) -> None:
        recipe, step = self.recipe, self.state.step
        rate = recipe.learning_rate(step, self.state.tokens, self.state.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._rates.append(rate)
        # Always: an architecture may draw for reasons of its own, and must not draw from what another trial left.
        seed_draws(stream("dropout", self.seed, step, *self.draws_of).initial_seed())
        batches = [self._batch(step * recipe.accumulate + i) for i in range(recipe.accumulate)]
        count = max(1, sum(predictions(batch) for batch in batches))
        total: Tensor | None = None
        for i, batch in enumerate(batches):
            self.state.tokens += tokens(batch, self.shape)
            self.state.positions += positions(batch, self.shape)
            batch = batch if self.device == "cpu" else batch.to(self.device)
            batch = prepared(self.task, batch, (step * recipe.accumulate + i, self.seed))
            loss = self._backward(batch, count, last=i == len(batches) - 1)
            total = loss if total is None else total + loss
        assert total is not None
        norm = nn.utils.clip_grad_norm_(self.parameters, recipe.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._losses.append(total)
        self._norms.append(norm.detach())
        self.state.step += 1

    def _backward(self, batch: Batch, count: float, last: bool) -> Tensor:
        """Gradients of one pass. Returns its part of the loss, a mean over the `count` predictions of the whole step.

        Args:
            batch: on the device, as the model is shown it.
            last: whether the step ends with this pass.
        """
        with self.precision():
            outputs = self.forward(*batch.arguments)
        loss = loss_sum(outputs, batch.targets, self.shape, self.recipe.label_smoothing) / count
        del outputs  # not kept through the backward pass: logits may be most of a model's memory
        loss.backward()
        return loss.detach()

    def _batch(self, index: int) -> Batch:
        batch = self.task.train_batch(index, self.recipe.batch, self.seed)
        if self.device == "cpu":
            return batch
        return batch.map(Tensor.pin_memory)

    def _check(self, losses: list[float], norms: list[float]) -> None:
        for i, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not math.isfinite(loss) or not math.isfinite(norm):
                step = self.state.step - len(losses) + i
                what = "loss" if not math.isfinite(loss) else "gradient"
                raise NotFinite(f"the {what} is not a number at step {step}, learning rate {self._rates[i]:.3g}")

    def _look(self) -> None:
        """Score the tuning split; keep the weights if they are the best so far."""
        start = time.perf_counter()
        scores = self.task.scores("tune", self.outcome("tune"))
        self.state.eval_seconds += time.perf_counter() - start
        for score in scores:
            if not math.isfinite(score.value):
                raise NotFinite(f"the tuning split's {score.metric} is not a number at step {self.state.step}")
        self.state.point("tune", {score.metric: float(score.value) for score in scores})
        # Where the primary score takes too long for every look, the task names another to go by meanwhile.
        primary = primary_score(scores, getattr(self.task, "watched", self.task.primary))
        if self.recipe.average > 1:
            self.recent = [*self.recent, copy_of(self.model)][-self.recipe.average :]
        if self.state.best_score is None or better(primary, self.state.best_score):
            self.state.best_score, self.state.best_step, self.state.waited = primary.value, self.state.step, 0
            if self.recipe.keep == "best":
                self.best_weights = copy_of(self.model)
        else:
            self.state.waited += 1
        target = self.recipe.target
        if target is not None and self.state.target_seconds is None and not worse(primary, target):
            self.state.target_seconds = self.state.seconds

    def _judge(self) -> None:
        if self.recipe.steps is not None and self.state.step >= self.recipe.steps:
            self.stopped_by = "steps"
        elif self._out_of_tokens():
            self.stopped_by = "tokens"
        elif self._out_of_time():
            self.stopped_by = "seconds"
        elif self.recipe.patience and self.state.waited >= self.recipe.patience:
            self.stopped_by = "patience"

    def _out_of_tokens(self) -> bool:
        return self.recipe.tokens is not None and self.state.tokens >= self.recipe.tokens

    def _out_of_time(self) -> bool:
        return self.recipe.seconds is not None and self.state.seconds >= self.recipe.seconds

    def _save_state(self) -> None:
        # A short trial is over before it would be worth going on with.
        if self.path is None or time.monotonic() - self.saved_at <= self.recipe.checkpoint_seconds:
            return
        content = {
            "state": asdict(self.state),
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "recent": self.recent,
            "stopped_by": self.stopped_by,
        }
        if problem := checkpoint.save(self.path, content):
            self.on_note(f"no checkpoint, a killed trial would begin anew: {problem}")
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        """Go on from the state on disk. One that cannot be used is told of, and the training begins anew."""
        if self.path is None or not self.path.is_file():
            return
        fresh = copy_of(self.model)
        try:
            content = checkpoint.load(self.path, self.device)
            if content is None:
                raise ValueError("damaged")
            state = State(**content["state"])
            best, recent, stopped = content["best_weights"], content["recent"], content["stopped_by"]
            self.model.load_state_dict(content["weights"])
            self.optimizer.load_state_dict(content["optimizer"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            self.model.load_state_dict(fresh)
            self.optimizer = make_optimizer(self.model, self.recipe)
            why = " ".join(str(error).split())[:200]
            self.on_note(f"the checkpoint could not be used ({type(error).__name__}: {why}); training began anew")
            return
        self.state, self.best_weights, self.recent, self.stopped_by = state, best, recent, stopped
        self.state.resumed_at.append(self.state.step)


def seed_draws(seed: int) -> None:
    """`torch.manual_seed` for the CPU and CUDA alone: asking after every backend costs up to a third of a millisecond."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def precision(device: str, dtype: str) -> AbstractContextManager[object]:
    """Number format of the passes; weights and optimiser stay in float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype))


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases and norms alone; one fused kernel for all tensors."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def mean_of(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensor by tensor; of what is no float the last."""
    last = weights[-1]
    return {
        name: torch.stack([w[name] for w in weights]).mean(0) if t.is_floating_point() else t
        for name, t in last.items()
    }


def primary_score(scores: tuple[Score, ...], primary: str) -> Score:
    for score in scores:
        if score.metric == primary:
            return score
    raise ValueError(f"the task's scores do not have its primary metric '{primary}'")


def better(score: Score, than: float) -> bool:
    return score.value < than if score.better == "lower" else score.value > than


def worse(score: Score, than: float) -> bool:
    return score.value > than if score.better == "lower" else score.value < than
