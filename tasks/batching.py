"""Batches of sequences of about one length, so that little is padded, in an order that seed and epoch decide.

Sorting all of a data set by length would pad least and show the same neighbours together in every epoch; here each
epoch is shuffled, cut into pools of a few batches, and only sorted within them.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.contract import stream

POOL = 64  # batches sorted together


class Buckets:
    """Rows of each training batch of a data set of `lengths`. Each row once an epoch, the last batch may be smaller."""

    def __init__(self, name: str, lengths: np.ndarray) -> None:
        self.name = name
        self.lengths = lengths
        self._kept: tuple[tuple[int, int, int], list[np.ndarray]] | None = None

    def rows(self, index: int, batch: int, seed: int) -> np.ndarray:
        """Rows of batch number `index` of an endless stream."""
        epoch, place = divmod(index, -(-len(self.lengths) // batch))
        key = (epoch, batch, seed)
        if self._kept is None or self._kept[0] != key:  # batches are asked for in order; any other order is slower
            self._kept = key, self._epoch(*key)
        return self._kept[1][place]

    def _epoch(self, epoch: int, batch: int, seed: int) -> list[np.ndarray]:
        generator = stream(self.name, "order", seed, epoch)
        rows = torch.randperm(len(self.lengths), generator=generator).numpy()
        batches = []
        for start in range(0, len(rows), POOL * batch):
            pool = rows[start : start + POOL * batch]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + batch] for i in range(0, len(pool), batch)]
        # Short and long batches in turn, else every pool would go from short to long.
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
