"""Options and fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Several workers share the cores: one thread each for torch, here and in every process that the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
MEASURING = ("gpu", "perf")  # marks of tests that must have the machine to themselves
FAULTY = ROOT / "tests" / "plugins" / "faulty.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--plugin", action="append", default=[], help="run the contract tests on this plug-in's architectures only"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Workers for `-n auto`: one a core for the whole suite; none for files that are named, and for what measures."""
    marks = config.option.markexpr
    measures = any(mark in marks and f"not {mark}" not in marks for mark in MEASURING)
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named or measures else None


def pytest_configure(config: pytest.Config) -> None:
    import architectures  # noqa: F401 - registers
    import tasks  # noqa: F401
    from bench.registry import RegistryError, load_plugin

    examples = [str(EXAMPLES / name) for name in ("min_gru.py", "torch_transformer.py", "torch_lstm.py")]
    for plugin in config.getoption("--plugin") or examples:
        try:
            load_plugin(plugin)
        except RegistryError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    # Workers take whole files: those beside this one run the command and take longest, so they come first.
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
