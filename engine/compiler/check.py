"""Typing of conditions.

Names exist, units and ranges fit, values belong to their enum. Syntax becomes compiled form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine import units
from engine.compiler import expr, form
from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from engine.dictionary import FactDefinition
    from engine.errors import Diagnostic
    from engine.pack.book import Located
    from engine.pack.model import Parameter
    from engine.pack.source import Path

PAST = "past:"
"""With what the names of nodes begin that hold what observations say that are too old to count."""

SymbolKind: TypeAlias = Literal["truth", "number", "enum", "date", "set", "count", "text"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """What a name stands for in a condition. `definition` is the fact behind it, if it is one."""

    name: str
    kind: SymbolKind
    label: str
    values: tuple[str, ...] = ()
    definition: FactDefinition | None = None


def fact_symbol(definition: FactDefinition) -> Symbol:
    """Give the symbol of a fact or of a record's field."""
    kinds: Mapping[str, SymbolKind] = {
        "bool": "truth",
        "int": "number",
        "decimal": "number",
        "enum": "enum",
        "date": "date",
        "set": "set",
    }
    kind = kinds.get(definition.type, "text")
    return Symbol(definition.id, kind, definition.label, tuple(definition.values), definition)


@dataclass(frozen=True, slots=True)
class Past:
    """What an observation says that is too old to count as what is now; `days` is its greatest age, None for any."""

    fact: str
    values: tuple[str, ...]
    days: int | None

    @property
    def node(self) -> str:
        """The name of the node; what it holds is never unknown."""
        within = "" if self.days is None else f" within {self.days} d"
        return f"{PAST}{self.fact} was {' or '.join(self.values)}{within}"


