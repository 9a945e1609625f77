"""Callers who mean harm, or behave as if they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from server.convert.messages import refuse_unknown
from server.interceptors.errors import MAX_DETAIL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
    from tests.contract.conftest import FakeEngines, Running, Unpack

EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"


@pytest.fixture
def refused(running: Running, refusal: Unpack) -> Callable[[Any], Any]:
    """Give a function that sends a message to Evaluate and gives the refusal."""

    def send(message: Any) -> Any:  # noqa: ANN401 - a message
        with pytest.raises(grpc.RpcError) as caught:
            running.call(EVALUATE, message)
        return refusal(caught.value)

    return send


@pytest.mark.parametrize("payer", ["p1", "CIGNA ", "\0", "a\0b", "../us", "p" * 200])
def test_a_payer_that_nobody_knows_is_refused_before_anything_is_built(
    engines: FakeEngines, refused: Callable[[Any], Any], request_message: service_pb2.EvaluateRequest, payer: str
) -> None:
    request_message.payer_id = payer
    answer = refused(request_message)

    assert answer.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(answer.fields) == {"payer_id"}
    assert engines.asked == []


def test_many_faults_fit_into_what_every_client_takes(
    refused: Callable[[Any], Any], request_message: service_pb2.EvaluateRequest
) -> None:
    for _ in range(90):
        request_message.patient_history.treatment_history.trials.items.add(
            drug="", weeks_at_adequate_dose=6, start_date="31.01.2025", end_date="never", rxnorm=""
        )
    answer = refused(request_message)

    assert answer.code == grpc.StatusCode.INVALID_ARGUMENT
    assert 0 < sum(len(path) + len(code) for path, code in answer.fields.items()) < MAX_DETAIL_BYTES


def test_an_unknown_enum_number_is_a_value_and_stays_out_of_the_refusal(
    request_message: service_pb2.EvaluateRequest,
) -> None:
    request_message.patient_history.demographics.sex_at_birth = 424242  # type: ignore[assignment]

    assert "424242" not in str(refuse_unknown(request_message))


@pytest.mark.parametrize("as_of", ["2025-W01-1", "2025W01101", "2025-1-1", "+2025-01-1"])
def test_only_one_way_of_writing_a_day_is_taken(
    refused: Callable[[Any], Any], request_message: service_pb2.EvaluateRequest, as_of: str
) -> None:
    request_message.as_of = as_of

    assert refused(request_message).fields == {"as_of": "request/malformed-date"}
