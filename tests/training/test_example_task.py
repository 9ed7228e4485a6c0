"""The example of a task in docs is a whole task, and can be learnt."""

from __future__ import annotations

from pathlib import Path

from bench.contract import Places, Task
from bench.measure.device import CPUDevice
from bench.models import build_task
from bench.registry import TASKS, load_plugin
from bench.training.loop import Training
from tests.conftest import EXAMPLES
from tests.training.toys import model, recipe


def test_it_is_learnt(tmp_path: Path) -> None:
    load_plugin(str(EXAMPLES / "first_token.py"))
    task = build_task(TASKS.get("first_token"), {"symbols": 4, "length": 12}, "causal", Places(None, tmp_path))
    assert isinstance(task, Task)
    training = Training(model(shape=task.shape), task, recipe(steps=200, batch=32, lr=1e-2), CPUDevice())
    assert training.outcome("test").accuracy < 0.5
    training.run()
    assert training.outcome("test").accuracy > 0.95
