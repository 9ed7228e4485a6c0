"""What each kind of trial measures. Runs in the child; every measurement is sent as soon as it is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.conformance import QUICK_CHECKS, Subject, check_causality_of_a_stranger
from bench.conformance_of_grids import QUICK_CHECKS_OF_GRIDS
from bench.contract import Mode, VectorTask
from bench.execute.decoding import time_decoding
from bench.execute.failures import NotFinite, Send, Unsupported
from bench.execute.session import Session
from bench.measure.graph import Counter
from bench.measure.kernels import kernels_of
from bench.measure.memory import measure_memory
from bench.measure.path import layers_to_connect, receptive_field
from bench.measure.roof import copy_rate, matmul_rate
from bench.models import awake, build_encoder, shared_writer, streams
from bench.registry import ARCHITECTURES, TASKS
from bench.trial import Trial

PATH_WIDTH = 16  # small, since only zeros and non-zeros count
ROOF_SHARE = 4  # times a cell's seconds: everything is held against the roof
FIELD_LENGTH = 256
FIELD_OUTPUTS = 64  # outputs tried for the widest field: where blocks have borders, it differs between positions


def run_trial(trial: Trial, send: Send) -> dict[str, Any]:
    """Measure one trial. Exceptions go to the caller, which names their status; what was sent before them counts."""
    with Session(trial, send) as session:
        KINDS[trial.kind](trial, session)
    return session.result()


def _cell(trial: Trial, session: Session) -> None:
    """Time, memory and threads of one encoder at one length and batch."""
    encoder, x_BTD = encoder_of(trial), inputs_of(trial)
    generator = torch.Generator().manual_seed(trial.seed + 1)
    grad_BTD = torch.randn(x_BTD.shape, generator=generator).to(x_BTD)

    outputs: list[Tensor] = []

    def forward() -> None:
        with torch.no_grad():
            outputs[:] = [encoder(x_BTD)]

    def forward_backward() -> None:
        encoder(x_BTD).backward(grad_BTD)
        for parameter in encoder.parameters():
            parameter.grad = None

    for phase in trial.phases_on(torch.get_num_threads()):
        session.send("phase", phase)
        encoder.train(phase in ("memory", "forward_backward"))  # cuDNN keeps what backward needs in training mode only
        if phase == "forward":
            session.timing(phase, forward, check=lambda: _check_output(x_BTD, outputs.pop()))
            if trial.seed == 0 and trial.device == "cpu":
                session.kernels = kernels_of(forward, trial.device)[0]
            outputs.clear()
        elif phase == "forward_1_thread":
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                session.timing(phase, forward, slack=threads)
            finally:
                torch.set_num_threads(threads)
        elif phase == "memory":
            # Kernels are chosen, and workspaces made, before memory is looked at. On a CPU a pass of the trial's size would
            # leave pages behind that a second one takes for its own, so what is made once is made by a few tokens.
            if trial.device != "cpu":
                session.device.seconds(forward_backward)
            else:
                encoder(x_BTD[:1, :8]).backward(grad_BTD[:1, :8])
            session.device.seconds(lambda: _memory(session, encoder, x_BTD, grad_BTD))
        elif phase == "kernels":
            if trial.device != "cpu":  # not those that are tried out, or compiled, at the first call of a shape
                forward()
            session.kernels, launches = kernels_of(forward, trial.device)
            if trial.device != "cpu" and launches > 4 * trial.length:
                session.send("note", "kernels", f"{launches:,} kernels for {trial.length:,} tokens: run step by step")
        elif phase == "forward_backward":
            session.timing(phase, forward_backward)


def _check_output(x_BTD: Tensor, y_BTD: Tensor) -> None:
    if y_BTD.shape != x_BTD.shape:
        raise ValueError(f"output has shape {tuple(y_BTD.shape)}, the contract asks for {tuple(x_BTD.shape)}")
    if not torch.isfinite(y_BTD).all():
        raise NotFinite("the forward pass gave NaN or infinity")


def _memory(session: Session, encoder: nn.Module, x_BTD: Tensor, grad_BTD: Tensor) -> None:
    session.memory("forward_backward", measure_memory(encoder, x_BTD, grad_BTD, session.device))


def _graph(trial: Trial, session: Session) -> None:
    """Work and span at one length, batch 1."""
    settings = json.dumps(trial.settings, sort_keys=True)  # a key for the cache, whatever they hold
    for phase in trial.phases:
        session.send("phase", phase)
        counter = _counter(trial.architecture, settings, trial.width, trial.depth, trial.mode, phase)
        counts, method = counter.count(trial.length)
        session.value(phase, "flops", counts.flops, "FLOP", "lower", method)
        session.value(phase, "span", counts.span, "operations", "lower", method)
        session.value(phase, "operations", counts.operations, "operations", "lower", method)
        if phase == "forward":
            session.value(phase, "mixing_flops", counts.mixing_flops, "FLOP", "lower", method)


@lru_cache(maxsize=8)
def _counter(name: str, settings: str, width: int, depth: int, mode: str, phase: str) -> Counter:
    """Kept between the trials of a shared worker, so that short traces are made once for all lengths."""
    entry = ARCHITECTURES.get(name)
    encoder = build_encoder(entry, json.loads(settings), width, depth, mode == "causal", device="meta")
    return Counter(encoder, width, backward=phase == "forward_backward")


def _path(trial: Trial, session: Session) -> None:
    """Layers that connect the two ends, the span of that encoder, and (once) the receptive field at the run's depth."""
    entry, causal = ARCHITECTURES.get(trial.architecture), trial.mode == "causal"
    settings = {k: v for k, v in trial.settings.items() if k != "mlp_hidden"}
    width = _smallest_width(lambda w: build_encoder(entry, settings, w, 1, causal, device="meta"), trial.width)

    def build(depth: int, device: str = "cpu", dtype: torch.dtype = torch.float64) -> nn.Module:
        return awake(build_encoder(entry, settings, width, depth, causal, device=device, dtype=dtype))

    session.send("phase", "forward")
    if "layers" in trial.phases:
        layers = layers_to_connect(build, trial.length, width)
        session.value("forward", "layers_to_connect", layers, "layers", "lower", "Jacobian")
        # A shallow encoder by definition: the chain between its ends is the path.
        counts, method = Counter(build(layers, "meta"), width, backward=False).count(trial.length)
        session.value("forward", "path_length", counts.span, "operations", "lower", method)
    if "field" in trial.phases:
        encoder = build(trial.depth)
        declared = cast(Any, encoder).receptive_field
        outputs = range(FIELD_LENGTH - (1 if declared is None else FIELD_OUTPUTS), FIELD_LENGTH)
        field = receptive_field(encoder, FIELD_LENGTH, width, outputs)
        session.value("forward", "receptive_field", field, "tokens", "none", f"Jacobian, {FIELD_LENGTH} tokens")


