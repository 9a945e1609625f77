"""What the missing facts could still change: the statuses within reach, and the facts that lead to them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import STATUS_OF_LEVEL
from engine.compiler.packset import PackSet, status_node
from engine.evaluator.interpret import Environment, Interpreter, Test, compile_test
from engine.evaluator.option_rules import OptionRules
from engine.evaluator.scope import scope_of
from engine.evaluator.search import OptionReach, Situation, search
from engine.evaluator.variables import OpenCount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.dictionary import Constraint, FactDefinition
    from engine.truth import Truth

MOST_REMEMBERED = 512
"""How many situations of options are remembered with what was found, for one pack set: at most some megabytes."""


class Explorer:
    """Explores completions for one compiled pack set. Thread safe."""

    def __init__(
        self,
        packs: PackSet,
        interpreter: Interpreter,
        definitions: Mapping[str, FactDefinition],
        constraints: Sequence[Constraint],
    ) -> None:
        self.missing = interpreter.missing
        self._interpreter = interpreter
        self._counts = frozenset(n.name for n in packs.nodes.values() if isinstance(n, form.CountNode))
        self._tests: dict[form.Expression, Test] = {}
        scope = scope_of(packs, definitions, constraints)
        self._rules = {option.id: OptionRules(scope, option.id) for option in packs.options}
        self._search = lru_cache(maxsize=MOST_REMEMBERED)(search)

    def test(self, expression: form.Expression, environment: Environment) -> Truth:
        """Give the truth of one expression."""
        test = self._tests.get(expression)
        if test is None:
            test = self._tests[expression] = compile_test(expression, self._counts)
        return test(environment)

    def decides(self, count: form.CountNode, record: Mapping[str, form.Value]) -> bool:
        """Say whether a count knows what to make of one record."""
        return self._interpreter.conclude_record(count.records, record)[count.where] is not None

    def explore(
        self, inputs: form.Inputs, values: form.Values, credited: Mapping[str, Sequence[str]]
    ) -> dict[str, OptionReach]:
        """Explore what is missing.

        Args:
            inputs: what the back ends read.
            values: what they concluded.
            credited: for each count, the facts to ask for when it matters what it comes to.

        """
        base = {**self.missing, **inputs.values, **values.values}
        return {option: self._explore(option, rules, base, credited) for option, rules in self._rules.items()}

    def _explore(
        self, option: str, rules: OptionRules, base: Environment, credited: Mapping[str, Sequence[str]]
    ) -> OptionReach:
        status = STATUS_OF_LEVEL[str(base[status_node(option)])]
        rows, within = rules.open_rows(base)
        if not rows:
            return OptionReach(frozenset((status,)))
        counts = tuple(
            OpenCount(name, form.interval(base[name]), tuple(credited[name]))
            for name in rules.circuit.counts
            if len(set(form.interval(base[name]))) > 1 and credited[name]
        )
        return self._search(Situation(rules, status, rows, within, rules.held(base), counts))
