"""Options and fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"
FAULTY = ROOT / "tests" / "plugins" / "faulty.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--plugin", action="append", default=[], help="run the contract tests on this plug-in's architectures only"
    )


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

    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
