"""What a graph becomes before it is laid out: where each node stands in a fact, and when its values are concluded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, assert_never

from engine.errors import Diagnostic, RulePackError

if TYPE_CHECKING:
    from engine.compiler.form import CountNode, FactNode
    from engine.evaluator.chain.boxes import Boxes, Property

GREATEST: Final = 2**53
"""Bound of the whole numbers that the engine compares exactly, on both sides of zero."""

FALSE, TRUE, UNKNOWN = 0, 1, 2
"""The three markers of a true-or-false node; exactly one stands once its stratum is final."""


@dataclass(frozen=True, slots=True)
class TruthCell:
    """Where a true-or-false node stands in a fact: one of the three markers, always present."""

    prop: Property


@dataclass(frozen=True, slots=True)
class EnumCell:
    """Where an enum stands: 0 while it is unknown, else the code of its value; always present."""

    prop: Property
    codes: dict[str, int]


@dataclass(frozen=True, slots=True)
class NumberCell:
    """Where a number or date stands: absent while it is unknown.

    The marker says positively whether it is known: 1 or 0; None where no production asks.
    """

    prop: Property
    marker: Property | None


@dataclass(frozen=True, slots=True)
class CountCell:
    """Where a count stands: how many at least, how many at most; always present."""

    lower: Property
    upper: Property


Cell: TypeAlias = TruthCell | EnumCell | NumberCell | CountCell


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A value of a node, and the states in which it is concluded. `node` names it for diagnostics."""

    slot: int
    node: str
    value: bool | str
    boxes: Boxes


@dataclass(slots=True)
class Program:
    """What a graph becomes.

    Attributes:
        cells: by slot, where the value of a node stands in a fact. Each node has a slot, in the graph's order; between
            them stand the auxiliaries, conditions that exist here only.
        slots: the slot of each node by name.
        facts: the fact nodes.
        counts: the count nodes.
        answers: the nodes that are not facts, in the graph's order.
        settled: by slot, values that hold in every state.
        strata: conclusions, each stratum final before the next reads it.
        owners: the slot of each property by name.
    """

    cells: list[Cell] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    facts: list[FactNode] = field(default_factory=list)
    counts: list[CountNode] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    settled: dict[int, bool | str] = field(default_factory=dict)
    strata: list[list[Conclusion]] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)


def refuse(code: str, node: str, message: str, hint: str) -> NoReturn:
    """Refuse the packs for what one node asks of the engine.

    Raises:
        RulePackError: always.
    """
    raise RulePackError([Diagnostic("compiled", 0, 0, f"chain/{code}", f"`{node}` {message}", hint)])


def properties_of(cell: Cell) -> tuple[Property, ...]:
    """Give the properties of a fact in which a node stands, first the one that holds its value."""
    match cell:
        case TruthCell(prop) | EnumCell(prop, _):
            return (prop,)
        case NumberCell(prop, marker):
            return (prop,) if marker is None else (prop, marker)
        case CountCell(lower, upper):
            return (lower, upper)
        case _:
            assert_never(cell)