@dataclass
class Typing:
    """Types one item's conditions.

    `scope` holds the names that may be used; `parameters` the resolved numbers by name. Two kinds of atoms are answered
    at the door before the logic: `dates` collects the comparisons of dates with fixed days, node name to (fact, day);
    `past` what observations say that are too old to count, by node name, and is None where that may not be asked.
    """

    located: Located
    scope: Mapping[str, Symbol]
    parameters: Mapping[str, tuple[Parameter, Decimal]]
    faults: list[Diagnostic]
    dates: dict[str, tuple[str, object]] = field(default_factory=dict)
    past: dict[str, Past] | None = None

    def condition(self, condition: object, path: Path) -> form.Expression:
        """Read and type a condition; `Always` stands in for what is wrong."""
        syntax = expr.parse(condition, path, self._fault, self.faults)
        return form.Always() if syntax is None else self._typed(syntax)

    def names(self, names: Iterable[str], path: Path) -> tuple[str, ...]:
        """Check a list of names."""
        return tuple(n for i, n in enumerate(names) if self.symbol(n, (*path, i)) is not None)

    def _typed(self, syntax: expr.Syntax) -> form.Expression:
        match syntax:
            case expr.AlwaysAtom():
                return form.Always()
            case expr.NotTree(part):
                for atom in expr.atoms(part):
                    if isinstance(atom, expr.WasAtom):
                        self._wrong(atom.path, "`was` cannot be negated", _WAS)
                return form.Not(self._typed(part))
            case expr.AllTree(parts):
                return form.All(tuple(self._typed(p) for p in parts))
            case expr.AnyTree(parts):
                return form.AnyOf(tuple(self._typed(p) for p in parts))
            case expr.AtLeastTree(n, parts):
                return form.AtLeast(n, tuple(self._typed(p) for p in parts))
            case _:
                return self._atom(syntax)

    def _atom(self, atom: expr.Atom) -> form.Expression:
        symbol = self.symbol(atom.name, atom.path)
        if symbol is None:
            return form.Always()
        match atom, symbol.kind:
            case expr.NameAtom(), "truth":
                return form.Holds(symbol.name)
            case expr.NumberAtom(), "number":
                return self._number(atom, symbol)
            case expr.NumberAtom(parameter=""), "count" if not atom.unit and atom.number == int(atom.number) >= 0:
                return form.Compare(symbol.name, atom.operator, int(atom.number))  # type: ignore[arg-type]
            case expr.OneOfAtom(), "enum":
                return self._one_of(atom, symbol)
            case expr.WithinAtom(), "date":
                days = units.factor(atom.unit, "d")
                if days is None:
                    return self._wrong(atom.path, f"`{atom.unit}` is not a length of time", "write `within 28 d`")
                if atom.number < 0:
                    return self._wrong(atom.path, _negative(atom.number, atom.unit), "write `within 28 d`")
                return form.Compare(symbol.name, "<=", int(Fraction(atom.number) * days))
            case expr.BeforeAtom(), "date":
                name = f"{symbol.name} before {atom.day.isoformat()}"
                self.dates[name] = (symbol.name, atom.day)
                return form.Holds(name)
            case expr.WasAtom(), "enum":
                return self._was(atom, symbol)
            case expr.NotEmptyAtom(), "set":
                return form.Compare(symbol.name, ">", 0)
            case _:
                return self._wrong(atom.path, f"`{symbol.name}` cannot be used this way", _USES[symbol.kind])

    def _number(self, atom: expr.NumberAtom, symbol: Symbol) -> form.Expression:
        definition = symbol.definition
        number, unit = atom.number, atom.unit
        if atom.parameter:
            if atom.parameter not in self.parameters:
                hint = nearest(atom.parameter, self.parameters)
                message = f"`${atom.parameter}` is not a parameter{hint}"
                self.faults.append(self._fault(atom.path, "pack/unknown-name", message, "add it to parameters.yaml"))
                return form.Always()
            parameter, number = self.parameters[atom.parameter]
            unit = parameter.unit
        wanted = definition.unit if definition else ""
        if unit != wanted:
            said = f"`{unit}`" if unit else "no unit"
            return self._wrong(
                atom.path, f"`{symbol.name}` is in `{wanted or 'no unit'}`, not in {said}", "use its unit"
            )
        if definition is not None and definition.range is not None:
            low, high = definition.range
            scaled = definition.scaled(number)
            if scaled is None or not low <= number <= high:
                return self._wrong(atom.path, f"{number} is not a value of `{symbol.name}` ({low} to {high})")
            return form.Compare(symbol.name, atom.operator, scaled)  # type: ignore[arg-type]
        return form.Compare(symbol.name, atom.operator, int(number))  # type: ignore[arg-type]

    def _one_of(self, atom: expr.OneOfAtom, symbol: Symbol) -> form.Expression:
        for value in atom.values:
            if value not in symbol.values:
                hint = nearest(value, symbol.values) or f"; its values are {', '.join(symbol.values)}"
                return self._wrong(atom.path, f"`{value}` is not a value of `{symbol.name}`{hint}")
        return form.OneOf(symbol.name, frozenset(atom.values))

    def _was(self, atom: expr.WasAtom, symbol: Symbol) -> form.Expression:
        days = None if atom.number is None else units.factor(atom.unit, "d")
        if self.past is None:
            return self._wrong(atom.path, "`was` cannot be used here", _WAS)
        if symbol.definition is None or symbol.definition.valid_for_days is None:
            return self._wrong(atom.path, f"`{symbol.name}` does not go stale", "it needs `valid_for` in facts.yaml")
        if atom.number is not None and days is None:
            return self._wrong(atom.path, f"`{atom.unit}` is not a length of time", "write `within 30 d`")
        if atom.number is not None and atom.number < 0:
            return self._wrong(atom.path, _negative(atom.number, atom.unit), "write `within 30 d`")
        self._one_of(expr.OneOfAtom(atom.name, atom.values, atom.path), symbol)
        limit = None if atom.number is None or days is None else int(Fraction(atom.number) * days)
        past = Past(symbol.name, atom.values, limit)
        self.past[past.node] = past
        return form.Holds(past.node)

    def symbol(self, name: str, path: Path) -> Symbol | None:
        """Give what a name stands for; None, and a fault, if it is not defined here."""
        symbol = self.scope.get(name)
        if symbol is None:
            message = f"`{name}` is not defined here{nearest(name, self.scope)}"
            self.faults.append(self._fault(path, "pack/unknown-name", message, ""))
        return symbol

    def _wrong(self, path: Path, message: str, hint: str = "") -> form.Expression:
        self.faults.append(self._fault(path, "pack/type", message, hint))
        return form.Always()

    def _fault(self, path: Path, code: str, message: str, hint: str) -> Diagnostic:
        return self.located.fault(code, message, hint, path)


_WAS = "it is for the `when` of criteria that triage: an old observation may raise an alarm and never lower one"
_USES: Mapping[SymbolKind, str] = {
    "truth": "it is true or false: write its name alone",
    "number": "it is a number: compare it, as in `NAME > 140 mm[Hg]`",
    "count": "it counts: compare it with a whole number, as in `NAME >= 2`",
    "enum": "it has named values: write `NAME is VALUE` or `NAME in [A, B]`",
    "date": "it is a date: write `NAME within 28 d` or `NAME before 2022-12-14`",
    "set": "it is a list: write `{any: NAME}`",
    "text": "it is a text and cannot be used in a condition",
}


def _negative(number: Decimal, unit: str) -> str:
    return f"`within {number} {unit}` holds for no day: a window goes back from the day of the evaluation"


def reads(expression: form.Expression) -> frozenset[str]:
    """Give the nodes that an expression reads directly."""
    match expression:
        case form.Always():
            return frozenset()
        case form.Not(part):
            return reads(part)
        case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
            return frozenset().union(*map(reads, parts))
        case _:
            return frozenset({expression.node})
