"""States on disk: written whole or not at all, read without running anything that a file may hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from results.files import write_whole


def save(path: Path, content: dict[str, Any]) -> str:
    """Write a file so that a reader finds the old one or the new one. Returns why it could not be written, or ""."""
    try:
        write_whole(path, lambda file: torch.save(content, file))
    except (OSError, RuntimeError) as error:  # torch says RuntimeError for a full disk
        return " ".join(str(error).split())[:200]
    return ""


def load(path: Path, device: str = "cpu") -> dict[str, Any] | None:
    """The content of a file; None where there is none, or where it is damaged."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # torch raises whatever its readers raise; a state that cannot be read is a state we do not have
        return None
    return content if isinstance(content, dict) else None


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bits, in order of names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
