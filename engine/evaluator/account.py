"""One evaluation as a person reads it: truths, facts and concepts in words, and the facts that each node rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.packset import in_force
from engine.evaluator import decision as answer
from engine.evaluator import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.dictionary import FactDefinition
    from engine.evaluator.layout import Layout
    from engine.evaluator.reach import Explorer
    from engine.facts import Observed, PatientFacts
    from engine.truth import Truth


class Account:
    """The facts, the inputs and the concluded values of one evaluation, by name and in words."""

    def __init__(
        self, layout: Layout, explorer: Explorer, facts: PatientFacts, inputs: form.Inputs, values: form.Values
    ) -> None:
        self.layout = layout
        self.explorer = explorer
        self.packs = layout.packs
        self.definitions = layout.book.facts
        self.facts = facts
        self.inputs = inputs
        self.values = values.values
        self.record_values = values.records
        self.environment = {**explorer.missing, **inputs.values, **values.values}
        self._read: dict[str, answer.FactRead] = {}
        self._leaves_of: dict[str, tuple[str, ...]] = {}
        self._lapsed = {n for n in self.packs.periods if self.environment[in_force(n)] is not True}
        self._lapsed |= {c.replaces for n, c in self.packs.criteria.items() if c.replaces and n not in self._lapsed}

    def truth(self, name: str) -> Truth:
        """Give the truth of a true-or-false node; None is unknown."""
        value = self.environment.get(name)
        return value if value is True or value is False else None

    def is_in_force(self, name: str) -> bool:
        """Say whether a criterion or referral is in force on the day of the evaluation, and no other took its place."""
        return name not in self._lapsed

    def concepts(self, name: str) -> set[str]:
        """Every node behind a node, itself included."""
        reached: set[str] = set()
        queue = [name]
        while queue:
            current = queue.pop()
            if current not in reached and current in self.packs.nodes:
                reached.add(current)
                queue += self.packs.reads[current]
        return reached

    def rests_on_contradiction(self, name: str) -> bool:
        """Say whether facts that contradict each other stand behind a node."""
        behind = self.concepts(name)
        if any(self.truth(node) is True for node in behind if node in self.layout.contradictions):
            return True
        unusable = {(u.fact, u.reason) for u in self.facts.unusable}
        for constraint in self.layout.book.dictionary.constraints:
            pair = constraint.greater or ()
            if not behind.isdisjoint(pair) and unusable.issuperset((fact, constraint.says) for fact in pair):
                return True
        lists = {self.layout.list_facts[node] for node in behind if node in self.layout.list_facts}
        return any(r.get("consistent") is None for name in lists for r in self.inputs.records.get(name) or ())

    def words(self, name: str) -> str:
        """Give the value of a fact, a concept or a parameter (`$name`) as a sentence says it, without its unit."""
        if name.startswith("$"):
            return str(self.packs.parameters[name.removeprefix("$")][1])
        seen = self.facts.known.get(name)
        if seen is not None:
            return self.definitions[name].in_words(seen.value, with_unit=False)
        value = self.values.get(name)
        return "not recorded" if value is None else self._value_words(value)

    @staticmethod
    def _value_words(value: form.Value) -> str:
        match value:
            case bool():
                return "yes" if value else "no"
            case (low, high):
                return sentences.count_in_words((low, high))
            case _:
                return str(value).replace("_", " ")

    def label(self, name: str) -> str:
        """Give the noun phrase for a fact, concept or criterion."""
        definition = self.definitions.get(name)
        if definition is not None:
            return definition.label
        symbol = self.packs.symbols.get(name)
        return symbol.label if symbol else name.replace("_", " ")

    def failing(self, name: str) -> Iterator[tuple[str, str]]:
        """Labels and values of what keeps a condition from being met."""
        node = self.packs.nodes.get(name)
        if not isinstance(node, form.ConditionNode):
            return
        if node.except_if and self.truth(node.except_if) is True:
            yield from self._holding(node.except_if)
            return
        yield from self._parts(node.expression, is_wanted=True)

    def _holding(self, name: str) -> Iterator[tuple[str, str]]:
        node = self.packs.nodes.get(name)
        if isinstance(node, form.ConditionNode):
            yield from self._parts(node.expression, is_wanted=False)

    def _parts(self, expression: form.Expression, *, is_wanted: bool) -> Iterator[tuple[str, str]]:
        """The leaves that make an expression other than `is_wanted`."""
        match expression:
            case form.Not(part):
                yield from self._parts(part, is_wanted=not is_wanted)
            case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
                for part in parts:
                    if self.test(part) is (not is_wanted):
                        yield from self._parts(part, is_wanted=is_wanted)
            case form.Holds(node) if node.endswith("?any_date"):
                yield from self.failing(node)
            case form.Holds(node) if node.startswith("in_force:"):
                yield "in force on this date", "no"
            case form.Holds(node) if node in self.packs.past:
                return
            case form.Holds(node) if is_wanted and self._is_list_of_demands(node):
                yield from self.failing(node)
            case form.Compare(node) | form.OneOf(node) | form.Holds(node):
                yield (
                    self.label(node),
                    self.fact_read(node).value or "not recorded" if node in self.definitions else self.words(node),
                )
            case _:
                return

    def _is_list_of_demands(self, name: str) -> bool:
        """Say whether a concept asks for several things at once, so that it says more which of them fails."""
        node = self.packs.nodes.get(name)
        return (
            name in self.packs.derived
            and isinstance(node, form.ConditionNode)
            and isinstance(node.expression, form.All)
        )

    def test(self, expression: form.Expression) -> Truth:
        """Give the truth of an expression."""
        return self.explorer.test(expression, self.environment)

    def fact_read(self, fact: str) -> answer.FactRead:
        """Give a fact as it was read, with its unit, date and source; of a node of the past what was read then."""
        read = self._read.get(fact)
        if read is None:
            read = self._read[fact] = self._read_fact(fact)
        return read

    def _read_fact(self, fact: str) -> answer.FactRead:
        if past := self.packs.past.get(fact):
            definition = self.definitions[past.fact]
            return _seen(definition, f"{definition.label}, when last recorded", self.facts.stale[past.fact])
        definition = self.definitions[fact]
        if definition.type == "records":
            return answer.FactRead(
                fact, definition.label, self._list_words(fact) if fact in self.facts.records else None
            )
        seen = self.facts.known.get(fact)
        if seen is None:
            return answer.FactRead(fact, definition.label, None)
        return _seen(definition, definition.label, seen)

    def _list_words(self, fact: str) -> str:
        given = self.facts.records[fact]
        names = [self.drug(str(r.values.get("drug", ""))) for r in given]
        return sentences.join(names) or "none recorded"

    def leaf_facts(self, name: str) -> tuple[str, ...]:
        """The input facts that a node rests on here: of evidence only the source that spoke, or all that could have."""
        plain = self.layout.plain_facts.get(name)
        if plain is not None:
            return plain
        criterion = self.packs.criteria.get(name)
        if criterion is not None and criterion.effect == "discounts":
            return (criterion.of,)
        return self._leaves(name)

    def _leaves(self, name: str) -> tuple[str, ...]:
        known = self._leaves_of.get(name)
        if known is not None:
            return known
        node = self.packs.nodes.get(name)
        reads: Iterable[str] = ()
        match node:
            case form.FactNode() if name in self.packs.past:
                leaves: tuple[str, ...] = (name,) if self.environment[name] is True else ()
            case form.FactNode() if fact := self.layout.fact_of(name):
                leaves = (fact,)
            case form.CountNode():
                leaves = (node.records, self.definitions[node.records].complete_when)
            case _:
                reads = self.speaking(node) if isinstance(node, form.EvidenceNode) else self.packs.reads.get(name, ())
                leaves = tuple(dict.fromkeys(leaf for read in reads for leaf in self._leaves(read)))
        self._leaves_of[name] = leaves
        return leaves

    def speaking(self, node: form.EvidenceNode) -> Iterator[str]:
        """Give the sources that a concept rests on."""
        for source in node.sources:
            value = self.environment.get(source.node)
            if value is None:
                if self.values[node.name] is None or node.otherwise is not None:
                    yield source.node
                continue
            mapped = source.mapping is None or any(self.test(guard) for guard, _ in source.mapping)
            if mapped:
                yield source.node
                return

    def drug(self, key: str) -> str:
        """Give the name of a drug."""
        drug = self.layout.book.drugs.get(key)
        return drug.display if drug else key or "the drug"


def _seen(definition: FactDefinition, label: str, seen: Observed) -> answer.FactRead:
    observed_on = seen.observed_on.isoformat() if seen.observed_on else ""
    return answer.FactRead(definition.id, label, definition.in_words(seen.value), seen.path, observed_on, seen.source)
