"""GitHub-flavored Markdown in which no text from outside can become markup, HTML or a link."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_TEXT = 300
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_ADDRESS = re.compile(r":(?=//)|\bwww(?=\.)", re.IGNORECASE)
_MARKUP = re.compile(r"[\\`*_\[\]|~@$]|^[#+=-]|^[0-9]+(?=[.)])")


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """Put a text on one line, cut to a length; what is invisible, or reorders its surroundings, becomes a space."""
    shown = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in text[: 4 * limit])
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def escaped(text: str, limit: int = MAX_TEXT) -> str:
    """Write a text so that Markdown shows it as it is, on one line, and HTML finds nothing in it.

    A web address is broken up by a space, since readers turn addresses into links even where they are escaped.
    """
    shown = _ADDRESS.sub(lambda match: f"{match[0]} ", plain(text, limit))
    shown = _MARKUP.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", shown)
    return shown.translate(_ENTITIES)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of escaped texts. Without rows it is empty."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(head), _row(["---"] * len(head)), *lines]) if lines else ""


def listed(items: Iterable[str]) -> str:
    """Write a list of escaped texts."""
    return "\n".join(f"- {item}" for item in items)


def paragraphs(parts: Iterable[str]) -> str:
    """Put the blocks that are not empty one below the other."""
    return "\n\n".join(part for part in parts if part)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