def _smallest_width(build: Callable[[int], object], largest: int) -> int:
    """PATH_WIDTH, or the first doubling of it that the settings allow (many heads need more), or the run's own width."""
    width = PATH_WIDTH
    while width < largest:
        try:
            build(width)
            return width
        except ValueError:
            width *= 2
    return largest


def _decode(trial: Trial, session: Session) -> None:
    """Time of one more token, and the bytes of state, after `length` tokens."""
    encoder, x_BTD = encoder_of(trial), inputs_of(trial)
    time_decoding(session, encoder, x_BTD, streams(encoder), cast(Any, encoder).traits.max_length)


def _check(trial: Trial, session: Session) -> None:
    """The contract's core, before anything is measured: see `bench.conformance.QUICK_CHECKS`."""
    entry = ARCHITECTURES.get(trial.architecture)
    grid = cast(tuple[int, int], tuple(trial.grid)) if trial.grid else None
    quick = QUICK_CHECKS if grid is None or not entry.images else QUICK_CHECKS_OF_GRIDS
    subjects = [(Subject(entry, trial.settings, m, trial.width, trial.depth, grid), quick) for m in _modes(trial)]
    if shared := _shared(trial):
        entry, settings = shared_writer(shared, trial.settings)
        subjects.append((Subject(entry, settings, "causal", trial.width, trial.depth), QUICK_CHECKS))
    for subject, checks in subjects:
        strange = subject.entry.source != "built-in" and checks is QUICK_CHECKS
        more = {"causality_in_blocks_and_in_training": check_causality_of_a_stranger} if strange else {}
        for name, check in {**checks, **more}.items():
            session.send("phase", name)
            check(subject)


