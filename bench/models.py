"""The only place where an architecture's factory is called and its parts are joined."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pydantic
import torch
from torch import Tensor, nn

from bench.contract import DecoderPlan, Mode, PatchPlan, Places, State, StreamingEncoder, TaskShape, out_width
from bench.frontends import Head, apart, make_front_end
from bench.registry import ARCHITECTURES, TASK_FAMILIES, Entry, RegistryError, did_you_mean
from bench.training.recipe import DROPOUTS, Embedding, Pooling
from bench.translator import EncoderDecoder, PrefixModel


def make_config(entry: Entry, settings: dict[str, Any]) -> Any:
    """The configuration of an architecture or a task from plain settings; unknown keys and wrong types are errors.

    Raises RegistryError naming the entry and the setting.
    """
    kind = "task" if entry.family in TASK_FAMILIES else "architecture"
    known = [field.name for field in dataclasses.fields(entry.config)]
    for key in settings:
        if key not in known:
            raise RegistryError(f"{kind} '{entry.name}' has no setting '{key}'; {did_you_mean(key, known)}")
    try:
        config: Any = pydantic.TypeAdapter(entry.config).validate_python(settings)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RegistryError(f"{kind} '{entry.name}', setting '{where}': {first['msg']}") from error
    for key in settings:
        value = getattr(config, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise RegistryError(f"{kind} '{entry.name}', setting '{key}': {value} is no finite number")
    return config


def build_task(entry: Entry, settings: dict[str, Any], mode: Mode, places: Places) -> Any:
    """A task from plain settings. Raises RegistryError for wrong ones, DataMissing where its data cannot be had."""
    return entry.build(make_config(entry, settings), mode, places)


def build_encoder(
    entry: Entry,
    settings: dict[str, Any],
    width: int,
    depth: int,
    causal: bool,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    grid: tuple[int, int] | None = None,
) -> nn.Module:
    """An encoder initialised from `seed` alone; the caller's random state is left as it was.

    Initialised on the CPU and then moved, so that a seed gives the same weights on every device. `grid`: rows and columns
    of the tokens, where these are of an image; only architectures made for images are told.
    """
    config = make_config(entry, settings)
    device = torch.device(device)
    grid = grid if entry.images else None
    if device.type == "meta":
        with device:
            return entry.build(config, width, depth, causal, grid)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = entry.build(config, width, depth, causal, grid)
    return encoder.to(device=device, dtype=dtype)


def awake(encoder: nn.Module) -> nn.Module:
    """The encoder with parameters that begin at zero moved off it: a branch behind a gate of zero (ReZero, a last layer of
    zeros) is there, but neither outputs nor gradients show it. For checks of who depends on whom, not for training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.is_floating_point() and not parameter.is_meta and not parameter.any():
                noise = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
                parameter.add_((0.02 * noise).to(parameter))
    return encoder


def streams(encoder: nn.Module) -> bool:
    """Whether it can go on from a state: it has `initial_state` and `step`, and they are not there to say that it cannot."""
    if not isinstance(encoder, StreamingEncoder):
        return False
    try:
        encoder.initial_state(1, torch.device("cpu"), torch.float64)
    except NotImplementedError:
        return False
    return True


