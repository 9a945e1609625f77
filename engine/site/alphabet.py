"""Everything on the site in alphabetical order."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.site.catalog import Catalog, Item

OTHER = "0-9"
_ARTICLES = frozenset({"a", "an", "the"})
_KINDS = ("criterion", "concept", "fact", "field", "parameter", "source", "referral", "pack")


@dataclass(frozen=True)
class Letter:
    """A letter, and what begins with it."""

    name: str
    items: tuple[Item, ...]


def letters(catalog: Catalog) -> tuple[Letter, ...]:
    """Sort every item by the first letter of its title, whatever its article, case or accent."""
    found: dict[str, list[Item]] = {}
    for item in catalog.items.values():
        if item.kind in _KINDS:
            found.setdefault(_letter(item.title), []).append(item)
    return tuple(
        Letter(name, tuple(sorted(items, key=lambda i: (_plain(i.title), i.name, i.kind, i.pack))))
        for name, items in sorted(found.items())
    )


def _plain(title: str) -> str:
    decomposed = unicodedata.normalize("NFKD", title.casefold())
    plain = " ".join("".join(c for c in decomposed if c.isalnum() or c.isspace()).split())
    first, _, rest = plain.partition(" ")
    return rest if rest and first in _ARTICLES else plain


def _letter(title: str) -> str:
    first = _plain(title)[:1].upper()
    return first if "A" <= first <= "Z" else OTHER