def _modes(trial: Trial) -> list[Mode]:
    """In which an architecture is used: where it writes, its decoder is causal whatever the encoder is."""
    mode, kind = cast(Mode, trial.mode), trial.decoder.split(",")[0]
    reads: list[Mode] = [] if kind == "prefix" else [mode]
    writes: list[Mode] = ["causal"] if kind in ("prefix", "matched") else []
    return list(dict.fromkeys([*reads, *writes]))


def _shared(trial: Trial) -> str:
    """The other architecture whose decoder writes; "" where the own does."""
    kind = trial.decoder.split(",")[0]
    return "" if kind in ("prefix", "matched") else kind


def _roof(trial: Trial, session: Session) -> None:
    """Rates of a large product and a large copy, with all threads and (on CPU) with one."""
    dtype = _dtype(trial)
    threads = torch.get_num_threads()
    for phase in trial.phases:
        session.send("phase", phase)
        torch.set_num_threads(1 if phase == "one_thread" else threads)
        try:
            # A roof is measured however long it takes: the trial's timeout is its only limit.
            rates, times = matmul_rate(session.device, dtype, ROOF_SHARE * trial.seconds, trial.timeout)
            session.book(f"{phase} matmul", times)
            session.samples(phase, "matmul_throughput", rates, "FLOP/s", "higher")
            if phase == "all_threads":
                rates, times = copy_rate(session.device, ROOF_SHARE * trial.seconds, trial.timeout)
                session.book(f"{phase} copy", times)
                session.samples(phase, "copy_bandwidth", rates, "B/s", "higher")
        finally:
            torch.set_num_threads(threads)


KINDS: dict[str, Callable[[Trial, Session], None]] = {
    "check": _check,
    "cell": _cell,
    "graph": _graph,
    "path": _path,
    "decode": _decode,
    "roof": _roof,
}


def _dtype(trial: Trial) -> torch.dtype:
    return cast(torch.dtype, getattr(torch, trial.dtype))


def encoder_of(trial: Trial) -> nn.Module:
    """The trial's encoder, in evaluation mode. Raises Unsupported where the trial is longer than it accepts."""
    entry = ARCHITECTURES.get(trial.architecture)
    causal = trial.mode == "causal"
    encoder = build_encoder(
        entry,
        trial.settings,
        trial.width,
        trial.depth,
        causal,
        seed=trial.seed,
        device=trial.device,
        dtype=_dtype(trial),
    )
    limit = cast(Any, encoder).traits.max_length
    if limit is not None and trial.length > limit:
        raise Unsupported(f"{trial.length:,} tokens are past the longest it accepts, {limit:,}")
    return encoder.eval()


def inputs_of(trial: Trial) -> Tensor:
    """Drawn on the CPU, so that a seed gives the same inputs on every device."""
    task: VectorTask = TASKS.get(trial.task).build(None, trial.mode, None)
    generator = torch.Generator().manual_seed(trial.seed)
    return task.inputs(trial.batch, trial.length, trial.width, generator).to(trial.device, _dtype(trial))
