"""How one criterion stands in one evaluation, also where it decides nothing; and what it rests on there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compare.stretches import REFERRAL, answer_of
from engine.compiler.packset import referral_node
from engine.evaluator.decision import Citation
from engine.pack.mentions import mentions
from engine.pack.model import Criterion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.compare.stretches import Cell
    from engine.compiler.packset import PackSet
    from engine.evaluator.decision import CriterionFinding
    from engine.pack.mentions import Item
    from engine.pack.model import Derived, Period, ReferralRule
    from engine.truth import Truth


@dataclass(frozen=True)
class Standing:
    """The criteria of one evaluation, as they stand for one subject.

    A referral names criteria, but has a condition and dates of its own: those count for its subject.
    """

    cell: Cell
    subject: str

    @property
    def _packs(self) -> PackSet:
        return self.cell.packs

    def _criterion(self, name: str) -> Criterion | None:
        return self._packs.criteria.get(name)

    def _referrals(self, name: str) -> tuple[ReferralRule, ...]:
        kind = self.subject.removeprefix(REFERRAL)
        return tuple(r for r in self._packs.referrals if r.kind == kind and name in r.criteria)

    @property
    def _is_referral(self) -> bool:
        return self.subject.startswith(REFERRAL)

    def exists(self, name: str) -> bool:
        """Say whether the rules of this place have it."""
        return bool(self._referrals(name)) if self._is_referral else self._criterion(name) is not None

    def period(self, name: str) -> Period | None:
        """Give the days on which it is in force; None where it has no dates."""
        names = [r.id for r in self._referrals(name)] if self._is_referral else [name]
        dated = [p for n in names if (p := self._packs.periods.get(n)) is not None and (p.from_ or p.until)]
        return dated[0] if len(dated) == len(names) and dated else None

    def is_in_force(self, name: str) -> bool:
        """Say whether it is in force on these days."""
        names = [r.id for r in self._referrals(name)] if self._is_referral else [name]
        periods = [self._packs.periods.get(n) for n in names]
        return any(p is None or p.holds(self.cell.span.first) for p in periods)

    def taken_by(self, name: str) -> str:
        """Name the criterion that takes its place on these days; empty if none does."""
        takers = (n for n, c in self._packs.criteria.items() if c.replaces == name)
        day = self.cell.span.first
        return next((n for n in takers if n not in self._packs.periods or self._packs.periods[n].holds(day)), "")

    def takes_place_of(self, name: str, there: Standing) -> str:
        """Name the criterion whose place it takes, if another place has that one; empty if there is none."""
        criterion = None if self._is_referral else self._criterion(name)
        return criterion.replaces if criterion and criterion.replaces in there.cell.packs.criteria else ""

    def items(self, name: str) -> tuple[Item, ...]:
        """Give what its truth is read from: its criterion, or the rules of its referral."""
        if self._is_referral:
            return self._referrals(name)
        criterion = self._criterion(name)
        return (criterion,) if criterion else ()

    def has_truth(self, name: str) -> bool:
        """Say whether it is met, not met or unknown at all; a conclusion from other criteria is not."""
        criterion = self._criterion(name)
        return self._is_referral or (criterion is not None and criterion.effect not in {"concludes", "withholds"})

    def truth(self, name: str) -> Truth:
        """Give its truth; of what has none, whether this place reports it."""
        criterion = self._criterion(name)
        if self._is_referral:
            truths = [self.cell.values.values.get(referral_node(r)) for r in self._referrals(name)]
            return True if True in truths else None if None in truths else False
        if criterion is None or not self.has_truth(name):
            return name in answer_of(self.cell, self.subject).criteria
        if criterion.effect == "discounts":
            concluded = self.cell.values.records.get(criterion.of, ())
            return any(record.get(name) is True for record in concluded)
        value = self.cell.values.values.get(name, criterion.when == "always")
        return value if value is True or value is False else None

    def is_like(self, other: Standing, name: str) -> bool:
        """Say whether it has the same truth in another place."""
        return self.truth(name) is other.truth(name)

    def indications_behind(self, name: str) -> Iterator[str]:
        """Name the indications in force that a conclusion speaks about: that none is met, or that this is unknown."""
        for option in self._packs.options:
            group = option.indication
            if option.id == self.subject and group is not None and name in {group.not_met, group.unknown}:
                mine = ((n, c) for n, c in self._packs.criteria.items() if self.subject in c.options)
                yield from (
                    n for n, c in mine if c.effect == "indicates" and self.is_in_force(n) and not self.taken_by(n)
                )

    def _finding(self, name: str) -> CriterionFinding | None:
        decision = self.cell.decision
        mine = [c for option in decision.options if option.option == self.subject for c in option.criteria]
        beside = (*decision.triage.criteria, *(decision.coverage.criteria if decision.coverage else ()))
        return next((c for c in (*mine, *beside) if c.id == name), None)

    def effect(self, name: str) -> str:
        """Say what it does."""
        criterion = self._criterion(name)
        return "" if criterion is None or self._is_referral else criterion.effect

    def title(self, name: str) -> str:
        """Say what it is about."""
        criterion = self._criterion(name)
        return criterion.title if criterion else name

    def confirmed(self, name: str) -> str:
        """Say how far its sources were read; empty for a referral, whose criteria say it."""
        criterion = self._criterion(name)
        return criterion.confirmed if criterion else ""

    def sentence(self, name: str) -> str:
        """Give what is said of the patient; empty where the answer says nothing about it."""
        if self._is_referral:
            kind = self.subject.removeprefix(REFERRAL)
            found = (r.because for r in self.cell.decision.referrals if r.kind == kind and name in r.criteria)
            return next(found, "")
        finding = self._finding(name)
        return finding.because if finding else ""

    def citations(self, name: str) -> tuple[Citation, ...]:
        """Give its sources."""
        criterion = self._criterion(name)
        sources = {key: source for pack in self._packs.packs for key, source in pack.references.items()}
        cited = criterion.references if criterion else ()
        return tuple(Citation(c.source, sources[c.source].title, c.section, c.supports) for c in cited)


def rests_on(name: str, one: Standing, other: Standing) -> tuple[str, ...]:
    """Say in words what a criterion rests on, at any depth, that is not the same in two places."""
    cells = one.cell, other.cell
    return tuple(dict.fromkeys(_moved((*one.items(name), *other.items(name)), cells, set())))


def _moved(items: Iterable[Item], cells: tuple[Cell, Cell], seen: set[str]) -> Iterator[str]:
    for item in items:
        for read in sorted(mentions(item) - seen):
            seen.add(read)
            yield from _parameter(read, cells)
            named = [_named(read, cell.packs) for cell in cells]
            yield from _concept(read, named, cells)
            yield from _moved((found for found in named if found is not None), cells, seen)


def _named(name: str, packs: PackSet) -> Criterion | Derived | None:
    return packs.criteria.get(name) or packs.derived.get(name)


def _parameter(read: str, cells: tuple[Cell, Cell]) -> Iterator[str]:
    key = read.removeprefix("$")
    found = [cell.packs.parameters.get(key) for cell in cells]
    if key != read and found[0] and found[1] and found[0][1] != found[1][1]:
        parameter = found[0][0]
        numbers = [f"{number:f} {parameter.unit}".rstrip() for _, number in (found[0], found[1])]
        yield f"{parameter.label} ({numbers[0]}, there {numbers[1]})"


def _concept(read: str, named: list[Criterion | Derived | None], cells: tuple[Cell, Cell]) -> Iterator[str]:
    item = named[0] or named[1]
    if item is None:
        return
    words = f"{item.title if isinstance(item, Criterion) else item.label} ({read})"
    if None in named:
        yield f"{words}, which is no rule {'there' if named[0] else 'where it decides'}"
    elif repr(cells[0].values.values.get(read)) != repr(cells[1].values.values.get(read)):
        yield words
