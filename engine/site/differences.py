"""What differs between jurisdictions, computed from the rules: criterion by criterion, and for each pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from engine.compiler.english import English
from engine.site.conditions import set_with
from engine.site.force import InForce, in_force
from engine.site.uses import records_of
from engine.site.words import EFFECTS, NO_OPTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from engine.compiler.packset import PackSet
    from engine.pack.model import Criterion
    from engine.site.catalog import Catalog, Item

Said = tuple[object, ...]


@dataclass(frozen=True)
class Row:
    """A criterion or referral in every jurisdiction.

    Attributes:
        item: the criterion or referral.
        cells: when it is in force in each jurisdiction; None where it does not apply.
        is_said_alike: whether its condition, numbers and concepts included, is the same wherever it applies.

    """

    item: Item
    cells: Mapping[str, InForce | None]
    is_said_alike: bool

    @property
    def differs(self) -> bool:
        """Whether an answer may differ by this item between two jurisdictions."""
        return len(set(self.cells.values())) > 1 or not self.is_said_alike


@dataclass(frozen=True)
class Group:
    """Rows of one heading, by effect or kind."""

    heading: str
    parts: tuple[tuple[str, tuple[Row, ...]], ...]

    @property
    def count(self) -> int:
        """How many rows it has."""
        return sum(len(rows) for _, rows in self.parts)


@dataclass(frozen=True)
class Number:
    """A parameter in two jurisdictions; None where it is not read."""

    item: Item
    values: tuple[Decimal | None, Decimal | None]
    unit: str


@dataclass(frozen=True)
class Pair:
    """What differs between two jurisdictions."""

    one: str
    other: str
    only: tuple[tuple[Row, ...], tuple[Row, ...]]
    dates: tuple[Row, ...]
    said: tuple[Row, ...]
    numbers: tuple[Number, ...]

    @property
    def count(self) -> int:
        """How many differences there are."""
        return sum(map(len, (*self.only, self.dates, self.said, self.numbers)))


class Differences:
    """Compares the jurisdictions that active packs serve; what belongs to a payer is left out."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._sets = {j: catalog.sets[j, ""] for j in catalog.jurisdictions}
        self._said: dict[tuple[str, str], Said] = {}

    @cached_property
    def rows(self) -> Mapping[Item, Row]:
        """Every criterion and referral that applies somewhere, in the order of the packs."""
        found = {}
        for item in self._catalog.of_kind("criterion", "referral"):
            if not self._catalog.book.packs[item.pack].header.payer:
                cells = in_force(self._catalog, item)
                if cells:
                    said = {self._says(j, item) for j in cells} if item.kind == "criterion" else {()}
                    found[item] = Row(item, {j: cells.get(j) for j in self._sets}, len(said) == 1)
        return found

    def groups(self, *, differing: bool) -> tuple[Group, ...]:
        """Group the rows that differ, or those that do not, by option and effect, then those without an option."""
        rows = [row for row in self.rows.values() if row.differs is differing]
        found: dict[str, dict[str, list[Row]]] = {heading: {} for heading in self._headings()}
        for row in rows:
            for heading, part in self._places(row.item):
                found[heading].setdefault(part, []).append(row)
        order = [effect.heading for effect in EFFECTS.values()]
        return tuple(
            Group(heading, tuple((p, tuple(parts[p])) for p in sorted(parts, key=lambda p: (_place(order, p), p))))
            for heading, parts in found.items()
            if parts
        )

    def pairs(self) -> Iterator[Pair]:
        """Compare each jurisdiction with each other."""
        for one, other in combinations(self._sets, 2):
            rows = self.rows.values()
            both = [row for row in rows if row.cells[one] and row.cells[other]]
            yield Pair(
                one,
                other,
                (
                    tuple(row for row in rows if row.cells[one] and not row.cells[other]),
                    tuple(row for row in rows if row.cells[other] and not row.cells[one]),
                ),
                tuple(row for row in both if row.cells[one] != row.cells[other]),
                tuple(row for row in both if self._is_other(row, one, other)),
                tuple(self._numbers(one, other)),
            )

    def _is_other(self, row: Row, one: str, other: str) -> bool:
        return row.item.kind == "criterion" and self._says(one, row.item) != self._says(other, row.item)

    def _numbers(self, one: str, other: str) -> Iterator[Number]:
        sides = [self._sets[one], self._sets[other]]
        for name in dict.fromkeys(name for packs in sides for name in packs.parameters):
            dated = [dict(p.parameters[name][0].values) if name in p.parameters else None for p in sides]
            if dated[0] != dated[1]:
                values = [packs.parameters[name][1] if name in packs.parameters else None for packs in sides]
                holder = next(packs for packs in sides if name in packs.parameters)
                item = self._catalog.find("parameter", name, holder.packs[-1].id)
                if item is not None:
                    yield Number(item, (values[0], values[1]), holder.parameters[name][0].unit)

    def _says(self, jurisdiction: str, item: Item) -> Said:
        """Give what a criterion's condition and the concepts behind it say in a jurisdiction."""
        key = (jurisdiction, item.name)
        if key not in self._said:
            packs = set_with(self._catalog, item, jurisdiction) or self._sets[jurisdiction]
            criterion = packs.criteria[item.name]
            english = English(packs, records_of(criterion))
            behind = (self._concept(packs, name) for name in english.concepts(item.name))
            self._said[key] = (*english.condition(item.name), *behind)
        return self._said[key]

    def _concept(self, packs: PackSet, name: str) -> Said:
        key = (packs.jurisdiction, f"concept {name}")
        if key not in self._said:
            self._said[key] = (name, *English(packs, packs.derived[name].of).condition(name))
        return self._said[key]

    def _headings(self) -> Iterable[str]:
        return dict.fromkeys((*self._options().values(), *NO_OPTION.values(), "Other criteria", "Referrals"))

    def _options(self) -> dict[str, str]:
        return {o.id: o.title for packs in self._sets.values() for o in packs.options}

    def _places(self, item: Item) -> Iterator[tuple[str, str]]:
        """Give the headings under which an item stands, and the part of each."""
        if item.kind == "referral":
            yield "Referrals", item.title.rpartition(", ")[0]
            return
        criterion = self._catalog.book.packs[item.pack].criteria[item.name]
        part = heading_of(criterion)
        titles = [self._options()[o] for o in criterion.options if o in self._options()]
        for title in titles or [NO_OPTION.get(criterion.effect, "Other criteria")]:
            yield title, part


def heading_of(criterion: Criterion) -> str:
    """Give the heading of criteria of the same effect."""
    return EFFECTS[criterion.effect].heading


def _place(order: list[str], part: str) -> int:
    return order.index(part) if part in order else len(order)
