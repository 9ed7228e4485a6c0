"""The only place where an architecture's factory is called and its parts are joined."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pydantic
import torch
from torch import Tensor, nn

from bench.contract import Mode, Places, State, StreamingEncoder, TaskShape
from bench.frontends import Head, apart, make_front_end
from bench.registry import TASK_FAMILIES, Entry, RegistryError, did_you_mean
from bench.training.recipe import Embedding, Pooling


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
        return pydantic.TypeAdapter(entry.config).validate_python(settings)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RegistryError(f"{kind} '{entry.name}', setting '{where}': {first['msg']}") from error


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
) -> nn.Module:
    """An encoder initialised from `seed` alone; the caller's random state is left as it was.

    Initialised on the CPU and then moved, so that a seed gives the same weights on every device.
    """
    config = make_config(entry, settings)
    device = torch.device(device)
    if device.type == "meta":
        with device:
            return entry.build(config, width, depth, causal, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = entry.build(config, width, depth, causal, None)
    return encoder.to(device=device, dtype=dtype)


class SequenceModel(nn.Module):
    """Front end, encoder, head: all that is trained. Inputs and outputs are those of the task's shape."""

    def __init__(
        self, encoder: nn.Module, shape: TaskShape, width: int, pooling: Pooling, embedding: Embedding
    ) -> None:
        super().__init__()
        self.front = make_front_end(shape, width, embedding)
        self.encoder = encoder
        self.separator = shape.separator if shape.towers else None
        self.head = Head(shape, width, pooling, cast(nn.Embedding, self.front) if shape.tied else None)

    def forward(self, inputs: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if self.separator is not None:
            inputs, keep_BT = apart(inputs, keep_BT, self.separator)
        return self.head(self.encoder(self.front(inputs), keep_BT), keep_BT)

    @property
    def streams(self) -> bool:
        return isinstance(self.encoder, StreamingEncoder)

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
    encoder = build_encoder(entry, settings, width, depth, mode == "causal", seed=seed, device=device)
    device = torch.device(device)
    if device.type == "meta":
        with device:
            return SequenceModel(encoder, shape, width, pooling, embedding)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return SequenceModel(encoder, shape, width, pooling, embedding).to(device)


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
