"""The condition language: text atoms and trees of them, read into a small untyped syntax tree.

Grammar in docs/rule-format.md, section 2. There is no way to ask whether something is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias, Union

from lark import Lark, Token, Tree, UnexpectedInput

from engine.errors import Diagnostic
from engine.names import nearest
from engine.pack.source import Path

_GRAMMAR = r"""
atom: "always"                                   -> always
    | NAME                                       -> name
    | NAME OPERATOR NUMBER unit?                 -> number
    | NAME OPERATOR PARAMETER                    -> parameter
    | NAME "is" WORD                             -> one_of
    | NAME "in" "[" WORD ("," WORD)* "]"         -> one_of
    | NAME "within" NUMBER unit                  -> within
    | NAME "before" DATE                         -> before
    | NAME "was" words ("within" NUMBER unit)?   -> was
words: WORD | "in" "[" WORD ("," WORD)* "]"
unit: UNIT
NAME: /[A-Za-z][A-Za-z0-9_]*(-[A-Z0-9]+)*/
OPERATOR: "<=" | ">=" | "==" | "<" | ">"
NUMBER: /-?[0-9]+(\.[0-9]+)?/
PARAMETER: /\$[a-z][a-z0-9_]*/
WORD: /[A-Za-z0-9_]+/
DATE: /[0-9]{4}-[0-9]{2}-[0-9]{2}/
UNIT: /[A-Za-z%\[][A-Za-z0-9%\[\]_.\/()]*/
%ignore /[ \t\n]+/
"""
_PARSER = Lark(_GRAMMAR, start="atom", parser="lalr")
_MAX_DEPTH = 12
_OPERATORS = ("all", "any", "not", "at_least")
_HINT = (
    "write NAME, NAME > NUMBER UNIT, NAME is VALUE, NAME in [A, B], NAME within N d, NAME was VALUE within N d, "
    "or {all|any|not|at_least: ...}"
)


@dataclass(frozen=True, slots=True)
class AlwaysAtom:
    """`always`."""


@dataclass(frozen=True, slots=True)
class NameAtom:
    """The truth of a name."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class NumberAtom:
    """A name compared with a number, or with a parameter if `parameter` is given."""

    name: str
    operator: str
    number: Decimal
    unit: str
    parameter: str
    path: Path


@dataclass(frozen=True, slots=True)
class OneOfAtom:
    """An enum is one of some values."""

    name: str
    values: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class WithinAtom:
    """A date lies at most so many days before `as_of`."""

    name: str
    number: Decimal
    unit: str
    path: Path


@dataclass(frozen=True, slots=True)
class BeforeAtom:
    """A date lies before a day."""

    name: str
    day: date
    path: Path


@dataclass(frozen=True, slots=True)
class WasAtom:
    """An observation of an enum that is too old to count had one of some values, at most so many days ago if given."""

    name: str
    values: tuple[str, ...]
    number: Decimal | None
    unit: str
    path: Path


@dataclass(frozen=True, slots=True)
class NotEmptyAtom:
    """A set has members."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class NotTree:
    """Negation."""

    part: Syntax


@dataclass(frozen=True, slots=True)
class AllTree:
    """Conjunction."""

    parts: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class AnyTree:
    """Disjunction."""

    parts: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class AtLeastTree:
    """At least `n` of the parts."""

    n: int
    parts: tuple[Syntax, ...]


Atom: TypeAlias = NameAtom | NumberAtom | OneOfAtom | WithinAtom | BeforeAtom | WasAtom | NotEmptyAtom
Syntax: TypeAlias = Union[AlwaysAtom, Atom, "NotTree", "AllTree", "AnyTree", "AtLeastTree"]
Fault: TypeAlias = Callable[[Path, str, str, str], Diagnostic]


def parse(condition: object, path: Path, fault: Fault, faults: list[Diagnostic]) -> Syntax | None:
    """Read a condition; what is wrong is added to `faults`, and None comes back if anything was."""
    reader = _Reader(fault, faults)
    before = len(faults)
    tree = reader.read(condition, path, 0)
    return tree if len(faults) == before else None


def atoms(tree: Syntax) -> Iterator[Atom]:
    """Walk the atoms of a tree, in reading order."""
    match tree:
        case AllTree(parts) | AnyTree(parts) | AtLeastTree(_, parts):
            for part in parts:
                yield from atoms(part)
        case NotTree(part):
            yield from atoms(part)
        case AlwaysAtom():
            return
        case _:
            yield tree


class _Reader:
    def __init__(self, fault: Fault, faults: list[Diagnostic]) -> None:
        self.fault = fault
        self.faults = faults

    def read(self, condition: object, path: Path, depth: int) -> Syntax:
        if depth > _MAX_DEPTH:
            return self._wrong(path, "pack/condition-too-deep", "the condition is nested too deeply")
        if isinstance(condition, str):
            return self._atom(condition, path)
        if isinstance(condition, dict) and len(condition) > 1:
            message = f"{' and '.join(f'`{key}`' for key in condition)} stand side by side; a condition has one of them"
            return self._wrong(path, "pack/condition", message, "put them into one list: {all: [{any: [...]}, ...]}")
        if not isinstance(condition, dict) or not condition:
            return self._wrong(path, "pack/condition", "this is not a condition", _HINT)
        ((operator, value),) = condition.items()
        here = (*path, operator)
        match operator, value:
            case "any", str():
                return NotEmptyAtom(value, here)
            case "all" | "any", list() if value:
                parts = tuple(self.read(v, (*here, i), depth + 1) for i, v in enumerate(value))
                return AllTree(parts) if operator == "all" else AnyTree(parts)
            case "not", _:
                return NotTree(self.read(value, here, depth + 1))
            case "at_least", {"n": int(n), "of": list(of)} if 0 < n <= len(of) and _is_plain(value):
                return AtLeastTree(n, tuple(self.read(v, (*here, "of", i), depth + 1) for i, v in enumerate(of)))
            case _:
                return self._wrong(here, "pack/condition", *_misuse(str(operator), value))

    def _atom(self, text: str, path: Path) -> Syntax:
        try:
            tree = _PARSER.parse(text)
        except UnexpectedInput:
            return self._wrong(path, "pack/condition", f"`{text[:80]}` is not a condition", _HINT)
        words = [_text(child) for child in tree.children]
        match tree.data:
            case "always":
                return AlwaysAtom()
            case "name":
                return NameAtom(words[0], path)
            case "number":
                unit = words[3] if words[3:] else ""
                return NumberAtom(words[0], words[1], Decimal(words[2]), unit, "", path)
            case "parameter":
                return NumberAtom(words[0], words[1], Decimal(0), "", words[2].removeprefix("$"), path)
            case "within":
                return WithinAtom(words[0], Decimal(words[1]), words[2], path)
            case "before":
                try:
                    return BeforeAtom(words[0], date.fromisoformat(words[1]), path)
                except ValueError:
                    return self._wrong(path, "pack/date", f"`{words[1]}` is not a day that exists")
            case "was":
                values = tuple(str(word) for word in tree.children[1].children)  # type: ignore[union-attr]
                number, unit = (Decimal(words[2]), words[3]) if words[2:] else (None, "")
                return WasAtom(words[0], values, number, unit, path)
            case _:
                return OneOfAtom(words[0], tuple(words[1:]), path)

    def _wrong(self, path: Path, code: str, message: str, hint: str = "") -> Syntax:
        self.faults.append(self.fault(path, code, message, hint))
        return AlwaysAtom()


def _misuse(operator: str, value: object) -> tuple[str, str]:
    """Say what is wrong with the part of a tree that cannot be read, and what to write."""
    match operator, value:
        case "all" | "any", []:
            return f"`{operator}` has no conditions", f"write {{{operator}: [CONDITION, CONDITION]}}"
        case "all" | "any", _:
            return f"`{operator}` takes a list of conditions", f"write {{{operator}: [CONDITION, CONDITION]}}"
        case "at_least", {"n": int(n), "of": list(of)} if n < 1 and _is_plain(value):
            return f"at least {n} of {len(of)} is always met", "let `n` be 1 or more, or write `always`"
        case "at_least", {"n": int(n), "of": list(of)} if n > len(of) and _is_plain(value):
            return f"at least {n} of {len(of)} can never be met", f"`of` has {len(of)} conditions: let `n` be fewer"
        case "at_least", _:
            hint = "write {at_least: {n: 2, of: [A, B, C]}}"
            return "`at_least` takes a whole number `n` and a list `of`, nothing else", hint
        case _:
            return f"`{operator}` is not an operator of conditions{nearest(operator, _OPERATORS)}", _HINT


def _is_plain(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"n", "of"} and not isinstance(value["n"], bool)


def _text(child: Token | Tree[Token]) -> str:
    return str(child.children[0]) if isinstance(child, Tree) else str(child)
