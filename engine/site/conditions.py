"""Conditions as trees of linked text: in plain English where a pack answers, else as they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compiler.english import English
from engine.compiler.packset import referral_node
from engine.pack.model import Derived, ReferralRule
from engine.site.uses import records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.compiler.packset import PackSet
    from engine.site.catalog import Catalog, Item, Pieces
    from engine.site.uses import Rule

_BEGIN, _BETWEEN, _END = "\x02", "\x1f", "\x03"
"""Stand around a name and its label while a condition is one text."""
_INDENT = 2
_KEYS = ("when", "needs", "given", "unless", "repeats", "first_known", "otherwise", "count", "where", "distinct")
"""Where a rule says under which condition it holds."""


@dataclass(frozen=True)
class Line:
    """One line of a condition, and the lines that belong to it."""

    pieces: Pieces
    parts: tuple[Line, ...] = ()

    @property
    def is_ordered(self) -> bool:
        """Whether the order of its parts decides: the first that is known speaks."""
        return any(text.startswith("the first of these") for text, _ in self.pieces)


@dataclass(frozen=True)
class Reading:
    """What a condition says in some jurisdictions.

    Attributes:
        jurisdictions: where it says so; empty where it is only shown as it is written.
        condition: the condition.
        concepts: the concepts behind it, nearest first, each with its definition.

    """

    jurisdictions: tuple[str, ...]
    condition: tuple[Line, ...]
    concepts: tuple[tuple[Item, tuple[Line, ...]], ...] = ()


def read_condition(catalog: Catalog, item: Item, rule: Rule) -> tuple[Reading, ...]:
    """Read the condition of a criterion, concept or referral, once for all jurisdictions in which it says the same."""
    found: dict[Reading, list[str]] = {}
    for jurisdiction in catalog.jurisdictions:
        packs = set_with(catalog, item, jurisdiction)
        if packs is not None:
            found.setdefault(_read(catalog, packs, item, rule), []).append(jurisdiction)
    if not found:
        keys = {key: getattr(rule, key, None) for key in _KEYS}
        given = {key: value for key, value in keys.items() if value or value is False}
        return (Reading((), tuple(_written(given))),)
    return tuple(Reading(tuple(j), r.condition, r.concepts) for r, j in found.items())


def set_with(catalog: Catalog, item: Item, jurisdiction: str) -> PackSet | None:
    """Give a compiled set in which an item applies in a jurisdiction, the one without a payer first."""
    return next((packs for packs in catalog.sets_in[jurisdiction] if holds(packs, item)), None)


def holds(packs: PackSet, item: Item) -> bool:
    """Say whether a criterion, referral or concept applies in a compiled set."""
    if all(pack.id != item.pack for pack in packs.packs):
        return False
    match item.kind:
        case "criterion":
            return item.name in packs.criteria
        case "referral":
            return any(rule.id == item.name for rule in packs.referrals)
        case _:
            return item.name in packs.derived


def _read(catalog: Catalog, packs: PackSet, item: Item, rule: Rule) -> Reading:
    records = rule.of if isinstance(rule, Derived) else records_of(rule)
    english = English(packs, records, _naming(catalog, item.pack))
    node = referral_node(rule) if isinstance(rule, ReferralRule) else item.name
    concepts = []
    for name in english.concepts(node):
        concept = catalog.find("concept", name, item.pack)
        if concept is not None:
            inner = English(packs, packs.derived[name].of, english.naming)
            concepts.append((concept, tuple(_tree(catalog, inner.condition(name)))))
    return Reading((), tuple(_tree(catalog, english.condition(node))), tuple(concepts))


def _naming(catalog: Catalog, near: str) -> Callable[[str, str, str], str]:
    def name_and_label(records: str, name: str, label: str) -> str:
        item = catalog.named(name.partition("?")[0], near, records)
        return f"{_BEGIN}{item.address}{_BETWEEN}{label}{_END}" if item is not None else label

    return name_and_label


def _tree(catalog: Catalog, lines: Sequence[str]) -> Iterator[Line]:
    """Read indented lines as a tree."""
    start = 0
    while start < len(lines):
        end = start + 1
        while end < len(lines) and lines[end].startswith(" " * _INDENT):
            end += 1
        parts = [line[_INDENT:] for line in lines[start + 1 : end]]
        yield Line(tuple(_pieces(catalog, lines[start])), tuple(_tree(catalog, parts)))
        start = end


def _pieces(catalog: Catalog, line: str) -> Iterator[tuple[str, str]]:
    first, *marked = line.split(_BEGIN)
    if first:
        yield first, ""
    for piece in marked:
        named, _, rest = piece.partition(_END)
        address, _, label = named.partition(_BETWEEN)
        yield label, address if address in catalog.addresses else ""
        if rest:
            yield rest, ""


def _written(part: object) -> Iterator[Line]:
    """Show a condition as it is written in the rules."""
    match part:
        case {"at_least": {"n": n, "of": inner}}:
            yield Line(((f"at least {n} of:", ""),), tuple(_written(inner)))
        case dict():
            for key, value in part.items():
                is_plain = not isinstance(value, dict | list | tuple)
                text = f"{key}: {value}" if is_plain else f"{key}:"
                yield Line(((text, ""),), () if is_plain else tuple(_written(value)))
        case list() | tuple():
            for value in part:
                yield from _written(value)
        case _:
            yield Line(((str(part), ""),))
