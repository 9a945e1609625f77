"""The part of the rules that other engines can express too: conditions over flat, fully known facts.

From the compiled form, for one jurisdiction: every criterion that rules an option out, holds it down or opens it, with
concepts written out in place, evidence as conditions, and counts over trials as plain numbers that come precomputed.
What is lost on the way is what the other engines cannot say: unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from benchmarks.patients import AS_OF
from engine.compiler import form
from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import PackSet, in_force
from engine.compiler.stages import compile_packs
from engine.pack.book import Pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.compiler.form import Expression
    from engine.pack.book import Contents, RuleBook
    from engine.pack.model import Criterion

JURISDICTION = "US"
TRUE: Expression = form.Always()
FALSE: Expression = form.Not(form.Always())

Fact = bool | int | str


@dataclass(frozen=True)
class Rule:
    """One criterion: its id, the condition under which it holds, and for which options it means what.

    `level` is what it holds an option down to, or None where it indicates one; `is_step` marks an indication that only
    prepares.
    """

    id: str
    condition: Expression
    options: tuple[str, ...]
    level: str | None
    is_step: bool


@dataclass(frozen=True)
class RuleSet:
    """The comparable rules, the options they decide, and the kinds of the flat facts they read, by name."""

    options: tuple[str, ...]
    rules: tuple[Rule, ...]
    kinds: Mapping[str, str]

    def statuses(self, holding: Iterable[str]) -> tuple[str, ...]:
        """Give each option's status from the ids of the rules that hold: the worst level that one of them reaches."""
        held = set(holding)
        return tuple(self._status(option, held) for option in self.options)

    def _status(self, option: str, held: set[str]) -> str:
        rank = len(LEVELS) - 1
        is_indicated = is_prepared = False
        for rule in self.rules:
            if rule.id in held and option in rule.options:
                if rule.level is not None:
                    rank = min(rank, LEVELS.index(rule.level))
                elif rule.is_step:
                    is_prepared = True
                else:
                    is_indicated = True
        if not is_indicated:
            rank = min(rank, LEVELS.index("deferred" if is_prepared else "not_indicated_indication"))
        return STATUS_OF_LEVEL[LEVELS[rank]]


def without_advice(book: RuleBook) -> RuleBook:
    """Leave out what no other engine is asked for: monitoring, dosing, plans, reports, referrals and screens."""
    kept = {"indicates", "requires", "concludes", "triages"}

    def keeps(criterion: Criterion) -> bool:
        return criterion.effect in kept or level_of(criterion) is not None

    packs = {}
    for name, pack in book.packs.items():
        criteria = {n: c for n, c in pack.criteria.items() if keeps(c)}
        options = pack.options and pack.options.model_copy(update={"also_ask": ()})
        contents = replace(pack.contents, criteria=criteria, referrals=[], options=options)
        packs[name] = Pack(pack.header, pack.digest, pack.files, pack.place, partial(_as_it_is, contents))
    return replace(book, packs=packs)


def _as_it_is(contents: Contents) -> Contents:
    return contents


def comparable(book: RuleBook) -> tuple[PackSet, RuleSet]:
    """Compile the comparable part of the rules; give it as the engine runs it, and flat."""
    packs = compile_packs(book, JURISDICTION, None, AS_OF)
    flat = _Flat(packs)
    rules = []
    for name, criterion in packs.criteria.items():
        level = level_of(criterion)
        if criterion.effect == "requires" or (level is None and criterion.effect != "indicates"):
            continue
        condition = simplify(flat.truth(name))
        if condition != FALSE:
            options = tuple(o.id for o in packs.options if o.id in criterion.options)
            rules.append(Rule(name, condition, options, level, criterion.gives == "deferred"))
    kinds = {leaf: flat.kind(leaf) for rule in rules for leaf in leaves(rule.condition)}
    named = {leaf: plain_name(leaf) for leaf in kinds}
    return packs, RuleSet(
        tuple(o.id for o in packs.options),
        tuple(replace(r, condition=renamed(r.condition, named)) for r in rules),
        {named[leaf]: kind for leaf, kind in kinds.items()},
    )


def flat_facts(rules: RuleSet, packs: PackSet, inputs: form.Inputs, values: form.Values) -> dict[str, Fact]:
    """Give a patient's facts as the flat rules read them; counts are the engine's, as plain numbers."""
    flat: dict[str, Fact] = {}
    for name in packs.nodes:
        plain = plain_name(name)
        if plain in rules.kinds:
            value = inputs.values.get(name, values.values.get(name))
            flat[plain] = value[0] if isinstance(value, tuple) else value  # type: ignore[assignment]
    return flat


def plain_name(node: str) -> str:
    """Write a node's name as an identifier that every language here accepts."""
    return re.sub(r"\W", "_", node).lower()


