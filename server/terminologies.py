"""The code tables of a rule book, made once for each set of tables."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from engine.fhir.terminology import Terminology

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

KEPT = 4
"""How many are kept: those in force, and those that replays read by."""

_made: OrderedDict[str, Terminology] = OrderedDict()
_lock = threading.Lock()


def terminology_of(book: RuleBook) -> Terminology:
    """Give what codes say by the tables of a rule book. Raises: RulePackError."""
    with _lock:
        found = _made.get(book.reference_digest)
        if found is None:
            found = _made[book.reference_digest] = Terminology.of(book.reference_files)
        _made.move_to_end(book.reference_digest)
        if len(_made) > KEPT:
            _made.popitem(last=False)
        return found
