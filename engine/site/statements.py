"""What has to be confirmed before anyone relies on it: by how far it was checked, and what is contested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.names import by_number
from engine.page.environment import CONFIRMATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.pack.model import Citation
    from engine.site.catalog import Catalog, Item

READ = "read"
_STATES = {
    "unconfirmed": "Unconfirmed criteria",
    "partly read": "Criteria read in part",
    "read (secondary)": "Criteria read in another source",
    "engine": "Decisions of this engine",
}


@dataclass(frozen=True)
class Statement:
    """A statement of the rules, a remark on it, and the sources that it rests on with what each supports."""

    item: Item
    remark: str
    sources: tuple[tuple[Item, str], ...]


@dataclass(frozen=True)
class Concern:
    """Statements that share a state."""

    heading: str
    explanation: str
    statements: tuple[Statement, ...]


def concerns(catalog: Catalog) -> tuple[Concern, ...]:
    """Group everything that is not simply read in the source that it cites."""
    found = [
        Concern(heading, f"{CONFIRMATIONS[state]}.", tuple(_criteria(catalog, state)))
        for state, heading in _STATES.items()
    ]
    contested = "Sources or people disagree, or a choice was made that others would make otherwise."
    found.append(Concern("Contested criteria", contested, tuple(_contested(catalog))))
    numbers = "None of the sources that they cite was read itself."
    found.append(Concern("Numbers that rest on such sources alone", numbers, tuple(_parameters(catalog))))
    definitions = "None of the sources that they cite was read itself."
    concepts = tuple(_concepts(catalog))
    found.append(Concern("Concepts that rest on such sources alone", definitions, concepts))
    sources = "How far each was read."
    found.append(Concern("Sources that were not read themselves", sources, tuple(_sources(catalog))))
    return tuple(concern for concern in found if concern.statements)


def _criteria(catalog: Catalog, state: str) -> Iterator[Statement]:
    for item in _by_id(catalog):
        criterion = catalog.book.packs[item.pack].criteria[item.name]
        if criterion.confirmed == state:
            yield Statement(item, criterion.note, _cited(catalog, item, criterion.references))


def _contested(catalog: Catalog) -> Iterator[Statement]:
    for item in _by_id(catalog):
        criterion = catalog.book.packs[item.pack].criteria[item.name]
        if criterion.contested:
            yield Statement(item, criterion.contested, _cited(catalog, item, criterion.references))


def _parameters(catalog: Catalog) -> Iterator[Statement]:
    for item in catalog.of_kind("parameter"):
        parameter = catalog.book.packs[item.pack].parameters[item.name]
        sources = _cited(catalog, item, parameter.references)
        if not any(_is_read(catalog, source) for source, _ in sources):
            yield Statement(item, parameter.note, sources)


def _concepts(catalog: Catalog) -> Iterator[Statement]:
    for item in catalog.of_kind("concept"):
        derived = next(d for d in catalog.book.packs[item.pack].derived if d.id == item.name)
        sources = _cited(catalog, item, derived.references)
        if sources and not any(_is_read(catalog, source) for source, _ in sources):
            yield Statement(item, derived.note, sources)


def _sources(catalog: Catalog) -> Iterator[Statement]:
    for item in catalog.of_kind("source"):
        if not _is_read(catalog, item):
            reference = catalog.book.packs[item.pack].references[item.name]
            part = f"; {reference.section_read}" if reference.section_read else ""
            yield Statement(item, f"{reference.status or 'not stated'}{part}", ())


def _is_read(catalog: Catalog, source: Item) -> bool:
    return catalog.book.packs[source.pack].references[source.name].status == READ


def _by_id(catalog: Catalog) -> list[Item]:
    return sorted(catalog.of_kind("criterion"), key=lambda item: (by_number(item.name), item.pack))


def _cited(catalog: Catalog, item: Item, citations: Iterable[Citation]) -> tuple[tuple[Item, str], ...]:
    found = ((catalog.find("source", cited.source, item.pack), cited.supports) for cited in citations)
    return tuple((source, supports) for source, supports in found if source is not None)
