"""What `conv1d` and `tcn` share: a convolution over tokens, causal or centred, with padding and streaming.

Legend: B batch, T tokens, S tokens of a chunk, D width, E width that the convolution gives, P tokens of the past that the
kernel reaches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.blocks import Mixer
from bench.contract import State


class ConvMixer(Mixer):
    """A full (not depth-wise) convolution, width to width, `kernel` taps `dilation` tokens apart.

    Causal: the last tap is the token itself. Bidirectional: the kernel is centred, so it must be odd. Gated: it gives twice
    the width, of which one half opens or closes the other (GLU, Dauphin et al. 2017).
    """

    def __init__(self, width: int, kernel: int, dilation: int, causal: bool, gated: bool = False) -> None:
        super().__init__()
        if kernel < 1 or (not causal and kernel % 2 == 0):
            raise ValueError(f"kernel {kernel}: use a positive number, odd for a bidirectional convolution")
        self.causal, self.gated = causal, gated
        self.past = (kernel - 1) * dilation
        # The library pads both sides alike; a causal convolution pads its past itself, so that nothing is computed past
        # the end (with a long dilation on a short sequence that would be most of the work).
        self.core = nn.Conv1d(
            width, 2 * width if gated else width, kernel, padding=0 if causal else self.past // 2, dilation=dilation
        )

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if keep_BT is not None and not self.causal:
            x_BTD = x_BTD.masked_fill(~keep_BT[..., None], 0.0)  # what stands past the end is zero, as when alone
        x_BDT = x_BTD.transpose(1, 2)
        return self._gate(self.core(F.pad(x_BDT, (self.past, 0)) if self.causal else x_BDT).transpose(1, 2))

    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        if keep_BT is not None:
            x_BTD = x_BTD.masked_fill(~keep_BT[..., None], 0.0)
        before = self.past if self.causal else self.past // 2
        padded_BUD = F.pad(x_BTD, (0, 0, before, self.past - before))
        kernel, dilation, T = self.core.kernel_size[0], self.core.dilation[0], x_BTD.shape[1]
        taps = [padded_BUD[:, i * dilation : i * dilation + T] @ self.core.weight[:, :, i].T for i in range(kernel)]
        assert self.core.bias is not None
        y_BTE = torch.stack(taps).sum(0) + self.core.bias
        if not self.gated:
            return y_BTE
        value_BTD, gate_BTD = y_BTE.chunk(2, dim=-1)
        return value_BTD * gate_BTD.sigmoid()

    def output_layer(self) -> nn.Conv1d | None:
        return None if self.gated else self.core

    def _gate(self, y_BTE: Tensor) -> Tensor:
        return F.glu(y_BTE, dim=-1) if self.gated else y_BTE

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> State:
        return torch.zeros(batch, self.core.in_channels, self.past, device=device, dtype=dtype)

    def step(self, x_BSD: Tensor, state: State) -> tuple[Tensor, State]:
        x_BDU = torch.cat([state, x_BSD.transpose(1, 2)], dim=2)  # U = P + S
        return self._gate(self.core(x_BDU).transpose(1, 2)), x_BDU[..., x_BDU.shape[2] - self.past :]
