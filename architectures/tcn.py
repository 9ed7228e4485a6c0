"""Temporal convolutional network (Bai et al. 2018): dilation doubles with each layer, so reach grows as 2 ** depth.

Differs from the paper: one convolution a block in the shared pre-norm block, in place of two with weight norm and ReLU.
"""

from dataclasses import dataclass, replace

from architectures.blocks import BlockConfig, ResidualStack
from architectures.convolution import ConvMixer
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class TCNConfig(BlockConfig):
    """`kernel`: taps, odd for bidirectional encoders. `growth`: dilation of a layer over that of the layer below, from 1 on
    (all alike: reach grows with the depth, and no more)."""

    kernel: int = 3
    growth: int = 2


TRAITS = Traits(modes=BOTH_MODES, time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="logarithmic")


@register_architecture(
    "tcn",
    family="convolution",
    config=TCNConfig,
    summary="dilated convolution, reach doubles with each layer",
    reference="Bai et al. 2018",
)
def tcn(config: TCNConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    if config.growth < 1:
        raise ValueError(
            f"growth {config.growth}: a layer's dilation is at least that of the layer below; use 1 or more"
        )
    traits = TRAITS if config.growth > 1 else replace(TRAITS, path="linear")
    dilations = [config.growth**layer for layer in range(depth)]
    return ResidualStack(
        lambda layer: ConvMixer(width, config.kernel, dilations[layer], causal),
        config,
        width,
        depth,
        traits,
        receptive_field=1 + (config.kernel - 1) * sum(dilations),
    )