class SequenceModel(nn.Module):
    """Front end, encoder, head: all that is trained. Inputs and outputs are those of the task's shape."""

    def __init__(
        self, encoder: nn.Module, shape: TaskShape, width: int, pooling: Pooling, embedding: Embedding
    ) -> None:
        super().__init__()
        self.shape = shape
        self.front = make_front_end(shape, width, embedding)
        self.encoder = encoder
        self.separator = shape.separator if shape.towers else None
        tied = cast(nn.Embedding, self.front) if shape.tied else None
        self.head = Head(shape, out_width(encoder, width), pooling, tied)

    def forward(self, inputs: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if self.separator is not None:
            inputs, keep_BT = apart(inputs, keep_BT, self.separator)
        return self.head(self.encoder(self.front(inputs), keep_BT), keep_BT)

    @property
    def streams(self) -> bool:
        return streams(self.encoder)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        """State of an encoder that has seen nothing; `dtype` is that of the inputs and says nothing where they are ids."""
        weight = next(self.parameters())
        return cast(StreamingEncoder, self.encoder).initial_state(batch, weight.device, weight.dtype)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The next S inputs after `state`: outputs (B, S, C), one a token."""
        y_BSD, state = cast(StreamingEncoder, self.encoder).step(self.front(inputs), state)
        return self.head(y_BSD, None), state


def build_model(
    entry: Entry,
    settings: dict[str, Any],
    width: int,
    depth: int,
    mode: Mode,
    shape: TaskShape,
    pooling: Pooling = "last",
    embedding: Embedding = "unit",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> SequenceModel:
    """A whole model in float32, initialised from `seed` alone; front end and head from streams of their own, so that
    they begin alike for all encoders of a width."""
    causal = mode == "causal"
    encoder = build_encoder(entry, settings, width, depth, causal, seed=seed, device=device, grid=shape.grid)
    return _joined(lambda: SequenceModel(encoder, shape, width, pooling, embedding), seed, device)


def build_writer(
    entry: Entry,
    settings: dict[str, Any],
    width: int,
    depth: int,
    mode: Mode,
    shape: TaskShape,
    pooling: Pooling = "last",
    embedding: Embedding = "unit",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> EncoderDecoder | PrefixModel:
    """The same for a task with targets to write: `shape.decoder` says how, `mode` is the encoder's.

    Raises ValueError where the architecture cannot do what the plan asks for.
    """
    plan = cast(DecoderPlan, shape.decoder)
    causal = mode == "causal" or plan.kind == "prefix"
    encoder = build_encoder(entry, settings, width, depth, causal, seed=seed, device=device)
    if plan.kind == "prefix":
        return _joined(lambda: PrefixModel(encoder, shape, width, embedding), seed, device)
    decoder = _build_decoder(entry, settings, width, depth, plan, seed=seed + 2, device=device)
    return _joined(lambda: EncoderDecoder(encoder, decoder, shape, width, pooling, embedding), seed, device)


def build_for(entry: Entry, settings: dict[str, Any], width: int, depth: int, mode: Mode, shape: TaskShape, *args: Any,
              **options: Any) -> SequenceModel | EncoderDecoder | PrefixModel:  # fmt: skip
    """Whichever of the two the shape asks for."""
    build = build_model if shape.decoder is None else build_writer
    return build(entry, settings, width, depth, mode, shape, *args, **options)


Model = TypeVar("Model", bound=nn.Module)


def _joined(join: Callable[[], Model], seed: int, device: torch.device | str) -> Model:
    """What `join` builds around stacks that are there, from a stream of its own."""
    device = torch.device(device)
    if device.type == "meta":
        with device:
            return join()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return join().to(device)


def _build_decoder(
    entry: Entry, settings: dict[str, Any], width: int, depth: int, plan: DecoderPlan, **options: Any
) -> nn.Module:
    """The causal stack that writes: of the encoder's architecture, or of the plan's own."""
    if plan.kind == "shared":
        entry, settings = shared_writer(plan.of, settings)
    decoder = build_encoder(entry, settings, width, depth, True, **options)
    traits = cast(Any, decoder).traits
    if "causal" not in traits.modes or not streams(decoder):
        raise ValueError(f"'{entry.name}' cannot write: a decoder is causal and goes on from a state")
    if plan.feeding and traits.parallel_in_time:
        raise ValueError(
            f"'{entry.name}' takes all tokens at once, input feeding goes one by one: for recurrences only"
        )
    return decoder


OF_EVERY_BLOCK = (*DROPOUTS, "init", "mlp_hidden")


def shared_writer(name: str, settings: dict[str, Any]) -> tuple[Entry, dict[str, Any]]:
    """The architecture whose decoder all share, and its settings: its defaults, but for what is every block's."""
    entry = ARCHITECTURES.get(name)
    has = {field.name for field in dataclasses.fields(entry.config)}
    return entry, {k: v for k, v in settings.items() if k in OF_EVERY_BLOCK and k in has}


def shape_from(plain: dict[str, Any]) -> TaskShape:
    """A task's shape from plain data, as plans and trials hold it."""
    decoder, patches, image = (plain.get(name) for name in ("decoder", "patches", "image"))
    parts = {
        "decoder": DecoderPlan(**decoder) if isinstance(decoder, dict) else decoder,
        "patches": PatchPlan(**patches) if isinstance(patches, dict) else patches,
        "image": tuple(image) if image is not None else None,
    }
    return TaskShape(**{**plain, **parts})


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
