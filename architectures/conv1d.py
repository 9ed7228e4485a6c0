"""Stacked 1D convolution (Kim 2014): kernels of fixed reach, depth adds reach."""

from dataclasses import dataclass
from typing import Literal

from architectures.blocks import BlockConfig, ResidualStack
from architectures.convolution import ConvMixer
from architectures.convs2s import ConvS2S
from architectures.positions import input_positions
from bench.contract import BOTH_MODES, Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class Conv1dConfig(BlockConfig):
    """Attributes:
    kernel: taps, odd for bidirectional encoders.
    gated: half of what a convolution of twice the width gives opens or closes the other half.
    positions: added to the input, as in Gehring et al. 2017, whose are learned. Learned ones stop at `max_length`.
    stack: "shared": the blocks that all architectures here have. "convs2s": those of Gehring et al. 2017, gated, with
        neither MLP nor norm (see `architectures.convs2s`).
    drop_carried: with "convs2s", a decoder's dropout falls on what is carried past each convolution too, ten times over in
        ten blocks, as in bentrevett/pytorch-seq2seq. In the paper it does not.
    """

    kernel: int = 7
    gated: bool = False
    positions: Literal["none", "sinusoidal", "learned"] = "none"
    max_length: int = 4096
    stack: Literal["shared", "convs2s"] = "shared"
    drop_carried: bool = False


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

    if config.stack == "shared":
        if config.drop_carried:
            raise ValueError("drop_carried: only stacks of convs2s have it; set stack: convs2s")
        return ResidualStack(mixer, config, width, depth, traits, reach, positions)
    if config.mlp or config.norm != "none" or not config.residual or not config.gated:
        raise ValueError("stack convs2s is gated, without MLP and norm: set gated: true, mlp: false, norm: none")
    stack = ConvS2S(mixer, config, width, depth, traits, reach, positions)
    return stack.in_mode(causal, config.drop_carried)
