"""Knowing more only ever settles, order never matters, and the same request gives the same bytes in every process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine import canonical
from engine.compiler import form
from engine.compiler.packset import node_reads
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluator
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from tests.property.patients import TODAY, Count, Patient, Patients

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler.packset import PackSet
    from engine.evaluator.decision import Decision
    from engine.pack.book import RuleBook

ROOT = Path(__file__).parents[2]
SETTLED = Count(us=(2400, 40_000), elsewhere=(140, 20_000))
"""How many patients, as many without a payer as with each payer."""
REORDERED = Count(us=(60, 2000), elsewhere=(5, 2000))
MAY_TURN = {"consistent", "improvement_for_threshold"}
"""What a further field may make unknown again: a trial that comes to contradict itself."""


def looks_at_unknown(part: object) -> bool:
    """Say whether an expression asks what is unknown, as only the compiler may."""
    if isinstance(part, form.Is | form.Known):
        return True
    if isinstance(part, tuple):
        return any(map(looks_at_unknown, part))
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return any(looks_at_unknown(getattr(part, field.name)) for field in dataclasses.fields(part))
    return False


def is_settled_by(before: form.Value, after: form.Value) -> bool:
    """Say whether a value stayed or became known, an interval stayed or became narrower."""
    if isinstance(before, tuple) and isinstance(after, tuple):
        return before[0] <= after[0] and after[1] <= before[1]
    return before is None or before == after


def turned(
    graph: form.Graph, reads: Mapping[str, list[str]], before: Mapping[str, form.Value], after: Mapping[str, form.Value]
) -> list[str]:
    """Give the conditions that changed their mind although everything they read was only settled."""
    found = []
    for node in graph.nodes:
        if not isinstance(node, form.ConditionNode) or looks_at_unknown(node.expression):
            continue
        if not all(is_settled_by(before.get(name), after.get(name)) for name in reads[node.name]):
            continue
        is_lifted = node.except_if is not None and before[node.except_if] is not after[node.except_if]
        is_contradicted = node.unknown_if is not None and before[node.unknown_if] is not after[node.unknown_if]
        if not (is_lifted or is_contradicted or is_settled_by(before[node.name], after[node.name])):
            found.append(node.name)
    return found


def reads_of(graph: form.Graph) -> dict[str, list[str]]:
    return {node.name: list(node_reads(node)) for node in graph.nodes}


def one_more_known(rng: Random, patients: Patients, patient: Patient) -> Patient:
    """Let one missing fact, or one missing field of one trial, become known."""
    trials = patient.facts.get("trials")
    if isinstance(trials, list) and trials and rng.random() < 0.4:
        place = rng.randrange(len(trials))
        missing = [n for n in patients.trial_fields if n not in trials[place]]
        if missing:
            name = rng.choice(missing)
            value = patients.value(rng, patients.trial_fields[name], patient.as_of)
            settled = [*trials[:place], {**trials[place], name: value}, *trials[place + 1 :]]
            return dataclasses.replace(patient, facts={**patient.facts, "trials": settled})
    missing = [n for n, d in patients.book.facts.items() if n not in patient.facts and d.type != "records"]
    if not missing:
        return patient
    name = rng.choice(missing)
    value = patients.value(rng, patients.book.facts[name], patient.as_of)
    return dataclasses.replace(patient, facts={**patient.facts, name: value})


@pytest.mark.timeout(7200)
def test_settling_an_unknown_never_turns_a_condition(book: RuleBook, patients: Patients, is_full: bool) -> None:  # noqa: FBT001 - a fixture
    payers = patients.payers_tried(is_full=is_full)
    each = -(-SETTLED.of(patients.jurisdiction, is_full=is_full) // len(payers))
    for payer in payers:
        packs = compile_packs(book, patients.jurisdiction, payer, TODAY)
        rng = Random(f"settling {patients.jurisdiction} {payer}")
        found = settled_otherwise(rng, book, packs, patients, payer, each)

        assert not found, "\n".join(found)


def settled_otherwise(
    rng: Random, book: RuleBook, packs: PackSet, patients: Patients, payer: str | None, count: int
) -> list[str]:
    """Settle one unknown of each of so many patients, and list what turned."""
    interpreter = Interpreter(packs.compiled)
    reads = reads_of(packs.compiled.graph)
    record_reads = {name: reads_of(graph) for name, graph in packs.compiled.records.items()}
    all_found = []
    for _ in range(count):
        patient = patients.draw(rng, payer=payer)
        further = one_more_known(rng, patients, patient)
        inputs, inputs_then = (prepare(book, packs, patients.read(p)) for p in (patient, further))
        values, values_then = interpreter.evaluate(inputs), interpreter.evaluate(inputs_then)
        found = turned(
            packs.compiled.graph,
            reads,
            {**inputs.values, **values.values},
            {**inputs_then.values, **values_then.values},
        )
        for name, graph in packs.compiled.records.items():
            for place, record in enumerate(inputs.records[name] or ()):
                then = (inputs_then.records[name] or ())[place]
                found += turned(
                    graph,
                    record_reads[name],
                    {**record, **values.records[name][place]},
                    {**then, **values_then.records[name][place]},
                )

        all_found += [f"{name} of {patient} then {further}" for name in found]
    return all_found


@pytest.mark.timeout(3600)
def test_the_order_of_facts_never_matters(book: RuleBook, patients: Patients, is_full: bool) -> None:  # noqa: FBT001 - a fixture
    rng = Random(f"order of facts {patients.jurisdiction}")
    with closing(Evaluator(book, "interpret")) as evaluator:
        for _ in range(REORDERED.of(patients.jurisdiction, is_full=is_full)):
            patient = patients.draw(rng, payer=rng.choice(patients.payers))
            names = list(patient.facts)
            rng.shuffle(names)
            shuffled = dataclasses.replace(patient, facts={name: patient.facts[name] for name in names})

            assert canonical.encode(decided(evaluator, patients, patient)) == canonical.encode(
                decided(evaluator, patients, shuffled)
            )


@pytest.mark.timeout(3600)
def test_the_order_of_trials_never_matters(book: RuleBook, patients: Patients, is_full: bool) -> None:  # noqa: FBT001 - a fixture
    rng = Random(f"order of trials {patients.jurisdiction}")
    with closing(Evaluator(book, "interpret")) as evaluator:
        for _ in range(REORDERED.of(patients.jurisdiction, is_full=is_full)):
            patient = patients.draw(rng, payer=rng.choice(patients.payers))
            trials = list(patient.facts.get("trials") or [])  # type: ignore[call-overload]
            rng.shuffle(trials)
            shuffled = dataclasses.replace(patient, facts={**patient.facts, "trials": trials})
            if "trials" in patient.facts:
                first, second = (decided(evaluator, patients, p) for p in (patient, shuffled))

                assert without_sentences(first) == without_sentences(second)


def decided(evaluator: Evaluator, patients: Patients, patient: Patient) -> Decision:
    return evaluator.evaluate(patients.read(patient), patients.jurisdiction, patient.payer, patient.as_of).decision


def without_sentences(decision: Decision) -> object:
    return (
        [(o.option, o.status, o.could_be, o.missing, o.why_not, [c.id for c in o.criteria]) for o in decision.options],
        decision.triage.level,
        [(r.kind, r.urgency, r.state, r.criteria) for r in decision.referrals],
        decision.coverage and (decision.coverage.status, [c.id for c in decision.coverage.criteria]),
        decision.missing,
        decision.also_ask,
        decision.option_order,
        decision.changes_on,
    )


DIGEST = """
import hashlib
from pathlib import Path
from random import Random
from engine import canonical
from engine.evaluator.agree import Evaluator
from engine.pack.load import load_rules
from tests.property.patients import Patients

book = load_rules(Path("rules"), is_locked=False)
rng, digest = Random("bytes"), hashlib.sha256()
evaluator = Evaluator(book, "both", sessions=1)
tried = (("US", ("QUALCHOICE", None), 40), ("UK", ("NHS",), 4), ("CA", (None,), 4))
for jurisdiction, payers, count in tried:
    patients = Patients(book, jurisdiction)
    for place in range(count):
        payer = payers[place % len(payers)]
        patient = patients.draw(rng, payer=payer)
        evaluation = evaluator.evaluate(patients.read(patient), jurisdiction, payer, patient.as_of, is_full=True)
        for part in (canonical.encode(evaluation.decision), evaluation.facts, evaluation.explanation,
                     evaluation.parameters, evaluation.interpret_digest, evaluation.chain_digest):
            digest.update(part)
evaluator.close()
print(digest.hexdigest())
"""


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    seen = set()
    for seed in ("0", "1", "31337"):
        run = subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        seen.add(run.stdout)

    assert len(seen) == 1
