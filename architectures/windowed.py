"""Sliding-window attention (Child et al. 2019; Longformer, Beltagy et al. 2020): each token sees its neighbours only.

Causal: the `window` tokens up to and with itself. Bidirectional: `window // 2` on each side, and itself.

Fast paths, neither with a T x T mask: FlexAttention on CUDA (a sparse block mask, see `flex`); blocks of queries with
the few blocks of keys they can reach elsewhere (FlexAttention has no backward on CPU), and everywhere with relative
positions (one bias serves all blocks).

Legend: B batch, T tokens, H heads, K width of a head, N blocks of queries, W queries of a block, J keys they reach.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.blocks import ResidualStack
from architectures.flex import FLEX_MIN_HEAD_WIDTH, flex_band
from architectures.heads import HeadConfig, HeadMixer, head_stack
from architectures.sdpa import attend
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class WindowConfig(HeadConfig):
    """`window`: tokens in sight, see the module's docstring."""

    window: int = 64


class WindowedMixer(HeadMixer):
    def __init__(self, config: WindowConfig, width: int, causal: bool) -> None:
        super().__init__(config, width, causal)
        if config.window < 1:
            raise ValueError(f"window {config.window}: use 1 or more")
        self.left = config.window - 1 if causal else config.window // 2
        self.right = 0 if causal else config.window // 2

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return (i - j <= self.left) & (j - i <= self.right)

    def first_needed(self, position: int) -> int:
        return max(0, position - self.left)

    def mix(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        flex_takes = self.head_width >= FLEX_MIN_HEAD_WIDTH and self.relative is None and keep_BT is None
        flex_takes &= not self.dropout_now
        if q_BHTK.is_cuda and flex_takes:
            return flex_band(q_BHTK, k_BHTK, v_BHTK, self.left, self.right, self.scale)
        return self.blocks(q_BHTK, k_BHTK, v_BHTK, keep_BT)

    def blocks(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        """Queries in blocks; a block near either end takes what keys there are, all others share one call."""
        T, W = q_BHTK.shape[2], block_size(self.left + self.right)
        before, after = -(-self.left // W), -(-self.right // W)  # blocks of keys reached on each side, rounded up
        first, last = before, T // W - after  # blocks first..last-1 have all their keys
        if last <= first:
            return self._slice(q_BHTK, k_BHTK, v_BHTK, keep_BT, 0, T)
        outputs = [self._slice(q_BHTK, k_BHTK, v_BHTK, keep_BT, at * W, (at + 1) * W) for at in range(first)]
        outputs.append(self._inner(q_BHTK, k_BHTK, v_BHTK, keep_BT, first, last, before, after, W))
        outputs += [self._slice(q_BHTK, k_BHTK, v_BHTK, keep_BT, at, min(at + W, T)) for at in range(last * W, T, W)]
        return torch.cat(outputs, dim=2)

    def _slice(self, q: Tensor, k: Tensor, v: Tensor, keep_BT: Tensor | None, start: int, stop: int) -> Tensor:
        """Queries start..stop with exactly the keys they reach."""
        j, j_stop = max(0, start - self.left), min(k.shape[2], stop + self.right)
        mask = self.biased(self.mask(start, stop, j, j_stop, q.device, keep_BT), start, j, q.dtype)
        q_BHWK, k_BHJK, v_BHJK = q[:, :, start:stop], k[:, :, j:j_stop], v[:, :, j:j_stop]
        return attend(q_BHWK, k_BHJK, v_BHJK, mask, scale=self.scale, dropout=self.dropout_now)

    def _inner(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        keep_BT: Tensor | None,
        first: int,
        last: int,
        before: int,
        after: int,
        W: int,
    ) -> Tensor:
        """Blocks first..last-1 at once: blocks become batch, and one (W, J) mask serves them all."""
        B, H, _, K = q.shape
        N = last - first

        def with_neighbours(x_BHTK: Tensor) -> Tensor:  # -> (B*N, H, J, K)
            parts = [
                x_BHTK[:, :, (first + o) * W : (last + o) * W].reshape(B, H, N, W, K) for o in range(-before, after + 1)
            ]
            return torch.cat(parts, dim=3).transpose(1, 2).flatten(0, 1)

        q_NHWK = q[:, :, first * W : last * W].reshape(B, H, N, W, K).transpose(1, 2).flatten(0, 1)
        mask = self.mask(before * W, (before + 1) * W, 0, (before + 1 + after) * W, q.device)
        if keep_BT is not None:
            parts_BNW = [keep_BT[:, (first + o) * W : (last + o) * W].view(B, N, W) for o in range(-before, after + 1)]
            keep_N11J = torch.cat(parts_BNW, dim=2).flatten(0, 1)[:, None, None]
            itself_WJ = torch.eye(W, dtype=torch.bool, device=q.device)
            itself_WJ = torch.nn.functional.pad(itself_WJ, (before * W, after * W))
            mask = (mask & keep_N11J) | itself_WJ
        mask = self.biased(mask, before * W, 0, q.dtype)
        k_NHJK, v_NHJK = with_neighbours(k), with_neighbours(v)
        y_NHWK = attend(q_NHWK, k_NHJK, v_NHJK, mask, scale=self.scale, dropout=self.dropout_now)
        return y_NHWK.unflatten(0, (B, N)).transpose(1, 2).flatten(2, 3)


def block_size(reach: int) -> int:
    """Queries of a block: small blocks compute fewer pairs out of sight, large ones copy fewer keys.

    Half the reach was the fastest of a quarter, a half, one and two on a CPU, for both modes (tests/perf times it).
    """
    return max(16, -(-reach // 32) * 16)


TRAITS = Traits(modes=BOTH_MODES, time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear")


@register_architecture(
    "windowed",
    family="windowed",
    config=WindowConfig,
    summary="sliding-window attention, each token sees its neighbours",
    reference="Child et al. 2019; Beltagy et al. 2020",
)
def windowed(config: WindowConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    reach = config.window - 1 if causal else 2 * (config.window // 2)
    return head_stack(
        lambda layer: WindowedMixer(config, width, causal), config, width, depth, TRAITS, 1 + depth * reach
    )
