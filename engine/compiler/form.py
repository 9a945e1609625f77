"""The compiled form: a directed acyclic graph of named nodes that every back end evaluates.

A node's value is `None` while it is unknown. Nodes come in five kinds: a fact as it was given, a condition over other
nodes (true, false or unknown), evidence (the first known source speaks), a count over a list's records (an interval),
and a choice (the first step whose guard is met; never unknown).

Values: bool for conditions and bool facts; str for enums; int for numbers (scaled), dates (days before `as_of`, never
negative) and sets (how many members); a pair (at least, at most) for counts, where an open upper end is `OPEN`.

Source: Kleene 1952, strong three-valued logic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, Union

Value: TypeAlias = bool | int | str | tuple[int, int] | None
Operator: TypeAlias = Literal["<", "<=", ">", ">=", "=="]

OPEN = 1_000_000
"""Upper end of a count whose list is not known to be complete."""


def interval(value: Value) -> tuple[int, int]:
    """Give the ends of a count's value.

    Raises:
        TypeError: the value is not that of a count.

    """
    if isinstance(value, tuple):
        return value
    message = "not the value of a count"
    raise TypeError(message)


@dataclass(frozen=True, slots=True)
class Always:
    """True."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A number, date or count against a constant; unknown while the node is, or while the interval straddles it."""

    node: str
    operator: Operator
    constant: int


@dataclass(frozen=True, slots=True)
class OneOf:
    """An enum is one of some values; unknown while the node is."""

    node: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Holds:
    """The truth of a bool fact, a condition or true-or-false evidence; unknown while the node is."""

    node: str


@dataclass(frozen=True, slots=True)
class Is:
    """Whether a true-or-false node is met, not met or unknown; itself never unknown.

    Written by the compiler only: a rule cannot test for unknown.
    """

    node: str
    truth: bool | None


@dataclass(frozen=True, slots=True)
class Known:
    """Whether a node of any type has a value; itself never unknown. Written by the compiler only."""

    node: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation; keeps unknown."""

    part: Expression


@dataclass(frozen=True, slots=True)
class All:
    """False if one part is false, true if all are true, else unknown."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True if one part is true, false if all are false, else unknown."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """True if `n` parts are true, false if fewer than `n` can still be, else unknown."""

    n: int
    parts: tuple[Expression, ...]


Expression: TypeAlias = Union["Always", "Compare", "OneOf", "Holds", "Is", "Known", "Not", "All", "AnyOf", "AtLeast"]

FactType: TypeAlias = Literal["bool", "int", "decimal", "enum", "date", "set", "text"]
"""A text is read by a count's `distinct` alone."""


@dataclass(frozen=True, slots=True)
class FactNode:
    """A fact as given, a record's field, or `in_force:ID` (always known)."""

    name: str
    type: FactType
    values: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True, slots=True)
class ConditionNode:
    """A named truth.

    While `unknown_if` is met the node is unknown; else while `except_if` is met it is false; else it is its expression.
    Both name condition nodes, and only their being met counts.
    """

    name: str
    expression: Expression
    except_if: str | None = None
    unknown_if: str | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """One witness of a concept.

    `mapping` is None when the node speaks with its own value; otherwise pairs of (what must hold of the node, what it
    then says), mutually exclusive; a value that no pair covers does not speak. What must hold is a `OneOf`, a
    `Compare`, an `All` of two `Compare`, a `Holds` or a `Not(Holds)`, always over `node` itself.
    """

    node: str
    mapping: tuple[tuple[Expression, bool | str], ...] | None = None


@dataclass(frozen=True, slots=True)
class EvidenceNode:
    """A concept on which the first source that speaks decides; `otherwise` where none does (None: unknown).

    `values` is empty for a true-or-false concept.
    """

    name: str
    sources: tuple[Source, ...]
    values: tuple[str, ...] = ()
    otherwise: bool | str | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class CountNode:
    """How many records of a list surely, and how many possibly, match `where` (a node of the list's own graph).

    With `distinct`, records that share the value of that field count once. A record without a value there may share one
    with any other: it possibly counts on its own, and surely only where no record with a value matches.
    The upper end is `OPEN` while the list is missing or not known to be complete.
    """

    name: str
    records: str
    where: str
    distinct: str | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceNode:
    """The value of the first step whose guard is met, else `otherwise`. Guards are never unknown."""

    name: str
    steps: tuple[tuple[Expression, str], ...]
    otherwise: str
    level: int = 0


Node: TypeAlias = FactNode | ConditionNode | EvidenceNode | CountNode | ChoiceNode


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which each comes after those it reads.

    `level` of a node exceeds that of every node it reads.
    """

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the back ends run: the patient's graph, and one graph per list for its single records.

    `completeness` names, for each list, the bool fact that says whether the list is complete.
    """

    graph: Graph
    records: dict[str, Graph]
    completeness: dict[str, str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a back end is given for one patient.

    Attributes:
        values: value of every FactNode by name; absent or None is unknown.
        records: per list its records, each a mapping of FactNode names to values; None where the list is missing.
    """

    values: dict[str, Value]
    records: dict[str, tuple[dict[str, Value], ...] | None]


@dataclass(frozen=True, slots=True)
class Values:
    """What a back end returns; both back ends must return equal Values.

    Attributes:
        values: value of every node but FactNodes, by name; None is unknown.
        records: per list, per record in order, the same for the list's own graph.
    """

    values: dict[str, Value]
    records: dict[str, tuple[dict[str, Value], ...]]
