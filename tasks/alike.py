"""When two texts are the same to a model."""

from __future__ import annotations

import unicodedata


def composed(text: str) -> str:
    """Letters and their marks as one character where there is one: two spellings of a word would be two words."""
    return unicodedata.normalize("NFC", text)


def alike(text: str) -> str:
    """The same for texts that differ by case, blanks or how letters are composed: these may become the same tokens, and must
    not be learnt from and tested on."""
    return " ".join(composed(text).casefold().split())
