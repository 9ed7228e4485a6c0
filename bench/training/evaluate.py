"""One pass over one split: sums that the task turns into scores.

Legend: B batch, T tokens, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from bench.contract import Outcome, Task, prepared
from bench.training.losses import counted, losses


def evaluate(
    model: nn.Module,
    task: Task,
    split: str,
    batch_size: int,
    device: str,
    precision: Callable[[], AbstractContextManager[object]],
) -> Outcome:
    """Every example of the split counts once, the last partial batch as well. Leaves the model in evaluation mode."""
    model.eval()
    shape = task.shape
    longest = shape.target_length or shape.longest
    sums = _Sums(longest if shape.output == "token" else 0, device)
    outcome = Outcome()
    with torch.no_grad():  # not inference mode: what an encoder caches in it, training could not use
        for batch in task.eval_batches(split, batch_size):
            batch = prepared(task, batch.to(device))
            with precision():
                outputs = model(*batch.arguments)
            loss = losses(outputs, batch.targets, shape)
            counts = counted(batch.targets)
            if shape.loss == "squared_error":
                predicted = outputs.float().squeeze(-1)
                correct = torch.zeros_like(counts)
            else:
                predicted = outputs.argmax(-1)
                correct = (predicted == batch.targets) & counts
            sums.add(loss, correct, counts)
            outcome.sequences += len(batch.targets)
            if shape.output == "sequence":
                outcome.predictions += predicted.float().tolist()
                outcome.targets += batch.targets.float().tolist()
    return sums.into(outcome)


class _Sums:
    """Kept on the device, so that a split costs one wait for it and not one a batch."""

    def __init__(self, positions: int, device: str) -> None:
        self.totals = torch.zeros(4, dtype=torch.float64, device=device)  # loss, correct, counted, perfect sequences
        self.by_position = torch.zeros(3, positions, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, correct: Tensor, counts: Tensor) -> None:
        perfect = (correct | ~counts).reshape(len(correct), -1).all(1)
        parts = (loss.double(), correct.double(), counts.double())
        self.totals += torch.stack([*(part.sum() for part in parts), perfect.double().sum()])
        if loss.dim() == 2:
            self.by_position[:, : loss.shape[1]] += torch.stack([part.sum(0) for part in parts])

    def into(self, outcome: Outcome) -> Outcome:
        loss, correct, count, perfect = self.totals.tolist()
        outcome.loss, outcome.correct, outcome.count, outcome.perfect = loss, int(correct), int(count), int(perfect)
        # The longest of all splits may have more places than this one.
        counted = self.by_position[2].nonzero()
        last = int(counted[-1]) + 1 if len(counted) else 0
        rows = self.by_position[:, :last].tolist()
        outcome.loss_T = rows[0]
        outcome.correct_T, outcome.count_T = [int(c) for c in rows[1]], [int(c) for c in rows[2]]
        return outcome
