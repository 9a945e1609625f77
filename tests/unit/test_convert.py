"""`server.convert`: the contract, the data dictionary and the engine's answers name the same things."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from engine.dictionary import Dictionary, FactDefinition
from engine.evaluator import decision as answers
from engine.pack import model
from engine.pack.source import read_source
from server.convert.messages import enum_number, enum_text
from server.convert.requests import path_of, read_request
from server.pb.eligibility.v1 import decision_pb2, explanation_pb2, patient_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

FACTS = Path(__file__).parents[2] / "rules" / "facts.yaml"
DICTIONARY = Dictionary.model_validate(read_source("facts.yaml", FACTS.read_text()).data)
WIRE_TYPES = {
    "bool": FieldDescriptor.CPPTYPE_BOOL,
    "int": FieldDescriptor.CPPTYPE_INT32,
    "decimal": FieldDescriptor.CPPTYPE_DOUBLE,
    "enum": FieldDescriptor.CPPTYPE_ENUM,
    "date": FieldDescriptor.CPPTYPE_STRING,
    "code": FieldDescriptor.CPPTYPE_STRING,
}
ONLY_ON_THE_WIRE = {"decision_id", "as_of_origin", "time_zone", "evaluate_time", "facts_given"}


def _fields() -> dict[str, tuple[str, FieldDescriptor]]:
    areas = [f for f in patient_pb2.PatientHistory.DESCRIPTOR.fields if f.name != "fact_provenance"]
    return {f.name: (area.name, f) for area in areas if area.message_type for f in area.message_type.fields}


def _values(kind: EnumDescriptor | None) -> set[str]:
    assert kind is not None
    assert kind.values[0].name.endswith("_UNSPECIFIED")
    return {enum_text(kind, number) or "" for number in kind.values_by_number if number} - {"unknown"}


def test_the_contract_has_the_facts_of_the_dictionary_and_no_others() -> None:
    assert {name: area for name, (area, _) in _fields().items()} == {f.id: f.area for f in DICTIONARY.facts}


@pytest.mark.parametrize("definition", DICTIONARY.facts, ids=lambda f: f.id)
def test_each_fact_has_the_type_and_values_of_the_dictionary(definition: FactDefinition) -> None:
    _, field = _fields()[definition.id]
    assert field.has_presence
    if definition.type in WIRE_TYPES:
        assert field.cpp_type == WIRE_TYPES[definition.type]
        assert definition.type != "enum" or _values(field.enum_type) == set(definition.values)
        return
    assert field.message_type is not None
    items = field.message_type.fields_by_name["items"]
    if definition.type == "set":
        assert _values(items.enum_type) == set(definition.values)
        return
    assert items.message_type is not None
    parts = {part.name: part for part in items.message_type.fields}
    assert set(parts) == {f.id for f in definition.fields}
    for part in definition.fields:
        assert parts[part.id].has_presence
        assert parts[part.id].cpp_type == WIRE_TYPES[part.type]
        assert part.type != "enum" or _values(parts[part.id].enum_type) == set(part.values)


_SAME = [
    (answers.Decision, decision_pb2.Decision.DESCRIPTOR),
    (answers.OptionAnswer, decision_pb2.OptionAnswer.DESCRIPTOR),
    (answers.TriageAnswer, decision_pb2.TriageAnswer.DESCRIPTOR),
    (answers.Referral, decision_pb2.Referral.DESCRIPTOR),
    (answers.CoverageAnswer, decision_pb2.CoverageAnswer.DESCRIPTOR),
    (answers.CriterionDates, decision_pb2.CriterionDates.DESCRIPTOR),
    (answers.DocumentationItem, decision_pb2.DocumentationItem.DESCRIPTOR),
    (answers.Question, decision_pb2.Question.DESCRIPTOR),
    (answers.UnusableInput, decision_pb2.UnusableInput.DESCRIPTOR),
    (answers.ChangeDate, decision_pb2.ChangeDate.DESCRIPTOR),
    (answers.PackIdentity, decision_pb2.PackIdentity.DESCRIPTOR),
    (answers.EngineReport, decision_pb2.EngineReport.DESCRIPTOR),
    (answers.CriterionFinding, explanation_pb2.CriterionFinding.DESCRIPTOR),
    (answers.FactRead, explanation_pb2.FactRead.DESCRIPTOR),
    (answers.Citation, explanation_pb2.Citation.DESCRIPTOR),
    (answers.ShownItem, explanation_pb2.ShownItem.DESCRIPTOR),
]


@pytest.mark.parametrize(("kind", "descriptor"), _SAME, ids=lambda x: getattr(x, "__name__", ""))
def test_no_part_of_an_answer_is_lost_on_the_wire(kind: type, descriptor: Descriptor) -> None:
    named = {f.name for f in dataclasses.fields(kind)}
    on_the_wire = {f.name for f in descriptor.fields}
    assert on_the_wire - named == (ONLY_ON_THE_WIRE if kind is answers.Decision else set())
    assert named - on_the_wire == set()


@pytest.mark.parametrize(("kind", "descriptor"), _SAME, ids=lambda x: getattr(x, "__name__", ""))
def test_every_word_of_an_answer_has_a_number(kind: type, descriptor: Descriptor) -> None:
    hints = get_type_hints(kind, vars(answers) | vars(typing))
    for field in descriptor.fields:
        if field.enum_type is not None and field.name in hints:
            words = [w for w in _literals(hints[field.name]) if isinstance(w, str)]
            assert all(enum_number(field.enum_type, word) for word in words)


def _literals(hint: object) -> list[object]:
    inner = get_args(hint)
    return [literal for part in inner for literal in _literals(part)] if inner else [hint]


def test_every_effect_of_the_rule_language_has_a_number() -> None:
    numbers = {enum_number(explanation_pb2.Effect.DESCRIPTOR, effect) for effect in get_args(model.Effect)}
    assert numbers == set(explanation_pb2.Effect.DESCRIPTOR.values_by_number) - {0}


@given(st.decimals(-1000, 1000, places=3, allow_nan=False))
def test_a_decimal_survives_the_wire(value: object) -> None:
    message = service_pb2.EvaluateRequest(jurisdiction=service_pb2.JURISDICTION_US)
    message.patient_history.demographics.weight_kg = float(value)  # type: ignore[arg-type]
    request = read_request(message.SerializeToString(), 10, is_streamed=False)
    assert request.raw["weight_kg"] == value


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, is_streamed: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    from server.faults import Fault  # noqa: PLC0415 - only here

    try:
        request = read_request(data, 10, is_streamed=is_streamed)
    except Fault as fault:
        assert fault.reason == "MALFORMED_MESSAGE"  # noqa: PT017
    else:
        assert request.violations or request.jurisdiction


def test_unspecified_is_left_out_and_unknown_is_said() -> None:
    message = service_pb2.EvaluateRequest(jurisdiction=service_pb2.JURISDICTION_VA)
    message.patient_history.diagnosis.catatonia = patient_pb2.YES_NO_UNSPECIFIED
    message.patient_history.diagnosis.bipolar_history = patient_pb2.YES_NO_UNKNOWN
    message.patient_history.vascular_medical.hepatic_child_pugh = patient_pb2.CHILD_PUGH_CLASS_B
    request = read_request(message.SerializeToString(), 10, is_streamed=False)
    assert request.raw == {"bipolar_history": "unknown", "hepatic_child_pugh": "B"}
    assert request.jurisdiction == "VA"


def test_a_name_without_a_field_has_the_path_of_the_history() -> None:
    assert path_of("no_such_fact") == "patient_history"
    assert path_of("trials") == "patient_history.treatment_history.trials.items"
