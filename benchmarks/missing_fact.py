"""What engines answer while a fact is missing that would rule the therapy out.

One rule for all: an adult with the right diagnosis, not pregnant, without an aneurysm, is eligible. Every rival gets it
in its own idiom and is then asked about a patient of whom one fact is missing. `ask_ours` asks the real rules.
"""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.patients import AS_OF, BASE
from engine.evaluator.agree import Evaluator
from engine.facts import read_facts

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from engine.pack.book import RuleBook

Facts: TypeAlias = Mapping[str, bool | str]

RULES = Path(__file__).parents[1] / "rules"
PATIENT: Facts = {"adult": True, "diagnosis": "depression", "pregnant": False, "aneurysm": False}
MISSING = {"pregnancy": "pregnant", "aneurysm": "aneurysm"}
OUR_NAMES = {"pregnancy": "pregnancy_status", "aneurysm": "aneurysmal_vascular_disease"}
OUR_OPTION = "esketamine"
ELIGIBLE, NOT_ELIGIBLE = "eligible", "not eligible"
_WAIT_S = 30.0
_LONGEST = 80


@dataclass(frozen=True)
class Idiom:
    """A rival and its idiom. `ask` gives its answer, or `error: ...` where it raised."""

    name: str
    module: str
    rule: str
    decide: Callable[[Facts], str]

    @property
    def is_installed(self) -> bool:
        """Whether it can be run here."""
        return find_spec(self.module) is not None

    def ask(self, facts: Facts) -> str:
        """Give its answer in words."""
        try:
            return self.decide(facts)
        except Exception as error:  # noqa: BLE001 - an error is one of the answers that are compared
            said = error.args[0] if error.args else type(error).__name__
            return f"error: {str(said).split(' (in ')[0][:_LONGEST]}"


def without(what: str) -> Facts:
    """Give the patient with one fact missing."""
    return {name: value for name, value in PATIENT.items() if name != MISSING[what]}


def ask_ours(book: RuleBook, what: str) -> tuple[str, tuple[str, ...]]:
    """Ask the real rules about a real record without the fact: the status, and the facts that are named as missing."""
    raw = json.loads(BASE.read_text())
    raw.pop(OUR_NAMES.get(what, ""), None)
    engines = Evaluator(book, "interpret")
    facts = read_facts(book.facts, book.dictionary.constraints, raw, AS_OF)
    decision = engines.evaluate(facts, "US", None, AS_OF).decision
    answer = next(o for o in decision.options if o.option == OUR_OPTION)
    return answer.status, answer.missing


