"""Each day on which the rules change by themselves: what begins, what ends, which number becomes another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.dictionary import unit_in_words
from engine.site.conditions import holds
from engine.site.force import in_force_within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from engine.compiler.packset import PackSet
    from engine.site.catalog import Catalog, Item


@dataclass(frozen=True)
class Change:
    """What happens to one item on one day.

    Attributes:
        item: the criterion, referral or parameter.
        what: `begins`, `ends`, or what a number becomes.
        jurisdictions: where.
        payer: for whose cover alone; empty for everyone.
        also: the criterion that steps back or returns with it, if any.

    """

    item: Item
    what: str
    jurisdictions: tuple[str, ...]
    payer: str
    also: str = ""


@dataclass(frozen=True)
class Day:
    """All changes of one day."""

    day: date
    changes: tuple[Change, ...]

    def count(self, jurisdiction: str) -> int:
        """How many of them concern a jurisdiction."""
        return sum(jurisdiction in change.jurisdictions for change in self.changes)


def days(catalog: Catalog) -> tuple[Day, ...]:
    """Give every day on which a criterion, a referral or a number changes in some jurisdiction, in order.

    The first value of a number is no change: it holds on the days before it too.
    """
    found: dict[date, dict[tuple[Item, str, str, str], list[str]]] = {}
    for (jurisdiction, payer), packs in catalog.sets.items():
        for day, item, what, also in _changes(catalog, packs):
            holder = catalog.book.packs[item.pack].header.payer
            if holder == payer:
                places = found.setdefault(day, {}).setdefault((item, what, payer, also), [])
                places.append(jurisdiction)
    return tuple(
        Day(
            day,
            tuple(
                Change(item, what, tuple(j for j in catalog.jurisdictions if j in places), payer, also)
                for (item, what, payer, also), places in sorted(changes.items(), key=_reading_order)
            ),
        )
        for day, changes in sorted(found.items())
    )


def _reading_order(entry: tuple[tuple[Item, str, str, str], list[str]]) -> tuple[str, str, str, str]:
    item, what, payer, _ = entry[0]
    return payer, what.partition(" ")[0], item.kind, item.name


def _changes(catalog: Catalog, packs: PackSet) -> Iterator[tuple[date, Item, str, str]]:
    replaces = {c.id: c.replaces for c in packs.criteria.values()}
    for item in catalog.of_kind("criterion", "referral"):
        if holds(packs, item):
            period = in_force_within(catalog, packs, item).period
            replaced = replaces.get(item.name, "")
            if period.from_:
                yield period.from_, item, "begins", f"{replaced} steps back" if replaced else ""
            if period.until:
                yield period.until, item, "ends", f"{replaced} returns" if replaced else ""
    for name, (parameter, _) in packs.parameters.items():
        number = catalog.find("parameter", name, packs.packs[-1].id)
        for before, day in pairwise(sorted(parameter.values)):
            old, new = parameter.values[before], parameter.values[day]
            if number is not None:
                yield day, number, f"becomes {new} {unit_in_words(parameter.unit)}".rstrip() + f" (before: {old})", ""
