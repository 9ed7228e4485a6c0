"""torch's own `nn.TransformerEncoder` as a plug-in: an encoder that knows nothing of Seqbench's blocks.

The contract asks for a callable with `traits` and `receptive_field`; `step` is missing here, so decoding is reported as
unsupported and everything else is measured.
"""

import torch
from torch import Tensor, nn

from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@register_architecture(
    "torch_transformer",
    family="attention",
    summary="nn.TransformerEncoder as it comes, no positions",
    reference="Vaswani et al. 2017; torch.nn.TransformerEncoderLayer",
)
class TorchTransformer(nn.Module):
    traits = Traits(modes=BOTH_MODES, time_exponent=2.0, memory_exponent=1.0, parallel_in_time=True, path="constant")
    receptive_field = None

    def __init__(self, config: object, width: int, depth: int, causal: bool, grid: None = None) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.causal = causal

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        mask = None
        if self.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(x_BTD.shape[1], x_BTD.device, x_BTD.dtype)
        padding_BT = None if keep_BT is None else torch.zeros_like(keep_BT, dtype=x_BTD.dtype).masked_fill(
            ~keep_BT, -torch.inf
        )  # fmt: skip
        y_BTD = self.layers(x_BTD, mask=mask, src_key_padding_mask=padding_BT, is_causal=self.causal)
        return y_BTD if keep_BT is None else y_BTD.masked_fill(~keep_BT[..., None], 0.0)
