"""A hash of the source that a trial runs, so that a changed file makes its old results stale, and only its."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bench", "architectures", "tasks")


def source_hash(module: str) -> str:
    """Hash of a loaded module's file and of every project file that it imports, directly or not."""
    files: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = _file(name)
        if name not in files and path is not None:
            files[name] = path
            queue.extend(_imports(path, name))
    digest = hashlib.sha256()
    for name in sorted(files):
        # The plug-in's own name depends on where it lies; its content is what counts.
        digest.update(b"plug-in" if name == module else name.encode())
        digest.update(files[name].read_bytes())
    return digest.hexdigest()[:16]


def _file(name: str) -> Path | None:
    if name in sys.modules:
        found = getattr(sys.modules[name], "__file__", None)
        return Path(found) if found else None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


@cache
def _imports(path: Path, module: str) -> tuple[str, ...]:
    """Modules of this project, or of the file's own package or folder, that it imports anywhere in its text."""
    found: set[str] = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    own = (*PACKAGES, *package[:1])
    return tuple(sorted(name for name in found if name and (name.split(".")[0] in own or _beside(path, name))))


def beside(path: Path) -> list[Path]:
    """Files and folders in a file's own folder that it imports, directly or by way of others of them."""
    found: dict[Path, None] = {}
    queue = [path]
    while queue:
        file = queue.pop()
        for name in _imports(file, file.stem) if file.suffix == ".py" else ():
            top = path.parent / name.split(".")[0]
            near = top if top.is_dir() else top.with_suffix(".py")
            if _beside(path, name) and near not in found and near != path:
                found[near] = None
                queue += sorted(near.rglob("*.py")) if near.is_dir() else [near]
    return list(found)


def _beside(path: Path, name: str) -> bool:
    """True for a module that lies in the same folder as the file that imports it."""
    top = path.parent / name.split(".")[0]
    return top.with_suffix(".py").is_file() or (top / "__init__.py").is_file()
