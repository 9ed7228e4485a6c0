"""Stacked 1D convolution (Kim 2014; Gehring et al. 2017 without its gates): kernels of fixed reach, depth adds reach."""

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
    positions: added to the input, as in Gehring et al. 2017, whose are learned. Learned ones stop at `max_length`.
    """

    kernel: int = 7
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
    return ResidualStack(
        lambda layer: ConvMixer(width, config.kernel, 1, causal), config, width, depth, traits, reach, positions
    )
