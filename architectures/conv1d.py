"""Stacked 1D convolution (Kim 2014): kernels of fixed reach, depth adds reach.

With `gated`, `mlp: false` and `norm: none` the blocks are those of Gehring et al. 2017 (ConvS2S), but for their weight
normalisation and the square root of a half by which they scale each sum.
"""

from dataclasses import dataclass
from typing import Literal

from architectures.blocks import BlockConfig, ResidualStack
from architectures.convolution import ConvMixer
from architectures.positions import input_positions
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class Conv1dConfig(BlockConfig):
    """Attributes:
    kernel: taps, odd for bidirectional encoders.
    gated: half of what a convolution of twice the width gives opens or closes the other half.
    positions: added to the input, as in Gehring et al. 2017, whose are learned. Learned ones stop at `max_length`.
    """

    kernel: int = 7
    gated: bool = False
    positions: Literal["none", "sinusoidal", "learned"] = "none"
    max_length: int = 4096


TRAITS = Traits(modes=BOTH_MODES, time_exponent=1.0, memory_exponent=1.0, parallel_in_time=True, path="linear")


@register_architecture(
    "conv1d",
    family="convolution",
    config=Conv1dConfig,
    summary="stacked convolution, reach grows linearly with depth",
    reference="Kim 2014; Gehring et al. 2017",
)
def conv1d(config: Conv1dConfig, width: int, depth: int, causal: bool, grid: None = None) -> ResidualStack:
    reach = 1 + depth * (config.kernel - 1)
    positions, traits = input_positions(config.positions, config.max_length, width, config.init, TRAITS)

    def mixer(layer: int) -> ConvMixer:
        return ConvMixer(width, config.kernel, 1, causal, config.gated)

    return ResidualStack(mixer, config, width, depth, traits, reach, positions)
