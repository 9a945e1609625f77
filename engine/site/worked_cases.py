"""The cases beside the rules as tables that can be read: which facts, in words, make an item what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.pack.cases import TRUTHS
from engine.page.environment import words
from engine.site.catalog import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from engine.dictionary import FactDefinition
    from engine.pack.cases import Case
    from engine.site.catalog import Catalog, Item


@dataclass(frozen=True)
class Row:
    """One known fact of a case; `records` holds a list's records, each as pairs of field and value."""

    label: str
    value: str
    address: str
    records: tuple[tuple[tuple[str, str], ...], ...] = ()


@dataclass(frozen=True)
class WorkedCase:
    """One case: the day, where it is run, what is known, and where it is written."""

    day: date
    payer: str
    jurisdictions: tuple[str, ...]
    rows: tuple[Row, ...]
    place: str


@dataclass(frozen=True)
class Outcome:
    """The cases that come to one truth or value."""

    expected: str
    cases: tuple[WorkedCase, ...]

    @property
    def words(self) -> str:
        """The truth or value in words."""
        return words(self.expected)


def cases_by_item(catalog: Catalog) -> dict[Item, list[Case]]:
    """Give the cases of each criterion and concept, in the order of their files."""
    found: dict[Item, list[Case]] = {}
    for case in catalog.cases:
        if case.kind != "referral":
            item = catalog.find("criterion" if case.kind == "criterion" else "concept", case.subject, case.pack)
            if item is not None:
                found.setdefault(item, []).append(case)
    return found


def cases_of_referrals(catalog: Catalog) -> dict[str, list[Case]]:
    """Give the cases of each kind and urgency of referral."""
    found: dict[str, list[Case]] = {}
    for case in catalog.cases:
        if case.kind == "referral":
            found.setdefault(case.subject, []).append(case)
    return found


def outcomes(catalog: Catalog, cases: Iterable[Case], records: str = "") -> tuple[Outcome, ...]:
    """Group cases by what they come to: met, not met, unknown, then values as they are written.

    `records` names the list whose single records the cases are about; empty for the patient.
    """
    found: dict[str, list[WorkedCase]] = {truth: [] for truth in TRUTHS}
    for case in cases:
        rows = (*_rows(catalog, case.around), *_rows(catalog, case.facts, records))
        place = place_of(catalog.book.packs[case.pack], case.located)
        worked = WorkedCase(case.as_of, case.payer_id or "", case.jurisdictions, rows, place)
        found.setdefault(case.expected, []).append(worked)
    return tuple(Outcome(expected, tuple(each)) for expected, each in found.items() if each)


def _rows(catalog: Catalog, facts: Mapping[str, object], records: str = "") -> Iterator[Row]:
    definitions = catalog.book.fields[records] if records else catalog.book.facts
    for name, value in facts.items():
        definition = definitions.get(name)
        path = f"{records}.{name}" if records else name
        item = catalog.find("field" if records else "fact", path)
        label = f"{words(records)}: {item.title}" if records and item else item.title if item else name
        address = item.address if item else ""
        if definition is not None and definition.fields and isinstance(value, list | tuple):
            yield Row(label, "" if value else "none", address, tuple(_record(definition, entry) for entry in value))
        else:
            yield Row(label, value_in_words(definition, value), address)


def _record(definition: FactDefinition, entry: object) -> tuple[tuple[str, str], ...]:
    fields = {field.id: field for field in definition.fields}
    given = entry if isinstance(entry, Mapping) else {"": entry}
    return tuple(
        (fields[name].label if name in fields else str(name), value_in_words(fields.get(name), value))
        for name, value in given.items()
    )


def value_in_words(definition: FactDefinition | None, value: object) -> str:
    """Write a value of a case as a clinician reads it; what fits no definition is written as it is."""
    match value:
        case None:
            return "not known"
        case Mapping():
            observed = f", observed on {value['date']}" if "date" in value else ""
            source = f", by {value['source']}" if "source" in value else ""
            unit = f" {value['unit']}" if "unit" in value else ""
            return f"{value_in_words(None if unit else definition, value.get('value'))}{unit}{observed}{source}"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(value_in_words(definition, entry) for entry in value) or "none"
        case int() | Decimal() if definition is not None:
            scaled = definition.scaled(value)
            return str(value) if scaled is None else definition.in_words(scaled)
        case str() if definition is not None and definition.values:
            return definition.in_words(value)
        case _:
            return str(value)
