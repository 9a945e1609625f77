"""Whatever comes in, the caller gets a status that helps, nobody else is harmed, and no patient data comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
    from tests.contract.conftest import FakeEngines, Refused, Running, Unpack

EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
MIB = 1024 * 1024


@pytest.fixture
def refused(running: Running, refusal: Unpack) -> Refused:
    """Give a function that sends bytes to Evaluate and gives the refusal."""

    def send(data: Any, method: str = EVALUATE) -> Any:  # noqa: ANN401 - a message or bytes
        with pytest.raises(grpc.RpcError) as caught:
            running.call(method, data)
        return refusal(caught.value)

    return send


def _unknown_field(number: int, value: int) -> bytes:
    return bytes(_VarintBytes(number << 3)) + bytes(_VarintBytes(value))


def test_an_empty_request_is_told_what_it_needs(refused: Refused) -> None:
    assert refused(b"").fields == {"jurisdiction": "request/missing"}


def test_truncated_bytes_are_no_message(refused: Refused, request_message: service_pb2.EvaluateRequest) -> None:
    data = request_message.SerializeToString()
    answer = refused(data[:-3])
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
@example(b"\xff" * 64)
@example(b"\x0a\x03\xff\xff\xff")
@example(b"\x3b" * 5000)
def test_random_bytes_are_answered_or_refused_for_what_they_are(running: Running, data: bytes) -> None:
    try:
        running.evaluate(data)
    except grpc.RpcError as error:
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}  # noqa: PT017


def test_unknown_fields_are_refused_with_their_paths(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    area = request_message.patient_history.vascular_medical
    area.MergeFromString(_unknown_field(900, 1))
    trial = request_message.patient_history.treatment_history.trials.items.add(drug="sertraline")
    trial.MergeFromString(_unknown_field(901, 1))
    request_message.MergeFromString(_unknown_field(902, 1))
    answer = refused(request_message)

    assert answer.code == grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == {
        "902": "request/unknown-field",
        "patient_history.treatment_history.trials.items[0].901": "request/unknown-field",
        "patient_history.vascular_medical.900": "request/unknown-field",
    }


def test_unknown_enum_numbers_are_refused_with_their_paths(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    request_message.jurisdiction = 77  # type: ignore[assignment]
    request_message.patient_history.diagnosis.catatonia = 99  # type: ignore[assignment]
    request_message.patient_history.medication.med_cns_depressants.items.append(98)  # type: ignore[arg-type]
    assert refused(request_message).fields == {
        "jurisdiction": "request/unknown-value",
        "patient_history.diagnosis.catatonia": "request/unknown-value",
        "patient_history.medication.med_cns_depressants.items[0]": "request/unknown-value",
    }


def test_everything_wrong_is_said_at_once_and_without_patient_data(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    history = request_message.patient_history
    request_message.as_of = "2025-02-30"
    history.demographics.weight_kg = float("nan")
    history.diagnosis.episode_start_date = "yesterday, SECRET"
    history.treatment_history.trials.items.add(drug="sertraline", start_date="SECRET")
    history.fact_provenance["SECRET-NAME"].source = "SECRET"
    history.fact_provenance["trials"].date = "2025-01-01"
    answer = refused(request_message)

    assert answer.fields == {
        "as_of": "request/malformed-date",
        "patient_history.demographics.weight_kg": "fact/not-finite",
        "patient_history.diagnosis.episode_start_date": "fact/malformed-date",
        "patient_history.fact_provenance": "request/stray-provenance",
        "patient_history.fact_provenance[trials]": "request/stray-provenance",
        "patient_history.treatment_history.trials.items[0].start_date": "fact/malformed-date",
    }
    assert "SECRET" not in answer.message


def test_what_is_wrong_beside_a_value_has_a_path_of_its_own(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    history = request_message.patient_history
    history.demographics.age_years = 40
    history.demographics.weight_kg = 80
    history.fact_provenance["age_years"].date = "2025-6-1"
    history.fact_provenance["weight_kg"].source = "x" * 201
    answer = refused(request_message)

    assert answer.fields == {
        "patient_history.fact_provenance[age_years].date": "fact/malformed-date",
        "patient_history.fact_provenance[weight_kg].source": "fact/wrong-type",
    }
    assert "has 2 invalid fields" in answer.message


def test_faults_that_do_not_fit_are_said_to_be_more(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    trials = request_message.patient_history.treatment_history.trials.items
    for _ in range(100):
        trials.add(drug="x" * 201, start_date="yesterday", end_date="today")
    answer = refused(request_message)

    assert "at least 100 invalid fields" in answer.message
    assert "of which the first are listed" in answer.message
    assert len(answer.fields) < 100


def test_a_number_that_no_patient_has_is_unusable_not_refused(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    for weight in (1e308, 5e-324):
        request_message.request_id = ""
        request_message.patient_history.demographics.weight_kg = weight
        running.evaluate(request_message)
        assert [u.fact for u in engines.asked[-1][0].unusable] == ["weight_kg"]


def test_a_value_out_of_range_is_unusable_not_refused(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    request_message.patient_history.vascular_medical.spo2_pct = 2_000_000
    running.evaluate(request_message)
    unusable = engines.asked[0][0].unusable
    assert [(u.fact, u.path) for u in unusable] == [("spo2_pct", "patient_history.vascular_medical.spo2_pct")]


def test_a_text_of_ten_megabytes_is_pushed_back(refused: Refused, request_message: service_pb2.EvaluateRequest) -> None:
    request_message.patient_reference = "x" * (10 * MIB)
    assert refused(request_message).code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_just_above_the_limit_is_told_the_limit(
    refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    request_message.patient_reference = "x" * MIB
    answer = refused(request_message)
    assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert str(MIB) in answer.message


def test_long_texts_are_refused_by_name(refused: Refused, request_message: service_pb2.EvaluateRequest) -> None:
    request_message.request_id = "x" * 129
    request_message.patient_reference = "x" * 257
    assert set(refused(request_message).fields) == {"request_id", "patient_reference"}


def test_ten_thousand_trials_are_refused_before_they_are_read(
    refused: Refused, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    for _ in range(10_000):
        request_message.patient_history.treatment_history.trials.items.add(drug="sertraline")
    answer = refused(request_message)
    assert answer.fields == {"patient_history.treatment_history.trials.items": "request/too-many"}
    assert engines.asked == []


def test_a_method_that_does_not_exist_is_unimplemented(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.call("/eligibility.v1.EligibilityService/Guess", b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_failure_of_ours_keeps_its_text_to_itself(
    running: Running, engines: FakeEngines, refused: Refused, request_message: service_pb2.EvaluateRequest
) -> None:
    engines.error = ValueError("SECRET patient text")
    answer = refused(request_message)

    assert (answer.code, answer.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "SECRET" not in answer.message + running.log.getvalue()
    assert "ValueError < evaluate:" in running.log.getvalue()
