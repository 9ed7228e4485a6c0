"""How a model is trained: every setting, none hidden. The same recipe serves every competitor of a task."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(gt=0)]
Pooling = Literal["first", "last", "mean", "max"]
Embedding = Literal["unit", "small"]
Share = Annotated[float, Field(ge=0, le=1)]


DROPOUTS = ("dropout", "attention_dropout", "mlp_dropout")
"""What of a recipe is also a setting of architectures, of the same name."""


class Recipe(BaseModel):
    """AdamW (Loshchilov & Hutter 2019) with linear warm-up and cosine decay, as in nanoGPT.

    Attributes:
        steps, tokens, seconds: budgets; the first to be used up ends training, and the learning rate has then decayed.
            Tokens are real ones, of sources and targets both; they end training after the step that reaches them.
            Seconds count training steps only, and make a result depend on the machine.
        batch: sequences of one pass. accumulate: passes of one step; the loss is the mean over all their predictions.
        warmup: steps until the learning rate is full. final_lr: where it ends, as a share of it. schedule: how it falls
            after the warm-up: with half a cosine, not at all, or with 1 / sqrt(step) (Vaswani et al. 2017), which has no
            end.
        weight_decay: on matrices only, not on biases and norms.
        clip: largest norm of the whole gradient; 0 for none.
        dropout: on residual branches and the encoder's input; an architecture without the setting cannot take part.
        attention_dropout, mlp_dropout: of attention weights (cross-attention's too) and within MLPs, where there are any.
        evaluate_every: steps between two looks at the tuning split; there is always one at the end.
        patience: looks without a better score after which training stops; 0 for never.
        keep: which weights are tested: those of the best look, or the last ones.
        target: value on the tuning split, time to reach which is recorded: of the task's primary metric, or of the one that
            is watched in its place where that takes too long for every look (the loss, where targets are written).
        init: initial values. torch: blocks as torch makes them, embeddings of variance 1. gpt2: blocks (of architectures
            that have the setting) and embeddings as small as GPT-2's (Radford et al. 2019).
        pooling: how a sequence becomes one vector, where a task asks for one.
        patch, patch_reach, class_token, positions: how an image becomes tokens: see bench.contract.PatchPlan. A reach of 0
            is the patch itself.
        pair: two texts as one sequence, `a <sep> b`, or each through the encoder alone ("towers") and then compared as
            [u; v; |u - v|; u * v].
        decoder, shared_decoder, cross, cross_heads, input_feeding, reverse_source, tied: how a decoder is built, where the
            task has targets to write: see bench.contract.DecoderPlan.
        teacher_forcing: share of target tokens that a decoder is given from the reference while it learns; at the others it
            goes on from its own guess: scheduled sampling (Bengio et al. 2015) without the schedule. Losses of splits are
            with all of them given.
        label_smoothing: part of a target's weight that goes to all outputs alike (Szegedy et al. 2016); the losses
            reported for other splits have none.
        average: last looks whose weights are averaged into those that are tested, with `keep: last`.
        beam, length_penalty: translations of tests are found by this many beams, by log-probability over
            length ** penalty; 1 beam is greedy. write_most: tokens after which one is cut, as a multiple of the source's,
            10 more.
        compile: through torch.compile; the time that takes is recorded apart.
        checkpoint_seconds: time between two saved states, so that a killed trial goes on.
        save_weights: keep the tested weights in the run folder; "first": of the first seed only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch: Count
    lr: Annotated[float, Field(gt=0)] = 1e-3
    steps: Count | None = None
    tokens: Count | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    accumulate: Count = 1
    warmup: Annotated[int, Field(ge=0)] = 100
    final_lr: Share = 0.1
    schedule: Literal["cosine", "constant", "inverse_sqrt"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    clip: Annotated[float, Field(ge=0)] = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mlp_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    evaluate_every: Count = 250
    evaluate_batch: Count = 64
    patience: Annotated[int, Field(ge=0)] = 0
    keep: Literal["best", "last"] = "best"
    target: float | None = None
    init: Literal["torch", "gpt2"] = "torch"
    pooling: Pooling = "last"
    patch: Count = 4
    patch_reach: Annotated[int, Field(ge=0)] = 0
    class_token: bool = False
    positions: Literal["none", "learned", "sincos"] = "learned"
    pair: Literal["joined", "towers"] = "joined"
    decoder: Literal["matched", "shared", "prefix"] = "matched"
    shared_decoder: str = ""
    cross: Literal["none", "additive", "dot"] = "dot"
    cross_heads: Count = 4
    input_feeding: bool = False
    teacher_forcing: Share = 1.0
    reverse_source: bool = False
    tied: bool = False
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average: Count = 1
    beam: Count = 1
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    write_most: Annotated[float, Field(gt=0)] = 2.0
    compile: bool = False
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 20.0
    save_weights: bool | Literal["first"] = False

    @model_validator(mode="after")
    def _some_end(self) -> Recipe:
        if self.steps is None and self.tokens is None and self.seconds is None:
            raise ValueError("training needs an end: give steps, tokens or seconds")
        if self.average > 1 and self.keep != "last":
            raise ValueError("average: an average is of the last looks; set keep: last")
        if self.class_token and self.pooling != "first":
            raise ValueError("class_token: nothing would read it; set pooling: first")
        if self.decoder == "shared" and not self.shared_decoder:
            raise ValueError("shared_decoder: name the architecture whose decoder all share, such as attention")
        if self.input_feeding and (self.cross == "none" or self.decoder == "prefix"):
            raise ValueError(
                "input_feeding: nothing is read from the source that could be fed; set cross: additive or dot"
            )
        if self.teacher_forcing < 1 and self.decoder == "prefix":
            raise ValueError(
                "teacher_forcing: a decoder-only model is given all tokens; set decoder: matched or shared"
            )
        return self

    @property
    def decoder_plan(self) -> dict[str, Any]:
        """Arguments of bench.contract.DecoderPlan."""
        return {
            "kind": self.decoder, "of": self.shared_decoder if self.decoder == "shared" else "", "cross": self.cross,
            "feeding": self.input_feeding, "teacher_forcing": self.teacher_forcing, "backwards": self.reverse_source,
            "tied": self.tied, "heads": self.cross_heads, "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
        }  # fmt: skip

    @property
    def patch_plan(self) -> dict[str, Any]:
        """Arguments of bench.contract.PatchPlan."""
        return {
            "patch": self.patch, "reach": self.patch_reach or self.patch, "class_token": self.class_token,
            "positions": self.positions,
        }  # fmt: skip

    @property
    def decoder_words(self) -> str:
        """For people and records: "matched, dot"."""
        own = self.shared_decoder if self.decoder == "shared" else self.decoder
        if self.decoder == "prefix":
            return own
        forced = f", teacher forcing {self.teacher_forcing:g}" if self.teacher_forcing < 1 else ""
        return f"{own}, {self.cross}" + (", fed" if self.input_feeding else "") + forced

    @property
    def embedding(self) -> Embedding:
        """How large embedded tokens start, see bench.frontends. Small blocks on a large stream would learn slowly."""
        return "small" if self.init == "gpt2" else "unit"

    def last_step(self, tokens_a_step: float) -> int | None:
        """Steps that the budgets of steps and tokens allow where one takes so many tokens; None where only seconds end
        it."""
        ends = [] if self.steps is None else [self.steps]
        if self.tokens is not None and tokens_a_step > 0:
            ends.append(max(1, math.ceil(self.tokens / tokens_a_step)))
        return min(ends) if ends else None

    def learning_rate(self, step: int, tokens: int, seconds: float) -> float:
        """Of step number `step`, counted from 0, after so many tokens and seconds of training. Where tokens end it, steps to
        come are taken to hold as many as those before."""
        if step < self.warmup:
            return self.lr * (step + 1) / (self.warmup + 1)
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "inverse_sqrt":
            return self.lr * math.sqrt((self.warmup + 1) / (step + 1))
        last_step = self.last_step(tokens / max(1, step))
        by_step = (step - self.warmup) / max(1, last_step - self.warmup) if last_step is not None else 0.0
        by_time = seconds / self.seconds if self.seconds is not None else 0.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(by_step, by_time))))
        return self.lr * (self.final_lr + (1 - self.final_lr) * cosine)

    def scaled(self, share: float) -> Recipe:
        """The same recipe with a share of every budget, the decay compressed into it."""
        if share == 1:
            return self
        changes = {
            "steps": self.steps and max(1, round(self.steps * share)),
            "tokens": self.tokens and max(1, round(self.tokens * share)),
            "seconds": self.seconds and self.seconds * share,
            "warmup": round(self.warmup * share),
        }
        return self.model_copy(update=changes)
