"""Elman's recurrent network (Elman 1990): h_t = tanh(W x_t + b + U h_{t-1} + c).

Fast path: the library's RNN kernel (cuDNN on CUDA; on CPU a loop in C++ over the steps).
"""

import torch
from torch import Tensor, nn

from architectures.blocks import BlockConfig, ResidualStack
from architectures.recurrent import RecurrentMixer, direction_width, recurrent_stack
from bench.registry import register_architecture


def elman_cell(x_BD: Tensor, hidden: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
    w_HD, u_HH, b_H, c_H = weights
    (h_BH,) = hidden
    return (torch.tanh(x_BD @ w_HD.T + b_H + h_BH @ u_HH.T + c_H),)


@register_architecture(
    "rnn", family="recurrent", config=BlockConfig, summary="Elman recurrence, one tanh a step", reference="Elman 1990"
)
def rnn(config: BlockConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    hidden = direction_width(width, causal)

    def make_mixer() -> RecurrentMixer:
        core = nn.RNN(width, hidden, batch_first=True, bidirectional=not causal)
        return RecurrentMixer(core, torch._VF.rnn_tanh, elman_cell, num_hidden=1)

    return recurrent_stack(make_mixer, config, width, depth)
