"""The pages that list one kind of thing each: packs, facts, concepts, numbers, sources, referrals and cover."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.pack.model import JUDGES_COVERAGE
from engine.site.alphabet import letters
from engine.site.catalog import ENRICHED
from engine.site.conditions import read_condition
from engine.site.details import CONCEPTS, grouped
from engine.site.force import alike, in_force
from engine.site.page import START, Page
from engine.site.uses import CITES
from engine.site.worked_cases import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.dictionary import FactDefinition
    from engine.pack.book import Pack
    from engine.pack.model import ReferralRule
    from engine.site.catalog import Catalog, Item, Kind, Pieces
    from engine.site.conditions import Reading
    from engine.site.force import InForce
    from engine.site.page import Library
    from engine.site.worked_cases import Outcome


@dataclass(frozen=True)
class Fact:
    """A fact of the data dictionary, or a field of a list's records, with who uses it."""

    item: Item
    definition: FactDefinition
    used_by: Mapping[str, tuple[Item, ...]]
    fields: tuple[Fact, ...] = ()
    worked_out: tuple[tuple[Item, Mapping[str, tuple[Item, ...]]], ...] = ()


@dataclass(frozen=True)
class Referral:
    """One way in which a referral comes to be required."""

    item: Item
    rule: ReferralRule
    force: tuple[tuple[tuple[str, ...], InForce], ...]
    sentence: Pieces
    named: tuple[Item, ...]
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class ReferralKind:
    """One kind and urgency of referral, with its rules and cases."""

    title: str
    rules: tuple[Referral, ...]
    outcomes: tuple[Outcome, ...]


def overview_pages(library: Library) -> Iterator[Page]:
    """Give the pages that list."""
    catalog = library.catalog
    yield Page(START, "start.html.j2", "The rules, page by page", _start(catalog))
    yield Page(CONCEPTS[1], "concepts.html.j2", CONCEPTS[0], {"packs": _by_pack(catalog, "concept")})
    yield Page("facts.html", "facts.html.j2", "Facts", {"areas": _facts(library)})
    yield Page("parameters.html", "parameters.html.j2", "Numbers by date", {"packs": _by_pack(catalog, "parameter")})
    yield Page("sources.html", "sources.html.j2", "Sources", {"packs": _by_pack(catalog, "source"), "cites": CITES})
    yield Page("referrals.html", "referrals.html.j2", "Referrals", {"kinds": _referrals(library)})
    yield Page("triage.html", "triage.html.j2", "Triage of suicide risk", {"ladders": _ladders(library)})
    yield Page("coverage.html", "coverage.html.j2", "Payers and cover", _coverage(catalog))
    yield Page("a-to-z.html", "alphabet.html.j2", "A to Z", {"letters": letters(catalog)})


def _start(catalog: Catalog) -> dict[str, object]:
    packs = list(catalog.book.packs.values())
    return {
        "packs": packs,
        "counts": Counter(item.kind for item in catalog.items.values()),
        "served": {j: [p for p in packs if p.header.serves == j and p.is_active] for j in catalog.jurisdictions},
        "payers": {p.header.payer: (p, _paid_in(catalog, p)) for p in packs if p.header.payer and p.is_active},
    }


def _paid_in(catalog: Catalog, pack: Pack) -> list[str]:
    return [j for j in catalog.jurisdictions if (j, pack.header.payer) in catalog.sets]


def _by_pack(catalog: Catalog, kind: Kind) -> list[tuple[Pack, list[Item]]]:
    found = ((p, [i for i in catalog.of_kind(kind) if i.pack == p.id]) for p in catalog.book.packs.values())
    return [(pack, items) for pack, items in found if items]


def _facts(library: Library) -> dict[str, list[Fact]]:
    dictionary = library.catalog.book.dictionary
    found: dict[str, list[Fact]] = {title: [] for title in (*dictionary.areas.values(), "Other facts")}
    for definition in dictionary.facts:
        found[dictionary.areas.get(definition.area, "Other facts")].append(_fact(library, definition))
    return {title: facts for title, facts in found.items() if facts}


def _fact(library: Library, definition: FactDefinition) -> Fact:
    items = library.catalog.items
    item = items["fact", "", definition.id]
    fields = []
    for field in definition.fields:
        of_record = items["field", "", f"{definition.id}.{field.id}"]
        fields.append(Fact(of_record, field, library.used_by(of_record)))
    own = {field.id for field in definition.fields}
    names = [name for name in ENRICHED if definition.fields and name not in own]
    worked_out = [items["field", "", f"{definition.id}.{name}"] for name in names]
    return Fact(
        item,
        definition,
        library.used_by(item),
        tuple(fields),
        tuple((each, library.used_by(each)) for each in worked_out),
    )


def _referrals(library: Library) -> list[ReferralKind]:
    catalog = library.catalog
    found: dict[str, list[Referral]] = {}
    for item in catalog.of_kind("referral"):
        rule = next(r for r in catalog.book.packs[item.pack].referrals if r.id == item.name)
        named = (catalog.find("criterion", name, item.pack) for name in rule.criteria)
        referral = Referral(
            item,
            rule,
            alike(in_force(catalog, item)),
            library.sentence(rule.explain, item),
            tuple(criterion for criterion in named if criterion is not None),
            read_condition(catalog, item, rule),
        )
        found.setdefault(f"{rule.kind}/{rule.urgency}", []).append(referral)
    return [
        ReferralKind(rules[0].item.title, tuple(rules), outcomes(catalog, library.referral_cases.get(name, ())))
        for name, rules in sorted(found.items(), key=lambda entry: (entry[1][0].item.title, entry[0]))
    ]


def _ladders(library: Library) -> list[dict[str, object]]:
    catalog = library.catalog
    found: list[dict[str, object]] = []
    for item in catalog.of_kind("triage"):
        triage = catalog.book.packs[item.pack].triage
        if triage is not None:
            criteria = [(catalog.items["criterion", item.pack, c.id], c) for c in triage.criteria]
            names = {"asks": triage.asks, "provisional": triage.provisional_while_missing}
            facts = {k: [catalog.find("fact", n) for n in each] for k, each in names.items()}
            steps = [(level, [row for row in criteria if row[1].level == level]) for level in reversed(triage.levels)]
            found.append({"item": item, "pack": catalog.pack(item.pack), "steps": steps, **facts})
    return found


def _coverage(catalog: Catalog) -> dict[str, object]:
    packs = catalog.book.packs.values()
    effects = JUDGES_COVERAGE | {"withholds"}
    shared = [
        (catalog.items["criterion", pack.id, name], criterion)
        for pack in packs
        for name, criterion in pack.criteria.items()
        if not pack.header.payer and (criterion.effect in effects or pack.file_of(name).endswith("/coverage.yaml"))
    ]
    payers = [(pack, _paid_in(catalog, pack), grouped(catalog, pack)) for pack in packs if pack.header.payer]
    return {"payers": payers, "shared": shared}
