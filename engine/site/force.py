"""Where a criterion applies, and from when until when it is in force there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.pack.model import Period
from engine.site.conditions import set_with
from engine.site.words import period_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler.packset import PackSet
    from engine.site.catalog import Catalog, Item


@dataclass(frozen=True)
class InForce:
    """When an item is in force in a jurisdiction.

    Attributes:
        period: its dates there; `until` is the first day on which it no longer holds.
        replaced: the criteria that take its place while they are in force themselves, with their dates.

    """

    period: Period
    replaced: tuple[tuple[Item, Period], ...] = ()

    @property
    def words(self) -> str:
        """The dates in words."""
        return period_in_words(self.period)

    @property
    def parts(self) -> tuple[str, ...]:
        """The dates in words, each of which is read in one piece."""
        return tuple(self.words.replace(" until", "|until").split("|"))

    @property
    def replaced_words(self) -> tuple[tuple[Item, str], ...]:
        """What takes its place, with the dates in words."""
        return tuple((item, period_in_words(period)) for item, period in self.replaced)


def in_force(catalog: Catalog, item: Item) -> dict[str, InForce]:
    """Say for each jurisdiction in which a criterion or referral applies when it is in force."""
    found = {}
    for jurisdiction in catalog.jurisdictions:
        packs = set_with(catalog, item, jurisdiction)
        if packs is not None:
            found[jurisdiction] = in_force_within(catalog, packs, item)
    return found


def in_force_within(catalog: Catalog, packs: PackSet, item: Item) -> InForce:
    """Say when a criterion or referral is in force in a compiled set that holds it."""
    takers = [c for c in packs.criteria.values() if c.replaces == item.name]
    replaced = ((catalog.find("criterion", c.id, packs.pack_of(c.id).id), c.effective) for c in takers)
    period = packs.periods.get(item.name, Period())
    return InForce(period, tuple((taker, period) for taker, period in replaced if taker is not None))


def alike(force: Mapping[str, InForce]) -> tuple[tuple[tuple[str, ...], InForce], ...]:
    """Join the jurisdictions in which something is in force on the same dates."""
    found: dict[InForce, list[str]] = {}
    for jurisdiction, each in force.items():
        found.setdefault(each, []).append(jurisdiction)
    return tuple((tuple(jurisdictions), each) for each, jurisdictions in found.items())
