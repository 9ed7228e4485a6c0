"""Names, duplicates, suggestions, plug-ins by file, module and entry point."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from bench import registry
from bench.models import make_config
from bench.registry import ARCHITECTURES, RegistryError, load_plugin, register_architecture

PLUGIN = """
from bench.registry import register_architecture
@register_architecture("{name}", family="other", summary="a test")
def build(config, width, depth, causal, grid=None): raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def _restore() -> object:
    before = dict(ARCHITECTURES.entries)
    yield
    ARCHITECTURES.entries = before


def test_duplicate_is_an_error() -> None:
    with pytest.raises(RegistryError, match="'lstm' is registered already \\(built-in\\)"):
        register_architecture("lstm", family="recurrent", summary="again")(lambda: None)


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 41, "<b>", "naïve"])
def test_names_that_could_hurt_are_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="use ASCII letters"):
        register_architecture(name, family="other", summary="")(lambda: None)


def test_suggestion() -> None:
    with pytest.raises(RegistryError, match="did you mean 'windowed'"):
        ARCHITECTURES.get("windowd")
    with pytest.raises(RegistryError, match="did you mean 'recurrent'"):
        register_architecture("new", family="recurent", summary="")


def test_plugin_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="mine"))
    load_plugin(str(path))
    load_plugin(str(path))  # twice does nothing
    assert ARCHITECTURES.get("mine").source == str(path)
    assert ARCHITECTURES.get("lstm").source == "built-in"


def test_a_plugin_that_registers_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(RegistryError, match="registers nothing"):
        load_plugin(str(path))


def test_plugin_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package_of_mine.py").write_text(PLUGIN.format(name="by_module"))
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugin("some_package_of_mine")
    assert ARCHITECTURES.get("by_module").source == "some_package_of_mine"


def test_a_plugin_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(PLUGIN.format(name="half") + "raise OSError('then it broke')")
    with pytest.raises(RegistryError, match=r"half\.py: OSError: then it broke"):
        load_plugin(str(path))
    assert "half" not in ARCHITECTURES.names()


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package offers one architecture, and one that is broken: the good one loads, the other is named."""
    (tmp_path / "good_offer.py").write_text(PLUGIN.format(name="offered"))
    (tmp_path / "bad_offer.py").write_text("raise ValueError('broken offer')")
    info = tmp_path / "offers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[seqbench.architectures]\ngood = good_offer\nbad = bad_offer\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches() if hasattr(importlib, "invalidate_caches") else None
    problems = registry.load_entry_points()
    assert ARCHITECTURES.get("offered").source == "good_offer (seqbench.architectures)"
    assert len(problems) == 1
    assert "broken offer" in problems[0]


def test_settings_are_checked() -> None:
    entry = ARCHITECTURES.get("attention")
    assert make_config(entry, {"heads": 8}).heads == 8
    with pytest.raises(RegistryError, match="no setting 'head'; did you mean 'heads'"):
        make_config(entry, {"head": 8})
    with pytest.raises(RegistryError, match="setting 'dropout': nan is no finite number"):
        make_config(entry, {"dropout": float("nan")})
    with pytest.raises(RegistryError, match="setting 'positions'"):
        make_config(entry, {"positions": "sideways"})
