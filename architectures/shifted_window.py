"""Shifted-window attention: Swin's idea (Liu et al. 2021) on a line. Blocks of `window` tokens see themselves only;
every other layer moves the borders by half a window, so that information crosses them.

Differs from the paper: 1D, no merging, rotary positions by default (by setting a relative bias, in T5's buckets). The
paper rolls the sequence and masks the block that wraps around; here the part blocks at both ends are computed as what
they are, which is the same function without a mask.

Legend: B batch, T tokens, H heads, K width of a head, N blocks, W window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.blocks import ResidualStack
from architectures.heads import HeadConfig, HeadMixer, head_stack
from architectures.sdpa import attend
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class ShiftedWindowConfig(HeadConfig):
    """`window`: tokens of a block."""

    window: int = 64


class ShiftedWindowMixer(HeadMixer):
    def __init__(self, config: ShiftedWindowConfig, width: int, causal: bool, layer: int) -> None:
        super().__init__(config, width, causal)
        if config.window < 2:
            raise ValueError(f"window {config.window}: use 2 or more")
        self.window = config.window
        self.border = config.window // 2 if layer % 2 else 0  # where the first whole block begins

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        shift = self.window - self.border
        same_block = (i + shift) // self.window == (j + shift) // self.window
        return same_block & (j <= i) if self.causal else same_block

    def first_needed(self, position: int) -> int:
        shift = self.window - self.border
        return max(0, (position + shift) // self.window * self.window - shift)

    def mix(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        T, W = q_BHTK.shape[2], self.window
        head = min(self.border, T)
        body_stop = head + (T - head) // W * W
        outputs = []
        for start, stop, size in ((0, head, head), (head, body_stop, W), (body_stop, T, T - body_stop)):
            if stop > start:
                outputs.append(self._blocks(q_BHTK, k_BHTK, v_BHTK, keep_BT, start, stop, size))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def _blocks(self, q: Tensor, k: Tensor, v: Tensor, keep_BT: Tensor | None, start: int, stop: int, W: int) -> Tensor:
        """Tokens start..stop, whole blocks of W: blocks become batch, none sees another."""
        B, H, _, K = q.shape
        N = (stop - start) // W

        def split(x_BHTK: Tensor) -> Tensor:  # -> (B*N, H, W, K)
            return x_BHTK[:, :, start:stop].reshape(B, H, N, W, K).transpose(1, 2).flatten(0, 1)

        mask = None
        if keep_BT is not None:  # bidirectional only; a padded token still sees itself, so that no row is empty
            keep_N11W = keep_BT[:, start:stop].reshape(B * N, 1, 1, W)
            mask = keep_N11W | torch.eye(W, dtype=torch.bool, device=q.device)
        if self.relative is not None:  # a mask of numbers must hold causality too: kernels take one or the other
            mask = self.mask(start, start + W, start, start + W, q.device) if mask is None else mask
            mask = self.biased(mask, start, start, q.dtype)
        causal = self.causal and self.relative is None
        y_NHWK = attend(split(q), split(k), split(v), mask, causal, self.scale, self.dropout_now)
        return y_NHWK.unflatten(0, (B, N)).transpose(1, 2).flatten(2, 3)


TRAITS = Traits(modes=BOTH_MODES, time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear")


def shifted_reach(window: int, depth: int, causal: bool) -> int:
    """The widest receptive field of any output, itself included, found by walking borders down the layers."""
    half = window // 2

    def block(position: int, layer: int) -> tuple[int, int]:
        border = half if layer % 2 else 0
        start = (position - border) // window * window + border
        return start, start + window

    def field(position: int) -> int:
        low, high = position, position + 1
        for layer in reversed(range(depth)):
            low = block(low, layer)[0]
            if not causal:
                high = block(high - 1, layer)[1]
        return high - low

    return max(field(position) for position in range(window))


@register_architecture(
    "shifted_window",
    family="windowed",
    config=ShiftedWindowConfig,
    summary="attention inside blocks, borders shifted every other layer (Swin in 1D)",
    reference="Liu et al. 2021",
)
def shifted_window(
    config: ShiftedWindowConfig, width: int, depth: int, causal: bool, grid: None = None
) -> ResidualStack:
    return head_stack(
        lambda layer: ShiftedWindowMixer(config, width, causal, layer),
        config,
        width,
        depth,
        TRAITS,
        shifted_reach(config.window, depth, causal),
    )
