"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000), no peepholes.

    i, f, o = sigmoid(W x_t + U h_{t-1} + b);  g = tanh(...);  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)

Fast path: the library's fused kernel (cuDNN on CUDA, oneDNN on CPU).
"""

import torch
from torch import Tensor, nn

from architectures.blocks import BlockConfig, ResidualStack
from architectures.recurrent import RecurrentMixer, direction_width, recurrent_stack
from bench.registry import register_architecture


def lstm_cell(x_BD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    w_4HD, u_4HH, b_4H, d_4H = weights
    h_BH, c_BH = hidden
    i_BH, f_BH, g_BH, o_BH = (x_BD @ w_4HD.T + b_4H + h_BH @ u_4HH.T + d_4H).chunk(4, dim=-1)
    c_BH = f_BH.sigmoid() * c_BH + i_BH.sigmoid() * g_BH.tanh()
    return o_BH.sigmoid() * c_BH.tanh(), c_BH


@register_architecture(
    "lstm",
    family="recurrent",
    config=BlockConfig,
    summary="long short-term memory, gates and a cell",
    reference="Hochreiter & Schmidhuber 1997; Gers et al. 2000",
)
def lstm(config: BlockConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    hidden = direction_width(width, causal)

    def make_mixer() -> RecurrentMixer:
        core = nn.LSTM(width, hidden, batch_first=True, bidirectional=not causal)
        return RecurrentMixer(core, torch._VF.lstm, lstm_cell, num_hidden=2)

    return recurrent_stack(make_mixer, config, width, depth)
