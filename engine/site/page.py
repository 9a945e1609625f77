"""One page of the site, and what all of them can ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.evaluator.sentences import pieces
from engine.site.differences import Differences
from engine.site.uses import Uses
from engine.site.worked_cases import cases_by_item, cases_of_referrals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.pack.cases import Case
    from engine.pack.model import Citation, Parameter, Reference
    from engine.site.catalog import Catalog, Item, Pieces

START = "index.html"


@dataclass(frozen=True)
class Page:
    """A page: its path inside the site, its template, its title, what the template shows, and the pages above it.

    `above` holds the pages between the start page and this one, as pairs of title and address.
    """

    path: str
    template: str
    title: str
    shown: Mapping[str, Any] = field(default_factory=dict)
    above: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> str:
        """The way from this page to the site's own folder."""
        return "../" * self.path.count("/")


@dataclass(frozen=True)
class CitedSource:
    """A source as an item cites it: the section, and what it supports."""

    item: Item
    source: Reference
    section: str
    supports: str


@dataclass(frozen=True)
class Library:
    """The catalog, and what is looked up in it for many pages."""

    catalog: Catalog

    @cached_property
    def uses(self) -> Uses:
        """Who reads what."""
        return Uses(self.catalog)

    @cached_property
    def differences(self) -> Differences:
        """What differs between jurisdictions."""
        return Differences(self.catalog)

    @cached_property
    def cases(self) -> Mapping[Item, list[Case]]:
        """The cases of each criterion and concept."""
        return cases_by_item(self.catalog)

    @cached_property
    def referral_cases(self) -> Mapping[str, list[Case]]:
        """The cases of each kind and urgency of referral."""
        return cases_of_referrals(self.catalog)

    def used_by(self, item: Item) -> Mapping[str, tuple[Item, ...]]:
        """Say who uses an item, and how."""
        return self.uses.used_by.get(item, {})

    def cited(self, item: Item, citations: Iterable[Citation]) -> tuple[CitedSource, ...]:
        """Give the sources that an item cites."""
        found = ((self.catalog.find("source", c.source, item.pack), c) for c in citations)
        books = self.catalog.book.packs
        return tuple(
            CitedSource(source, books[source.pack].references[source.name], c.section, c.supports)
            for source, c in found
            if source is not None
        )

    def numbers(self, item: Item) -> tuple[Item, ...]:
        """Give the parameters that an item rests on, each followed by those of local packs that tighten it."""
        found: list[Item] = []
        book = self.catalog.book
        for number in self.uses.behind(item, "parameter"):
            local = (p for p in book.local_packs if number.pack in (each.id for each in book.family(p)))
            tighter = (p.id for p in local if number.name in p.parameters)
            found += [number, *(self.catalog.items["parameter", name, number.name] for name in tighter)]
        return tuple(dict.fromkeys(found))

    def parameter(self, item: Item) -> Parameter:
        """Give a parameter."""
        return self.catalog.book.packs[item.pack].parameters[item.name]

    def sentence(self, template: str, item: Item, records: str = "") -> Pieces:
        """Cut a sentence at the values that it will name, and link each to what it is.

        A value of the patient stands as its label in brackets, a number of the rules as on the catalog's day.
        """
        found: list[tuple[str, str]] = []
        for text, name in pieces(template):
            found += self.catalog.mentioned(text)
            if name:
                named = self.catalog.named(name, item.pack, records)
                words = f"[{named.title if named else name}]"
                if named is not None and named.kind == "parameter":
                    words = str(self.parameter(named).at(self.catalog.day))
                found.append((words, named.address if named else ""))
        return tuple(found)
