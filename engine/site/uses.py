"""Who reads what: which criteria, concepts, referrals and other parts of the rules rest on an item."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from engine.pack.mentions import conditions_of
from engine.pack.model import Criterion, Derived, ReferralRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.pack.book import Pack
    from engine.pack.model import Options
    from engine.site.catalog import Catalog, Item, Kind

Rule: TypeAlias = Criterion | Derived | ReferralRule

READS = "Read by"
CITES = "Cited by"

_NAME = re.compile(r"\$?[A-Za-z][A-Za-z0-9_]*(?:-[A-Z0-9]+)*")
_OPERATORS = frozenset({"all", "any", "not", "at_least", "of", "count", "where"})


class Uses:
    """Looks up what an item reads, and who reads it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @cached_property
    def reads(self) -> Mapping[Item, tuple[Item, ...]]:
        """What each criterion, concept and referral reads directly, in the order in which it is written."""
        found: dict[Item, tuple[Item, ...]] = {}
        for pack in self._catalog.book.packs.values():
            for item, rule in _rules(self._catalog, pack):
                names = (self._catalog.named(name, pack.id, records_of(rule)) for name in names_read(rule))
                found[item] = tuple(dict.fromkeys(read for read in names if read is not None and read != item))
        return found

    @cached_property
    def used_by(self) -> Mapping[Item, Mapping[str, tuple[Item, ...]]]:
        """For each item, who uses it, by what the use is."""
        found: dict[Item, dict[str, dict[Item, None]]] = {}
        for use, user, used in self._uses():
            found.setdefault(used, {}).setdefault(use, {})[user] = None
        return {item: {use: tuple(users) for use, users in uses.items()} for item, uses in found.items()}

    def behind(self, item: Item, kind: Kind) -> tuple[Item, ...]:
        """Give the items of a kind that an item rests on, at any depth, nearest first."""
        found: dict[Item, None] = {}
        queue = [item]
        while queue:
            for read in self.reads.get(queue.pop(0), ()):
                if read not in found:
                    found[read] = None
                    queue.append(read)
        return tuple(read for read in found if read.kind == kind)

    def _uses(self) -> Iterator[tuple[str, Item, Item]]:
        for user, items in self.reads.items():
            for used in items:
                yield READS, user, used
        for pack in self._catalog.book.packs.values():
            for base in pack.header.extends:
                yield "Extended by", self._catalog.pack(pack.id), self._catalog.pack(base)
            for user, rule in _rules(self._catalog, pack):
                yield from self._named(user, rule)
                for cited in [] if isinstance(rule, ReferralRule) else rule.references:
                    yield from self._one(CITES, user, "source", cited.source)
            for name, parameter in pack.parameters.items():
                for cited in parameter.references:
                    user = self._catalog.items["parameter", pack.id, name]
                    yield from self._one(CITES, user, "source", cited.source)
            for name, reference in pack.references.items():
                if reference.replaces:
                    user = self._catalog.items["source", pack.id, name]
                    yield from self._one("Replaced by", user, "source", reference.replaces)
            if pack.options is not None:
                yield from self._of_options(self._catalog.items["options", pack.id, ""], pack.options)
            if pack.triage is not None:
                user = self._catalog.items["triage", pack.id, ""]
                for name in dict.fromkeys((*pack.triage.asks, *pack.triage.provisional_while_missing)):
                    yield from self._one("Asked for by", user, "fact", name)

    def _named(self, user: Item, rule: Rule) -> Iterator[tuple[str, Item, Item]]:
        match rule:
            case Criterion():
                if rule.replaces:
                    yield from self._one("Steps back for", user, "criterion", rule.replaces)
                for name in rule.beside:
                    yield from self._one("Beside it is reported", user, "criterion", name)
                for name in rule.defined_by:
                    for kind in ("concept", "parameter"):
                        yield from self._one("Documented by", user, kind, name)
            case Derived() if rule.unknown_if is not None:
                yield from self._one("Tells of a contradiction in", user, "criterion", rule.unknown_if.report)
            case ReferralRule():
                for name in rule.criteria:
                    yield from self._one("Named by the referral", user, "criterion", name)

    def _of_options(self, user: Item, options: Options) -> Iterator[tuple[str, Item, Item]]:
        for option in options.options:
            group = option.indication
            for name in (group.not_met, group.unknown, group.out_of_date) if group else ():
                yield from self._one("Says what the indications come to", user, "criterion", name)
            if group is not None and group.trials:
                yield from self._one("Counts the trials of an option", user, "concept", group.trials)
        for screen in options.also_ask:
            yield from self._one("Also asked for by", user, "fact", screen.fact)
        conditions = [options.order.conventional_first_when, *(screen.when for screen in options.also_ask)]
        for name in (name for condition in conditions for name in _names(condition)):
            used = self._catalog.named(name, user.pack)
            if used is not None:
                yield READS, user, used

    def _one(self, use: str, user: Item, kind: Kind, name: str) -> Iterator[tuple[str, Item, Item]]:
        used = self._catalog.find(kind, name, user.pack)
        if used is not None:
            yield use, user, used


def names_read(rule: Rule) -> Iterator[str]:
    """Give the names that a rule's conditions read, as they are written; a parameter's begins with `$`."""
    if isinstance(rule, Derived) and rule.count:
        yield rule.count
    if isinstance(rule, Criterion) and rule.repeats:
        yield rule.repeats
    for part in conditions_of(rule):
        yield from _names(part)


def records_of(rule: Rule) -> str:
    """Name the list whose single records a rule's conditions are about; empty for the patient."""
    match rule:
        case Criterion():
            return rule.of if rule.effect == "discounts" else ""
        case Derived():
            return rule.of or rule.count
        case _:
            return ""


def _names(part: object) -> Iterator[str]:
    """Give the name that each text begins with, parameters, and witnesses whose values are mapped."""
    match part:
        case str():
            names = _NAME.findall(part)
            yield from (name for place, name in enumerate(names) if not place or name.startswith("$"))
        case dict():
            for key, value in part.items():
                if key in _OPERATORS:
                    yield from _names(value)
                else:
                    yield str(key)
        case list() | tuple():
            for value in part:
                yield from _names(value)


def _rules(catalog: Catalog, pack: Pack) -> Iterator[tuple[Item, Rule]]:
    for name, criterion in pack.criteria.items():
        yield catalog.items["criterion", pack.id, name], criterion
    for derived in pack.derived:
        yield catalog.items["concept", pack.id, derived.id], derived
    for referral in pack.referrals:
        yield catalog.items["referral", pack.id, referral.id], referral
