"""One token at a time, as in generation: time a token and bytes of state, against the tokens already read."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from bench.contract import State, StreamingEncoder, state_bytes

PREFILL_CHUNK = 1024


def prefill(encoder: nn.Module, x_BTD: Tensor) -> State:
    """The state after x. The first chunk is a parallel pass, later ones continue from the state."""
    streaming = cast(StreamingEncoder, encoder)
    state = streaming.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
    for chunk_BSD in x_BTD.split(PREFILL_CHUNK, dim=1):
        _, state = streaming.step(chunk_BSD, state)
    return state


def one_token(encoder: nn.Module, x_B1D: Tensor, state: State) -> tuple[Callable[[], None], int]:
    """A function that feeds the next token each time it is called, and the bytes of state at the start."""
    streaming = cast(StreamingEncoder, encoder)
    held = [state]

    def step() -> None:
        with torch.no_grad():
            _, held[0] = streaming.step(x_B1D, held[0])

    return step, state_bytes(state)
