"""What may be missing of a patient, and what each of it can come to be: one choice per class of values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from engine.compiler import form
    from engine.dictionary import Constraint
    from engine.evaluator.circuit import Bits, Circuit, Slot
    from engine.evaluator.scope import Scope

Choice: TypeAlias = "tuple[Slot, ...]"
"""The sources that hold where a variable goes one way."""


@dataclass(frozen=True, eq=False)
class Variable:
    """What one or more missing facts can come to be, together.

    Attributes:
        names: the facts, or the count, that it sets.
        facts: what is asked for.
        choices: the ways it can go; the first one leaves things as they are.
        sources: every source that it decides about.

    """

    names: tuple[str, ...]
    facts: tuple[str, ...]
    choices: tuple[Choice, ...]
    sources: tuple[Slot, ...]

    @cached_property
    def held(self) -> tuple[tuple[Slot, Bits], ...]:
        """Each source with the choices in which it holds, a bit for each."""
        ways = range(len(self.choices))
        return tuple((slot, sum(1 << way for way in ways if slot in self.choices[way])) for slot in self.sources)


class OpenCount(NamedTuple):
    """A count that is not settled: how many there surely and possibly are, and which facts to ask for."""

    name: str
    interval: tuple[int, int]
    credited: tuple[str, ...]


class Variables:
    """The variables of one circuit, of which every plane that is wanted was asked for."""

    def __init__(self, circuit: Circuit, scope: Scope) -> None:
        self._circuit = circuit
        self._domains = scope.domains
        self._turns = scope.turns
        self._never = [c.never for c in scope.constraints if c.never]
        for names in (*(c.together for c in scope.constraints), *self._never):
            if not circuit.facts.keys().isdisjoint(names):
                for name in names:
                    circuit.fact(name)
        together = {name: c for c in scope.constraints for name in c.together}
        self._facts = [
            self._joint(together[name]) if name in together else self._single(name)
            for name in scope.askable
            if name in circuit.facts and (name not in together or name == together[name].together[0])
        ]

    def missing(self, held: Collection[Slot], open_counts: Sequence[OpenCount]) -> Iterator[Variable]:
        """Give what is missing, facts in the order of the dictionary before counts.

        Args:
            held: the sources that hold for the patient.
            open_counts: the counts that are not settled.

        """
        known = frozenset(held)
        for variable in self._facts:
            if known.isdisjoint(variable.sources):
                yield self._possible(variable, known)
        for count in open_counts:
            yield self._count(count)

    def _single(self, name: str) -> Variable:
        slots = tuple(self._circuit.facts[name].values())
        return Variable((name,), (name,), ((), *((slot,) for slot in slots)), slots)

    def _joint(self, constraint: Constraint) -> Variable:
        """Each pair of classes of values in which a pair of values is possible."""
        names = constraint.together
        choices: list[Choice] = [()]
        for values in product(*(self._domains[name].values[1:] for name in names)):
            if constraint.greater is not None:
                first, second = (values[names.index(name)] for name in constraint.greater)
                if self._domains[constraint.greater[0]].ends[first] <= second:  # type: ignore[operator]
                    continue
            choices.append(tuple(self._circuit.facts[n][v] for n, v in zip(names, values, strict=True)))
        return Variable(names, names, tuple(choices), tuple(s for n in names for s in self._circuit.facts[n].values()))

    def _possible(self, variable: Variable, known: frozenset[Slot]) -> Variable:
        """Leave out what the known facts make impossible."""
        barred: set[Choice] = set()
        for never in self._never:
            if variable.names[0] in never:
                slots = {name: self._circuit.held(name, value)[0] for name, value in never.items()}
                own = slots.pop(variable.names[0])
                if known.issuperset(slots.values()):
                    barred.add((own,))
        if not barred:
            return variable
        choices = tuple(choice for choice in variable.choices if choice not in barred)
        return Variable(variable.names, variable.facts, choices, variable.sources)

    def _count(self, count: OpenCount) -> Variable:
        low, high = count.interval
        points = {low, *(turn for turn in self._turns[count.name] if low <= turn <= high)}
        intervals: list[form.Value] = [(low, high), *((point, point) for point in sorted(points))]
        choices = tuple(self._circuit.held(count.name, interval) for interval in intervals)
        return Variable((count.name,), count.credited, choices, tuple(self._circuit.counts[count.name].values()))
