"""Standard normal vectors: the input of suites that measure cost and no accuracy.

Cost does not depend on the values, except that zeros and denormals run at another speed; hence normal, not constant.
"""

import torch
from torch import Tensor

from bench.contract import Mode, Places
from bench.registry import NoConfig, register_task


class RandomVectors:
    """Implements `bench.contract.VectorTask`."""

    def inputs(self, batch: int, length: int, width: int, generator: torch.Generator) -> Tensor:
        """Vectors (B, T, D), float32, on the generator's device."""
        return torch.randn(batch, length, width, generator=generator, device=generator.device)


@register_task(
    "random_vectors", family="vectors", summary="standard normal vectors, no labels: for measuring cost, no download"
)
def random_vectors(config: NoConfig, mode: Mode, places: Places) -> RandomVectors:
    return RandomVectors()
