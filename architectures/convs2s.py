"""The stack of ConvS2S (Gehring et al. 2017, sections 3.2 and 3.3): gated convolutions, every sum scaled by the root of a
half, and embeddings that go past the stack.

A decoder's layer asks the source by the sum of what its convolution gave and the embedding, and adds what it took to the
former; an encoder gives the sum of its last layer and the embeddings. Dropout as in section 4.2: of the embeddings, of what
convolutions read, of what a decoder gives.

Differs from the paper: no weight normalisation; keys and values are both made from an encoder's sum (there keys from its
last layer alone); one width throughout; the look itself is that of all decoders here (`bench.cross`), which normalises
queries.

Legend: B batch, T tokens, S tokens of a chunk, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, cast

from torch import Tensor

from architectures.blocks import Block, ResidualStack, Within, drop
from bench.contract import Between, State

HALF = 0.5**0.5
"""The sum of two that vary alike, scaled by it, varies as they do."""


class ConvS2SBlock(Block):
    """x = (x + y) / sqrt 2, where y is what the convolution gave and what was taken from the source.

    Attributes:
        drop_carried: drop of the x that is carried past the convolution too, not only of what the convolution reads.
    """

    drop_carried = False

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None, use_reference: bool, between: Within) -> Tensor:
        mix = self.mixer.reference if use_reference else self.mixer
        read_BTD = drop(x_BTD, self.dropout, self.training)
        return self._sum(x_BTD, read_BTD, mix(read_BTD, keep_BT), between)

    def step(self, x_BSD: Tensor, state: State, between: Within) -> tuple[Tensor, State]:
        read_BSD = drop(x_BSD, self.dropout, self.training)
        y_BSD, state = self.mixer.step(read_BSD, state)
        return self._sum(x_BSD, read_BSD, y_BSD, between), state

    def _sum(self, x_BTD: Tensor, read_BTD: Tensor, y_BTD: Tensor, between: Within) -> Tensor:
        carried_BTD = read_BTD if self.drop_carried else x_BTD
        return (carried_BTD + (y_BTD if between is None else between(y_BTD))) * HALF


class ConvS2S(ResidualStack):
    """A stack of these; `in_mode` says whether it is a decoder's."""

    block = ConvS2SBlock
    causal = False

    def in_mode(self, causal: bool, drop_carried: bool) -> Self:
        """As a decoder (`causal`) or an encoder; `drop_carried` is of decoders, see `ConvS2SBlock`."""
        self.causal = causal
        for block in self.blocks:
            cast(ConvS2SBlock, block).drop_carried = drop_carried and causal
        return self

    def _around(
        self, entered_BTD: Tensor, between: Between | None
    ) -> tuple[Between | None, Callable[[Tensor], Tensor]]:
        def look(layer: int, y_BTD: Tensor) -> Tensor:
            assert between is not None
            asks_BTD = (y_BTD + entered_BTD) * HALF
            taken_BTD = between(layer, asks_BTD) - asks_BTD
            return (y_BTD + taken_BTD) * HALF

        def leave(x_BTD: Tensor) -> Tensor:
            if self.causal:
                return drop(x_BTD, self.dropout, self.training)
            return (x_BTD + entered_BTD) * HALF

        return None if between is None else look, leave
