"""Vision Transformer (Dosovitskiy et al. 2021): self-attention between all patches of an image.

Patches, class token and positions belong to the front end, which is the same for every architecture; what remains is the
stack of `attention`, with no positions of its own. With the published sizes it is the published model, to the parameter.

Differs from the paper: LayerNorm with torch's epsilon (1e-5, not 1e-6); sizes are the plan's to choose.
"""

from dataclasses import dataclass, fields

from architectures.attention import AttentionMixer
from architectures.blocks import BlockConfig, ResidualStack
from architectures.heads import HeadConfig, head_stack
from bench.contract import Traits
from bench.registry import register_architecture


@dataclass(frozen=True)
class ViTConfig(BlockConfig):
    """`heads`: attention heads; the width must divide by it."""

    heads: int = 4

    @property
    def of_mixer(self) -> HeadConfig:
        common = {field.name: getattr(self, field.name) for field in fields(BlockConfig)}
        return HeadConfig(**common, heads=self.heads, positions="none")


TRAITS = Traits(
    modes=frozenset({"bidirectional"}),
    layouts=frozenset({"sequence", "grid"}),
    time_exponent=2.0,
    memory_exponent=1.0,
    parallel_in_time=True,
    path="constant",
)


@register_architecture(
    "vit",
    family="attention",
    config=ViTConfig,
    summary="Vision Transformer: attention between all patches of an image",
    reference="Dosovitskiy et al. 2021",
    images=True,
)
def vit(config: ViTConfig, width: int, depth: int, causal: bool, grid: tuple[int, int] | None = None) -> ResidualStack:
    own = config.of_mixer
    return head_stack(lambda layer: AttentionMixer(own, width, False), own, width, depth, TRAITS, None)
