"""Standard normal vectors: the input of suites that measure cost and no accuracy.

Cost does not depend on the values, except that zeros and denormals run at another speed; hence normal, not constant.
"""

import torch
from torch import Tensor

from bench.registry import register_task


@register_task("random_vectors", summary="standard normal vectors, no labels: for measuring cost, needs no download")
class RandomVectors:
    """Implements `bench.contract.VectorTask`."""

    def inputs(self, batch: int, length: int, width: int, generator: torch.Generator) -> Tensor:
        """Vectors (B, T, D), float32, on the generator's device."""
        return torch.randn(batch, length, width, generator=generator, device=generator.device)
