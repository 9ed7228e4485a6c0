"""minGRU (Feng et al. 2024, "Were RNNs All We Needed?"): a gated recurrence whose gates look at the input only.

    z_t = sigmoid(W x_t);  c_t = g(V x_t);  h_t = (1 - z_t) h_{t-1} + z_t c_t

No gate depends on h, so all steps can be computed at once by a scan. The scan runs in log space (appendix B of the
paper), which needs positive candidates: g(x) = x + 0.5 for x >= 0, sigmoid(x) below.

A plug-in: `python run_all.py --suite scaling --plugin docs/examples/min_gru.py`.

Legend: B batch, T tokens, S tokens of a chunk, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.blocks import BlockConfig, Mixer, ResidualStack
from bench.contract import Traits
from bench.registry import register_architecture


class MinGRUMixer(Mixer):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.candidate = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        # Padding is on the right and the recurrence runs from the left: no real token sees it.
        return self.scan(x_BTD, torch.zeros_like(x_BTD[:, :1]))

    def scan(self, x_BTD: Tensor, h_B1D: Tensor) -> Tensor:
        """All steps at once: h_t = exp(a_t + log(h_0 + sum_s exp(b_s - a_s))), a the running sum of log(1 - z)."""
        logit_BTD, candidate_BTD = self.gate(x_BTD), self.candidate(x_BTD)
        # Running sums grow with T, past what half precision can hold: only the products above run in it.
        exact = torch.promote_types(logit_BTD.dtype, torch.float32)
        logit_BTD, candidate_BTD, h_B1D = logit_BTD.to(exact), candidate_BTD.to(exact), h_B1D.to(exact)
        log_keep_BTD = -F.softplus(logit_BTD)  # log(1 - z)
        log_new_BTD = -F.softplus(-logit_BTD) + log_positive(candidate_BTD)
        a_BTD = log_keep_BTD.cumsum(1)
        terms_BUD = torch.cat([h_B1D.log(), log_new_BTD - a_BTD], dim=1)  # U = 1 + T; log 0 = -inf is no term at all
        return (a_BTD + terms_BUD.logcumsumexp(1)[:, 1:]).exp().to(x_BTD.dtype)

    def reference(self, x_BTD: Tensor, keep_BT: Tensor | None = None) -> Tensor:
        h_BD, outputs = torch.zeros_like(x_BTD[:, 0]), []
        for x_BD in x_BTD.unbind(1):
            z_BD = self.gate(x_BD).sigmoid()
            h_BD = (1 - z_BD) * h_BD + z_BD * log_positive(self.candidate(x_BD)).exp()
            outputs.append(h_BD)
        return torch.stack(outputs, dim=1)

    def initial_state(self, batch: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.zeros(batch, 1, self.gate.in_features, device=device, dtype=dtype)

    def step(self, x_BSD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y_BSD = self.scan(x_BSD, state)
        return y_BSD, y_BSD[:, -1:]


def log_positive(x: Tensor) -> Tensor:
    """log g(x); finite and smooth enough on both sides of 0."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


TRAITS = Traits(
    modes=frozenset({"causal"}), time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="constant"
)


@register_architecture(
    "min_gru",
    family="recurrent",
    config=BlockConfig,
    summary="minimal GRU: gates of the input only, so a parallel scan",
    reference="Feng et al. 2024",
)
def min_gru(config: BlockConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    return ResidualStack(lambda layer: MinGRUMixer(width), config, width, depth, TRAITS, receptive_field=None)
