"""Checks of the encoder contract, for any registered architecture. Each raises ContractBroken with one clear line.

The scaling suite runs QUICK_CHECKS before it measures an architecture; the tests in `tests/contract` run all of them over
the whole registry. All run in float64 on the CPU, where rounding is far below any tolerance used.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.contract import Mode
from bench.measure.graph import Counter
from bench.measure.path import receptive_field
from bench.models import awake, build_encoder, streams
from bench.registry import Entry

TOLERANCE = 1e-8
TOKENS, LEAST = 37, 8  # of an input; no multiple of a window or block


class ContractBroken(Exception):
    """What an encoder does is not what the contract, or its own traits, say."""


@dataclass(frozen=True)
class Subject:
    """An architecture in one mode, at a size to check it at. `grid`: rows and columns, for one that is made for images."""

    entry: Entry
    settings: dict[str, Any]
    mode: Mode
    width: int = 16
    depth: int = 3
    grid: tuple[int, int] | None = None

    def build(self, device: str = "cpu", seed: int = 0) -> nn.Module:
        encoder = build_encoder(
            self.entry, self.settings, self.width, self.depth, self.mode == "causal",
            seed=seed, device=device, dtype=torch.float64, grid=self.grid,
        )  # fmt: skip
        return awake(encoder).eval()

    @property
    def traits(self) -> Any:
        return cast(Any, self.build("meta")).traits

    def within(self, length: int) -> int:
        """As many tokens as asked for, or as it accepts; not fewer than a check needs to see anything."""
        return min(length, max(LEAST, self.traits.max_length or length))

    def inputs(self, batch: int, length: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, length, self.width, dtype=torch.float64, generator=generator)


def check_shape(subject: Subject, length: int = TOKENS) -> None:
    """(B, T, D) in, the same out, finite, nothing remembered between calls."""
    encoder, x_BTD = subject.build(), subject.inputs(2, subject.within(length))
    with torch.no_grad():
        y_BTD = encoder(x_BTD)
        again_BTD = encoder(x_BTD)
    if not isinstance(y_BTD, Tensor):
        raise ContractBroken(f"forward returns {type(y_BTD).__name__}, the contract asks for one tensor")
    if y_BTD.shape != x_BTD.shape:
        raise ContractBroken(f"wrong shape: {tuple(x_BTD.shape)} in, {tuple(y_BTD.shape)} out")
    if y_BTD.dtype != x_BTD.dtype:
        raise ContractBroken(f"wrong number format: {_short(x_BTD)} in, {_short(y_BTD)} out")
    if not torch.isfinite(y_BTD).all():
        raise ContractBroken("outputs are NaN or infinite on standard normal inputs")
    if not torch.equal(y_BTD, again_BTD):
        raise ContractBroken(
            "the same input twice gives two outputs: state is kept on the module, or chance is at work"
        )


def _short(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def check_causality(subject: Subject, length: int = TOKENS, cuts: Sequence[int] | None = None) -> None:
    """Causal: changing inputs from `cut` on leaves outputs before it alone. Bidirectional: it must change them."""
    length = subject.within(length)
    encoder, x_BTD = subject.build(), subject.inputs(1, length)
    other_BTD = subject.inputs(1, length, seed=1)
    with torch.no_grad():
        y_BTD = encoder(x_BTD)
        for cut in cuts if cuts is not None else (1, length // 2, length - 1):
            changed_BTD = torch.cat([x_BTD[:, :cut], other_BTD[:, cut:]], dim=1)
            difference_T = (encoder(changed_BTD) - y_BTD)[0].abs().amax(-1)
            if subject.mode == "causal" and difference_T[:cut].max() > TOLERANCE:
                first = int((difference_T[:cut] > TOLERANCE).nonzero()[0])
                raise ContractBroken(f"leaks the future: output {first} changes when inputs from {cut} on change")
            if difference_T[cut:].max() <= TOLERANCE:
                raise ContractBroken(f"outputs from {cut} on do not change when inputs from {cut} on change")
    if subject.mode == "bidirectional":
        _check_looks_ahead(encoder, x_BTD, other_BTD)


def _check_looks_ahead(encoder: nn.Module, x_BTD: Tensor, other_BTD: Tensor) -> None:
    """Some output must depend on a later input; in blocks not every one does, so every cut is tried."""
    with torch.no_grad():
        y_BTD = encoder(x_BTD)
        for cut in range(1, x_BTD.shape[1]):
            changed_BTD = torch.cat([x_BTD[:, :cut], other_BTD[:, cut:]], dim=1)
            if (encoder(changed_BTD) - y_BTD)[0, :cut].abs().max() > TOLERANCE:
                return
    raise ContractBroken("claims to be bidirectional, but no output depends on a later input")


def check_causality_in_training(subject: Subject, length: int = TOKENS) -> None:
    """In training mode too a causal encoder's outputs know nothing of later inputs (a batch norm over tokens would). Both
    passes draw the same; what draws from elsewhere, and so differs from itself, is not judged."""
    if subject.mode != "causal":
        return
    length = subject.within(length)
    encoder, x_BTD, cut = subject.build().train(), subject.inputs(2, length), length // 2
    changed_BTD = torch.cat([x_BTD[:, :cut], subject.inputs(2, length, seed=1)[:, cut:]], dim=1)

    def outputs(inputs_BTD: Tensor) -> Tensor:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return cast(Tensor, encoder(inputs_BTD))[:, :cut]

    y_BTD = outputs(x_BTD)
    if torch.equal(y_BTD, outputs(x_BTD)) and (outputs(changed_BTD) - y_BTD).abs().max() > TOLERANCE:
        raise ContractBroken(
            f"leaks the future in training mode: outputs before {cut} change with inputs from {cut} on"
        )


def check_gradients(subject: Subject, length: int = TOKENS) -> None:
    """Every parameter gets a gradient, through a random projection (a sum after a LayerNorm has none)."""
    encoder, x_BTD = subject.build(), subject.inputs(2, subject.within(length))
    encoder.train()
    y_BTD = encoder(x_BTD)
    y_BTD.backward(torch.randn(y_BTD.shape, dtype=y_BTD.dtype, generator=torch.Generator().manual_seed(2)))
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            continue  # random features, say: what is not learnt needs no gradient
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise ContractBroken(f"parameter {name} gets NaN or infinite gradients")
        if parameter.grad is None or not parameter.grad.abs().max() > 0:
            raise ContractBroken(f"parameter {name} gets no gradient")


def check_padding(subject: Subject, length: int = TOKENS) -> None:
    """Garbage at padding changes nothing, padded equals alone, outputs at padding are zero."""
    length = subject.within(length)
    encoder, x_BTD = subject.build(), subject.inputs(4, length)
    lengths_B = torch.tensor([length, length // 2, 3, 1])
    keep_BT = torch.arange(length)[None] < lengths_B[:, None]
    garbage_BTD = torch.where(keep_BT[..., None], x_BTD, 1e3 * subject.inputs(4, length, seed=3))
    with torch.no_grad():
        y_BTD, other_BTD = encoder(x_BTD, keep_BT), encoder(garbage_BTD, keep_BT)
        if (y_BTD - other_BTD)[keep_BT].abs().max() > TOLERANCE:
            raise ContractBroken("what stands at padding changes the output")
        for row, real in enumerate(lengths_B.tolist()):
            alone_BTD = encoder(x_BTD[row : row + 1, :real])
            if (y_BTD[row : row + 1, :real] - alone_BTD).abs().max() > TOLERANCE:
                among = f"padded to {length}" if real < length else "in a batch"
                raise ContractBroken(f"a sequence of {real} {among} differs from the same alone")
        if (y_BTD[~keep_BT] != 0).any():
            raise ContractBroken("outputs at padding are not zero")


def check_streaming(subject: Subject, length: int = TOKENS, chunks: tuple[int, ...] = (1, 5, 1, 17, 2)) -> None:
    """Chunks through `step` equal one pass; a state may be used twice; causal encoders that stream only."""
    encoder: Any = subject.build()
    if subject.mode != "causal" or not streams(encoder):
        return
    length = subject.within(length)
    x_BTD = subject.inputs(2, length)
    ends = [*(end for end in itertools.accumulate(chunks) if end < length), length]
    sizes = [end - start for start, end in itertools.pairwise([0, *ends])]
    with torch.no_grad():
        state = encoder.initial_state(2, x_BTD.device, x_BTD.dtype)
        outputs = []
        for chunk_BSD in x_BTD.split(sizes, dim=1):
            encoder.step(-chunk_BSD, state)  # a branch that is thrown away must not disturb the state
            y_BSD, state = encoder.step(chunk_BSD, state)
            outputs.append(y_BSD)
        worst = (torch.cat(outputs, 1) - encoder(x_BTD)).abs().max()
    if worst > TOLERANCE:
        raise ContractBroken(f"chunks through step differ from one pass by {worst:.2g}")


def check_receptive_field(subject: Subject, length: int = 96) -> None:
    """The widest field of any output, by Jacobian, is the declared one; None means all (before it, if causal)."""
    length = subject.within(length)
    encoder = subject.build()
    declared = cast(Any, encoder).receptive_field
    found = receptive_field(encoder, length, subject.width, range(length))
    expected = length if declared is None else min(declared, length)
    if found != expected:
        raise ContractBroken(f"receptive field is {found} tokens, declared {declared} (of {length})")


def check_costs(subject: Subject, lengths: tuple[int, int] = (8192, 16384)) -> None:
    """Counted work and span grow as the traits say: token-to-token FLOPs where there are any, all FLOPs otherwise."""
    traits = subject.traits
    longest = subject.within(lengths[1])
    lengths = lengths if longest == lengths[1] else (longest // 2, longest)
    counter = Counter(subject.build("meta"), subject.width, backward=False)
    (short, _), (long, _) = (counter.count(n) for n in lengths)
    work = (short.mixing_flops, long.mixing_flops) if long.mixing_flops else (short.flops, long.flops)
    exponent = math.log2(work[1] / work[0])
    if abs(exponent - traits.time_exponent) > 0.1:
        raise ContractBroken(f"work grows as T^{exponent:.2f}, the traits say T^{traits.time_exponent:g}")
    parallel = long.span == short.span
    if parallel != traits.parallel_in_time:
        says = "parallel" if traits.parallel_in_time else "sequential"
        raise ContractBroken(
            f"the span goes from {short.span} to {long.span} as T doubles, the traits say {says} in time"
        )


def check_seeds(subject: Subject, length: int = TOKENS) -> None:
    """The same seed gives the same bits, another seed others."""
    x_BTD = subject.inputs(1, subject.within(length))
    with torch.no_grad():
        first, same, other = (subject.build(seed=seed)(x_BTD) for seed in (0, 0, 1))
    if not torch.equal(first, same):
        raise ContractBroken("the same seed gives two different encoders")
    if torch.equal(first, other):
        raise ContractBroken("two seeds give the same encoder")


def check_reference(subject: Subject, length: int) -> None:
    """The fast path equals the plain reference: outputs and all gradients, with and without padding."""
    length = subject.within(length)
    fast: Any = subject.build()
    if not hasattr(fast, "use_reference"):
        return  # a plug-in without one
    keep_BT = torch.arange(length)[None] < torch.tensor([length, max(1, length // 3)])[:, None]
    for keep in (None, keep_BT):
        results = []
        for use_reference in (False, True):
            fast.use_reference = use_reference
            fast.zero_grad()
            x_BTD = subject.inputs(2, length).requires_grad_()
            y_BTD = fast(x_BTD, keep)
            y_BTD.backward(subject.inputs(2, length, seed=2))
            results.append([y_BTD.detach(), x_BTD.grad, *(p.grad.clone() for p in fast.parameters())])
        for ours, plain in zip(*results, strict=True):
            error = (ours - plain).abs().max() / max(1.0, float(plain.abs().max()))
            if error > TOLERANCE:
                raise ContractBroken(f"fast path and reference differ by {error:.2g} at {length} tokens")


def _check_causality_far(subject: Subject) -> None:
    """At a length past the usual windows too: what works in blocks shows its borders only there."""
    check_causality(subject)
    check_causality(subject, 200, cuts=[cut for cut in (63, 64, 65, 128, 199) if cut < subject.within(200)])


def check_causality_of_a_stranger(subject: Subject) -> None:
    """What no test of ours holds is looked at where blocks of up to 1,024 tokens meet as well, and in training mode."""
    length = subject.within(1100)
    check_causality(subject, length, cuts=[cut for cut in (255, 256, 257, 700, 1025) if cut < length])
    check_causality_in_training(subject)


QUICK_CHECKS: dict[str, Callable[[Subject], None]] = {
    "shape": check_shape,
    "causality": _check_causality_far,
    "gradients": check_gradients,
    "padding": check_padding,
    "streaming": check_streaming,
}


def small_settings(entry: Entry) -> dict[str, Any]:
    """Settings that put several windows into a short test sequence, for architectures that have them."""
    names = {field.name for field in dataclasses.fields(entry.config)}
    return {"window": 8} if "window" in names else {}
