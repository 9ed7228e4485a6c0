"""What an encoder is. Types only; every claim made here has a test in `tests/contract`.

Shape legend, used in names throughout: B batch, T tokens, S tokens of a chunk, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Mode = Literal["causal", "bidirectional"]
Layout = Literal["sequence", "grid"]
Path = Literal["constant", "logarithmic", "linear"]

# Nested tuples, lists and dicts whose leaves are tensors (batch first), numbers, or objects with `tensors` and `select`.
State = Any


@dataclass(frozen=True)
class Traits:
    """What an architecture claims about itself. The theory column of every report is read from here.

    Attributes:
        modes: "causal": output t depends on inputs <= t only. "bidirectional": on both sides.
        layouts: "sequence" takes any T; "grid" needs rows and columns.
        keeps_length: False where tokens are merged, so that only pooled tasks fit.
        time_exponent: forward FLOPs of the token-to-token part grow as T ** time_exponent.
        memory_exponent: activation bytes kept for backward grow as T ** memory_exponent.
        parallel_in_time: True where the longest chain of dependent operations does not grow with T.
        path: how the longest path between two tokens grows with T (Vaswani et al. 2017, table 1, last column).
        max_length: longest T it accepts; None for no limit.
    """

    modes: frozenset[Mode]
    time_exponent: float
    memory_exponent: float
    parallel_in_time: bool
    path: Path
    layouts: frozenset[Layout] = frozenset({"sequence"})
    keeps_length: bool = True
    max_length: int | None = None


BOTH_MODES: frozenset[Mode] = frozenset({"causal", "bidirectional"})


@runtime_checkable
class Encoder(Protocol):
    """A module built by `factory(config, width, depth, causal, grid)`: the same width in and out, no vocabulary, no head.

    State is returned, never kept on the module. `keep_BT` is True at real tokens; padding is on the right, every
    sequence has at least one real token, and outputs at padding are zero. None means no padding.
    """

    traits: Traits
    receptive_field: int | None
    """Input tokens that one output can depend on; None for all (or all before it)."""

    def __call__(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class StreamingEncoder(Encoder, Protocol):
    """A causal encoder that can go on from a state: step by step equals all at once."""

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State: ...

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]: ...


@dataclass(frozen=True)
class Memory:
    """What a decoder reads: encoder outputs and which of them are real."""

    states_BSD: Tensor
    keep_BS: Tensor | None = None


@runtime_checkable
class VectorTask(Protocol):
    """A source of encoder inputs with no labels, for suites that measure cost only."""

    def inputs(self, batch: int, length: int, width: int, generator: torch.Generator) -> Tensor:
        """Vectors (B, T, D) in float32 on the generator's device."""
        ...


@runtime_checkable
class _StateLeaf(Protocol):
    def tensors(self) -> tuple[Tensor, ...]: ...

    def select(self, index_B: Tensor) -> Any: ...


def state_tensors(state: State) -> Iterable[Tensor]:
    """Every tensor in a state, in order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, _StateLeaf):
        yield from state.tensors()
    elif isinstance(state, dict):
        for value in state.values():
            yield from state_tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from state_tensors(value)


def state_bytes(state: State) -> int:
    """Bytes that the state needs to go on, spare capacity of buffers not counted."""
    return sum(t.numel() * t.element_size() for t in state_tensors(state))


def select_state(state: State, index_B: Tensor) -> State:
    """The state of sequences `index_B` of the batch (beam search reorders with it)."""
    if isinstance(state, Tensor):
        return state.index_select(0, index_B)
    if isinstance(state, _StateLeaf):
        return state.select(index_B)
    if isinstance(state, dict):
        return {key: select_state(value, index_B) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(select_state(value, index_B) for value in state)
    return state