def _zen_table(facts: Facts) -> str:
    import zen  # noqa: PLC0415 - an extra

    columns = ("pregnant", "aneurysm", "adult", "diagnosis")
    table = (
        ("true", "", "", "", NOT_ELIGIBLE),
        ("", "true", "", "", NOT_ELIGIBLE),
        ("", "", "true", "'depression'", ELIGIBLE),
        ("", "", "", "", NOT_ELIGIBLE),
    )
    content = {
        "hitPolicy": "first",
        "inputs": [{"id": c, "name": c, "field": c} for c in columns],
        "outputs": [{"id": "answer", "name": "answer", "field": "answer"}],
        "rules": [
            {"_id": str(i), **dict(zip(columns, row, strict=False)), "answer": f"'{row[-1]}'"}
            for i, row in enumerate(table)
        ],
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
    answer = zen.ZenEngine().create_decision(json.dumps(graph)).evaluate(dict(facts))
    return str(answer["result"]["answer"])


def _zen_expression(facts: Facts) -> str:
    import zen  # noqa: PLC0415 - an extra

    rule = "adult == true and diagnosis == 'depression' and pregnant != true and aneurysm != true"
    return _word(zen.evaluate_expression(rule, dict(facts)))


def _clips(facts: Facts) -> str:
    import clips  # noqa: PLC0415 - an extra

    environment = clips.Environment()
    environment.build(
        "(defrule eligible (adult) (diagnosis depression) (not (pregnant)) (not (aneurysm)) => (assert (eligible)))"
    )
    environment.reset()
    for name, value in facts.items():
        if value is True:
            environment.assert_string(f"({name})")
        elif isinstance(value, str):
            environment.assert_string(f"({name} {value})")
    environment.run()
    return _word(any(fact.template.name == "eligible" for fact in environment.facts()))


_CEL = 'adult && diagnosis == "depression" && !pregnant && !aneurysm'


def _cel_python(facts: Facts) -> str:
    import celpy  # noqa: PLC0415 - an extra

    environment = celpy.Environment()
    program = environment.program(environment.compile(_CEL))
    return _word(program.evaluate({n: celpy.json_to_cel(v) for n, v in facts.items()}))


def _cel_cpp(facts: Facts) -> str:
    from cel_expr_python import cel  # noqa: PLC0415 - measured where it is found

    kinds = {n: cel.Type.STRING if isinstance(v, str) else cel.Type.BOOL for n, v in PATIENT.items()}
    environment = cel.NewEnv(variables=kinds)
    value = environment.compile(_CEL).eval(environment.Activation(dict(facts))).plain_value()
    if not isinstance(value, bool):
        raise TypeError(value)
    return _word(value)


def _json_logic(facts: Facts) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from json_logic import jsonLogic  # noqa: PLC0415 - an extra

    rule = {
        "and": [
            {"==": [{"var": "adult"}, True]},
            {"==": [{"var": "diagnosis"}, "depression"]},
            {"!": [{"var": "pregnant"}]},
            {"!": [{"var": "aneurysm"}]},
        ]
    }
    return _word(jsonLogic(rule, dict(facts)))


def _durable(facts: Facts) -> str:
    """Run in a process of its own: the engine's threads never end."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    child = context.Process(target=_durable_child, args=(theirs, dict(facts)), daemon=True)
    child.start()
    theirs.close()
    try:
        return str(pipe.recv()) if pipe.poll(_WAIT_S) else "error: no answer"
    except EOFError:
        return "error: the process died"
    finally:
        child.kill()
        child.join()


def _durable_child(pipe: Connection, facts: dict[str, bool | str]) -> None:
    warnings.simplefilter("ignore")
    from durable.engine import MessageNotHandledException  # noqa: PLC0415 - starts nothing in the parent
    from durable.lang import assert_fact, m, none, ruleset, when_all  # noqa: PLC0415 - as above

    found: list[str] = []
    with ruleset("therapy"):

        @when_all(
            (m.adult == True) & (m.diagnosis == "depression"),  # noqa: E712 - an expression of the engine
            none(m.finding == "pregnant"),
            none(m.finding == "aneurysm"),
        )
        def eligible(_: object) -> None:
            found.append(ELIGIBLE)

    findings = [{"finding": name} for name in MISSING.values() if facts.get(name) is True]
    for fact in (*findings, {"adult": facts["adult"], "diagnosis": facts["diagnosis"]}):
        with suppress(MessageNotHandledException):
            assert_fact("therapy", fact)
    pipe.send(found[0] if found else NOT_ELIGIBLE)


def _word(is_eligible: object) -> str:
    return ELIGIBLE if is_eligible else NOT_ELIGIBLE


IDIOMS = (
    Idiom("ZEN decision table", "zen", "rows that exclude, then a row that includes; first hit", _zen_table),
    Idiom("ZEN expression", "zen", "pregnant != true", _zen_expression),
    Idiom("CLIPS", "clips", "(not (pregnant))", _clips),
    Idiom("durable-rules", "durable", "none(m.finding == 'pregnant')", _durable),
    Idiom("JsonLogic", "json_logic", '{"!": [{"var": "pregnant"}]}', _json_logic),
    Idiom("CEL in Python", "celpy", "!pregnant", _cel_python),
    Idiom("CEL in C++", "cel_expr_python", "!pregnant", _cel_cpp),
)


def table(book: RuleBook) -> list[tuple[str, str, str, str]]:
    """Ask everybody: engine, idiom, answer without the pregnancy, answer without the aneurysm."""
    installed = (idiom for idiom in IDIOMS if idiom.is_installed)
    rows = [(i.name, i.rule, *(i.ask(without(what)) for what in MISSING)) for i in installed]
    ours = (f"{status}; names {', '.join(missing)}" for status, missing in (ask_ours(book, what) for what in MISSING))
    rows.append(("**this engine**", "the rules as they are", *ours))
    return rows
