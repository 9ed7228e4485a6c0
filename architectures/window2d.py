"""Attention within square windows of a grid (Liu et al. 2021, Swin), shifted or not, with a learned relative position bias.

The paper's way: roll the grid by the shift, cut it into windows, keep apart by a mask what was not together before the
roll. A grid that does not divide into windows is filled up behind, and nobody sees the filling; where a side of the grid is
no longer than the window there is one window, and no shift, along it.

Legend: B batch, T tokens, D width, H heads, K width of a head, Y rows, X columns, W windows, N tokens of a window.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.blocks import Mixer
from architectures.sdpa import attend
from bench.contract import State


class GridWindowMixer(Mixer):
    """Multi-head attention in windows of `window` x `window` tokens.

    Args:
        shifted: move the windows' borders by half a window.
        bias: a learned number for each head and difference of places, added to the scores.
    """

    difference_NN: Tensor
    together_WNN: Tensor | None

    def __init__(self, width: int, heads: int, grid: tuple[int, int], window: int, shifted: bool, bias: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide by {heads} heads")
        if window < 2:
            raise ValueError(f"window {window}: use 2 or more")
        self.heads, self.grid = heads, grid
        self.window = (min(window, grid[0]), min(window, grid[1]))
        self.shift = tuple(window // 2 if shifted and side > window else 0 for side in grid)
        self.filling = tuple(-side % size for side, size in zip(grid, self.window, strict=True))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.spans = tuple(2 * size - 1 for size in self.window)  # differences of places along each axis
        self.table_RH = nn.Parameter(torch.randn(math.prod(self.spans), heads) * 0.02) if bias else None
        self.register_buffer("difference_NN", self._differences(), persistent=False)
        self.register_buffer("together_WNN", self._together(), persistent=False)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        _no_padding(keep_BT)
        B, T, D = x_BTD.shape
        (Y, X), (y, x), H = self.grid, self.window, self.heads
        fill_Y, fill_X = self.filling
        qkv = self.qkv(x_BTD).view(B, Y, X, 3 * D)
        if fill_Y or fill_X:
            qkv = F.pad(qkv, (0, 0, 0, fill_X, 0, fill_Y))
        if any(self.shift):
            qkv = qkv.roll((-self.shift[0], -self.shift[1]), (1, 2))
        rows, columns = (Y + fill_Y) // y, (X + fill_X) // x
        # Windows and heads are one dimension of the kernel, so that bias and mask need not be repeated over the batch.
        qkv = qkv.view(B, rows, y, columns, x, 3, H, D // H).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = qkv.reshape(3, B, rows * columns * H, y * x, D // H)
        out = attend(q, k, v, self._mask(rows * columns))
        out = out.view(B, rows, columns, H, y, x, D // H).permute(0, 1, 4, 2, 5, 3, 6)
        out = out.reshape(B, Y + fill_Y, X + fill_X, D)
        if any(self.shift):
            out = out.roll(self.shift, (1, 2))
        return self.out(out[:, :Y, :X].reshape(B, T, D))

    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """Every pair of the whole grid, those that do not see each other masked."""
        _no_padding(keep_BT)
        v_BHTK = self._heads(x_BTD)[2]
        return self.out((self.weights(x_BTD) @ v_BHTK).transpose(1, 2).flatten(2))

    def weights(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        """What each token (row) takes of every other, (B, H, T, T); rows sum to 1."""
        q_BHTK, k_BHTK, _ = self._heads(x_BTD)
        scores_BHTT = q_BHTK @ k_BHTK.transpose(-1, -2) / math.sqrt(q_BHTK.shape[-1])
        y_T, x_T = self._places(self.grid, x_BTD.device)
        if self.table_RH is not None:
            row, column = (
                (place[:, None] - place).clamp(1 - size, size - 1) + size - 1
                for place, size in zip((y_T, x_T), self.window, strict=True)
            )
            scores_BHTT = scores_BHTT + self.table_RH[row * self.spans[1] + column].permute(2, 0, 1)
        return scores_BHTT.masked_fill(~self.sees(x_BTD.device), -math.inf).softmax(-1)

    def sees(self, device: torch.device) -> Tensor:
        """(T, T): True where two tokens share a window."""
        regions = [self._window_of(place, axis) for axis, place in enumerate(self._places(self.grid, device))]
        return (regions[0][:, None] == regions[0]) & (regions[1][:, None] == regions[1])

    def _window_of(self, place: Tensor, axis: int) -> Tensor:
        """The window along one axis that a place lies in; the first one is cut short by the shift."""
        size, shift = self.window[axis], self.shift[axis]
        return (place + (size - shift) % size) // size

    def _heads(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T, D = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def _mask(self, windows: int) -> Tensor | None:
        """Bias and who is kept apart, for windows times heads: (W H, N, N), or (1, ...) where all windows are alike."""
        bias_HNN = None if self.table_RH is None else self.table_RH[self.difference_NN].permute(2, 0, 1)
        together_WNN = self.together_WNN
        if together_WNN is None:
            return None if bias_HNN is None else bias_HNN.repeat(windows, 1, 1)
        if bias_HNN is None:
            return together_WNN.repeat_interleave(self.heads, dim=0)
        return bias_HNN.masked_fill(~together_WNN[:, None], -math.inf).flatten(0, 1)

    def _differences(self) -> Tensor:
        """(N, N): the row of the bias table for each pair of a window."""
        y_N, x_N = self._places(self.window, None)
        y, x = self.window
        return (y_N[:, None] - y_N + y - 1) * self.spans[1] + (x_N[:, None] - x_N + x - 1)

    def _together(self) -> Tensor | None:
        """(W, N, N): who sees whom within each window of the rolled grid; None where all do."""
        if not any(self.shift) and not any(self.filling):
            return None
        labels = []
        for axis in (0, 1):
            side, size = self.grid[axis], self.window[axis]
            whole = side + self.filling[axis]
            place = torch.arange(whole).roll(-self.shift[axis])
            label = self._window_of(place, axis).masked_fill(place >= side, -1)
            labels.append(label.view(whole // size, size))
        row, column = labels
        row_WN = row[:, None, :, None].expand(-1, len(column), -1, column.shape[1]).flatten(2).flatten(0, 1)
        column_WN = column[None, :, None, :].expand(len(row), -1, row.shape[1], -1).flatten(2).flatten(0, 1)
        return (row_WN[:, :, None] == row_WN[:, None]) & (column_WN[:, :, None] == column_WN[:, None])

    @staticmethod
    def _places(grid: tuple[int, int], device: torch.device | None) -> tuple[Tensor, Tensor]:
        """Row and column of each token, row by row."""
        y, x = torch.arange(grid[0], device=device), torch.arange(grid[1], device=device)
        return y.repeat_interleave(grid[1]), x.repeat(grid[0])

    def output_layer(self) -> nn.Linear:
        return self.out

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        raise NotImplementedError("a grid is taken whole")

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError("a grid is taken whole")


def _no_padding(keep_BT: Tensor | None) -> None:
    if keep_BT is not None:
        raise ValueError("an encoder of grids takes whole grids, without padding")
