"""Every criterion id, where it lives, and how many there are in each series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.names import by_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.site.catalog import Catalog, Item


@dataclass(frozen=True)
class Id:
    """An id, with its items (one, unless packs that never meet share it)."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Series:
    """The ids that differ in their number alone."""

    prefix: str
    ids: tuple[Id, ...]


def totals(series: Iterable[Series]) -> dict[str, int]:
    """Count the ids by the first part of their prefix."""
    found: dict[str, int] = {}
    for each in series:
        first = each.prefix.partition("-")[0]
        found[first] = found.get(first, 0) + len(each.ids)
    return found


def all_series(catalog: Catalog) -> tuple[Series, ...]:
    """Give every id in the order of the tables, by series."""
    ids: dict[str, Id] = {}
    for item in catalog.of_kind("criterion"):
        before = ids[item.name].items if item.name in ids else ()
        ids[item.name] = Id(item.name, (*before, item))
    found: dict[str, list[Id]] = {}
    for name in sorted(ids, key=by_number):
        found.setdefault(name.rpartition("-")[0], []).append(ids[name])
    return tuple(Series(prefix, tuple(each)) for prefix, each in found.items())
