"""Gated recurrent unit (Cho et al. 2014), in cuDNN's form: the reset gate acts after the product with U.

    r, z = sigmoid(W x_t + U h_{t-1} + b);  n = tanh(W x_t + b + r (U h_{t-1} + d));  h_t = (1 - z) n + z h_{t-1}

Fast path: cuDNN on CUDA; on CPU our own pass through time where a gradient is wanted (`gru_cpu.py`: 1.5 to 4
times as fast as the library's), the library's loop in C++ where none is.
"""

from typing import Any

import torch
from torch import Tensor, nn

from architectures.blocks import BlockConfig, ResidualStack
from architectures.gru_cpu import gru_on_cpu
from architectures.recurrent import RecurrentMixer, direction_width, recurrent_stack
from bench.registry import register_architecture


def gru_cell(x_BD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    w_3HD, u_3HH, b_3H, d_3H = weights
    (h_BH,) = hidden
    from_x = (x_BD @ w_3HD.T + b_3H).chunk(3, dim=-1)
    from_h = (h_BH @ u_3HH.T + d_3H).chunk(3, dim=-1)
    reset_BH = torch.sigmoid(from_x[0] + from_h[0])
    update_BH = torch.sigmoid(from_x[1] + from_h[1])
    new_BH = torch.tanh(from_x[2] + reset_BH * from_h[2])
    return ((1 - update_BH) * new_BH + update_BH * h_BH,)


def gru_layer(x_BTD: Tensor, h_1BH: Tensor, weights: list[Tensor], *options: Any) -> tuple[Tensor, Tensor]:
    """One layer by the fastest way here; arguments and outputs of the library's function."""
    trains_on_cpu = x_BTD.device.type == "cpu" and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    layer = gru_on_cpu if trains_on_cpu else torch._VF.gru
    return layer(x_BTD, h_1BH, weights, *options)


@register_architecture(
    "gru",
    family="recurrent",
    config=BlockConfig,
    summary="gated recurrent unit, two gates and no cell",
    reference="Cho et al. 2014",
)
def gru(config: BlockConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    hidden = direction_width(width, causal)

    def make_mixer() -> RecurrentMixer:
        core = nn.GRU(width, hidden, batch_first=True, bidirectional=not causal)
        return RecurrentMixer(core, gru_layer, gru_cell, num_hidden=1)

    return recurrent_stack(make_mixer, config, width, depth)
