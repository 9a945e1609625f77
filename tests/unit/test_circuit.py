"""The circuit says of every node what the interpreter says, in one world and in many at once."""

from __future__ import annotations

from random import Random

import pytest

from engine.compiler import form
from engine.compiler.stages import compile_packs
from engine.evaluator.circuit import EVERYWHERE, NOWHERE, Circuit
from engine.evaluator.domain import Domain
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.scope import scope_of
from tests.property.patients import JURISDICTION, TODAY, Patients
from tests.repository import repository_rules

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
PACKS = compile_packs(BOOK, JURISDICTION, None, TODAY)
SCOPE = scope_of(PACKS, BOOK.facts, BOOK.dictionary.constraints)
DRAWN = 150
YES_NO = Domain((None, False, True))


def everything() -> tuple[Circuit, dict[str, dict[form.Value, int]]]:
    """Give a circuit with the planes of all nodes behind a status but counts, which have none."""
    circuit = Circuit(PACKS.nodes, SCOPE.domains)
    behind = {name for option in PACKS.options for name in closure(f"status:{option.id}")}
    names = [n for n in behind if not isinstance(PACKS.nodes[n], form.FactNode | form.CountNode)]
    return circuit, {name: dict(circuit.values(name)) for name in sorted(names)}


def closure(name: str) -> set[str]:
    return {name}.union(*(closure(read) for read in PACKS.reads[name]))


def environments() -> list[dict[str, form.Value]]:
    rng, interpreter = Random("circuit"), Interpreter(PACKS.compiled)
    found = []
    for _ in range(DRAWN):
        inputs = prepare(BOOK, PACKS, PATIENTS.read(PATIENTS.draw(rng)))
        found.append({**interpreter.missing, **inputs.values, **interpreter.evaluate(inputs).values})
    return found


def held(circuit: Circuit, environment: dict[str, form.Value]) -> list[int]:
    return [slot for name in circuit.sources() for slot in circuit.held(name, environment[name])]


def test_every_node_is_what_the_interpreter_concludes() -> None:
    circuit, slots = everything()
    assert len(slots) > 150

    for environment in environments():
        planes = circuit.planes(held(circuit, environment))
        found = {name: [v for v, slot in values.items() if planes[slot]] for name, values in slots.items()}
        assert found == {name: [v for v in (environment[name],) if v is not None] for name in slots}


def test_many_worlds_are_each_world_by_itself() -> None:
    circuit, slots = everything()
    patients = environments()
    planes = circuit.planes(())
    for source in (slot for sources in circuit.sources().values() for slot in sources):
        planes[source] = 0
    for world, environment in enumerate(patients):
        for slot in held(circuit, environment):
            planes[slot] |= 1 << world
    circuit.run(planes, [slot for slot, gate in enumerate(circuit.gates) if gate is not None])

    for name, values in slots.items():
        for value, slot in values.items():
            assert [bool(planes[slot] >> world & 1) for world in range(len(patients))] == [
                environment[name] == value for environment in patients
            ], (name, value)


def parts(*names: str) -> tuple[form.Expression, ...]:
    return tuple(map(form.Holds, names))


@pytest.mark.parametrize(
    ("expression", "true", "false"),
    [
        (form.Always(), EVERYWHERE, NOWHERE),
        (form.Not(form.Always()), NOWHERE, EVERYWHERE),
        (form.All(()), EVERYWHERE, NOWHERE),
        (form.AnyOf(()), NOWHERE, EVERYWHERE),
        (form.All((form.Always(), form.Not(form.Always()))), NOWHERE, EVERYWHERE),
        (form.AnyOf((form.Always(), *parts("a"))), EVERYWHERE, NOWHERE),
        (form.AtLeast(0, parts("a", "b")), EVERYWHERE, NOWHERE),
        (form.AtLeast(3, parts("a", "b")), NOWHERE, EVERYWHERE),
        (form.Known("n"), EVERYWHERE, NOWHERE),
    ],
    ids=str,
)
def test_what_needs_no_gate_has_none(expression: form.Expression, true: int, false: int) -> None:
    nodes: dict[str, form.Node] = {name: form.FactNode(name, "bool") for name in "ab"}
    nodes |= {"n": form.CountNode("n", "list", "where"), "target": form.ConditionNode("target", expression)}
    circuit = Circuit(nodes, dict.fromkeys("ab", YES_NO))
    slots = circuit.plane("target", value=True), circuit.plane("target", value=False)
    planes = circuit.planes(())

    assert [planes[slot] for slot in slots] == [planes[true], planes[false]]


def test_two_of_three_are_counted_with_what_is_unknown() -> None:
    nodes: dict[str, form.Node] = {name: form.FactNode(name, "bool") for name in "abc"}
    nodes["two"] = form.ConditionNode("two", form.AtLeast(2, parts("a", "b", "c")))
    circuit = Circuit(nodes, dict.fromkeys("abc", YES_NO))
    true, false = circuit.plane("two", value=True), circuit.plane("two", value=False)

    def truth(**values: bool | None) -> bool | None:
        planes = circuit.planes(slot for name, value in values.items() for slot in circuit.held(name, value))
        return True if planes[true] else False if planes[false] else None

    assert truth(a=True, b=True, c=None) is True
    assert truth(a=True, b=None, c=None) is None
    assert truth(a=False, b=False, c=None) is False
    assert truth(a=True, b=False, c=None) is None


def test_the_values_of_a_count_are_refused() -> None:
    circuit = Circuit({"n": form.CountNode("n", "list", "where")}, {})

    with pytest.raises(TypeError, match="intervals"):
        circuit.values("n")
