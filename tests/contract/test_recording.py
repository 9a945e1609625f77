"""What a call leaves in the log, over the wire: before it is answered, and with a receipt that proves it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import apsw
import grpc
import pytest

from engine.errors import EnginesDisagree, LogUnavailableError
from engine.ledger.body import DecisionError, Report
from engine.ledger.checkpoint import parse_receipt, parse_vkey, verify_receipt
from engine.ledger.entry import Kind, entry_uuid, read_body
from engine.ledger.seal import PatientPart
from engine.ledger.store import Wanted
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import receipt_pb2

if TYPE_CHECKING:
    from engine.ledger.log import Opened
    from tests.contract.conftest import FakeEngines, Running, Serve, Unpack

EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
STREAM = "/eligibility.v1.EligibilityService/EvaluateStream"
ALL = 10**9


def logged(running: Running, *kinds: Kind) -> list[Opened]:
    """Open the entries of these kinds."""
    log = running.server.ledger
    with log.reading() as snapshot:
        return [log.open_entry(snapshot, row.entry_index) for row in snapshot.find(Wanted(0, ALL, ALL, kinds=kinds))]


def test_a_decision_is_in_the_log_with_the_bytes_that_came_and_went(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    sent = request_message.SerializeToString()
    returned = running.call(EVALUATE, sent)
    answer = service_pb2.EvaluateResponse.FromString(returned)
    (entry,) = logged(running, Kind.DECISION)

    assert isinstance(entry.content, PatientPart)
    assert entry.content.request == sent
    assert returned.startswith(entry.content.response)
    assert entry.content.method == EVALUATE
    assert entry_uuid(entry.header.entry_id) == answer.decision.decision_id
    assert entry.caller is not None
    assert (entry.caller.request_id, entry.caller.purpose) == (request_message.request_id, "test")
    assert (answer.receipt.index, answer.receipt.acknowledged) == (
        entry.index,
        receipt_pb2.ACKNOWLEDGED_LEVEL_SIGNED,
    )
    checkpoint = verify_receipt(parse_receipt(answer.receipt.proof), parse_vkey(running.server.ledger.vkey))
    assert checkpoint.tree_size == answer.receipt.tree_size == entry.index + 1


def test_c10_a_retry_is_answered_with_the_first_bytes(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    first = running.call(EVALUATE, request_message)
    again = running.call(EVALUATE, request_message)

    assert again == first
    assert len(engines.asked) == 2
    assert len(logged(running, Kind.DECISION)) == 1


def test_c38_a_request_id_that_was_used_otherwise_is_refused(
    running: Running, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    running.evaluate(request_message)
    request_message.patient_history.vascular_medical.sbp_mmHg = 151
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)

    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert list(answer.fields) == ["request_id"]


def test_each_request_of_a_stream_is_an_entry_with_a_receipt(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    def requests() -> list[bytes]:
        made = []
        for number in range(3):
            message = service_pb2.EvaluateStreamRequest(request=request_message)
            message.request.request_id = f"r-{number}"
            if number == 1:
                message.request.jurisdiction = service_pb2.JURISDICTION_UNSPECIFIED
            made.append(message.SerializeToString())
        return made

    stream = running.channel.stream_stream(STREAM, request_serializer=None, response_deserializer=None)
    answers = [service_pb2.EvaluateStreamResponse.FromString(data) for data in stream(iter(requests()), timeout=30)]
    decided = {a.request_id: a.receipt.index for a in answers if a.HasField("decision")}
    (refused,) = logged(running, Kind.DECISION_ERROR)

    assert set(decided) == {"r-0", "r-2"}
    assert {one.index for one in logged(running, Kind.DECISION)} == set(decided.values())
    assert read_body(refused.header) == DecisionError("invalid-fields")
    assert isinstance(refused.content, PatientPart)
    assert refused.content.request == requests()[1]


def test_every_refusal_is_logged_with_the_status_that_was_sent(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    request_message.jurisdiction = service_pb2.JURISDICTION_UK
    for data in (b"\xff\xff", request_message.SerializeToString()):
        with pytest.raises(grpc.RpcError):
            running.call(EVALUATE, data)
    request_message.jurisdiction = service_pb2.JURISDICTION_US
    engines.error = EnginesDisagree(["US-1"], b'{"a":1}', b'{"a":2}')
    with pytest.raises(grpc.RpcError):
        running.evaluate(request_message)
    entries = logged(running, Kind.DECISION_ERROR)

    assert [read_body(one.header) for one in entries] == [
        DecisionError("malformed-message"),
        DecisionError("no-rule-pack"),
        DecisionError("engines-disagree"),
    ]
    contents = [one.content for one in entries if isinstance(one.content, PatientPart)]
    assert [bool(one.facts) for one in contents] == [False, True, True]
    assert b'{"a":1}' in contents[2].decision
    assert b'{"a":2}' in contents[2].decision
    assert contents[2].digests[:32] != contents[2].digests[32:]


def test_what_is_refused_before_it_is_read_is_not_logged(
    serve: Serve, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(max_message_bytes=1024)
    request_message.patient_reference = "x" * 2000
    with pytest.raises(grpc.RpcError):
        running.evaluate(request_message)

    assert logged(running, Kind.DECISION, Kind.DECISION_ERROR) == []


def test_a_refusal_that_cannot_be_logged_is_not_told_either(
    running: Running, request_message: service_pb2.EvaluateRequest, refusal: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LogUnavailableError("the disk is full", 3.0)

    monkeypatch.setattr(running.server.ledger, "append", fail)
    request_message.jurisdiction = service_pb2.JURISDICTION_UNSPECIFIED
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)

    assert (answer.code, answer.reason, answer.retry_seconds) == (grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", 3.0)


def test_health_follows_the_log(running: Running) -> None:
    running.server.ledger.raise_alarm("integrity")

    for entry in ("", "ledger", "eligibility.v1.EligibilityService", "eligibility.v1.DecisionLogService"):
        assert running.health(entry) == "NOT_SERVING"
    assert running.health("eligibility.v1.RulePackService") == "SERVING"


def _wait_for(running: Running, text: str) -> None:
    waited = threading.Event()
    for _ in range(600):
        if text in running.log.getvalue():
            return
        waited.wait(0.05)
    pytest.fail(f"`{text}` was not logged")


def test_after_the_start_the_log_is_verified_and_the_report_is_an_entry(serve: Serve) -> None:
    running = serve(no_verify=False)
    _wait_for(running, "decision log verified")
    (entry,) = logged(running, Kind.REPORT)
    report = read_body(entry.header)

    assert isinstance(report, Report)
    with running.server.ledger.reading() as snapshot:
        blob = snapshot.blob(report.report_digest)
    assert blob is not None
    assert json.loads(blob.body)["faults"] == []
    assert running.health("") == "SERVING"


def test_a_log_that_was_changed_while_nobody_looked_is_found_out_after_the_start(
    serve: Serve, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve()
    running.evaluate(request_message)
    log = running.server.ledger.store
    connection = apsw.Connection(str(log.path))  # type: ignore[attr-defined]
    connection.execute("DROP TRIGGER checkpoint_u")
    connection.execute(
        "UPDATE checkpoint SET note=CAST(note||x'0a' AS BLOB) WHERE size=(SELECT min(size) FROM checkpoint)"
    )
    connection.close()
    running.server._verify()  # noqa: SLF001 - what the start does in the background

    assert running.health("") == "NOT_SERVING"
    assert "checkpoint" in running.log.getvalue()
