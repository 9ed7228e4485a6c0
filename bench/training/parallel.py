"""One training over several devices: each takes its part of every batch, gradients are added up, one of them tells.

The global batch and the loss are those of one device: a sum over all predictions that count, divided by their number. So
weights differ from those of one device by rounding only. Dropout draws differ by rank, as they must, so a training with
dropout is another sample of the same experiment.

Rank 0 looks at the tuning split, decides, writes states and carries on to the tests; the others follow.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bench.contract import Batch
from bench.training.loop import Training


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is."""

    number: int
    count: int


def part(batch: Batch, rank: Rank) -> Batch:
    """The rows of a batch that one rank takes; parts differ by a row at most."""
    return batch.map(lambda tensor: tensor.tensor_split(rank.count)[rank.number])


class ParallelTraining(Training):
    """`Training` on one of several ranks; the process group is open. Arguments are those of `Training`."""

    def __init__(self, rank: Rank, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self.recipe.batch < rank.count:
            raise ValueError(f"a batch of {self.recipe.batch} cannot be spread over {rank.count} devices")
        self.rank = rank
        self.draws_of = () if rank.number == 0 else (rank.number,)
        # Buffers are computed alike on every rank; a layer that gathers statistics of batches has rank 0's.
        self.parallel = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.forward = torch.compile(self.parallel) if self.recipe.compile else self.parallel

    def _backward(self, batch: Batch, count: float, last: bool) -> Tensor:
        with nullcontext() if last else self.parallel.no_sync():
            # Gradients are averaged over ranks, and wanted is their sum.
            return super()._backward(part(batch, self.rank), count / self.rank.count, last)

    def _steps(self, count: int) -> None:
        super()._steps(count)
        losses = torch.stack(self._losses)  # of this rank's part of each batch
        dist.all_reduce(losses)
        self._losses = list((losses / self.rank.count).unbind())

    def _stretch(self, steps: int) -> None:
        joules = self.state.joules
        super()._stretch(steps)
        # Budgets and rates go by one clock. A processor's counter sees all ranks already, a GPU's its own only.
        spent = torch.tensor([self.state.seconds, self.state.joules - joules], dtype=torch.float64, device=self.device)
        if self.device == "cpu":
            dist.broadcast(spent, 0)
        else:
            dist.broadcast(spent[0], 0)
            dist.all_reduce(spent[1])
        self.state.seconds, self.state.joules = float(spent[0]), joules + float(spent[1])

    def _look(self) -> None:
        if self.rank.number == 0:
            super()._look()
        state = self.state
        found = [(state.best_score, state.best_step, state.waited, state.target_seconds)]
        dist.broadcast_object_list(found, 0, device=torch.device(self.device))
        state.best_score, state.best_step, state.waited, state.target_seconds = found[0]

    def _save_state(self) -> None:
        if self.rank.number == 0:
            super()._save_state()

    def _resume(self) -> None:
        super()._resume()
        steps = [self.state.step]
        dist.broadcast_object_list(steps, 0, device=torch.device(self.device))
        if steps[0] != self.state.step:
            raise RuntimeError(f"{self.path} is not the same for all devices of the training; remove it")
