"""What `rnn`, `lstm` and `gru` share: directions, padding, chunks and streaming around a fused library kernel.

Legend: B batch, T tokens, D width, H hidden width of one direction, L layers times directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from architectures.blocks import BlockConfig, Mixer, ResidualStack
from bench.capabilities import bfloat16_recurrences
from bench.contract import BOTH_MODES, State, Traits

# cuDNN refuses sequences of 65,536 tokens and more; half of that keeps clear of the edge and costs one more launch.
CUDNN_MAX_LENGTH = 32_768

RECURRENT = Traits(modes=BOTH_MODES, time_exponent=1.0, memory_exponent=1.0, parallel_in_time=False, path="linear")


class RecurrentMixer(Mixer):
    """A recurrence over tokens. Bidirectional: two recurrences of half the width, side by side.

    Args:
        core: the library's module, one layer, batch first; bidirectional with D/2 hidden units unless causal.
        fused: the library's function behind it, for calls with one direction's weights.
        cell: one plain step `(x_BD, hidden, weights) -> hidden`; hidden is a tuple of (B, H), its first part the output.
        num_hidden: tensors in `hidden`: 1, or 2 for an LSTM.
    """

    def __init__(
        self,
        core: nn.RNNBase,
        fused: Callable[..., tuple[Tensor, ...]],
        cell: Callable[[Tensor, tuple[Tensor, ...], list[Tensor]], tuple[Tensor, ...]],
        num_hidden: int,
    ) -> None:
        super().__init__()
        self.core = core
        self.fused = fused
        self.cell = cell
        self.num_hidden = num_hidden

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if self.core.bidirectional and keep_BT is None and x_BTD.is_cuda and x_BTD.shape[1] <= CUDNN_MAX_LENGTH:
            both = x_BTD.new_zeros(2, x_BTD.shape[0], self.core.hidden_size)
            weights = cast(list[Tensor], self.core._flat_weights)
            return self._call(x_BTD, (both,) * self.num_hidden, weights, bidirectional=True)[0]  # in one launch
        forwards_BTH = self._chunked(x_BTD, self.zeros(x_BTD), self._weights(0))[0]
        if not self.core.bidirectional:  # padding is on the right, so no real token comes after it
            return forwards_BTH
        flipped_BTD = flip_real(x_BTD, keep_BT)
        backwards_BTH = self._chunked(flipped_BTD, self.zeros(x_BTD), self._weights(1))[0]
        return torch.cat([forwards_BTH, flip_real(backwards_BTH, keep_BT)], dim=-1)

    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        outputs = [self._loop(x_BTD, self._weights(0))]
        if self.core.bidirectional:
            outputs.append(flip_real(self._loop(flip_real(x_BTD, keep_BT), self._weights(1)), keep_BT))
        return torch.cat(outputs, dim=-1)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        zeros_B1H = torch.zeros(batch, 1, self.core.hidden_size, device=device, dtype=dtype)
        return (zeros_B1H,) * self.num_hidden

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = tuple(part_B1H.transpose(0, 1).contiguous() for part_B1H in state)
        y_BSD, hidden = self._chunked(x_BSD, hidden, self._weights(0))
        return y_BSD, tuple(part_1BH.transpose(0, 1) for part_1BH in hidden)

    def zeros(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        return (x_BTD.new_zeros(1, x_BTD.shape[0], self.core.hidden_size),) * self.num_hidden

    def _weights(self, direction: int) -> list[Tensor]:
        """Input weights, hidden weights, input bias, hidden bias of one direction."""
        return cast(list[Tensor], self.core._flat_weights[4 * direction : 4 * direction + 4])

    def _chunked(
        self, x_BTD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One direction through the fused kernel, in chunks that carry the state where the kernel has a length limit."""
        outputs = []
        for chunk_BCD in x_BTD.split(longest_chunk(x_BTD), dim=1):
            y_BCH, *rest = self._call(chunk_BCD, hidden, weights)
            hidden = tuple(rest)
            outputs.append(y_BCH)
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), hidden

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch.compile would take the fused kernel apart, step by step
    def _call(
        self, x_BCD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor], bidirectional: bool = False
    ) -> tuple[Tensor, ...]:
        """The library's fused kernel: outputs, then the last hidden ones in the format in which they came.

        Autocast knows no format but float16 for cuDNN's recurrences, whatever it is set to, so casting is done here.
        """
        if not x_BCD.is_cuda:
            return self._fused(x_BCD, hidden, weights, bidirectional)
        wanted = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x_BCD.dtype
        dtype = fused_dtype(wanted)
        with torch.autocast("cuda", enabled=False):
            held = tuple(part.to(dtype) for part in hidden)
            y_BCH, *rest = self._fused(x_BCD.to(dtype), held, _cast(weights, dtype), bidirectional)
            return y_BCH.to(wanted), *(new.to(old.dtype) for new, old in zip(rest, hidden, strict=True))

    def _fused(
        self, x_BCD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor], bidirectional: bool
    ) -> tuple[Tensor, ...]:
        packed = hidden if self.num_hidden > 1 else hidden[0]
        # arguments after the weights: biases, layers, dropout, training, bidirectional, batch first
        return self.fused(x_BCD, packed, weights, True, 1, 0.0, self.training, bidirectional, True)

    def _loop(self, x_BTD: Tensor, weights: list[Tensor]) -> Tensor:
        hidden = tuple(part_1BH[0] for part_1BH in self.zeros(x_BTD))
        outputs = []
        for x_BD in x_BTD.unbind(dim=1):
            hidden = self.cell(x_BD, hidden, weights)
            outputs.append(hidden[0])
        return torch.stack(outputs, dim=1)


