"""Work and span of an encoder, by tracing its operations on the meta device: shapes only, no memory, no arithmetic.

There every fused kernel falls apart into what it computes: attention into matrix products and a softmax (torch's own
FLOP counter reports the fused kernel as linear on CPU), a recurrence into its steps (it reports an LSTM as 0 FLOPs).

  flops          of matrix products and convolutions, 2 for a multiply and an add; element-wise work is not counted
  mixing_flops   those of them where both operands depend on the input: token-to-token work, not weights
  span           the longest chain of dependent operations from the input; views and constants are not operations
  parallelism    work / span, left to the report

Dependence is kept by ranges of storage, so that views are free, and writes to different slices of one buffer do not
wait for each other. Ranges are tight for batch 1, which is why the trace uses it.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# One traced operation takes about 0.1 ms. A longer trace is replaced by the line through three short ones, if exact.
MAX_OPERATIONS = 1_500
LINE_LENGTHS = (8, 16, 32)


@dataclass(frozen=True)
class Counts:
    """Exact counts of one pass at batch 1."""

    flops: int
    mixing_flops: int
    span: int
    operations: int


class Untraceable(Exception):
    """Too long to trace, and not exactly a line in T."""


@dataclass
class _Written:
    """What a storage holds: ranges of elements and how deep in the graph each was written (None: not from the input)."""

    ranges: list[tuple[int, int, int | None]] = field(default_factory=list)

    def depth(self, low: int, high: int) -> int | None:
        found = [d for start, stop, d in self.ranges if start < high and low < stop and d is not None]
        return max(found, default=None)

    def write(self, low: int, high: int, depth: int | None) -> None:
        self.ranges = [r for r in self.ranges if not (low <= r[0] and r[1] <= high)]
        self.ranges.append((low, high, depth))


class _TooMany(Exception):
    pass


class _Trace(TorchDispatchMode):
    def __init__(self, most: int | None) -> None:
        super().__init__()
        self.most = most
        self.written: dict[int, _Written] = {}
        self.alive: list[Any] = []  # storages must not be freed, or their addresses would come back as others
        self.flops = self.mixing_flops = self.operations = 0

    def mark_input(self, tensor: Tensor) -> None:
        self._write(tensor, 0, fresh=True)

    def depth(self, tensor: Tensor) -> int | None:
        written = self.written.get(_key(tensor))
        return None if written is None else written.depth(*_range(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        out = func(*args, **kwargs)
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        storages = {_key(t) for t in inputs}
        mutates = func._schema.is_mutable
        if outputs and not mutates and all(_key(t) in storages for t in outputs):
            return out  # a view: no work, and its storage is known already
        depths = [d for d in map(self.depth, inputs) if d is not None]
        depth = max(depths) + 1 if depths else None
        if depth is not None:
            self.operations += 1
            if self.most is not None and self.operations > self.most:
                raise _TooMany
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            flops = count(*args, **kwargs, out_val=out)
            self.flops += flops
            # Operands of a product: its first two tensors (a bias, where there is one, is not an operand).
            self.mixing_flops += flops if self._mixes(func, inputs) else 0
        for tensor in outputs:
            self._write(tensor, depth, fresh=_key(tensor) not in storages)
        return out

    def _mixes(self, func: Any, inputs: list[Tensor]) -> bool:
        operands = inputs[1:3] if func._overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.baddbmm) else inputs[:2]
        return len(operands) == 2 and all(self.depth(t) is not None for t in operands)

    def _write(self, tensor: Tensor, depth: int | None, fresh: bool) -> None:
        key = _key(tensor)
        if fresh or key not in self.written:
            self.written[key] = _Written()
            self.alive.append(tensor.untyped_storage())
        self.written[key].write(*_range(tensor), depth)


def trace(encoder: nn.Module, length: int, width: int, backward: bool, most: int | None = None) -> Counts:
    """Count one pass over (1, length, width) of an encoder that is on the meta device; with `backward`, both passes."""
    x_BTD = torch.empty(1, length, width, device="meta", requires_grad=backward)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    tracer = _Trace(most)
    with ExitStack() as stack:
        # The library's own encoder layer has a fused inference path that hides its parts.
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.set_grad_enabled(backward))
        stack.enter_context(tracer)
        tracer.mark_input(x_BTD)
        y_BTD = encoder(x_BTD)
        ends = [y_BTD]
        if backward:
            grad_BTD = torch.empty_like(y_BTD)
            leaves = [x_BTD, *(p for p in encoder.parameters() if p.requires_grad)]
            ends += [g for g in torch.autograd.grad(y_BTD, leaves, grad_BTD, allow_unused=True) if g is not None]
        span = max((tracer.depth(t) or 0 for t in ends), default=0)
    return Counts(tracer.flops, tracer.mixing_flops, span, tracer.operations)


class Counter:
    """Counts of one encoder (on the meta device) at many lengths; short traces are made once."""

    def __init__(self, encoder: nn.Module, width: int, backward: bool) -> None:
        self.encoder = encoder
        self.width = width
        self.backward = backward
        self.traced: dict[int, Counts] = {}
        self.too_long = sys.maxsize

    def count(self, length: int) -> tuple[Counts, str]:
        """Counts at `length`, and how they were found: "traced", or "affine" where a trace would be too long.

        Raises:
            Untraceable: too long to trace, and the three short traces do not lie on one line.
        """
        if length < self.too_long:
            try:
                return self._trace(length, MAX_OPERATIONS), "traced"
            except _TooMany:
                self.too_long = length
        line = self._line(length)
        if line is None:
            raise Untraceable(
                f"more than {MAX_OPERATIONS:,} operations at {length:,} tokens, and not a line in T at {LINE_LENGTHS}"
            )
        return line, "affine"

    def _trace(self, length: int, most: int | None = None) -> Counts:
        if length not in self.traced:
            self.traced[length] = trace(self.encoder, length, self.width, self.backward, most)
        return self.traced[length]

    def _line(self, length: int) -> Counts | None:
        """The line through the three short lengths; None where a count does not lie on it exactly."""
        short = [self._trace(n) for n in LINE_LENGTHS]
        values = {}
        for name in (f.name for f in dataclasses.fields(Counts)):
            first, second, third = (getattr(counts, name) for counts in short)
            slope, rest = divmod(third - second, LINE_LENGTHS[2] - LINE_LENGTHS[1])
            if rest or second - first != slope * (LINE_LENGTHS[1] - LINE_LENGTHS[0]):
                return None
            values[name] = third + slope * (length - LINE_LENGTHS[2])
        return Counts(**values)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _range(tensor: Tensor) -> tuple[int, int]:
    """First element and one past the last element of storage that the tensor can touch."""
    start = int(tensor.storage_offset())
    if tensor.numel() == 0:
        return start, start
    return start, start + 1 + sum(int((n - 1) * s) for n, s in zip(tensor.shape, tensor.stride(), strict=True))
