"""One more token after a context: its time, and the bytes of state. The same for a bare encoder and a whole model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.execute.failures import Unsupported
from bench.execute.session import Session
from bench.measure.decode import one_token, prefill
from bench.translator import Writer, stacks

DECODE_ROOM = 128  # tokens that timing may append to the context


def time_decoding(session: Session, module: nn.Module, inputs: Tensor, streams: bool, max_length: int | None) -> None:
    """Measure phase `decode` after all of `inputs`, (1, T, D) or ids (1, T).

    Args:
        streams: whether the module has `initial_state` and `step`. max_length: the longest that its encoder accepts.

    Raises Unsupported where it cannot stream, or not for as long as timing needs.
    """
    if not streams:
        raise Unsupported("it has no initial_state and step, so it cannot go on from a state")
    if max_length is not None and inputs.shape[1] + DECODE_ROOM > max_length:
        raise Unsupported(f"tokens after {inputs.shape[1]:,} would pass the longest it accepts, {max_length:,}")
    _time_next(session, module, inputs[:, :1], lambda: prefill(module, inputs))


def time_writing(session: Session, model: Writer, source_BT: Tensor, given_BT: Tensor) -> None:
    """The same for a model that writes: after all of the source has been read and all of `given_BT` written."""
    most = [limit for stack in stacks(model) if (limit := cast(Any, stack).traits.max_length) is not None]
    if most and source_BT.shape[1] + given_BT.shape[1] + DECODE_ROOM > min(most):
        raise Unsupported(f"tokens after {source_BT.shape[1]:,} would pass the longest it accepts, {min(most):,}")
    _time_next(session, model, given_BT[:, :1], lambda: model.step(given_BT, model.start(source_BT, None))[1])


def _time_next(session: Session, module: nn.Module, next_B1: Tensor, read: Callable[[], Any]) -> None:
    session.send("phase", "prefill")
    with torch.no_grad():
        states: list[Any] = []
        session.device.seconds(lambda: states.append(read()))
    session.send("phase", "decode")
    step, size = one_token(module, next_B1, states.pop())
    session.value("decode", "state_memory", size, "B", "lower")
    session.timing("decode", step)
