"""YAML that somebody else may have written: plain data only, of bounded size, every mistake in one line.

A few lines can stand for more data than any memory holds (aliases of aliases), so data are counted before they are built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 18
MOST_VALUES = 50_000  # with every alias written out; the longest suite of our own has 500


class YAMLProblem(ValueError):
    """What is wrong with a text, in words that follow a file's name."""


def read_yaml(path: Path) -> Any:
    """The data of a file. Raises YAMLProblem, OSError."""
    if path.stat().st_size > MOST_BYTES:
        raise YAMLProblem(f"{path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise YAMLProblem(f"not YAML: {error}") from error


def parse_yaml(text: str) -> Any:
    """The data of a text. Raises YAMLProblem."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise YAMLProblem("not YAML: lists within lists without end") from error
    except YAMLProblem:
        raise
    # A date that is none, a number that is none: what builds values raises whatever it raises.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise YAMLProblem(f"not YAML: {' '.join(str(error).split())[:300]}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, those of its aliases written out. Raises YAMLProblem for too many and for keys that
    stand twice in one mapping."""
    if id(node) in known:
        if not known[id(node)]:
            raise YAMLProblem("not YAML: a value that holds itself")
        return known[id(node)]
    known[id(node)] = 0  # not known yet: whoever comes here again is inside it
    size = 1
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise YAMLProblem(f"the key '{twice}' stands twice in one place")
        size += sum(_size(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_size(part, known) for part in node.value)
    if size > MOST_VALUES:
        raise YAMLProblem(f"more than {MOST_VALUES:,} values")
    known[id(node)] = size
    return size
