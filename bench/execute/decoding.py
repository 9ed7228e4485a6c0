"""One more token after a context: its time, and the bytes of state. The same for a bare encoder and a whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.beam import Search
from bench.execute.failures import Unsupported
from bench.execute.session import Session
from bench.measure.decode import one_token, prefill
from bench.translator import Writer, before_target, positions
from bench.trial import beam_phase

DECODE_ROOM = 128  # tokens that timing may append to the context
NO_END = -1  # the id of no token: what is timed must not end early


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


def time_writing(
    session: Session, model: Writer, source_BT: Tensor, given_BT: Tensor, beams: Iterable[int] = ()
) -> None:
    """The same for a model that writes: after all of the source has been read and all of `given_BT` written. For each of
    `beams` also a phase of its own, one more token of a search with so many beginnings of each target."""
    most, read, to_write = positions(model), source_BT.shape[1], given_BT.shape[1] + DECODE_ROOM
    if most is not None and max(read, before_target(model, read) + to_write) > most:
        raise Unsupported(f"{read:,} tokens and {to_write:,} after them pass the longest it accepts, {most:,}")
    _time_next(session, model, given_BT[:, :1], lambda: model.step(given_BT, model.start(source_BT, None))[1])
    for beam in beams:
        with torch.no_grad():
            state = model.step(given_BT, model.start(source_BT, None))[1]
        session.send("phase", beam_phase(beam))
        limits = [DECODE_ROOM] * len(given_BT)
        session.timing(beam_phase(beam), Search(model, state, given_BT[:, -1:], NO_END, limits, beam, 1.0).step)


def _time_next(session: Session, module: nn.Module, next_B1: Tensor, read: Callable[[], Any]) -> None:
    session.send("phase", "prefill")
    with torch.no_grad():
        states: list[Any] = []
        session.device.seconds(lambda: states.append(read()))
    session.send("phase", "decode")
    step, size = one_token(module, next_B1, states.pop())
    session.value("decode", "state_memory", size, "B", "lower")
    session.timing("decode", step)
