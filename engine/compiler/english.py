"""Conditions in plain English, made from the compiled form, one line for each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.packset import any_date, in_force, node_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from engine.compiler.check import Symbol
    from engine.compiler.packset import PackSet
    from engine.pack.model import Criterion

_COMPARED = {"<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "exactly"}
_INDENT = "  "


def _label_alone(_records: str, _name: str, label: str) -> str:
    return label


@dataclass(frozen=True)
class English:
    """Writes the conditions of one compiled pack set.

    `records` names the list whose single records the conditions are about; empty for the patient. `naming` writes a
    name where a condition reads it: it is given the list, the name and the label.
    """

    packs: PackSet
    records: str = ""
    naming: Callable[[str, str, str], str] = _label_alone

    @property
    def _symbols(self) -> Mapping[str, Symbol]:
        return self.packs.record_symbols[self.records] if self.records else self.packs.symbols

    @property
    def _nodes(self) -> Mapping[str, form.Node]:
        if self.records:
            return {n.name: n for n in self.packs.compiled.records[self.records].nodes}
        return self.packs.nodes

    def condition(self, name: str) -> list[str]:
        """Write the condition of a criterion, derived fact or referral; an indented line belongs to the one above."""
        criterion = self.packs.criteria.get(name)
        if criterion is not None and criterion.needs:
            return list(self._needs(criterion))
        node = self._nodes.get(name)
        match node:
            case None:
                return ["always"]
            case form.ConditionNode():
                return list(self._condition(node))
            case form.EvidenceNode():
                return list(self._evidence(node))
            case form.CountNode():
                inner = replace(self, records=node.records)
                distinct = f", each {node.distinct.replace('_', ' ')} once" if node.distinct else ""
                return [f"how many {node.records} have all of this{distinct}:", *_indented(inner.condition(node.where))]
            case _:
                return [self._label(name)]

    def concepts(self, name: str) -> list[str]:
        """Name the derived facts behind a node, nearest first."""
        found: dict[str, None] = {}
        queue = [name]
        while queue:
            node = self._nodes.get(queue.pop(0))
            if isinstance(node, form.CountNode):
                found |= dict.fromkeys(replace(self, records=node.records).concepts(node.where))
            for read in node_reads(node) if node is not None else ():
                if read not in found:
                    queue.append(read)
                    found |= {read: None} if read in self.packs.derived else {}
        return list(found)

    def _needs(self, criterion: Criterion) -> Iterator[str]:
        yield "all of these are known:"
        yield from _indented([self._label(n) for n in criterion.needs])
        given = self._nodes.get(f"{criterion.id}?given")
        if isinstance(given, form.ConditionNode):
            yield "asked only while this is met:"
            yield from _indented(self._lines(given.expression))

    def _condition(self, node: form.ConditionNode) -> Iterator[str]:
        undated = self._nodes.get(any_date(node.name))
        if isinstance(undated, form.ConditionNode):
            yield from self._condition(undated)
            return
        evidence = self._nodes.get(f"{node.name}?evidence")
        if isinstance(evidence, form.EvidenceNode):
            yield from self._evidence(evidence)
        else:
            yield from self._lines(_without_dates(node.expression))
        for guard, words in ((node.except_if, "unless"), (node.unknown_if, "unknown while")):
            inner = self._nodes.get(guard) if guard else None
            if isinstance(inner, form.ConditionNode):
                yield f"{words}:"
                yield from _indented(self._lines(inner.expression))

    def _evidence(self, node: form.EvidenceNode) -> Iterator[str]:
        yield "the first of these that is known:"
        for source in node.sources:
            if source.mapping is None:
                yield f"{_INDENT}{self._label(source.node)}"
                continue
            says: dict[bool | str, list[str]] = {}
            for guard, value in source.mapping:
                says.setdefault(value, []).append(self._guard(guard))
            words = (f"{' or '.join(guards)} says {_value(value)}" for value, guards in says.items())
            yield f"{_INDENT}{self._label(source.node)}: {'; '.join(words)}"
        if node.otherwise is not None:
            yield f"otherwise {_value(node.otherwise)}"

    def _guard(self, guard: form.Expression) -> str:
        match guard:
            case form.All((form.Compare(node, _, low), form.Compare(_, _, high))):
                ends = [self._number(node, low), self._number(node, high)]
                return ends[0] if low == high else f"{ends[0]} to {ends[1]}"
            case form.OneOf(node, values):
                return " or ".join(self._named(node, v) for v in sorted(values))
            case form.Not():
                return "no"
            case _:
                return "yes"

    def _lines(self, expression: form.Expression) -> Iterator[str]:
        match expression:
            case form.All(parts) if len(parts) == 1:
                yield from self._lines(parts[0])
            case form.All(parts):
                yield from self._tree("all of:", parts)
            case form.AnyOf(parts) if len(parts) == 1:
                yield from self._lines(parts[0])
            case form.AnyOf(parts):
                yield from self._tree("any of:", parts)
            case form.AtLeast(n, parts):
                yield from self._tree(f"at least {n} of:", parts)
            case form.Not(form.Holds(node)):
                yield f"not: {self._label(node)}"
            case form.Not(part):
                yield "not:"
                yield from _indented(self._lines(part))
            case _:
                yield self._leaf(expression)

    def _tree(self, heading: str, parts: tuple[form.Expression, ...]) -> Iterator[str]:
        yield heading
        for part in parts:
            yield from _indented(self._lines(part))

    def _leaf(self, leaf: form.Expression) -> str:
        match leaf:
            case form.Compare(node, comparison, constant):
                return self._compared(node, comparison, constant)
            case form.OneOf(node, values):
                order = [v for v in self._values(node) if v in values] or sorted(values)
                return f"{self._label(node)} is {' or '.join(self._named(node, v) for v in order)}"
            case form.Holds(node):
                return self._label(node)
            case _:
                return "always"

    def _compared(self, node: str, comparison: str, constant: int) -> str:
        symbol = self._symbols.get(node)
        match symbol.kind if symbol else "":
            case "date":
                return f"{self._label(node)} within the last {constant} days"
            case "count":
                return f"{_COMPARED[comparison]} {constant} {self._label(node)}"
            case "set":
                return f"{self._label(node)}: at least one"
            case _:
                return f"{self._label(node)} {_COMPARED[comparison]} {self._number(node, constant)}"

    def _number(self, node: str, number: int) -> str:
        symbol = self._symbols.get(node)
        definition = symbol.definition if symbol else None
        return definition.in_words(number) if definition else str(number)

    def _named(self, node: str, value: str) -> str:
        symbol = self._symbols.get(node)
        return symbol.definition.in_words(value) if symbol and symbol.definition else value.replace("_", " ")

    def _values(self, node: str) -> tuple[str, ...]:
        symbol = self._symbols.get(node)
        return symbol.values if symbol else ()

    def _label(self, name: str) -> str:
        if past := self.packs.past.get(name):
            words = " or ".join(self._named(past.fact, value) for value in past.values)
            within = "" if past.days is None else f" at most {past.days} days ago"
            return f"{self._label(past.fact)} was {words} when last recorded{within}, too long ago to say what is now"
        if " before " in name:
            fact, _, day = name.partition(" before ")
            return f"{self._label(fact)} before {day}"
        if name in self.packs.criteria:
            label = f"{name} is met ({self.packs.criteria[name].title})"
        else:
            symbol = self._symbols.get(name)
            label = symbol.label if symbol else name.replace("_", " ")
        return self.naming(self.records, name, label)


def _without_dates(expression: form.Expression) -> form.Expression:
    """Leave out whether a criterion is in force: its dates are shown as dates."""
    prefix = in_force("")
    match expression:
        case form.All(parts):
            kept = tuple(p for p in parts if not _reads_only(p, prefix))
            return form.All(kept) if kept else form.Always()
        case form.AnyOf(parts):
            kept = tuple(p for p in parts if not _reads_only(p, prefix))
            return form.AnyOf(kept) if kept else form.Always()
        case _:
            return expression


def _reads_only(expression: form.Expression, prefix: str) -> bool:
    match expression:
        case form.Not(part):
            return _reads_only(part, prefix)
        case form.Holds(node):
            return node.startswith(prefix)
        case _:
            return False


def _value(value: bool | str) -> str:  # noqa: FBT001 - a value of a concept, not a flag
    return ("yes" if value else "no") if isinstance(value, bool) else value.replace("_", " ")


def _indented(lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (f"{_INDENT}{line}" for line in lines)
