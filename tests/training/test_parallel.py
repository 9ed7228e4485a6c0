"""A training over two processes ends where one over a single device does, within rounding."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

import architectures  # noqa: F401 - registers, in the processes that are started too
from bench.contract import Batch
from bench.training.loop import Training
from bench.training.parallel import ParallelTraining, Rank, part
from tests.training.toys import Clock, Ragged, model, recipe

# Sequences of many lengths, so that ranks count different numbers of predictions: a mean of means would show.
CASES: dict[str, dict[str, Any]] = {"attention": {"accumulate": 2}, "lstm": {"batch": 5}}


def made(name: str, kind: Any = Training, **fields: Any) -> Any:
    changes = {"steps": 12, "evaluate_every": 6, "checkpoint_seconds": 1e-9, **CASES[name]}
    return kind(model(name), Ragged(), recipe(**changes), Clock(), **fields)


def train_all(number: int, folder: str) -> None:
    """What one of two processes does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    rank = Rank(number, 2)
    for name in CASES:
        training = made(name, lambda *a, **f: ParallelTraining(rank, *a, **f), folder=Path(folder) / name)
        training.run()
        state = training.state
        found = {"weights": training.model.state_dict(), "curves": state.curves, "best": state.best_step}
        torch.save({**found, "tokens": state.tokens}, f"{folder}/{name}-{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(train_all, (str(found),), nprocs=2)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo meets in a file")
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_as_good_as_one(folder: Path, name: str) -> None:
    single = made(name)
    single.run()
    first, second = (torch.load(folder / f"{name}-{number}.pt", weights_only=True) for number in range(2))
    assert first["tokens"] == second["tokens"] == single.state.tokens
    assert first["best"] == second["best"] == single.state.best_step
    for key, tensor in single.model.state_dict().items():
        assert torch.equal(first["weights"][key], second["weights"][key]), key  # they have not drifted apart
        torch.testing.assert_close(first["weights"][key], tensor, atol=2e-4, rtol=1e-3)
    for curve, column in (("train", "loss"), ("train", "gradient_norm"), ("tune", "loss")):
        assert first["curves"][curve][column] == pytest.approx(single.state.curves[curve][column], rel=1e-4)
    assert not second["curves"]["tune"]  # one of them looks and decides
    assert (folder / name / "state.pt").is_file()


def test_parts_are_the_whole() -> None:
    batch = Batch(torch.arange(35).view(5, 7), torch.arange(35).view(5, 7), torch.ones(5, 7, dtype=torch.bool))
    parts = [part(batch, Rank(number, 3)) for number in range(3)]
    assert [len(p.inputs) for p in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([p.targets for p in parts]), batch.targets)


def test_a_batch_that_is_too_small() -> None:
    with pytest.raises(ValueError, match="cannot be spread over 8 devices"):
        made("attention", lambda *a, **f: ParallelTraining(Rank(0, 8), *a, **f))
