"""torch's own multi-layer `nn.LSTM` as a plug-in, without residuals, norms or MLP: the historical stack."""

from typing import Any

import torch
from torch import Tensor, nn

from bench.contract import Traits
from bench.registry import register_architecture


@register_architecture(
    "torch_lstm",
    family="recurrent",
    summary="nn.LSTM as it comes, layers stacked with nothing between",
    reference="Hochreiter & Schmidhuber 1997; torch.nn.LSTM",
)
class TorchLSTM(nn.Module):
    traits = Traits(
        modes=frozenset({"causal"}), time_exponent=1.0, memory_exponent=1.0, parallel_in_time=False, path="linear"
    )
    receptive_field = None

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__()
        self.depth = depth
        self.lstm = nn.LSTM(width, width, num_layers=depth, batch_first=True)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.lstm(x_BTD)[0]
        return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Any:
        zeros_BLD = torch.zeros(batch, self.depth, self.lstm.hidden_size, device=device, dtype=dtype)
        return zeros_BLD, zeros_BLD

    def step(self, x_BSD: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden = tuple(part_BLD.transpose(0, 1).contiguous() for part_BLD in state)
        y_BSD, hidden = self.lstm(x_BSD, hidden)
        return y_BSD, tuple(part_LBD.transpose(0, 1) for part_LBD in hidden)
