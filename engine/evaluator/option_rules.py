"""One option's rules, laid out for the search of what can still change it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import status_node
from engine.evaluator.circuit import Circuit
from engine.evaluator.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.compiler import form
    from engine.evaluator.circuit import Slot
    from engine.evaluator.scope import Scope

RANK = {level: rank for rank, level in enumerate(LEVELS)}
NOT_INDICATED = RANK["not_indicated_indication"]

MOST_SETTLED = 64
"""For how many sets of settled evidence it is remembered what each fact can still change."""

BLOCKING = RANK["insufficient_data"]
_DEFERRED = RANK["deferred"]


@dataclass(frozen=True, eq=False)
class Row:
    """A criterion of an option, or (`is_group`) its indications together.

    Attributes:
        good: the slot of where it does not hold the option down.
        bad: the slot of where it does.
        guard: the node that, while unknown, can still bring a settled row to life or lift it.

    """

    name: str
    rank: int
    good: Slot
    bad: Slot
    is_need: bool = False
    is_group: bool = False
    guard: str = ""


class Influence(NamedTuple):
    """What a fact or count can change.

    Attributes:
        slots: the slots with gates, in order.
        deciding: those of them on which the level or a contradiction rests.
        rows: the rows, by name.

    """

    slots: tuple[Slot, ...]
    deciding: tuple[Slot, ...]
    rows: frozenset[str]


class OptionRules:
    """The rules of one option as a circuit. Thread safe.

    Attributes:
        levels: rank, status and slot of each level.
        criteria: the rows that hold a level.
        groups: its indications, and what prepares one.
        indications: the criteria that indicate it.
        contradictions: the slots of where facts contradict each other.
        influences: for each fact and count what it can change, given the names of the evidence that is settled.

    """

    def __init__(self, scope: Scope, option: str) -> None:
        """Lay the rules of one option out."""
        packs = scope.packs
        self.circuit = circuit = Circuit(packs.nodes, scope.domains)
        levels = circuit.values(status_node(option))
        self.levels = [(RANK[str(level)], STATUS_OF_LEVEL[str(level)], slot) for level, slot in levels.items()]
        self.groups = [self._group(f"{group}:{option}") for group in ("indicated", "prepared")]
        mine = {name: criterion for name, criterion in packs.criteria.items() if option in criterion.options}
        self.indications = [self._group(name) for name, criterion in mine.items() if criterion.effect == "indicates"]
        self.criteria = [
            self._criterion(name, RANK[level], is_need=criterion.effect == "requires")
            for name, criterion in mine.items()
            if (level := level_of(criterion)) is not None
        ]
        self.contradictions = [circuit.plane(name, value=True) for name in scope.contradictions]
        self._deciding = circuit.behind([*levels.values(), *self.contradictions])
        self.variables = Variables(circuit, scope)
        self._sources = tuple(circuit.sources())
        self.influences = lru_cache(maxsize=MOST_SETTLED)(self._influences)

    def open_rows(self, base: Mapping[str, form.Value]) -> tuple[tuple[Row, ...], frozenset[str]]:
        """Give the rows that can still move the option, worst first; and the statuses that they could lead to at most.

        A row can move it if its level is worse than the one that nothing can lift.

        Args:
            base: what every node of the patient is.

        """
        rows, held = [], len(LEVELS) - 1
        for row in self.criteria:
            value = base[row.name]
            is_guarded = base.get(row.guard, False) is None
            if row.is_need:
                if value is False or is_guarded:
                    rows.append(row)
            elif value is None or (value is True and is_guarded):
                rows.append(row)
            elif value is True:
                held = min(held, row.rank)
        indicated, prepared = (base[group.name] for group in self.groups)
        is_open = indicated is None or (indicated is False and prepared is None)
        if is_open:
            rows += self.groups
        elif indicated is False:
            held = min(held, _DEFERRED if prepared else NOT_INDICATED)
        rows = sorted((row for row in rows if row.rank < held), key=lambda row: row.rank)
        ranks = {held, *(row.rank for row in rows)}
        if any(row.is_group for row in rows):
            ranks |= {BLOCKING, *([_DEFERRED] if prepared is not False else [])}
        return tuple(rows), frozenset(STATUS_OF_LEVEL[LEVELS[rank]] for rank in ranks)

    def held(self, base: Mapping[str, form.Value]) -> tuple[Slot, ...]:
        """Give the sources that hold for a patient: all that the option can see of the facts."""
        circuit = self.circuit
        return tuple(
            slot
            for name in self._sources
            if (value := base.get(name)) is not None
            for slot in circuit.held(name, value)
        )

    def _influences(self, settled: frozenset[str]) -> dict[str, Influence]:
        circuit = self.circuit
        fixed = {slot for name in settled for slot in circuit.evidence[name].values()}
        sources = circuit.sources()
        bits = {slot: 1 << place for place, slots in enumerate(sources.values()) for slot in slots}
        changed_by = [0] * len(circuit.gates)
        cones: list[list[Slot]] = [[] for _ in sources]
        for slot, inputs in enumerate(circuit.inputs):
            if not inputs:
                changed_by[slot] = bits.get(slot, 0)
            elif slot not in fixed:
                mask = 0
                for each in inputs:
                    mask |= changed_by[each]
                changed_by[slot] = mask
                for place in _places(mask):
                    cones[place].append(slot)
        rows: list[set[str]] = [set() for _ in sources]
        for row in (*self.criteria, *self.groups, *self.indications):
            for place in _places(changed_by[row.good] | changed_by[row.bad]):
                rows[place].add(row.name)
        return {
            name: Influence(tuple(cone), tuple(slot for slot in cone if slot in self._deciding), frozenset(touched))
            for name, cone, touched in zip(sources, cones, rows, strict=True)
        }

    def _criterion(self, name: str, rank: int, *, is_need: bool) -> Row:
        good, bad = (self.circuit.plane(name, value=value) for value in (is_need, not is_need))
        return Row(name, rank, good, bad, is_need=is_need, guard=f"{name}?given" if is_need else f"{name}?unless")

    def _group(self, name: str) -> Row:
        good, bad = (self.circuit.plane(name, value=value) for value in (True, False))
        return Row(name, NOT_INDICATED, good, bad, is_group=True)


def _places(mask: int) -> Iterator[int]:
    """Give the places of the bits of a number."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
