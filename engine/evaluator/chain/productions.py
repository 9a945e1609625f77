"""From a graph of the compiled form to productions: for each value of each node, the states in which it is concluded.

Each expression has two sets of states, surely true and surely false, with negation pushed to the leaves. Neither
contains a state in which the expression is unknown, so productions only match what is there: no negation as failure.

Source: Kleene 1952, strong three-valued logic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, assert_never

from engine.compiler.form import (
    OPEN,
    All,
    Always,
    AnyOf,
    AtLeast,
    ChoiceNode,
    Compare,
    ConditionNode,
    CountNode,
    EvidenceNode,
    Expression,
    FactNode,
    Graph,
    Holds,
    Is,
    Known,
    Node,
    Not,
    OneOf,
    Source,
)
from engine.evaluator.chain.boxes import (
    EVERYWHERE,
    NOWHERE,
    Boxes,
    Property,
    Ranges,
    TooWideError,
    at_least,
    both,
    chainable,
    either,
    outside,
    ranges_of,
    rest_of,
    term_count,
    where,
)
from engine.evaluator.chain.program import (
    FALSE,
    GREATEST,
    TRUE,
    UNKNOWN,
    Cell,
    Conclusion,
    CountCell,
    EnumCell,
    NumberCell,
    Program,
    TruthCell,
    properties_of,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TERMS: Final = 64
"""How many terms one side of a condition, or one value of another node, may have."""

_PART: Final = 32
"""How many atoms of an expression that is too wide go into one part of it."""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Sides(NamedTuple):
    """The states in which an expression is surely true, and those in which it is surely false."""

    met: Boxes
    unmet: Boxes


def compile_graph(graph: Graph) -> Program:
    """Turn a graph into a program.

    A node's stratum is one more than the highest of those it reads, so there are as many strata as the longest path has
    steps; a node's `level` is not relied on.

    Raises:
        RulePackError: if a node reads one that does not come before it or is of another type than it expects, or asks
            for more than the engine can hold.
    """
    compilation = _Compilation()
    for node in graph.nodes:
        compilation.add(node)
    return compilation.finish()


class _Compilation:
    """A program in the making."""

    def __init__(self) -> None:
        self.program = Program()
        self._stratum_of: list[int] = []

    def add(self, node: Node) -> None:
        if node.name in self.program.slots:
            refuse("repeated-node", node.name, "stands twice in the graph", "give each node a name of its own")
        match node:
            case FactNode():
                self._place(node.name, self._fact_cell(node))
                self.program.facts.append(node)
                return
            case CountNode():
                lower, upper = (Property(prefix + self._next_name(), 0, OPEN) for prefix in "LU")
                self._place(node.name, CountCell(lower, upper))
                self.program.counts.append(node)
            case ConditionNode():
                self._condition(node)
            case EvidenceNode():
                self._evidence(node)
            case ChoiceNode():
                self._choice(node)
            case _:
                assert_never(node)
        self.program.answers.append(node.name)

    def finish(self) -> Program:
        """Leave out the markers that no production asks for: each property costs time in every pass."""
        program = self.program
        read = {prop.name for stratum in program.strata for each in stratum for box in each.boxes for prop, _ in box}
        program.cells = [
            NumberCell(cell.prop, None)
            if isinstance(cell, NumberCell) and cell.marker is not None and cell.marker.name not in read
            else cell
            for cell in program.cells
        ]
        return program

    def _next_name(self) -> str:
        """Give the property name of the next slot: short, since each conclusion copies the whole fact."""
        number, name = len(self.program.cells), ""
        while not name or number:
            number, digit = divmod(number, len(_DIGITS))
            name = _DIGITS[digit] + name
        return f"P{name}" if name in {"id", "sid"} else name

    def _place(self, name: str, cell: Cell) -> int:
        slot = len(self.program.cells)
        self.program.cells.append(cell)
        self.program.slots[name] = slot
        self._stratum_of.append(0)
        for prop in properties_of(cell):
            self.program.owners[prop.name] = slot
        return slot

    def _truth_cell(self) -> TruthCell:
        return TruthCell(Property(self._next_name(), FALSE, UNKNOWN))

    def _enum_cell(self, values: Iterable[str]) -> EnumCell:
        codes = {value: code for code, value in enumerate(dict.fromkeys(values), 1)}
        return EnumCell(Property(self._next_name(), 0, len(codes)), codes)

    def _fact_cell(self, node: FactNode) -> Cell:
        match node.type:
            case "bool":
                return self._truth_cell()
            case "enum":
                return self._enum_cell(node.values)
            case _:
                name = self._next_name()
                marker = Property(f"K{name}", 0, 1)
                return NumberCell(Property(name, -GREATEST, GREATEST, marker), marker)

    def _conclude(self, name: str, cell: Cell, outcomes: Iterable[tuple[bool | str, Boxes]]) -> None:
        """Place a node whose values are concluded in these states."""
        slot = self._place(name, cell)
        outcomes = [(value, boxes) for value, boxes in outcomes if boxes]
        if any(term_count(boxes) > TERMS for _, boxes in outcomes):
            _refuse_width(name)
        conclusions = [Conclusion(slot, name, value, chainable(boxes)) for value, boxes in outcomes]
        settled = [conclusion.value for conclusion in conclusions if conclusion.boxes == EVERYWHERE]
        if settled:
            self.program.settled[slot] = settled[0]
        elif conclusions:
            owners = self.program.owners
            read = {owners[prop.name] for each in conclusions for box in each.boxes for prop, _ in box}
            stratum = 1 + max(self._stratum_of[other] for other in read)
            self._stratum_of[slot] = stratum
            while len(self.program.strata) < stratum:
                self.program.strata.append([])
            self.program.strata[stratum - 1].extend(conclusions)

    def _condition(self, node: ConditionNode) -> None:
        met, unmet = self._sides(node.expression, node.name)
        if node.except_if is not None:
            prop = self._truth(node.except_if, node.name)
            met = both(where(prop, ranges_of(FALSE, UNKNOWN)), met)
            unmet = either(where(prop, ranges_of(TRUE)), unmet)
        if node.unknown_if is not None:
            is_clear = where(self._truth(node.unknown_if, node.name), ranges_of(FALSE, UNKNOWN))
            met, unmet = both(is_clear, met), both(is_clear, unmet)
        self._conclude(node.name, self._truth_cell(), [(True, met), (False, unmet)])

    def _evidence(self, node: EvidenceNode) -> None:
        said: dict[bool | str, Boxes] = {}
        silence = EVERYWHERE
        try:
            for source in node.sources:
                speech = list(self._speech(source, node.name))
                for value, boxes in speech:
                    said[value] = either(said.get(value, NOWHERE), both(silence, boxes))
                if source is not node.sources[-1] or node.otherwise is not None:
                    spoken = either(*(boxes for _, boxes in speech))
                    silence = both(silence, self._narrow(Sides(spoken, outside(spoken)), node.name).unmet)
        except TooWideError:
            _refuse_width(node.name)
        if node.otherwise is not None:
            said[node.otherwise] = either(said.get(node.otherwise, NOWHERE), silence)
        if any(isinstance(value, str) is not bool(node.values) for value in said):
            refuse("type", node.name, "speaks in values of another type than its own", "correct its sources")
        names = (*node.values, *(value for value in said if isinstance(value, str)))
        cell = self._enum_cell(names) if node.values else self._truth_cell()
        self._conclude(node.name, cell, said.items())

    def _speech(self, source: Source, owner: str) -> Iterator[tuple[bool | str, Boxes]]:
        """Give what a source says, and the states in which it says so."""
        if source.mapping is not None:
            for expression, value in source.mapping:
                yield value, self._sides(expression, owner).met
            return
        match self._cell(source.node, owner):
            case TruthCell(prop):
                yield True, where(prop, ranges_of(TRUE))
                yield False, where(prop, ranges_of(FALSE))
            case EnumCell(prop, codes):
                for value, code in codes.items():
                    yield value, where(prop, ranges_of(code))
            case _:
                refuse("type", owner, f"cannot take the number `{source.node}` for its own value", "map its ranges")

    def _choice(self, node: ChoiceNode) -> None:
        chosen: dict[bool | str, Boxes] = {}
        still_open = EVERYWHERE
        try:
            for guard, value in node.steps:
                step = self._narrow(self._sides(guard, node.name), node.name)
                chosen[value] = either(chosen.get(value, NOWHERE), both(still_open, step.met))
                still_open = both(still_open, step.unmet)
            chosen[node.otherwise] = either(chosen.get(node.otherwise, NOWHERE), still_open)
        except TooWideError:
            _refuse_width(node.name)
        cell = self._enum_cell((*(value for _, value in node.steps), node.otherwise))
        self._conclude(node.name, cell, chosen.items())

    def _narrow(self, sides: Sides, owner: str) -> Sides:
        """Give the states in which something is met and all others, each as one term over one property.

        Where they are wider, an auxiliary condition is concluded first and its marker is read.
        """
        if _is_narrow(sides.met) and _is_narrow(beyond := outside(sides.met)):
            return Sides(sides.met, beyond)
        prop = self._truth(self._auxiliary(sides, owner), owner)
        return Sides(where(prop, ranges_of(TRUE)), where(prop, ranges_of(FALSE, UNKNOWN)))

    def _auxiliary(self, sides: Sides, owner: str) -> str:
        """Conclude a condition that exists here only, so that others may read its marker; give its name."""
        name = f"{owner} (part {len(self.program.cells)})"
        self._conclude(name, self._truth_cell(), [(True, sides.met), (False, sides.unmet)])
        return name

    def _sides(self, expression: Expression, owner: str) -> Sides:
        """Give the sides of an expression, split into auxiliaries where it is too wide for one condition."""
        if (sides := self._sides_at_once(expression, owner)) is not None:
            return sides
        sides = self._sides_at_once(self._split(expression, owner), owner)
        if sides is None:
            _refuse_width(owner)
        return sides

    def _sides_at_once(self, expression: Expression, owner: str) -> Sides | None:
        try:
            met, unmet = self._exact(expression, owner)
        except TooWideError:
            return None
        # One term is left for the exception that a condition may add.
        return Sides(met, unmet) if max(term_count(met), term_count(unmet)) < TERMS else None

    def _split(self, expression: Expression, owner: str) -> Expression:
        """Replace the parts of an expression that are wide in themselves by auxiliaries that stand for them."""
        match expression:
            case Not(part):
                return Not(self._split(part, owner))
            case All(parts) | AnyOf(parts) | AtLeast(_, parts):
                slim = tuple(part if self._is_slim(part, owner) else self._stand_in(part, owner) for part in parts)
                if isinstance(expression, AtLeast):
                    return AtLeast(expression.n, slim)
                kind = type(expression)
                if len(slim) < TERMS:
                    return kind(slim)
                groups = (slim[at : at + _PART] for at in range(0, len(slim), _PART))
                return self._split(kind(tuple(self._stand_in(kind(group), owner) for group in groups)), owner)
            case _:
                return expression

    def _is_slim(self, expression: Expression, owner: str) -> bool:
        sides = self._sides_at_once(expression, owner)
        return sides is not None and max(map(term_count, sides)) <= 1

    def _stand_in(self, expression: Expression, owner: str) -> Expression:
        return Holds(self._auxiliary(self._sides(expression, owner), owner))

    def _exact(self, expression: Expression, owner: str) -> Sides:
        """Give the sides of an expression as they are; TooWideError if that takes too many boxes."""
        match expression:
            case Always():
                return Sides(EVERYWHERE, NOWHERE)
            case Compare() | OneOf() | Holds() | Is() | Known():
                return self._atom(expression, owner)
            case Not(part):
                met, unmet = self._exact(part, owner)
                return Sides(unmet, met)
            case All(parts):
                sides = [self._exact(part, owner) for part in parts]
                return Sides(both(*(side.met for side in sides)), either(*(side.unmet for side in sides)))
            case AnyOf(parts):
                sides = [self._exact(part, owner) for part in parts]
                return Sides(either(*(side.met for side in sides)), both(*(side.unmet for side in sides)))
            case AtLeast(n, parts):
                sides = [self._exact(part, owner) for part in parts]
                return Sides(
                    at_least(n, (side.met for side in sides)),
                    at_least(len(parts) - n + 1, (side.unmet for side in sides)),
                )
            case _:
                assert_never(expression)

    def _atom(self, atom: Compare | OneOf | Holds | Is | Known, owner: str) -> Sides:
        cell = self._cell(atom.node, owner)
        match atom, cell:
            case Compare(), NumberCell(prop, _):
                ranges = self._compared(atom, owner)
                return Sides(where(prop, ranges), where(prop, rest_of(ranges, prop.low, prop.high)))
            case Compare(), CountCell(lower, upper):
                return _count_sides(atom.operator, self._compared(atom, owner), lower, upper)
            case OneOf(), EnumCell(prop, codes):
                ranges = ranges_of(*(codes[value] for value in atom.values if value in codes))
                return Sides(where(prop, ranges), where(prop, rest_of(ranges, 1, prop.high)))
            case Holds(), TruthCell(prop):
                return Sides(where(prop, ranges_of(TRUE)), where(prop, ranges_of(FALSE)))
            case Is(), TruthCell(prop):
                ranges = ranges_of(UNKNOWN if atom.truth is None else TRUE if atom.truth else FALSE)
                return Sides(where(prop, ranges), where(prop, rest_of(ranges, prop.low, prop.high)))
            case Known(), TruthCell(prop):
                return Sides(where(prop, ranges_of(FALSE, TRUE)), where(prop, ranges_of(UNKNOWN)))
            case Known(), EnumCell(prop):
                return Sides(where(prop, ((1, prop.high),)), where(prop, ranges_of(0)))
            case Known(), NumberCell(_, Property() as marker):
                return Sides(where(marker, ranges_of(1)), where(marker, ranges_of(0)))
            case Known(), CountCell():
                return Sides(EVERYWHERE, NOWHERE)
            case _:
                refuse(
                    "type",
                    owner,
                    f"asks of `{atom.node}` what its type cannot answer ({type(atom).__name__})",
                    "correct the condition",
                )
        return None

    def _compared(self, atom: Compare, owner: str) -> Ranges:
        if abs(atom.constant) >= GREATEST:
            refuse("number", owner, f"compares `{atom.node}` with a number of 2^53 or more", "use a coarser scale")
        match atom.operator:
            case "<":
                return ((-GREATEST, atom.constant - 1),)
            case "<=":
                return ((-GREATEST, atom.constant),)
            case ">":
                return ((atom.constant + 1, GREATEST),)
            case ">=":
                return ((atom.constant, GREATEST),)
            case "==":
                return ((atom.constant, atom.constant),)
            case _:
                assert_never(atom.operator)

    def _cell(self, name: str, owner: str) -> Cell:
        if name not in self.program.slots:
            refuse("order", owner, f"reads `{name}`, which does not stand before it", "order the graph")
        return self.program.cells[self.program.slots[name]]

    def _truth(self, name: str, owner: str) -> Property:
        cell = self._cell(name, owner)
        if not isinstance(cell, TruthCell):
            refuse("type", owner, f"takes `{name}` for a condition", "name a condition")
        return cell.prop


def _refuse_width(name: str) -> NoReturn:
    refuse(
        "too-wide",
        name,
        f"needs more than {TERMS} terms",
        "split its condition with derived facts, or ask for fewer of its parts at once",
    )


def _is_narrow(boxes: Boxes) -> bool:
    return term_count(boxes) <= 1 and all(len(box) <= 1 for box in boxes)


def _count_sides(operator: str, ranges: Ranges, lower: Property, upper: Property) -> Sides:
    """Give the sides of a comparison of a count: true or false only where the whole interval says so."""
    beyond = rest_of(ranges, -GREATEST, GREATEST)
    match operator:
        case "<" | "<=":
            return Sides(where(upper, ranges), where(lower, beyond))
        case ">" | ">=":
            return Sides(where(lower, ranges), where(upper, beyond))
        case _:
            constant = ranges[0][0]
            below, above = ((-GREATEST, constant - 1),), ((constant + 1, GREATEST),)
            return Sides(
                both(where(lower, ranges), where(upper, ranges)),
                either(where(upper, below), where(lower, above)),
            )
