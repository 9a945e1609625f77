"""Names that were misspelt."""

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
