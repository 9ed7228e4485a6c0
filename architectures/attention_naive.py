"""Self-attention as its paper writes it (Vaswani et al. 2017): the T x T scores are stored, so memory is quadratic.

Here to be seen beside `attention`, which computes the same numbers in linear memory.
"""

from torch import Tensor

from architectures.attention import TRAITS, AttentionMixer
from architectures.blocks import ResidualStack
from architectures.heads import HeadConfig, head_stack
from bench.contract import Traits
from bench.registry import register_architecture


class NaiveAttentionMixer(AttentionMixer):
    """`attention` on its own reference."""

    def mix(self, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, keep_BT: Tensor | None) -> Tensor:
        return self.materialised(q_BHTK, k_BHTK, v_BHTK, keep_BT)


NAIVE_TRAITS = Traits(
    modes=TRAITS.modes, time_exponent=2.0, memory_exponent=2.0, parallel_in_time=True, path="constant"
)


@register_architecture(
    "attention_naive",
    family="attention",
    config=HeadConfig,
    summary="self-attention with its scores stored, to see quadratic memory",
    reference="Vaswani et al. 2017",
)
def attention_naive(config: HeadConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    return head_stack(
        lambda layer: NaiveAttentionMixer(config, width, causal), config, width, depth, NAIVE_TRAITS, None
    )
