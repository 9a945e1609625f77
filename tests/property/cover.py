"""Which criteria can rule an option out although they are unknown behind a positive answer, tried exhaustively."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form
from engine.compiler.levels import LEVELS, level_of
from engine.compiler.packset import in_force
from engine.evaluator.interpret import Interpreter
from tests.property.brute_force import BruteForce
from tests.property.completions import Completions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from engine.compiler.packset import PackSet
    from engine.pack.book import RuleBook

BLOCKED = frozenset(LEVELS[: LEVELS.index("insufficient_data")])
MOST_LOCAL = 20_000_000

Guard: TypeAlias = tuple[str, ...]
"""Nodes of which one has to be true."""


class Cover:
    """Looks for blocking criteria that can be unknown while all that an option requires is known and it is indicated.

    Each is tried over its own facts and those of the requirements and indications that share one with it.
    """

    def __init__(self, book: RuleBook, packs: PackSet) -> None:
        self.packs = packs
        self._force = BruteForce(book, packs)
        self._unrequired = {option.id: self._without_requirement(option.id) for option in packs.options}
        self._found: dict[frozenset[str], dict[str, set[str]]] = {}

    def uncovered(self, day: date) -> dict[str, set[str]]:
        """Give, for each option, the criteria in force on a day that nothing covers."""
        rules = frozenset(n for n in self.packs.periods if self._holds(n, day))
        if rules not in self._found:
            self._found[rules] = {
                option: {n for n, guards in rows.items() if self._is_uncovered(n, guards, option, day)}
                for option, rows in self._unrequired.items()
            }
        return self._found[rules]

    def _is_uncovered(self, name: str, guards: Sequence[Guard], option: str, day: date) -> bool:
        if not self._holds(name, day):
            return False
        indications = (f"indicated:{option}", f"prepared:{option}")
        behind = facts_behind(self.packs, indications)
        is_apart = behind.isdisjoint(facts_behind(self.packs, [name]))
        return is_apart or self._can_be_unknown(name, [*guards, indications], day)

    def _without_requirement(self, option: str) -> dict[str, list[Guard]]:
        """The criteria that can be unknown while everything that an option requires is known, with what was tried."""
        mine = {n: c for n, c in self.packs.criteria.items() if option in c.options and n in self.packs.nodes}
        required = {n: facts_behind(self.packs, [n]) for n, c in mine.items() if c.effect == "requires"}
        found = {}
        for name, criterion in mine.items():
            if level_of(criterion) in BLOCKED:
                facts = facts_behind(self.packs, [name])
                guards: list[Guard] = [(n,) for n, behind in required.items() if behind & facts]
                if self._can_be_unknown(name, guards, None):
                    found[name] = guards
        return found

    def _can_be_unknown(self, name: str, guards: Sequence[Guard], day: date | None) -> bool:
        """Say whether a criterion can be unknown while of each guard one node is true; on no day, all rules hold."""
        facts = facts_behind(self.packs, [name, *(node for guard in guards for node in guard)])
        axes = [*self._force.axes_of(facts), *self._force.counts_of(facts)]
        tried = Completions(self.packs, self._nothing_known(day), axes)
        assert tried.size < MOST_LOCAL, f"{name}: {tried.size}"
        held = tried.of(name)
        unknown = tried.all & ~held.get(True, 0) & ~held.get(False, 0)
        for guard in guards:
            unknown &= reduce(or_, (tried.of(node).get(True, 0) for node in guard))
        return bool(unknown)

    def _nothing_known(self, day: date | None) -> Mapping[str, form.Value]:
        """The nodes of a patient of whom nothing is known but that no trial was made."""
        dates = {in_force(n): day is None or self._holds(n, day) for n in self.packs.periods}
        nothing = form.Inputs({**dates, "trial_history_complete": True}, {"trials": ()})
        values = {**nothing.values, **Interpreter(self.packs.compiled).evaluate(nothing).values}
        return {n: None if isinstance(self.packs.nodes.get(n), form.EvidenceNode) else v for n, v in values.items()}

    def _holds(self, name: str, day: date) -> bool:
        return name not in self.packs.periods or self.packs.periods[name].holds(day)


def facts_behind(packs: PackSet, names: Iterable[str]) -> set[str]:
    """Give the facts and counts that nodes rest on."""
    reached: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            queue += packs.reads[name]
    return {n for n in reached if isinstance(packs.nodes[n], form.FactNode | form.CountNode) and ":" not in n}
