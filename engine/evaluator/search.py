"""The search of one option for what the missing facts could still change.

A completion gives every missing fact a value or leaves it missing, keeps every evidence choice that is already made,
and creates no contradiction. A fact matters to an option if two completions that differ in this fact alone give it
different statuses, so a fact is listed on a witness and never on suspicion.

The facts that can still move the option are varied together, in all ways at once, while there are at most
`MOST_TOGETHER` completions: then nothing is missed. Where there are more, the others are held where they harm the
option least, and each fact is varied alone, then together with the facts around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, reduce
from math import prod
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL
from engine.evaluator.option_rules import BLOCKING, RANK, OptionRules, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from engine.evaluator.circuit import Bits, Planes, Slot
    from engine.evaluator.variables import OpenCount, Variable

MOST_TOGETHER = 1 << 16
"""How many completions are tried together."""

MOST_AROUND = 1 << 15
"""The same for one fact and those around it, where all together are too many."""

_BETWEEN = RANK["not_recommended"]
"""The level between two that are one status."""


@dataclass(frozen=True)
class OptionReach:
    """For one option: statuses within reach, and per fact that matters the worst level it can lead to.

    `blocking` are the facts whose absence leaves the option undecided.
    """

    statuses: frozenset[str]
    facts: Mapping[str, int] = field(default_factory=dict)
    blocking: frozenset[str] = frozenset()


class Situation(NamedTuple):
    """All that the search of an option sees of a patient: truths of the rules' own conditions, and no values.

    Attributes:
        rules: the option's rules.
        status: the status as things are.
        rows: the rows that can still move it, worst first.
        within: the statuses that they could lead to at most.
        held: the sources that hold.
        counts: the counts that are not settled.

    """

    rules: OptionRules
    status: str
    rows: tuple[Row, ...]
    within: frozenset[str]
    held: tuple[Slot, ...]
    counts: tuple[OpenCount, ...]


def search(situation: Situation) -> OptionReach:
    """Search what an option can come to; equal situations give equal results."""
    found = _Search(situation).reach()
    return OptionReach(frozenset(found.statuses), found.facts, frozenset(found.blocking))


@dataclass
class _Found:
    statuses: set[str]
    facts: dict[str, int] = field(default_factory=dict)
    blocking: set[str] = field(default_factory=set)


class _Outcomes(NamedTuple):
    """The worlds in which each level, and each status, is reached."""

    by_rank: Mapping[int, Bits]
    by_status: Mapping[str, Bits]


class _Search:
    """One search. A place is the planes of one world; places differ in what the variables are held at."""

    def __init__(self, situation: Situation) -> None:
        self.rules = situation.rules
        self.circuit = self.rules.circuit
        self.rows = situation.rows
        self.within = situation.within
        self.found = _Found({situation.status})
        self.base = base = self.circuit.planes(situation.held)
        self.contradictions = [slot for slot in self.rules.contradictions if not base[slot]]
        evidence = self.circuit.evidence.items()
        settled = frozenset(name for name, values in evidence if any(base[slot] for slot in values.values()))
        influences = self.rules.influences(settled)
        watched = {row.name for row in self.rows}
        if any(row.is_group for row in self.rows):
            watched.update(row.name for row in self.rules.indications)
        self.variables: list[Variable] = []
        self.touches: dict[Variable, set[str]] = {}
        self.touching: dict[str, list[Variable]] = {name: [] for name in watched}
        self.cones: dict[Variable, Sequence[Slot]] = {}
        self.deciding: dict[Variable, Sequence[Slot]] = {}
        for variable in self.rules.variables.missing(situation.held, situation.counts):
            influence = [influences[name] for name in variable.names]
            touched = watched.intersection(frozenset().union(*(each.rows for each in influence)))
            if touched:
                self.variables.append(variable)
                self.touches[variable] = touched
                for name in touched:
                    self.touching[name].append(variable)
                self.cones[variable] = _merged([each.slots for each in influence])
                self.deciding[variable] = _merged([each.deciding for each in influence])

    def reach(self) -> _Found:
        """Explore the option."""
        if not self.variables:
            return self.found
        best = self._best()
        self._vary_each(best)
        if not self._unresolved() and self.found.statuses >= self.within:
            return self.found
        if _combinations(self.variables) <= MOST_TOGETHER:
            self._vary_together(self.base, self.variables)
            return self.found
        places = [best, *(self._settled(best, row, [row]) for row in self.rows if row.rank == _BETWEEN)]
        for place in places[1:]:
            if self._unresolved():
                self._vary_each(place)
        worst = {row.name for row in self.rows if row.rank < _BETWEEN}
        for variable in self._unresolved():
            if variable.facts[0] not in self.found.facts:
                group = self._around(self.touches[variable], [variable])
                for place in places if self.touches[variable] & worst else places[:1]:
                    if variable.facts[0] not in self.found.facts:
                        self._vary_together(place, group)
        for row in self.rows:
            if row.is_group or STATUS_OF_LEVEL[LEVELS[row.rank]] not in self.found.statuses:
                self._vary_together(best, self._around({row.name}, []))
        return self.found

    def _unresolved(self) -> list[Variable]:
        return [v for v in self.variables if v.facts[0] not in self.found.facts]

    def _worthwhile(self, group: Sequence[Variable]) -> list[Variable]:
        """Those of a group that are worth varying: all while a status is still to be found, else the unresolved."""
        if not self.found.statuses >= self.within:
            return [*group]
        return [v for v in group if v.facts[0] not in self.found.facts]

    def _around(self, rows: Collection[str], group: list[Variable]) -> list[Variable]:
        """Add to a group the variables that share rows with it, nearest first, while completions are not too many."""
        size = _combinations(group)
        reached = set(rows)
        grown = True
        while grown:
            near = [v for v in self.variables if v not in group and not reached.isdisjoint(self.touches[v])]
            near.sort(key=lambda v: (-len(reached & self.touches[v]), len(v.choices)))
            grown = False
            for variable in near:
                if size * len(variable.choices) <= MOST_AROUND:
                    size *= len(variable.choices)
                    group.append(variable)
                    grown = True
            reached = reached.union(*(self.touches[v] for v in group))
        return group

    # Worlds

    def _valid(self, planes: Planes, worlds: int) -> Bits:
        """The worlds in which nothing contradicts itself."""
        valid = (1 << worlds) - 1
        for slot in self.contradictions:
            valid &= ~planes[slot]
        return valid

    def _together(self, place: Planes, group: Sequence[Variable], worlds: int) -> Planes:
        """Let a group go every combination of its ways; what follows is still to be concluded."""
        planes = place.copy()
        stride = 1
        for variable in group:
            for slot in variable.sources:
                planes[slot] = 0
            bits = _stripes(stride, len(variable.choices), worlds)
            for choice in variable.choices:
                for slot in choice:
                    planes[slot] |= bits
                bits <<= stride
            stride *= len(variable.choices)
        return planes

    def _vary_together(self, place: Planes, group: Sequence[Variable]) -> None:
        """Note what every combination of a group's choices leads to."""
        if not self._worthwhile(group):
            return
        worlds = _combinations(group)
        planes = self._together(place, group, worlds)
        outcomes = self._outcomes(planes, group, worlds)
        stride = 1
        for variable in group:
            ways = len(variable.choices)
            if variable.facts[0] not in self.found.facts:
                first, shifts = _stripes(stride, ways, worlds), range(0, stride * ways, stride)
                moved = _in_several(
                    [reduce(or_, [bits >> shift for shift in shifts]) & first for bits in outcomes.by_status.values()]
                )
                if moved:
                    levels = outcomes.by_rank.items()
                    worst = min(rank for rank, bits in levels if any(bits >> shift & moved for shift in shifts))
                    self._credit(variable, worst, is_blocking=outcomes.by_rank.get(BLOCKING, 0) & moved)
            stride *= ways

    def _vary_each(self, place: Planes) -> None:
        """Note what each variable alone leads to."""
        variables = self._worthwhile(self.variables)
        if not variables:
            return
        worlds = sum([len(variable.choices) for variable in variables])
        planes, everywhere, start = place.copy(), (1 << worlds) - 1, 0
        for variable in variables:
            ways = len(variable.choices)
            elsewhere = everywhere ^ ((1 << ways) - 1 << start)
            for slot, bits in variable.held:
                planes[slot] = bits << start | elsewhere if place[slot] else bits << start
            start += ways
        outcomes = self._outcomes(planes, variables, worlds)
        start = 0
        for variable in variables:
            block = (1 << len(variable.choices)) - 1 << start
            if variable.facts[0] not in self.found.facts:
                reached = [word for word, bits in outcomes.by_status.items() if bits & block]
                if len(reached) > 1:
                    worst = min(rank for rank, bits in outcomes.by_rank.items() if bits & block)
                    self._credit(variable, worst, is_blocking=outcomes.by_rank.get(BLOCKING, 0) >> start & 1)
            start += len(variable.choices)

    def _outcomes(self, planes: Planes, group: Sequence[Variable], worlds: int) -> _Outcomes:
        """Conclude from the choices of a group what they lead to."""
        self.circuit.run(planes, _merged([self.deciding[variable] for variable in group]))
        valid = self._valid(planes, worlds)
        by_rank: dict[int, Bits] = {}
        by_status: dict[str, Bits] = {}
        for rank, word, slot in self.rules.levels:
            if bits := planes[slot] & valid:
                by_rank[rank] = bits
                by_status[word] = by_status.get(word, 0) | bits
        self.found.statuses.update(by_status)
        return _Outcomes(by_rank, by_status)

    def _credit(self, variable: Variable, worst: int, *, is_blocking: object) -> None:
        """List a variable's facts: all else equal, its choices lead to different statuses.

        Args:
            variable: the variable.
            worst: the rank of the worst level that it leads to there.
            is_blocking: while it is missing there, the option is undecided.

        """
        for fact in variable.facts:
            self.found.facts[fact] = min(worst, self.found.facts.get(fact, worst))
        if is_blocking:
            self.found.blocking.update(variable.facts)

    # Where the option fares best

    def _best(self) -> Planes:
        """Give each variable a choice that harms the option least; what nothing waits for stays missing."""
        place = self.base
        for row in self.rows:
            if not row.is_group:
                if not place[row.good]:
                    place = self._settled(place, row, ())
                continue
            for indication in self.rules.indications:
                if not any(place[group.good] for group in self.rules.groups):
                    place = self._settled(place, indication, ())
        return place

    def _settled(self, place: Planes, row: Row, met: Collection[Row]) -> Planes:
        """Choose for the variables around one row what keeps every row they touch from harm; rows of `met` are met."""
        worlds = 1
        group: list[Variable] = []
        for variable in self.touching[row.name]:
            if worlds * len(variable.choices) <= MOST_AROUND:
                worlds *= len(variable.choices)
                group.append(variable)
        if not group:
            return place
        planes = self._together(place, group, worlds)
        slots = _merged([self.cones[variable] for variable in group])
        self.circuit.run(planes, slots)
        left = self._valid(planes, worlds)
        if not left:
            return place
        touched = set().union(*(self.touches[v] for v in group))
        ordered = [r for r in self.rows if r.name in touched and r not in met]
        if row.is_group:
            ordered.insert(0, row)
        for other in met:
            left = left & planes[other.bad] or left
        for other in ordered:
            left = left & planes[other.good] or left & ~planes[other.bad] or left
        world = (left & -left).bit_length() - 1
        chosen = place.copy()
        for slot in (*(slot for variable in group for slot in variable.sources), *slots):
            chosen[slot] = -(planes[slot] >> world & 1)
        return chosen


def _combinations(group: Iterable[Variable]) -> int:
    return prod([len(variable.choices) for variable in group])


def _merged(cones: Sequence[Sequence[Slot]]) -> Sequence[Slot]:
    """Give the slots of several cones in order."""
    return cones[0] if len(cones) == 1 else sorted(set().union(*cones))


def _in_several(sets: Iterable[Bits]) -> Bits:
    """Give what lies in more than one of some sets."""
    once = more = 0
    for each in sets:
        more |= once & each
        once |= each
    return more


@lru_cache(maxsize=256)
def _stripes(stride: int, ways: int, worlds: int) -> Bits:
    """The worlds in which a variable goes its first way, where it changes every `stride` worlds."""
    bits = (1 << stride) - 1
    length = stride * ways
    while length < worlds:
        bits |= bits << length
        length *= 2
    return bits & ((1 << worlds) - 1)
