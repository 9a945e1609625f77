"""Other engines, each given the comparable rules in its own words.

Every rival is a function from flat facts to the ids of the rules that hold. What it is given was printed from the same
conditions for all; how it is run follows its documentation. Absent packages are left out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import compress
from typing import TYPE_CHECKING, Any

from benchmarks.comparable import leaves
from engine.compiler import form

if TYPE_CHECKING:
    from benchmarks.comparable import Fact, RuleSet
    from engine.compiler.form import Expression

Run = Callable[[Mapping[str, "Fact"]], Iterable[str]]


@dataclass(frozen=True)
class Rival:
    """One way to run another engine; `module` must be importable, `package` names its distribution.

    `prepare` turns flat facts into what the engine takes; it is not timed, since ours get theirs read too.
    """

    name: str
    package: str
    module: str
    build: Callable[[RuleSet], Run]
    prepare: Callable[[Mapping[str, Fact]], Any] = dict

    @property
    def is_installed(self) -> bool:
        """Whether it can be run here."""
        return find_spec(self.module) is not None

    @property
    def title(self) -> str:
        """Its name with the version that runs."""
        return f"{self.name} ({self.package} {version(self.package)})"


# Conditions, printed

Words = Mapping[str, str]
_ZEN: Words = {"all": " and ", "any": " or ", "not": "not ({})", "quote": "'{}'", "in": "{} in [{}]"}
_CEL: Words = {"all": " && ", "any": " || ", "not": "!({})", "quote": '"{}"', "in": "{} in [{}]"}


def infix(expression: Expression, words: Words) -> str:
    """Print a condition in the infix languages, which differ in a few words only."""
    match expression:
        case form.Always():
            return "true"
        case form.Holds(node):
            return f"{node} == true"
        case form.Compare(node, comparison, constant):
            return f"{node} {comparison} {constant}"
        case form.OneOf(node, values):
            quoted = [words["quote"].format(v) for v in sorted(values)]
            return f"{node} == {quoted[0]}" if len(quoted) == 1 else words["in"].format(node, ", ".join(quoted))
        case form.Not(part):
            return words["not"].format(infix(part, words))
        case form.All(parts):
            return "(" + words["all"].join(infix(p, words) for p in parts) + ")"
        case form.AnyOf(parts):
            return "(" + words["any"].join(infix(p, words) for p in parts) + ")"
    raise TypeError(expression)


def _list(rules: RuleSet, words: Words) -> str:
    return "[" + ", ".join(infix(r.condition, words) for r in rules.rules) + "]"


def clips_text(expression: Expression) -> str:
    """Print a condition as CLIPS functions over variables."""
    match expression:
        case form.Always():
            return "(eq 1 1)"
        case form.Holds(node):
            return f"(eq ?{node} TRUE)"
        case form.Compare(node, comparison, constant):
            return f"({'=' if comparison == '==' else comparison} ?{node} {constant})"
        case form.OneOf(node, values):
            return (
                f"(or {' '.join(f'(eq ?{node} {v})' for v in sorted(values))})"
                if len(values) > 1
                else (f"(eq ?{node} {next(iter(values))})")
            )
        case form.Not(part):
            return f"(not {clips_text(part)})"
        case form.All(parts):
            return f"(and {' '.join(map(clips_text, parts))})"
        case form.AnyOf(parts):
            return f"(or {' '.join(map(clips_text, parts))})"
    raise TypeError(expression)


def json_logic_tree(expression: Expression) -> object:
    """Print a condition as a JsonLogic tree."""
    match expression:
        case form.Always():
            return True
        case form.Holds(node):
            return {"==": [{"var": node}, True]}
        case form.Compare(node, comparison, constant):
            return {comparison: [{"var": node}, constant]}
        case form.OneOf(node, values):
            return (
                {"in": [{"var": node}, sorted(values)]}
                if len(values) > 1
                else ({"==": [{"var": node}, next(iter(values))]})
            )
        case form.Not(part):
            return {"!": [json_logic_tree(part)]}
        case form.All(parts):
            return {"and": [json_logic_tree(p) for p in parts]}
        case form.AnyOf(parts):
            return {"or": [json_logic_tree(p) for p in parts]}
    raise TypeError(expression)


_INVERSE = {"<": "$gte", "<=": "$gt", ">": "$lte", ">=": "$lt", "==": "$neq"}
_DURABLE = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def durable_condition(expression: Expression) -> dict[str, object]:
    """Print a condition for durable-rules, which has no negation: it ends at the leaves."""
    match expression:
        case form.Holds(node):
            return {node: True}
        case form.Not(form.Holds(node)):
            return {"$neq": {node: True}}
        case form.Compare(node, comparison, constant):
            return {node: constant} if comparison == "==" else {_DURABLE[comparison]: {node: constant}}
        case form.Not(form.Compare(node, comparison, constant)):
            return {_INVERSE[comparison]: {node: constant}}
        case form.OneOf(node, values):
            return _group("$or", [{node: v} for v in sorted(values)])
        case form.Not(form.OneOf(node, values)):
            return _group("$and", [{"$neq": {node: v}} for v in sorted(values)])
        case form.All(parts):
            return _group("$and", [durable_condition(p) for p in parts])
        case form.AnyOf(parts):
            return _group("$or", [durable_condition(p) for p in parts])
    raise TypeError(expression)


def _group(operator: str, parts: list[dict[str, object]]) -> dict[str, object]:
    return parts[0] if len(parts) == 1 else {operator: parts}


# Engines


def _graph(node: dict[str, object]) -> str:
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in"},
        {"id": "rules", "name": "rules", **node},
        {"id": "out", "type": "outputNode", "name": "out"},
    ]
    edges = [
        {"id": "a", "sourceId": "in", "targetId": "rules", "type": "edge"},
        {"id": "b", "sourceId": "rules", "targetId": "out", "type": "edge"},
    ]
    return json.dumps({"nodes": nodes, "edges": edges})


def zen_expression(rules: RuleSet) -> Run:
    """Run one compiled ZEN expression that lists the truth of every rule: its fastest way, without a trace."""
    import zen  # noqa: PLC0415 - an extra

    compiled = zen.compile_expression(_list(rules, _ZEN))
    names = [r.id for r in rules.rules]
    return lambda facts: list(compress(names, compiled.evaluate(facts)))


def zen_table(rules: RuleSet, *, is_traced: bool) -> Run:
    """Run a ZEN decision table that collects every rule that holds, one row each."""
    import zen  # noqa: PLC0415 - an extra

    content = {
        "hitPolicy": "collect",
        "inputs": [{"id": "when", "name": "when", "field": ""}],
        "outputs": [{"id": "id", "name": "id", "field": "id"}],
        "rules": [{"_id": r.id, "when": infix(r.condition, _ZEN), "id": f"'{r.id}'"} for r in rules.rules],
    }
    graph = {
        "nodes": [
            {"id": "in", "type": "inputNode", "name": "in"},
            {"id": "rules", "type": "decisionTableNode", "name": "rules", "content": content},
            {"id": "out", "type": "outputNode", "name": "out"},
        ],
        "edges": [
            {"id": "a", "sourceId": "in", "targetId": "rules", "type": "edge"},
            {"id": "b", "sourceId": "rules", "targetId": "out", "type": "edge"},
        ],
    }
    decision = zen.ZenEngine().create_decision(json.dumps(graph))
    options = {"trace": is_traced}
    return lambda facts: [row["id"] for row in decision.evaluate(facts, options)["result"]]


def clips_rules(rules: RuleSet) -> Run:
    """Run CLIPS: one fact for the patient, one rule per criterion."""
    import clips  # noqa: PLC0415 - an extra

    environment = clips.Environment()
    environment.build(f"(deftemplate patient {' '.join(f'(slot {name})' for name in rules.kinds)})")
    environment.build("(deftemplate holds (slot id))")
    for rule in rules.rules:
        slots = " ".join(f"({name} ?{name})" for name in dict.fromkeys(leaves(rule.condition)))
        test, conclusion = clips_text(rule.condition), f"(assert (holds (id {rule.id})))"
        environment.build(f"(defrule {rule.id} (patient {slots}) (test {test}) => {conclusion})")
    patient = environment.find_template("patient")

    def run(facts: Mapping[str, Any]) -> Iterable[str]:
        environment.reset()
        patient.assert_fact(**facts)
        environment.run()
        return [str(fact["id"]) for fact in environment.facts() if fact.template.name == "holds"]

    return run


def clips_facts(facts: Mapping[str, Fact]) -> Mapping[str, Any]:
    """Write enums as symbols."""
    import clips  # noqa: PLC0415 - an extra

    return {n: clips.Symbol(v) if isinstance(v, str) else v for n, v in facts.items()}


def cel_python(rules: RuleSet) -> Run:
    """Run CEL in Python: one program that lists the truth of every rule."""
    import celpy  # noqa: PLC0415 - an extra

    environment = celpy.Environment(runner_class=celpy.CompiledRunner)
    program = environment.program(environment.compile(_list(rules, _CEL)))
    names = [r.id for r in rules.rules]
    return lambda facts: list(compress(names, program.evaluate(facts)))


def cel_facts(facts: Mapping[str, Fact]) -> Mapping[str, Any]:
    """Write facts as CEL values."""
    import celpy  # noqa: PLC0415 - an extra

    return {name: celpy.json_to_cel(value) for name, value in facts.items()}


def cel_expr(rules: RuleSet) -> Run:
    """Run CEL in C++: one compiled expression that lists the truth of every rule."""
    from cel_expr_python import cel  # noqa: PLC0415 - not even an extra: measured where it is found

    kinds = {"bool": cel.Type.BOOL, "enum": cel.Type.STRING}
    environment = cel.NewEnv(variables={n: kinds.get(k, cel.Type.INT) for n, k in rules.kinds.items()})
    compiled = environment.compile(_list(rules, _CEL))
    names = [r.id for r in rules.rules]

    def run(facts: Mapping[str, Fact]) -> Iterable[str]:
        return list(compress(names, compiled.eval(environment.Activation(facts)).plain_value()))

    return run


def json_logic(rules: RuleSet) -> Run:
    """Run JsonLogic: one tree per rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from json_logic import jsonLogic  # noqa: PLC0415 - an extra

    trees = {r.id: json_logic_tree(r.condition) for r in rules.rules}
    return lambda facts: [name for name, tree in trees.items() if jsonLogic(tree, facts)]


RIVALS = (
    Rival("ZEN expression", "zen-engine", "zen", zen_expression),
    Rival("ZEN table", "zen-engine", "zen", partial(zen_table, is_traced=False)),
    Rival("ZEN table, traced", "zen-engine", "zen", partial(zen_table, is_traced=True)),
    Rival("CLIPS", "clipspy", "clips", clips_rules, clips_facts),
    Rival("CEL in C++", "cel-expr-python", "cel_expr_python", cel_expr),
    Rival("CEL in Python", "cel-python", "celpy", cel_python, cel_facts),
    Rival("JsonLogic", "json-logic-qubit", "json_logic", json_logic),
)
