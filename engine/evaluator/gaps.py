"""What the cases beside the rules do not show yet.

Truths that can be reached, the two sides of each number, and the two sides of each day on which an answer changes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form
from engine.compiler.leaves import leaves, region_starts
from engine.compiler.packset import PackSet, in_force
from engine.evaluator.audit import support_of
from engine.evaluator.rehearse import has_truth
from engine.evaluator.support import Support
from engine.pack.mentions import mentions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from engine.dictionary import FactDefinition
    from engine.errors import Diagnostic
    from engine.evaluator.rehearse import Outcome
    from engine.pack.book import Located, RuleBook
    from engine.pack.model import Criterion

Subject: TypeAlias = tuple[str, str]
"""Kind and id."""

_PARTS = ("", "?unless", "?given", "?contradiction", "?any_date", "?evidence", "?where")
_TRUTHS: Mapping[str, bool | None] = {"met": True, "not_met": False, "unknown": None}


@dataclass
class Shown:
    """What the cases of one subject show: truths or values, by jurisdiction and day, and the numbers of the facts."""

    expected: set[str] = field(default_factory=set)
    days: dict[tuple[str, date], set[str]] = field(default_factory=lambda: defaultdict(set))
    numbers: dict[str, set[form.Value]] = field(default_factory=lambda: defaultdict(set))


def shown_by(outcomes: Iterable[Outcome]) -> dict[Subject, Shown]:
    """Collect what cases show, by subject."""
    found: dict[Subject, Shown] = defaultdict(Shown)
    for outcome in outcomes:
        shown = found[outcome.case.kind, outcome.case.subject]
        shown.expected.add(outcome.case.expected)
        if outcome.inputs is None or outcome.values is None or outcome.packs is None:
            continue
        shown.days[outcome.packs.jurisdiction, outcome.case.as_of].add(outcome.case.expected)
        for name in _compared(outcome.packs, outcome.case.subject):
            for record in (r for records in outcome.inputs.records.values() for r in records or ()):
                shown.numbers[name].add(record.get(name))
            shown.numbers[name].add(outcome.inputs.values.get(name))
            shown.numbers[name].add(outcome.values.values.get(name))
    return found


def gaps(book: RuleBook, sets: Sequence[PackSet], shown: Mapping[Subject, Shown]) -> Iterator[Diagnostic]:
    """List what cases are lacking.

    Args:
        book: the packs.
        sets: the same, compiled whole for every jurisdiction and payer; what applies nowhere needs no cases.
        shown: what the cases show.

    """
    done: set[Subject] = set()
    idle: dict[Subject, Diagnostic] = {}
    turned: set[tuple[str, date]] = set()
    nothing = Shown()
    for packs in sets:
        finder = _Finder(book, packs)
        for name, day, place in finder.turns():
            if (name, day) not in turned:
                turned.add((name, day))
                yield from finder.turn(name, day, place, shown.get(("criterion", name), nothing))
        subjects = [("criterion", n) for n in packs.criteria] + [("derived", n) for n in packs.derived]
        for subject in subjects:
            if subject not in done:
                done.add(subject)
                yield from finder.gaps(subject, shown.get(subject, nothing))
                fault = finder.idle(subject)
                if fault is not None:
                    idle[subject] = fault
            elif subject in idle and finder.idle(subject) is None:
                del idle[subject]
        for rule in packs.referrals:
            subject = ("referral", f"{rule.kind}/{rule.urgency}")
            if subject not in done:
                done.add(subject)
                if subject not in shown:
                    located = next(p.located["referral", rule.id] for p in packs.packs if rule in p.referrals)
                    message = f"the referral `{subject[1]}` has no case"
                    yield located.fault("cases/none", message, f"add `- referral: {subject[1]}` to a cases file")
    yield from idle.values()


class _Finder:
    def __init__(self, book: RuleBook, packs: PackSet) -> None:
        self.book = book
        self.packs = packs
        self.support = support_of(book, packs)
        self._reach: dict[tuple[str, str], bool | None] = {}

    def gaps(self, subject: Subject, shown: Shown) -> Iterator[Diagnostic]:
        kind, name = subject
        located = next(p.located[subject] for p in self.packs.packs if subject in p.located)
        criterion = self.packs.criteria.get(name) if kind == "criterion" else None
        if kind == "derived" and not shown.expected:
            yield located.fault("cases/none", f"`{name}` has no case", "add cases in the cases file beside it")
        if criterion is not None:
            for truth in self._reachable(criterion, shown.expected):
                message = f"`{name}` can be {truth.replace('_', ' ')}, and no case shows it"
                yield located.fault("cases/none", message, f"add one under `{truth}`", ("id",))
        if shown.expected:
            for fact, number in self._sides(name, shown.numbers):
                message = f"no case of `{name}` stands at {number}"
                hint = f"show {fact} on each side of the number it is compared with"
                yield located.fault("cases/side", message, hint, ("id",))

    def idle(self, subject: Subject) -> Diagnostic | None:
        """Give the fault of a criterion that can never act while it is in force, here; None if it can, or may.

        What ends is passed over where it reads dated numbers: those of today say nothing about its own time.
        """
        criterion = self.packs.criteria.get(subject[1]) if subject[0] == "criterion" else None
        if criterion is None or not has_truth(criterion) or not self._is_computed(criterion):
            return None
        acts = "unknown" if criterion.effect == "requires" or criterion.shown_if == "unknown" else "met"
        ends = criterion.effective.until is not None and any(n.startswith("$") for n in mentions(criterion))
        if ends or self._can_be(criterion, acts) is not False:
            return None
        message = f"`{criterion.id}` can never be {acts}, so it never {criterion.effect.replace('_', ' ')}"
        hint = "its condition, or a concept or exception that it reads, contradicts itself"
        return self._place(*subject).fault("lint/never-acts", message, hint, ("needs" if criterion.needs else "when",))

    def turns(self) -> Iterator[tuple[str, date, Located]]:
        """Give criteria and the days on which each begins or ends to hold, or a number that it reads changes."""
        for name, criterion in self.packs.criteria.items():
            if not has_truth(criterion) or criterion.effect == "discounts":
                continue
            period = criterion.effective
            yield from ((name, d, self._place("criterion", name)) for d in (period.from_, period.until) if d)
            for number, (parameter, _) in self.packs.parameters.items():
                if f"${number}" in mentions(criterion):
                    yield from ((name, d, self._place("parameter", number)) for d in sorted(parameter.values)[1:])

    def turn(self, name: str, day: date, place: Located, shown: Shown) -> Iterator[Diagnostic]:
        """List what is lacking around a day: a case on it and one on the day before that expect different things."""
        before = day - timedelta(days=1)
        found = [shown.days.get((self.packs.jurisdiction, d), set()) for d in (before, day)]
        if not all(found) or found[0] == found[1]:
            message = f"no cases of `{name}` show what changes on {day.isoformat()} ({self.packs.jurisdiction})"
            hint = f"add one with `as_of: {before.isoformat()}` and one with `as_of: {day.isoformat()}`"
            yield place.fault("cases/day", message, hint)

    def _place(self, kind: str, name: str) -> Located:
        """Give where an item stands, in the last pack that has it."""
        return next(p.located[kind, name] for p in reversed(self.packs.packs) if (kind, name) in p.located)

    def _reachable(self, criterion: Criterion, shown: set[str]) -> Iterator[str]:
        """Give the truths that can be reached while the criterion is in force and that no case shows."""
        if not has_truth(criterion):
            return
        if self._is_computed(criterion):
            truths = [t for t in _TRUTHS if not (criterion.needs and t == "not_met")]
            yield from (t for t in truths if t not in shown and self._can_be(criterion, t) is not False)
        else:
            yield from sorted(({"met", "not_met"} if criterion.repeats else {"met"}) - shown)

    def _is_computed(self, criterion: Criterion) -> bool:
        """Say whether a node holds the criterion's truth; what always holds, or repeats a record, has none."""
        return not criterion.repeats and (criterion.effect == "discounts" or criterion.id in self.packs.nodes)

    def _can_be(self, criterion: Criterion, truth: str) -> bool | None:
        name = criterion.id
        if (name, truth) not in self._reach:
            support = self.support
            if criterion.effect == "discounts":
                fields = {f.id: f for f in self.book.facts[criterion.of].fields}
                support = Support(self.packs.compiled.records[criterion.of], fields)
            wanted = False if criterion.needs and truth == "unknown" else _TRUTHS[truth]
            self._reach[name, truth] = support.can_be(name, wanted, {in_force(name): True})
        return self._reach[name, truth]

    def _sides(self, name: str, shown: Mapping[str, set[form.Value]]) -> Iterator[tuple[str, str]]:
        for fact, starts in sorted(_compared(self.packs, name).items()):
            is_count = isinstance(self.packs.nodes.get(fact), form.CountNode)
            definition = self._definition(fact)
            values = {v[0] if isinstance(v, tuple) else v for v in shown.get(fact, ()) if v is not None}
            inner = [s for s in starts if _exists(s - 1, definition) and _exists(s, definition)]
            for side in sorted({s for start in inner for s in (start - 1, start)}):
                is_shown = side in values
                if is_count:
                    is_shown = any(isinstance(v, int) and (v >= side if side in inner else v <= side) for v in values)
                if not is_shown:
                    yield fact, _number_at(fact, side, definition)

    def _definition(self, name: str) -> FactDefinition | None:
        symbols = [self.packs.symbols.get(name)]
        symbols += [scope.get(name) for scope in self.packs.record_symbols.values()]
        return next((s.definition for s in symbols if s is not None), None)


def _compared(packs: PackSet, name: str) -> dict[str, set[int]]:
    """Give the facts and counts that a subject itself compares with numbers, and where its mind changes."""
    graphs = [packs.nodes, *({n.name: n for n in g.nodes} for g in packs.compiled.records.values())]
    found: dict[str, set[int]] = defaultdict(set)
    for graph in graphs:
        for part in _PARTS:
            node = graph.get(name + part)
            for leaf in leaves(node) if node is not None else ():
                symbol = packs.symbols.get(leaf.node)
                is_set = symbol is not None and symbol.kind == "set"
                if isinstance(leaf, form.Compare) and not is_set:
                    found[leaf.node].update(region_starts(leaf))
    return found


def _exists(number: int, definition: FactDefinition | None) -> bool:
    if definition is None or definition.range is None:
        return number >= 0
    low, high = (definition.scaled(n) for n in definition.range)
    return low is not None and high is not None and low <= number <= high


def _number_at(fact: str, number: int, definition: FactDefinition | None) -> str:
    if definition is not None and definition.type == "date":
        return f"`{fact}` {number} days before its day"
    if definition is None:
        return f"`{fact}` {number}"
    return f"`{fact}` {definition.in_words(number, with_unit=False)} {definition.unit}".rstrip()
