"""A payer's answer over the wire: what its rules copy and rest on, which is in the log too and replays to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.agree import Evaluator
from engine.ledger.entry import Kind
from engine.ledger.seal import PatientPart
from engine.ledger.store import Wanted
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import decision_pb2, patient_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2
from server.rules_in_force import LoadedRules, rules_digest
from tests.repository import repository_rules

if TYPE_CHECKING:
    from server.config import Settings
    from tests.contract.conftest import Running

FHIR = "/eligibility.v1.EligibilityService/EvaluateFhir"
PACK = "/eligibility.v1.RulePackService/GetRulePack"
REPLAY = "/eligibility.v1.DecisionLogService/ReplayDecision"
STANDING = "Third-party copy of 2025, not the payer's present policy."
DOCUMENTED, SELF_REPORTED, STATED, MISSING = (
    decision_pb2.DOCUMENTATION_STATE_DOCUMENTED,
    decision_pb2.DOCUMENTATION_STATE_SELF_REPORTED,
    decision_pb2.DOCUMENTATION_STATE_STATED,
    decision_pb2.DOCUMENTATION_STATE_MISSING,
)
RECORD = [
    {"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03"},
    {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2025-03-01",
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "36437"}]
        },
    },
]


@pytest.fixture(scope="module")
def real() -> LoadedRules:
    """Give the real rules, read once."""
    book = repository_rules()
    return LoadedRules(book, Evaluator(book, "interpret"), rules_digest(book))


@pytest.fixture
def loader(real: LoadedRules) -> object:
    """Load the real rules in place of the small ones."""

    def load(_settings: Settings) -> LoadedRules:
        return LoadedRules(real.book, Evaluator(real.book, "both", sessions=1), real.digest)

    return load


def request() -> service_pb2.EvaluateRequest:
    """Ask about a made-up member of a health plan."""
    asked = service_pb2.EvaluateRequest(
        jurisdiction=service_pb2.JURISDICTION_US, as_of="2025-06-02", payer_id="CIGNA", patient_reference="p-1"
    )
    history = asked.patient_history
    history.demographics.age_years = 44
    history.setting.prescriber_specialty = patient_pb2.PRESCRIBER_SPECIALTY_PSYCHIATRIST
    history.fact_provenance["prescriber_specialty"].source = "PractitionerRole/7"
    history.fact_provenance["prescriber_specialty"].date = "2025-05-30"
    trials = history.treatment_history.trials.items
    trials.add(drug="sertraline", documentation=patient_pb2.TRIAL_DOCUMENTATION_DOCUMENTED)
    trials.add(drug="venlafaxine", documentation=patient_pb2.TRIAL_DOCUMENTATION_SELF_REPORT)
    return asked


def by_fact(coverage: decision_pb2.CoverageAnswer) -> dict[str, list[decision_pb2.DocumentationItem]]:
    """Give the lines of a checklist by their facts."""
    found: dict[str, list[decision_pb2.DocumentationItem]] = {}
    for item in coverage.documentation:
        found.setdefault(item.fact, []).append(item)
    return found


def test_the_checklist_and_the_standing_come_with_the_coverage(running: Running) -> None:
    coverage = running.evaluate(request()).decision.coverage
    found = by_fact(coverage)
    (specialty,), (asked,) = found["prescriber_specialty"], found["pdmp_checked"]

    assert coverage.standing == STANDING
    assert [(d.criterion, d.effective_from, d.effective_until) for d in coverage.dates] == [
        ("PAY-CIGNA-01", "2025-01-21", ""),
        ("PAY-CIGNA-03", "2025-01-21", ""),
        ("PAY-CIGNA-02", "2025-01-21", ""),
    ]
    assert (specialty.state, specialty.source, specialty.date) == (DOCUMENTED, "PractitionerRole/7", "2025-05-30")
    assert (specialty.value, list(specialty.criteria)) == ("psychiatrist", ["PAY-CIGNA-01"])
    assert specialty.path == "patient_history.setting.prescriber_specialty"
    assert found["age_years"][0].state == STATED
    assert [item.state for item in found["trials"]] == [DOCUMENTED, SELF_REPORTED]
    assert found["trials"][1].path == "patient_history.treatment_history.trials.items[1]"
    assert "adherence" in found["trials"][1].lacking
    assert (asked.state, asked.HasField("value")) == (MISSING, False)
    assert asked.question == "Has the prescription drug monitoring program been reviewed?"


def test_what_was_read_of_a_record_is_documented_by_its_resource(running: Running) -> None:
    asked = service_pb2.EvaluateFhirRequest(
        jurisdiction=service_pb2.JURISDICTION_US,
        as_of="2025-06-02",
        payer_id="CIGNA",
        content=json.dumps(RECORD).encode(),
    )
    asked.patient_history.setting.prescriber_specialty = patient_pb2.PRESCRIBER_SPECIALTY_PSYCHIATRIST
    answer = service_pb2.EvaluateFhirResponse.FromString(running.call(FHIR, asked))
    found = by_fact(answer.decision.coverage)

    assert (found["age_years"][0].state, found["age_years"][0].source) == (DOCUMENTED, "Patient/p1")
    assert [(item.state, item.source) for item in found["trials"]] == [(DOCUMENTED, "MedicationRequest/m1")]
    assert found["prescriber_specialty"][0].state == STATED


def test_the_checklist_is_in_the_log_and_replays_to_the_byte(running: Running) -> None:
    running.evaluate(request())
    log = running.server.ledger
    with log.reading() as snapshot:
        (row,) = snapshot.find(Wanted(0, 10**9, 10, kinds=(Kind.DECISION,)))
        content = log.open_entry(snapshot, row.entry_index).content
    assert isinstance(content, PatientPart)
    kept = json.loads(content.decision)["coverage"]
    told = json.loads(content.explanation)["documentation"]

    assert kept["standing"] == STANDING
    assert ["prescriber_specialty", "documented"] in kept["documentation"]
    assert kept["documentation"] == [[item["fact"], item["state"]] for item in told]
    assert {"source": "PractitionerRole/7", "date": "2025-05-30"}.items() <= next(
        item for item in told if item["fact"] == "prescriber_specialty"
    ).items()
    replayed = log_pb2.ReplayDecisionResponse.FromString(
        running.call(REPLAY, log_pb2.ReplayDecisionRequest(index=row.entry_index))
    )
    assert replayed.replay.outcome == log_pb2.REPLAY_OUTCOME_MATCH, replayed


def test_a_payers_pack_says_what_it_is_a_copy_of(running: Running) -> None:
    def standing(pack: str) -> str:
        answer = running.call(PACK, packs_pb2.GetRulePackRequest(pack_id=pack))
        return packs_pb2.GetRulePackResponse.FromString(answer).rule_pack.standing

    assert standing("payer-cigna") == STANDING
    assert standing("us") == ""
