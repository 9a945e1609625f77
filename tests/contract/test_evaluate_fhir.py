"""EvaluateFhir: one record in, what was read of it and a decision out; both are in the log, and replay to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from engine.evaluator.agree import Evaluator
from engine.ledger.entry import Kind
from engine.ledger.seal import PatientPart
from engine.ledger.store import Wanted
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import decision_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rules_in_force import LoadedRules, rules_digest
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings
    from tests.contract.conftest import Running, Serve, Unpack

FHIR = "/eligibility.v1.EligibilityService/EvaluateFhir"
REPLAY = "/eligibility.v1.DecisionLogService/ReplayDecision"
PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03"}
SUBJECT = {"reference": "Patient/p1"}


def observation(number: int, code: str, day: str, **value: object) -> dict[str, Any]:
    """Make up an observation."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "subject": SUBJECT,
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": day,
        **value,
    }


RECORD = [
    PATIENT,
    observation(1, "44261-6", "2025-05-30", valueInteger=21),
    {
        "resourceType": "Condition",
        "id": "c1",
        "subject": SUBJECT,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"text": "Depression"},
        "onsetDateTime": "2025-01-10",
    },
]


@pytest.fixture(scope="module")
def real() -> Iterator[LoadedRules]:
    """Give the real rules, with both engines."""
    book = repository_rules()
    evaluator = Evaluator(book, "both", sessions=1)
    yield LoadedRules(book, evaluator, rules_digest(book))
    evaluator.close()


@pytest.fixture
def loader(real: LoadedRules) -> object:
    """Load the real rules in place of the small ones."""

    def load(_settings: Settings) -> LoadedRules:
        book = real.book
        return LoadedRules(book, Evaluator(book, "both", sessions=1), real.digest)

    return load


def request(record: object = RECORD, **fields: Any) -> service_pb2.EvaluateFhirRequest:  # noqa: ANN401 - any field
    """Ask about a record."""
    given = {"jurisdiction": service_pb2.JURISDICTION_US, "as_of": "2025-06-02", "content": json.dumps(record).encode()}
    return service_pb2.EvaluateFhirRequest(**{**given, **fields})


def ask(running: Running, asked: service_pb2.EvaluateFhirRequest) -> service_pb2.EvaluateFhirResponse:
    """Call EvaluateFhir."""
    return service_pb2.EvaluateFhirResponse.FromString(running.call(FHIR, asked))


def test_what_was_read_comes_beside_the_decision(running: Running) -> None:
    answer = ask(running, request())
    facts = {fact.fact: fact for fact in answer.reading.facts}

    assert answer.reading.patient_id == "p1"
    assert (facts["phq9_total"].value, facts["phq9_total"].date) == ("21", "2025-05-30")
    assert list(facts["phq9_total"].sources) == ["Observation/o1"]
    assert facts["age_years"].value == "45"
    assert all(fact.standing == service_pb2.READ_STANDING_USED for fact in answer.reading.facts)
    assert "dx_primary" not in facts
    assert ("dx_primary", ["Condition/c1"]) in [(c.fact, list(c.sources)) for c in answer.reading.candidates]
    assert set(answer.decision.facts_given) == facts.keys()
    assert "dx_primary" in [question.fact for question in answer.decision.missing]
    assert answer.decision.options[0].status == decision_pb2.ELIGIBILITY_STATUS_INSUFFICIENT_DATA


def test_what_the_caller_gives_wins_and_both_are_told(running: Running) -> None:
    asked = request()
    asked.patient_history.diagnosis.phq9_total = 4
    answer = ask(running, asked)
    facts = {fact.fact: fact for fact in answer.reading.facts}

    assert facts["phq9_total"].value == "21"
    assert facts["phq9_total"].standing == service_pb2.READ_STANDING_OVERRIDDEN
    assert facts["age_years"].standing == service_pb2.READ_STANDING_USED


def test_the_record_is_in_the_log_and_the_decision_replays_to_the_byte(running: Running) -> None:
    asked = request(patient_id="p1")
    returned = running.call(FHIR, asked)
    log = running.server.ledger
    with log.reading() as snapshot:
        (row,) = snapshot.find(Wanted(0, 10**9, 10, kinds=(Kind.DECISION,)))
        content = log.open_entry(snapshot, row.entry_index).content

    assert isinstance(content, PatientPart)
    assert content.request == asked.SerializeToString()
    assert returned.startswith(content.response)
    assert log.keys.key_ids_of(0, b"Patient/p1")
    replayed = log_pb2.ReplayDecisionResponse.FromString(
        running.call(REPLAY, log_pb2.ReplayDecisionRequest(index=row.entry_index))
    )
    assert replayed.replay.outcome == log_pb2.REPLAY_OUTCOME_MATCH, replayed


def test_nothing_is_decided_for_somebody_who_has_died(running: Running, refusal: Unpack) -> None:
    record = [{**PATIENT, "deceasedDateTime": "2025-06-01"}, *RECORD[1:]]
    with pytest.raises(grpc.RpcError) as caught:
        ask(running, request(record))
    answer = refusal(caught.value)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PATIENT_DECEASED")
    assert ask(running, request(record, as_of="2025-05-31")).decision.options


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "request/missing"),
        (b"{", "fhir/not-json"),
        (b'"text"', "fhir/not-a-record"),
        (b"\xff\xfe", "fhir/not-json"),
        (b'{"a":1,"a":2}', "fhir/not-json"),
        (b"[" * 5000, "fhir/not-json"),
    ],
)
def test_what_is_no_record_is_refused_with_its_field(
    running: Running, refusal: Unpack, content: bytes, code: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(running, request(content=content, as_of="2025-02-30"))
    answer = refusal(caught.value)
    assert answer.code == grpc.StatusCode.INVALID_ARGUMENT
    assert {"content": code, "as_of": "request/malformed-date"}.items() <= answer.fields.items()


def test_a_record_may_be_larger_than_other_requests(serve: Serve, refusal: Unpack) -> None:
    running = serve(max_fhir_bytes=3_000_000)
    filling = [{"resourceType": "Claim", "id": f"x{n}", "text": {"div": "y" * 1000}} for n in range(2000)]
    assert ask(running, request([*RECORD, *filling])).reading.facts
    with pytest.raises(grpc.RpcError) as caught:
        ask(running, request([*RECORD, *filling, *filling[:1000]]))
    assert refusal(caught.value).reason == "MESSAGE_TOO_LARGE"


def test_a_record_of_nobody_leaves_everything_unknown(running: Running) -> None:
    answer = ask(running, request({"resourceType": "Bundle", "type": "searchset", "total": 0}))
    assert not answer.reading.facts
    assert not answer.decision.facts_given
