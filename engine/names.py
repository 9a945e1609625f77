"""Names: the nearest to one that was misspelt, and the order in which people count them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 200


def nearest(name: str, known: Iterable[str]) -> str:
    """Give `; did you mean ...?` for the closest known name, or an empty text."""
    close = difflib.get_close_matches(name[:_LONGEST], list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def by_number(name: str) -> list[tuple[int, str]]:
    """Give the key that sorts ids as people count: `EU-2` before `EU-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split("-")]