def _cast(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Weights in another format, side by side in one piece of memory as cuDNN wants them: matrices first, then biases."""
    if weights[0].dtype == dtype:
        return weights
    order = sorted(range(len(weights)), key=lambda i: weights[i].dim() < 2)
    pieces = torch.cat([weights[i].reshape(-1) for i in order]).to(dtype).split([weights[i].numel() for i in order])
    made = {i: piece.view_as(weights[i]) for i, piece in zip(order, pieces, strict=True)}
    return [made[i] for i in range(len(weights))]


def fused_dtype(dtype: torch.dtype) -> torch.dtype:
    """The format in which cuDNN runs a recurrence that is asked for in `dtype`: float32 where it has none for bfloat16,
    rather than torch's own loop of small kernels."""
    return torch.float32 if dtype == torch.bfloat16 and not bfloat16_recurrences() else dtype


def longest_chunk(x_BTD: Tensor) -> int:
    """The longest sequence that the device's kernel takes at once."""
    return CUDNN_MAX_LENGTH if x_BTD.is_cuda else max(CUDNN_MAX_LENGTH, x_BTD.shape[1])


def flip_real(x_BTD: Tensor, keep_BT: Tensor | None) -> Tensor:
    """Reverse the real tokens of each sequence, padding stays where it is. Its own inverse."""
    if keep_BT is None:
        return x_BTD.flip(1)
    t_1T = torch.arange(x_BTD.shape[1], device=x_BTD.device)[None]
    source_BT = torch.where(keep_BT, keep_BT.sum(1, keepdim=True) - 1 - t_1T, t_1T)
    return x_BTD.gather(1, source_BT[..., None].expand_as(x_BTD))


def recurrent_stack(
    make_mixer: Callable[[], RecurrentMixer], config: BlockConfig, width: int, depth: int
) -> ResidualStack:
    """A stack of recurrent mixers; every output depends on all inputs of its side."""
    return ResidualStack(lambda layer: make_mixer(), config, width, depth, RECURRENT, receptive_field=None)


def direction_width(width: int, causal: bool) -> int:
    """Hidden units of one direction, so that one or two directions side by side are `width` wide."""
    if causal:
        return width
    if width % 2:
        raise ValueError(f"bidirectional recurrence needs an even width, got {width}")
    return width // 2
