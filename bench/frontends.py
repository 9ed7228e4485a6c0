"""What stands before and after an encoder: embeddings, pooling, heads. The same for every architecture.

Legend: B batch, T tokens, D width, F features, C outputs (of images: channels), Y rows, X columns of pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.contract import PatchPlan, TaskShape
from bench.training.recipe import Embedding, Pooling


class UnitEmbedding(nn.Embedding):
    """Weights of variance 1/D, scaled by sqrt(D) on the way in (Vaswani et al. 2017, section 3.4).

    Encoders get inputs of variance 1, as large as sin/cos positions and not drowned by the first block's output; a head
    tied to the weights starts with logits of variance 1.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__(vocabulary, width)
        nn.init.normal_(self.weight, std=width**-0.5)

    def forward(self, ids_BT: Tensor) -> Tensor:
        return super().forward(ids_BT) * self.embedding_dim**0.5


class SmallEmbedding(nn.Embedding):
    """Weights of standard deviation 0.02, not scaled (Radford et al. 2019): for blocks that start as small."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__(vocabulary, width)
        nn.init.normal_(self.weight, std=0.02)


class PatchEmbedding(nn.Module):
    """Images (B, C, Y, X) to tokens (B, T, D): one linear map of each patch, row by row, and where it stands.

    A convolution whose stride is the patch: the same function as cutting patches out and multiplying, at library speed.
    """

    positions_TD: Tensor | None

    def __init__(self, image: tuple[int, int, int], plan: PatchPlan, width: int) -> None:
        super().__init__()
        rows, columns = plan.grid(*image[1:])
        self.project = nn.Conv2d(image[0], width, plan.reach, stride=plan.patch, padding=(plan.reach - plan.patch) // 2)
        tokens = rows * columns + plan.class_token
        self.class_token_D = nn.Parameter(torch.randn(width) * 0.02) if plan.class_token else None
        if plan.positions == "learned":
            self.positions_TD = nn.Parameter(torch.randn(tokens, width) * 0.02)
        elif plan.positions == "sincos":
            table_TD = sincos_positions(rows, columns, width)
            if plan.class_token:  # it stands nowhere
                table_TD = torch.cat([table_TD.new_zeros(1, width), table_TD])
            self.register_buffer("positions_TD", table_TD, persistent=False)
        else:
            self.positions_TD = None

    def forward(self, image_BCYX: Tensor) -> Tensor:
        x_BTD = self.project(image_BCYX).flatten(2).transpose(1, 2)
        if self.class_token_D is not None:
            x_BTD = torch.cat([self.class_token_D.to(x_BTD.dtype).expand(len(x_BTD), 1, -1), x_BTD], dim=1)
        return x_BTD if self.positions_TD is None else x_BTD + self.positions_TD


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """(T, D): sines and cosines of the row in the first half of the numbers, of the column in the second, with geometric
    wavelengths (Vaswani et al. 2017 in two dimensions, as Beyer et al. 2022 have it). A width that does not divide by 4
    ends in zeros."""
    frequency_F = torch.exp(torch.arange(width // 4) * (-math.log(10_000.0) / max(1, width // 4)))
    y_T = torch.arange(rows).repeat_interleave(columns)
    x_T = torch.arange(columns).repeat(rows)
    angles = [place_T[:, None].float() * frequency_F for place_T in (y_T, x_T)]
    table_TD = torch.cat([part for angle_TF in angles for part in (angle_TF.sin(), angle_TF.cos())], dim=1)
    return nn.functional.pad(table_TD, (0, width - table_TD.shape[1]))


def make_front_end(shape: TaskShape, width: int, embedding: Embedding) -> nn.Module:
    """Token ids (B, T), vectors (B, T, F) or images (B, C, Y, X) to (B, T, D)."""
    if shape.image is not None:
        assert shape.patches is not None  # a recipe has said how
        return PatchEmbedding(shape.image, shape.patches, width)
    if not shape.vocabulary:
        return nn.Linear(shape.features, width)
    kinds: dict[str, type[nn.Embedding]] = {"unit": UnitEmbedding, "small": SmallEmbedding}
    return kinds[embedding](shape.vocabulary, width)


class Head(nn.Module):
    """(B, T, D) to (B, T, C), or pooled to (B, C); of towers, (2B, T, D) to (B, C), first texts before second ones.

    Args:
        tied: the embedding whose weights it uses (Press & Wolf 2017); None for weights of its own.
    """

    def __init__(self, shape: TaskShape, width: int, pooling: Pooling, tied: nn.Embedding | None) -> None:
        super().__init__()
        self.pooling = pooling if shape.output == "sequence" else None
        self.towers = shape.towers
        self.linear = nn.Linear(4 * width if shape.towers else width, shape.outputs, bias=tied is None)
        if tied is not None:
            self.linear.weight = tied.weight

    def forward(self, y_BTD: Tensor, keep_BT: Tensor | None) -> Tensor:
        if self.pooling is None:
            return self.linear(y_BTD)
        pooled_BD = pool(y_BTD, keep_BT, self.pooling)
        return self.linear(compare(*pooled_BD.chunk(2)) if self.towers else pooled_BD)


def compare(u_BD: Tensor, v_BD: Tensor) -> Tensor:
    """[u; v; |u - v|; u * v], (B, 4D) (Mou et al. 2016; Conneau et al. 2017)."""
    return torch.cat([u_BD, v_BD, (u_BD - v_BD).abs(), u_BD * v_BD], dim=1)


def apart(ids_BT: Tensor, keep_BT: Tensor | None, separator: int) -> tuple[Tensor, Tensor]:
    """Pairs `a <sep> b` to ids (2B, S), first texts before second ones, and which of them are real; S is the longest text.

    A text has at least one token; the second one may hold the separator again.
    """
    t_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    length_B1 = ids_BT.new_full((len(ids_BT), 1), ids_BT.shape[1]) if keep_BT is None else keep_BT.sum(1, keepdim=True)
    between_B1 = (ids_BT == separator).int().argmax(1, keepdim=True)
    second_BT = ids_BT.gather(1, (t_T + between_B1 + 1).clamp(max=ids_BT.shape[1] - 1))
    lengths_B1 = torch.cat([between_B1, length_B1 - between_B1 - 1])
    longest = int(lengths_B1.max())
    return torch.cat([ids_BT, second_BT])[:, :longest], t_T[:longest] < lengths_B1


def pool(y_BTD: Tensor, keep_BT: Tensor | None, pooling: Pooling) -> Tensor:
    """One vector a sequence, (B, D), from its real tokens alone."""
    if pooling == "first":
        return y_BTD[:, 0]
    if keep_BT is None:
        return {"last": lambda: y_BTD[:, -1], "mean": lambda: y_BTD.mean(1), "max": lambda: y_BTD.amax(1)}[pooling]()
    count_B1 = keep_BT.sum(1, keepdim=True)
    if pooling == "last":
        index_B1D = (count_B1 - 1)[..., None].expand(-1, 1, y_BTD.shape[2])
        return y_BTD.gather(1, index_B1D)[:, 0]
    if pooling == "mean":
        return y_BTD.masked_fill(~keep_BT[..., None], 0.0).sum(1) / count_B1.to(y_BTD.dtype)
    return y_BTD.masked_fill(~keep_BT[..., None], -torch.inf).amax(1)