class _Flat:
    """Writes concepts out in place. Nothing is unknown here, so every `Known` holds and no node is in doubt."""

    def __init__(self, packs: PackSet) -> None:
        self._packs = packs

    def kind(self, name: str) -> str:
        node = self._packs.nodes[name]
        return node.type if isinstance(node, form.FactNode) else "int"

    def truth(self, name: str) -> Expression:
        """The condition under which a true-or-false node holds."""
        node = self._packs.nodes[name]
        match node:
            case form.ConditionNode(_, expression, except_if):
                inner = self.written_out(expression)
                return inner if except_if is None else form.All((form.Not(self.truth(except_if)), inner))
            case form.EvidenceNode():
                return self.says(node, frozenset((True,)))
            case _:
                for dated, period in self._packs.periods.items():
                    if name == in_force(dated):
                        return TRUE if period.holds(AS_OF) else FALSE
                return form.Holds(name)

    def says(self, node: form.EvidenceNode, wanted: frozenset[bool | str]) -> Expression:
        """The condition under which evidence gives one of the wanted values: the first source that speaks does so."""
        alternatives: list[Expression] = []
        silent: list[Expression] = []
        for source in node.sources:
            if source.mapping is None:
                own = self.truth(source.node) if True in wanted else self.one_of(source.node, wanted)
                alternatives.append(form.All((*silent, own)))
                silent.append(FALSE)
                continue
            guards = [(self.written_out(guard), says) for guard, says in source.mapping]
            alternatives.append(form.All((*silent, form.AnyOf(tuple(g for g, says in guards if says in wanted)))))
            silent.append(form.Not(form.AnyOf(tuple(g for g, _ in guards))))
        if node.otherwise in wanted:
            alternatives.append(form.All(tuple(silent)))
        return form.AnyOf(tuple(alternatives))

    def one_of(self, name: str, values: frozenset[bool | str]) -> Expression:
        node = self._packs.nodes[name]
        if isinstance(node, form.EvidenceNode):
            return self.says(node, values)
        return form.OneOf(name, values)  # type: ignore[arg-type]

    def written_out(self, expression: Expression) -> Expression:
        match expression:
            case form.Holds(node):
                return self.truth(node)
            case form.Is(node, truth):
                return FALSE if truth is None else self.truth(node) if truth else form.Not(self.truth(node))
            case form.Known():
                return TRUE
            case form.OneOf(node, values):
                return self.one_of(node, values)
            case form.Not(part):
                return form.Not(self.written_out(part))
            case form.All(parts) | form.AnyOf(parts):
                return type(expression)(tuple(map(self.written_out, parts)))
            case form.AtLeast(n, parts):
                return form.AtLeast(n, tuple(map(self.written_out, parts)))
            case _:
                return expression


def simplify(expression: Expression) -> Expression:
    """Drop constants, single parts and nested groups of the same kind; negation ends at a leaf."""
    match expression:
        case form.Not(form.Not(part)):
            return simplify(part)
        case form.Not(form.All(parts)):
            return simplify(form.AnyOf(tuple(map(form.Not, parts))))
        case form.Not(form.AnyOf(parts)):
            return simplify(form.All(tuple(map(form.Not, parts))))
        case form.Not(form.AtLeast(n, parts)):
            return simplify(form.AtLeast(len(parts) - n + 1, tuple(map(form.Not, parts))))
        case form.All(parts):
            return _series(form.All, parts, TRUE, FALSE)
        case form.AnyOf(parts):
            return _series(form.AnyOf, parts, FALSE, TRUE)
        case form.AtLeast(n, parts):
            groups = (form.All(group) for group in combinations(parts, n))
            return simplify(form.AnyOf(tuple(groups)))
        case _:
            return expression


def _series(
    kind: type[form.All | form.AnyOf], parts: Iterable[Expression], neutral: Expression, settling: Expression
) -> Expression:
    kept: dict[Expression, None] = {}
    for part in map(simplify, parts):
        if part == settling:
            return settling
        if part != neutral:
            kept.update(dict.fromkeys(part.parts if isinstance(part, kind) else (part,)))
    return neutral if not kept else next(iter(kept)) if len(kept) == 1 else kind(tuple(kept))


def leaves(expression: Expression) -> Iterable[str]:
    """Walk the names that an expression reads."""
    match expression:
        case form.Not(part):
            yield from leaves(part)
        case form.All(parts) | form.AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case form.Always():
            return
        case form.Holds(node) | form.OneOf(node) | form.Compare(node):
            yield node


def renamed(expression: Expression, names: Mapping[str, str]) -> Expression:
    """Give the expression with other names."""
    match expression:
        case form.Not(part):
            return form.Not(renamed(part, names))
        case form.All(parts) | form.AnyOf(parts):
            return type(expression)(tuple(renamed(p, names) for p in parts))
        case form.Holds(node) | form.OneOf(node) | form.Compare(node):
            return replace(expression, node=names[node])
        case _:
            return expression
