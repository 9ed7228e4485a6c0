"""Loss of a batch as a sum, and how many predictions it is a sum over: means are taken once, at the end.

A mean of batch means would weigh a token in a short last batch more than others.

Legend: B batch, T tokens, C outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import IGNORE, Batch, TaskShape
from bench.training.large_logits import LARGE, summed_cross_entropy


def predictions(batch: Batch) -> int:
    """Predictions that count in a batch. Asked before the batch goes to a device, where counting would wait for it, and
    where examples may be mixed."""
    if batch.targets.is_floating_point():
        return batch.targets.numel()
    return int((batch.targets != IGNORE).sum())


def tokens(batch: Batch, shape: TaskShape) -> int:
    """Real input tokens of a batch, and what a decoder has to write."""
    if shape.image is not None:
        return len(batch.inputs) * shape.length
    read = batch.inputs.shape[0] * batch.inputs.shape[1] if batch.keep_BT is None else int(batch.keep_BT.sum())
    return read if batch.given_BU is None else read + predictions(batch)


def positions(batch: Batch, shape: TaskShape) -> int:
    """Places for tokens in a batch, padding as well."""
    if shape.image is not None:
        return len(batch.inputs) * shape.length
    return batch.inputs.shape[0] * (batch.inputs.shape[1] + (0 if batch.given_BU is None else batch.given_BU.shape[1]))


def loss_sum(outputs: Tensor, targets: Tensor, shape: TaskShape, smoothing: float = 0.0) -> Tensor:
    """Summed loss, a float32 scalar. Outputs (B, T, C) or (B, C). `smoothing`: of labels, in training."""
    if shape.loss == "squared_error":
        return (outputs.float().squeeze(-1) - targets).square().sum()
    flat = outputs.reshape(-1, shape.outputs)
    if targets.is_floating_point():  # shares of classes, of mixed examples
        return F.cross_entropy(flat.float(), targets, reduction="sum", label_smoothing=smoothing)
    if flat.numel() >= LARGE:
        return summed_cross_entropy(flat, targets.reshape(-1), IGNORE, smoothing)
    return F.cross_entropy(
        flat.float(), targets.reshape(-1), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )


def losses(outputs: Tensor, targets: Tensor, shape: TaskShape) -> Tensor:
    """Loss of every prediction, in float32, shaped as the targets; 0 where nothing counts."""
    if shape.loss == "squared_error":
        return (outputs.float().squeeze(-1) - targets).square()
    flat = outputs.reshape(-1, shape.outputs)
    found = F.cross_entropy(flat.float(), targets.reshape(-1), ignore_index=IGNORE, reduction="none")
    return found.view(targets.shape)


def counted(targets: Tensor) -> Tensor:
    """True where a prediction counts."""
    return torch.ones_like(targets, dtype=torch.bool) if targets.is_floating_point() else targets != IGNORE
