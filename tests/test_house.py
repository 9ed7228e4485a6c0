"""Who may import whom, and that the engine names nobody: read from the syntax trees, so that no import can hide."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from bench.registry import ARCHITECTURES, FAMILIES, TASKS
from tests.conftest import ROOT

PACKAGES = ("architectures", "bench", "reports", "results", "tasks")
STANDARD = set(sys.stdlib_module_names)
# What each package may import, beside the standard library: whole names, or a package with all below it.
ALLOWED = {
    "results": {"results", "orjson", "pandas"},
    "reports": {
        "reports",
        "results",
        "numpy",
        "scipy",
        "pandas",
        "sacrebleu",
        "matplotlib",
        "jinja2",
        "markupsafe",
        "itables",
    },
    "architectures": {
        "architectures",
        "bench.capabilities",
        "bench.scaled_dot",
        "bench.contract",
        "bench.registry",
        "torch",
    },
    "tasks": {
        "tasks",
        "bench.contract",
        "bench.registry",
        "torch",
        "numpy",
        "scipy",
        "sklearn",
        "sacrebleu",
        "datasets",
        "tokenizers",
        "PIL",
        "pyarrow",
        "regex",
    },
    "bench": {"bench", "results", "torch", "numpy", "pydantic", "yaml", "psutil", "pynvml", "rich", "ray"},
}
STRICTER = {
    "bench/capabilities.py": {"torch"},
    "bench/contract.py": {"torch"},
    "bench/registry.py": {"torch"},
    "bench/scaled_dot.py": {"torch"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    allowed = STRICTER.get(name, ALLOWED[name.split("/")[0]])
    for module in imports(path):
        parts = module.split(".")
        prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
        assert parts[0] in STANDARD or prefixes & allowed, f"{name} imports {module}"


def test_the_test_can_fail() -> None:
    """The rules would catch what they are there for."""
    assert "torch" in imports(ROOT / "bench" / "contract.py")
    assert "torch" not in ALLOWED["reports"] | ALLOWED["results"] | STANDARD


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_engine_names_nobody(path: Path) -> None:
    names = {e.name for e in (*ARCHITECTURES.entries.values(), *TASKS.entries.values()) if e.source == "built-in"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if path.name == "registry.py" and node.value in FAMILIES:
                continue  # two families are called as their best-known members are
            assert node.value not in names, f"{path.name}:{node.lineno} names {node.value!r}"


@pytest.mark.parametrize("package", ["architectures", "tasks", "reports", "results"])
def test_nobody_takes_any_keyword(package: str) -> None:
    """`**kwargs` swallows a misspelt setting."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.args.kwarg is None, f"{path.name}:{node.lineno} {node.name} takes **{node.args.kwarg.arg}"


def test_top_level() -> None:
    fixed = {"bench", "architectures", "tasks", "results", "reports", "tests", "docs", "run_all.py", "README.md"}
    fixed |= {"pyproject.toml", "CHANGELOG.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md"}
    present = {p.name for p in ROOT.iterdir() if not p.name.startswith(".") and not p.name.endswith(".egg-info")}
    assert present - fixed - {"build", "__pycache__"} == set()
