"""A page for each pack, each criterion and each derived concept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.pack.model import UNCONDITIONAL
from engine.site.changelog import read_changelog
from engine.site.conditions import read_condition
from engine.site.differences import heading_of
from engine.site.force import in_force
from engine.site.page import Page
from engine.site.uses import records_of
from engine.site.words import EFFECTS, NO_OPTION, in_words, period_in_words, status_of
from engine.site.worked_cases import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.book import Pack
    from engine.pack.model import Criterion
    from engine.site.catalog import Catalog, Item
    from engine.site.page import Library

CONCEPTS = ("Derived concepts", "concepts.html")


def detail_pages(library: Library) -> Iterator[Page]:
    """Give the pages about one thing each."""
    for item in library.catalog.of_kind("pack"):
        yield _pack(library, item)
    for item in library.catalog.of_kind("criterion"):
        yield _criterion(library, item)
    for item in library.catalog.of_kind("concept"):
        yield _concept(library, item)


def grouped(catalog: Catalog, pack: Pack) -> dict[str, dict[str, list[tuple[Item, Criterion]]]]:
    """Give a pack's criteria by option (or heading without one) and by effect, both in a settled order."""
    options = {o.id: o.title for p in catalog.book.family(pack) if p.options for o in p.options.options}
    found: dict[str, dict[str, list[tuple[Item, Criterion]]]] = {}
    for heading in (*options.values(), *NO_OPTION.values(), "Other criteria"):
        for effect in EFFECTS.values():
            found.setdefault(heading, {})[effect.heading] = []
    for name, criterion in pack.criteria.items():
        titles = [options.get(o, o) for o in criterion.options]
        for title in titles or [NO_OPTION.get(criterion.effect, "Other criteria")]:
            parts = found.setdefault(title, {})
            parts.setdefault(heading_of(criterion), []).append((catalog.items["criterion", pack.id, name], criterion))
    return {h: {e: rows for e, rows in parts.items() if rows} for h, parts in found.items() if any(parts.values())}


def _pack(library: Library, item: Item) -> Page:
    catalog = library.catalog
    pack = catalog.book.packs[item.pack]
    return Page(
        item.address,
        "pack-page.html.j2",
        item.title,
        {
            "item": item,
            "pack": pack,
            "jurisdictions": [
                j
                for j in catalog.jurisdictions
                if any(p is pack for (k, _), s in catalog.sets.items() if k == j for p in s.packs)
            ],
            "extends": [catalog.pack(base) for base in pack.header.extends],
            "extended_by": library.used_by(item).get("Extended by", ()),
            "groups": grouped(catalog, pack),
            "items": {
                kind: [i for i in catalog.of_kind(kind) if i.pack == pack.id]
                for kind in ("concept", "parameter", "source", "referral", "options", "triage")
            },
            "changelog": read_changelog(catalog, catalog.changelogs[pack.id]) if pack.id in catalog.changelogs else (),
        },
    )


def _criterion(library: Library, item: Item) -> Page:
    catalog = library.catalog
    pack = catalog.book.packs[item.pack]
    criterion = pack.criteria[item.name]
    options = {o.id: o.title for p in catalog.book.family(pack) if p.options for o in p.options.options}
    records = records_of(criterion)
    force = in_force(catalog, item)
    return Page(
        item.address,
        "criterion-page.html.j2",
        item.title,
        {
            "item": item,
            "pack": pack,
            "criterion": criterion,
            "effect": in_words(criterion),
            "status": status_of(criterion),
            "options": [options.get(o, o) for o in criterion.options],
            "force": force,
            "absent": [j for j in catalog.jurisdictions if j not in force],
            "dates": period_in_words(criterion.effective),
            "replaces": catalog.find("criterion", criterion.replaces, item.pack) if criterion.replaces else None,
            "carriers": [(name, _carrier(catalog, name, item.pack)) for name in criterion.defined_by],
            "beside": [b for n in criterion.beside if (b := catalog.find("criterion", n, item.pack))],
            "readings": read_condition(catalog, item, criterion),
            "has_condition": criterion.effect not in UNCONDITIONAL,
            "numbers_behind": library.numbers(item),
            "sentence_parts": library.sentence(criterion.explain, item, records),
            "sentence_unknown": library.sentence(criterion.explain_unknown, item, records),
            "cited": library.cited(item, criterion.references),
            "outcomes": outcomes(catalog, library.cases.get(item, []), records),
            "used_by": library.used_by(item),
        },
        ((pack.header.title, catalog.pack(pack.id).address),),
    )


def _carrier(catalog: Catalog, name: str, near: str) -> str:
    item = catalog.named(name, near) or catalog.find("parameter", name, near)
    return item.address if item is not None else ""


def _concept(library: Library, item: Item) -> Page:
    catalog = library.catalog
    pack = catalog.book.packs[item.pack]
    derived = next(d for d in pack.derived if d.id == item.name)
    report = derived.unknown_if.report if derived.unknown_if else ""
    return Page(
        item.address,
        "concept-page.html.j2",
        item.title,
        {
            "item": item,
            "pack": pack,
            "derived": derived,
            "report": catalog.find("criterion", report, item.pack) if report else None,
            "readings": read_condition(catalog, item, derived),
            "numbers_behind": library.numbers(item),
            "cited": library.cited(item, derived.references),
            "outcomes": outcomes(catalog, library.cases.get(item, []), derived.of),
            "used_by": library.used_by(item),
        },
        (CONCEPTS, (pack.header.title, catalog.pack(pack.id).address)),
    )
