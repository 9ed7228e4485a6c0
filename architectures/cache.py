"""Keys and values kept for streaming: append in place where that is safe, drop from the front, copy otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Buffer:
    """Storage with spare room. `used` is the end of the newest cache in it."""

    k_BHCK: Tensor
    v_BHCK: Tensor
    used: int


@dataclass(frozen=True)
class KVCache:
    """Keys and values of the tokens `start` to `stop`, live part `[offset, offset + stop - start)` of a buffer.

    A cache never changes once made. Appending writes into spare room behind the live part when no other cache has
    taken it, and copies to a buffer of twice the size otherwise: amortised O(1) a token, and safe to branch from.
    """

    buffer: _Buffer
    offset: int
    start: int
    stop: int

    @classmethod
    def empty(cls, batch: int, heads: int, head_width: int, device: torch.device, dtype: torch.dtype) -> KVCache:
        none_BH0K = torch.empty(batch, heads, 0, head_width, device=device, dtype=dtype)
        return cls(_Buffer(none_BH0K, none_BH0K, 0), 0, 0, 0)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Live keys and values, (B, H, stop - start, K)."""
        end = self.offset + self.stop - self.start
        return self.buffer.k_BHCK[:, :, self.offset : end], self.buffer.v_BHCK[:, :, self.offset : end]

    def select(self, index_B: Tensor) -> KVCache:
        k_BHTK, v_BHTK = (t.index_select(0, index_B) for t in self.tensors())
        return KVCache(_Buffer(k_BHTK, v_BHTK, k_BHTK.shape[2]), 0, self.start, self.stop)

    def append(self, k_BHSK: Tensor, v_BHSK: Tensor) -> KVCache:
        live, new = self.stop - self.start, k_BHSK.shape[2]
        end = self.offset + live
        k_old, v_old = self.tensors()
        if torch.is_grad_enabled() and (k_BHSK.requires_grad or k_old.requires_grad):  # in-place would break backward
            k_all, v_all = torch.cat([k_old, k_BHSK], 2), torch.cat([v_old, v_BHSK], 2)
            return KVCache(_Buffer(k_all, v_all, live + new), 0, self.start, self.stop + new)
        buffer, offset = self.buffer, self.offset
        if buffer.used != end or end + new > buffer.k_BHCK.shape[2]:
            capacity = max(16, 2 * (live + new))
            shape = (*k_BHSK.shape[:2], capacity, k_BHSK.shape[3])
            buffer = _Buffer(k_BHSK.new_empty(shape), v_BHSK.new_empty(shape), live)
            buffer.k_BHCK[:, :, :live], buffer.v_BHCK[:, :, :live] = k_old, v_old
            offset, end = 0, live
        buffer.k_BHCK[:, :, end : end + new], buffer.v_BHCK[:, :, end : end + new] = k_BHSK, v_BHSK
        buffer.used = end + new
        return KVCache(buffer, offset, self.start, self.stop + new)

    def drop_before(self, start: int) -> KVCache:
        """Forget the tokens before position `start`."""
        start = min(max(start, self.start), self.stop)
        return KVCache(self.buffer, self.offset + start - self.start, start, self.stop)
