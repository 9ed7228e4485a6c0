"""One more token after a context: its time, and the bytes of state. The same for a bare encoder and a whole model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.execute.failures import Unsupported
from bench.execute.session import Session
from bench.measure.decode import one_token, prefill

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
    session.send("phase", "prefill")
    with torch.no_grad():
        states: list[Any] = []
        session.device.seconds(lambda: states.append(prefill(module, inputs)))
    session.send("phase", "decode")
    step, size = one_token(module, inputs[:, :1], states.pop())
    session.value("decode", "state_memory", size, "B", "lower")
    session.timing("decode", step)
