"""The only place where an architecture's factory is called and its parts are joined."""

from __future__ import annotations

import dataclasses
from typing import Any

import pydantic
import torch
from torch import nn

from bench.contract import Mode, Places
from bench.registry import TASK_FAMILIES, Entry, RegistryError, did_you_mean


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


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
