"""The rules as the pages need them, read once: every item with its address, the packs as evaluated, and the cases."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine import trials
from engine.compiler.stages import compile_packs
from engine.errors import RulePackError
from engine.pack.cases import read_cases
from engine.pack.load import load_rules
from engine.page.environment import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from engine.compiler.packset import PackSet
    from engine.pack.book import Located, Pack, RuleBook
    from engine.pack.cases import Case

Kind: TypeAlias = Literal[
    "pack", "criterion", "concept", "parameter", "source", "referral", "fact", "field", "options", "triage"
]
Pieces: TypeAlias = tuple[tuple[str, str], ...]
"""Text in pieces, each with the address that it leads to; empty where it leads nowhere."""

ENRICHED = (*trials.ENRICHED_TRUTHS, *trials.ENRICHED_NUMBERS, *trials.ENRICHED_TEXTS)
"""What is worked out from each record of a list, beside its own fields."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_ID = re.compile(r"\b[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+\b")
_PAGES: Mapping[Kind, str] = {
    "pack": "packs/{}.html",
    "criterion": "criteria/{}.html",
    "concept": "concepts/{}.html",
    "parameter": "parameters.html#{}",
    "source": "sources.html#{}",
    "referral": "referrals.html#{}",
    "fact": "facts.html#{}",
    "field": "facts.html#{}",
    "options": "packs/{}.html#:options",
    "triage": "triage.html#{}",
}
_LOCATED: Mapping[str, Kind] = {
    "pack": "pack",
    "criterion": "criterion",
    "derived": "concept",
    "parameter": "parameter",
    "reference": "source",
    "referral": "referral",
    "options": "options",
    "triage": "triage",
}


@dataclass(frozen=True, slots=True)
class Item:
    """Something that has a place of its own on the site.

    Attributes:
        kind: what it is.
        name: its id.
        title: what it is about.
        pack: the id of the pack that holds it; empty for what the data dictionary holds.
        address: its page inside the site, with an anchor where it shares the page.
        place: the file and line where it is written.

    """

    kind: Kind
    name: str
    title: str
    pack: str
    address: str
    place: str

    @property
    def anchor(self) -> str:
        """The anchor of an item that shares its page; empty for a page of its own."""
        return self.address.partition("#")[2]


def slug(name: str) -> str:
    """Write a name so that it can stand in a file name and an anchor; names that differ stay different."""
    return _UNSAFE.sub(lambda found: f"~{ord(found[0]):x}", name)


@dataclass(frozen=True)
class Catalog:
    """Everything that the pages say is taken from here.

    Attributes:
        book: the packs.
        cases: the cases beside the rules.
        changelogs: the CHANGELOG.md of each pack that has one, by the pack's id.
        day: the day for whose numbers the conditions are written: the last review of any pack.
        sets: the packs that answer, compiled, by jurisdiction and payer (empty: without one).

    """

    book: RuleBook
    cases: tuple[Case, ...]
    changelogs: Mapping[str, str]
    day: date
    sets: Mapping[tuple[str, str], PackSet]

    @cached_property
    def jurisdictions(self) -> tuple[str, ...]:
        """The jurisdictions that active packs serve, in the order of the data dictionary."""
        listed = [j for j in self.book.dictionary.allowed("jurisdiction") if j in self.book.jurisdictions]
        return (*listed, *sorted(self.book.jurisdictions - set(listed)))

    @cached_property
    def items(self) -> Mapping[tuple[Kind, str, str], Item]:
        """Every item by kind, pack and name."""
        packs = self.book.packs.values()
        shared = Counter(key for pack in packs for key in pack.located)
        kinds = {kind: words for pack in packs for kind, words in pack.referral_kinds.items()}
        found = [*self._dictionary()]
        for pack in packs:
            for located, name in pack.located:
                if located in _LOCATED:
                    title = _title(pack, located, name, kinds)
                    found.append(_item(pack, (located, name), title, is_shared=shared[located, name] > 1))
        return {(item.kind, item.pack, item.name): item for item in found}

    def of_kind(self, *kinds: Kind) -> Iterator[Item]:
        """Give the items of some kinds, kind by kind, in reading order."""
        return (item for kind in kinds for item in self.items.values() if item.kind == kind)

    def find(self, kind: Kind, name: str, near: str = "") -> Item | None:
        """Find an item as a pack means it: in the pack itself, in those that it extends, else in any."""
        if near in self.book.packs:
            for pack in reversed(self.book.family(self.book.packs[near])):
                if (kind, pack.id, name) in self.items:
                    return self.items[kind, pack.id, name]
        return self._anywhere.get((kind, name))

    def named(self, name: str, near: str, records: str = "") -> Item | None:
        """Find what a condition or sentence means by a name: a field of `records`, a concept, a fact or a criterion.

        A parameter's name begins with `$`.
        """
        if name.startswith("$"):
            return self.find("parameter", name[1:], near)
        field = self.find("field", f"{records}.{name}") if records else None
        return (
            field or self.find("concept", name, near) or self.find("fact", name) or self.find("criterion", name, near)
        )

    def pack(self, pack_id: str) -> Item:
        """Give a pack as an item."""
        return self.items["pack", pack_id, ""]

    def mentioned(self, text: str) -> Pieces:
        """Cut a text at the ids of criteria that it mentions, so that they can be linked."""
        pieces: list[tuple[str, str]] = []
        end = 0
        for found in _ID.finditer(text):
            item = self._anywhere.get(("criterion", found[0]))
            if item is not None:
                pieces += [(text[end : found.start()], ""), (found[0], item.address)]
                end = found.end()
        return tuple(piece for piece in (*pieces, (text[end:], "")) if piece[0])

    @cached_property
    def addresses(self) -> frozenset[str]:
        """The address of every item."""
        return frozenset(item.address for item in self.items.values())

    @cached_property
    def sets_in(self) -> Mapping[str, tuple[PackSet, ...]]:
        """For each jurisdiction its compiled sets, the one without a payer first."""
        return {j: tuple(self.sets[key] for key in sorted(self.sets) if key[0] == j) for j in self.jurisdictions}

    @cached_property
    def _anywhere(self) -> Mapping[tuple[Kind, str], Item]:
        found: dict[tuple[Kind, str], Item] = {}
        for item in self.items.values():
            found.setdefault((item.kind, item.name), item)
        return found

    def _dictionary(self) -> Iterator[Item]:
        for fact in self.book.dictionary.facts:
            yield Item("fact", fact.id, fact.label, "", _PAGES["fact"].format(slug(fact.id)), "")
            own = {f.id: f.label for f in fact.fields}
            worked_out = {name: words(name) for name in ENRICHED if fact.fields and name not in own}
            for name, label in {**own, **worked_out}.items():
                path = f"{fact.id}.{name}"
                yield Item("field", path, label, "", _PAGES["field"].format(slug(path)), "")


def read_catalog(folder: Path, overlays: Sequence[Path] = ()) -> Catalog:
    """Read a rules folder, and folders of local packs; packs that differ from the lock are taken as they are.

    Raises:
        RulePackError: the packs, their cases or the list of other ids cannot be read.

    """
    book = load_rules(folder, overlays, is_locked=False)
    cases, faults = read_cases(folder, book, overlays)
    if faults:
        raise RulePackError(faults)
    day = max((pack.header.last_review_date for pack in book.packs.values()), default=date.min)
    sets = {}
    for jurisdiction in sorted(book.jurisdictions):
        alone = compile_packs(book, jurisdiction, None, day, is_whole=True)
        sets[jurisdiction, ""] = alone
        for payer in sorted(book.payers):
            if len(book.packs_for(jurisdiction, payer)) > len(alone.packs):
                sets[jurisdiction, payer] = compile_packs(book, jurisdiction, payer, day, is_whole=True)
    return Catalog(book, tuple(cases), _changelogs(folder, book), day, sets)


def place_of(pack: Pack, where: Located) -> str:
    """Name the file and line where something of a pack is written; a local pack's begins with its id."""
    line, _ = where.source.place(where.path)
    file = where.source.file
    is_local = PurePosixPath(pack.folder).is_absolute()
    inside = f"{pack.id}/{PurePosixPath(file).relative_to(pack.folder)}" if is_local else f"rules/{file}"
    return f"{inside}:{line}"


def _changelogs(folder: Path, book: RuleBook) -> dict[str, str]:
    paths = {pack.id: folder / pack.folder / "CHANGELOG.md" for pack in book.packs.values()}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


def _item(pack: Pack, key: tuple[str, str], title: str, *, is_shared: bool) -> Item:
    """Make an item; where packs that never meet share a name, the address names the pack too."""
    located, name = key
    kind, where = _LOCATED[located], pack.located[key]
    unique = pack.id if not name else f"{name}.{pack.id}" if is_shared else name
    return Item(kind, name, title, pack.id, _PAGES[kind].format(slug(unique)), place_of(pack, where))


def _title(pack: Pack, located: str, name: str, kinds: Mapping[str, str]) -> str:
    match located:
        case "pack":
            return pack.header.title
        case "criterion":
            return pack.criteria[name].title
        case "derived":
            return next(d.label for d in pack.derived if d.id == name)
        case "parameter":
            return pack.parameters[name].label
        case "reference":
            return pack.references[name].title
        case "referral":
            kind, urgency, _ = name.split("/", 2)
            return f"{kinds.get(kind, words(kind))}, {words(urgency)}"
        case "options":
            return "Options and their order"
        case _:
            return "Triage of suicide risk"
