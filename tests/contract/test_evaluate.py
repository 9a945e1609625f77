"""Evaluate, DescribeInputs: one patient in, one decision out."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import grpc
import pytest

from engine import canonical
from engine.errors import LedgerError, LogUnavailableError
from server.pb.eligibility.v1 import decision_pb2, explanation_pb2, patient_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.recording import Recorded, Situation

if TYPE_CHECKING:
    from server.evaluation import Answer
    from tests.contract.conftest import FakeEngines, Running, Serve, Unpack

DESCRIBE = "/eligibility.v1.EligibilityService/DescribeInputs"


def test_a_decision_comes_back_whole(running: Running, request_message: service_pb2.EvaluateRequest) -> None:
    response = running.evaluate(request_message)
    decision = response.decision
    option = decision.options[0]

    assert response.request_id == request_message.request_id
    assert str(UUID(decision.decision_id)) == decision.decision_id
    assert option.status == decision_pb2.ELIGIBILITY_STATUS_INSUFFICIENT_DATA
    assert list(option.could_be) == [
        decision_pb2.ELIGIBILITY_STATUS_ELIGIBLE,
        decision_pb2.ELIGIBILITY_STATUS_CONTRAINDICATED,
    ]
    assert option.plan[0].text == "Measure again."
    assert option.criteria[0].references[0].section == "2.1"
    assert option.criteria[0].visit_level == explanation_pb2.BARRIER_SCOPE_VISIT
    assert not option.criteria[0].facts[0].HasField("value")
    assert decision.triage.provisional == decision_pb2.TRIAGE_STANDING_PROVISIONAL
    assert decision.referrals[0].state == decision_pb2.REFERRAL_STATE_UNRESOLVED
    assert decision.missing[0].purposes == ["esketamine"]
    assert decision.engines.agree == decision_pb2.ENGINE_AGREEMENT_AGREED
    assert not decision.HasField("coverage")
    assert not decision.HasField("changes_on")
    assert list(decision.facts_given) == ["dbp_mmHg", "sbp_mmHg", "weight_kg"]


def test_the_engine_gets_the_facts_as_the_dictionary_types_them(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    history = request_message.patient_history
    history.medication.med_cns_depressants.SetInParent()
    history.diagnosis.catatonia = patient_pb2.YES_NO_UNKNOWN
    history.diagnosis.phq9_total = 0
    trial = history.treatment_history.trials.items.add(drug="sertraline", max_dose_mg=150.5, ongoing=False)
    trial.outcome = patient_pb2.TRIAL_OUTCOME_NONRESPONSE
    history.fact_provenance["phq9_total"].date = "2025-05-30"
    history.fact_provenance["phq9_total"].source = "Observation/9"
    running.evaluate(request_message)
    facts, jurisdiction, payer, as_of = engines.asked[0]

    assert (jurisdiction, payer, as_of) == ("US", None, date(2025, 6, 2))
    assert facts.known["sbp_mmHg"].value == 150
    assert facts.known["sbp_mmHg"].path == "patient_history.vascular_medical.sbp_mmHg"
    assert facts.known["weight_kg"].value == 723
    assert facts.known["med_cns_depressants"].value == ()
    assert facts.known["phq9_total"].value == 0
    assert facts.known["phq9_total"].observed_on == date(2025, 5, 30)
    assert facts.known["phq9_total"].source == "Observation/9"
    assert "catatonia" not in facts.known
    record = facts.records["trials"][0]
    assert record.path == "patient_history.treatment_history.trials.items[0]"
    assert record.values["outcome"] == "nonresponse"
    assert record.values["ongoing"] is False


@pytest.mark.parametrize(
    ("view", "ids"),
    [
        (explanation_pb2.EXPLANATION_VIEW_UNSPECIFIED, ["US-MET-1", "US-UNK-1", "US-NOT-2"]),
        (explanation_pb2.EXPLANATION_VIEW_BASIC, ["US-MET-1", "US-UNK-1", "US-NOT-2"]),
        (explanation_pb2.EXPLANATION_VIEW_FULL, ["US-MET-1", "US-UNK-1", "US-NOT-1", "US-NOT-2"]),
    ],
)
def test_the_view_says_how_much_is_explained(
    running: Running,
    request_message: service_pb2.EvaluateRequest,
    view: explanation_pb2.ExplanationView.ValueType,
    ids: list[str],
) -> None:
    request_message.view = view
    assert [c.id for c in running.evaluate(request_message).decision.options[0].criteria] == ids


def test_without_as_of_it_is_today_and_the_answer_says_so(
    serve: Serve, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(time_zone="Pacific/Kiritimati")
    given = running.evaluate(request_message).decision
    request_message.as_of = request_message.request_id = ""
    before = datetime.now(UTC)
    taken = running.evaluate(request_message).decision

    assert (given.as_of, given.as_of_origin) == ("2025-06-02", decision_pb2.AS_OF_ORIGIN_CALLER)
    assert taken.as_of_origin == decision_pb2.AS_OF_ORIGIN_SERVER
    assert taken.time_zone == "Pacific/Kiritimati"
    assert date.fromisoformat(taken.as_of) >= before.date()


def test_a_jurisdiction_without_a_pack_is_a_failed_precondition(
    running: Running, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    request_message.jurisdiction = service_pb2.JURISDICTION_UK
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    assert refusal(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal(caught.value).reason == "NO_RULE_PACK"


class _Kept:
    """A recorder that keeps decisions in a list, or fails."""

    def __init__(self, error: LedgerError | None = None) -> None:
        self.kept: list[tuple[Answer, Situation]] = []
        self.error = error

    def record(self, answer: Answer, situation: Situation) -> Recorded:
        if self.error:
            raise self.error
        self.kept.append((answer, situation))
        return Recorded(answer.evaluated.response_bytes, answer.decision_id)


def test_what_is_recorded_is_what_was_sent(serve: Serve, request_message: service_pb2.EvaluateRequest) -> None:
    recorder = _Kept()
    running = serve(recorder=recorder)
    sent = request_message.SerializeToString()
    returned = running.call("/eligibility.v1.EligibilityService/Evaluate", sent)
    answer, situation = recorder.kept[0]
    evaluated = answer.evaluated

    assert evaluated.request_bytes == sent
    assert evaluated.response_bytes == returned
    assert evaluated.context.startswith(canonical.frame(b"2025-06-02", b"UTC", b"decision_id"))
    assert len(hashlib.sha256(evaluated.decision).digest()) == len(evaluated.interpret_digest)
    assert situation.call.method == "/eligibility.v1.EligibilityService/Evaluate"
    assert situation.call.deadline_ms > 0
    assert answer.request.purpose == "test"


def test_a_decision_that_cannot_be_kept_is_not_shown(
    serve: Serve, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    running = serve(recorder=_Kept(LogUnavailableError("the log cannot be written", 2.0)))
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)

    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE")
    assert answer.retry_seconds == 2.0


def test_inputs_are_described_with_the_path_to_write_them(running: Running) -> None:
    request = service_pb2.DescribeInputsRequest(areas=["vascular_medical"])
    response = service_pb2.DescribeInputsResponse.FromString(running.call(DESCRIBE, request))
    by_name = {fact.fact: fact for fact in response.facts}

    assert {fact.area for fact in response.facts} == {"vascular_medical"}
    systolic = by_name["sbp_mmHg"]
    assert systolic.path == "patient_history.vascular_medical.sbp_mmHg"
    assert (systolic.type, systolic.unit, systolic.minimum) == (service_pb2.FACT_TYPE_INT, "mm[Hg]", "50")


def test_every_described_input_has_a_place_in_the_request(running: Running) -> None:
    response = service_pb2.DescribeInputsResponse.FromString(running.call(DESCRIBE, b""))
    assert [fact.fact for fact in response.facts if not fact.path] == []


def test_an_area_that_does_not_exist_is_refused(running: Running, refusal: Unpack) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.call(DESCRIBE, service_pb2.DescribeInputsRequest(areas=["vascular_medical", "nonsense"]))
    assert refusal(caught.value).fields == {"areas[1]": "request/unknown-value"}
