"""DecisionLogService: what was logged is shown, proven, replayed and erased, and every call of it leaves an entry."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engine.ledger.checkpoint import parse_receipt, parse_vkey, verify_receipt
from engine.ledger.merkle import verify_consistency
from server.command import command
from server.command.log.pages import check_page, open_checkpoint
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import receipt_pb2
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.conftest import Running, Serve, Unpack

M = TypeVar("M", bound=Message)
Request = service_pb2.EvaluateRequest
Code = grpc.StatusCode

SERVICE = "/eligibility.v1.DecisionLogService/"
SECRET = "Patient/SECRET-REFERENCE"  # noqa: S105 - a patient, as `request_message` names it
OFFICERS = ("officer-1", "officer-2")
NO_ENTRY = str(2**64 - 1)
TIME = Timestamp(seconds=1_770_000_000)


def ask(running: Running, method: str, request: Message | bytes, kind: type[M]) -> M:
    """Call a method of the service."""
    return kind.FromString(running.call(SERVICE + method, request))


def refused(running: Running, unpack: Unpack, method: str, request: Message | bytes) -> tuple[Code, str, list[str]]:
    """Call a method that refuses; give code, reason and fields."""
    with pytest.raises(grpc.RpcError) as caught:
        running.call(SERVICE + method, request)
    answer = unpack(caught.value)
    assert "SECRET" not in answer.message
    return answer.code, answer.reason, sorted(answer.fields)


def size_of(running: Running) -> int:
    """Give how many entries there are."""
    with running.server.ledger.reading() as snapshot:
        return snapshot.head().size


def opened(running: Running, index: int) -> log_pb2.GetDecisionResponse:
    """Open an entry."""
    request = log_pb2.GetDecisionRequest(
        index=index, view=log_pb2.ENTRY_VIEW_OPEN, access_purpose="audit", ticket="QA-7"
    )
    return ask(running, "GetDecision", request, log_pb2.GetDecisionResponse)


def test_a_decision_comes_with_a_receipt_that_the_logs_key_confirms(running: Running, request_message: Request) -> None:
    answer = running.evaluate(request_message)
    receipt = parse_receipt(answer.receipt.proof)

    assert answer.receipt.acknowledged == receipt_pb2.ACKNOWLEDGED_LEVEL_SIGNED
    checkpoint = verify_receipt(receipt, parse_vkey(running.server.ledger.vkey))
    assert (checkpoint.origin, checkpoint.tree_size) == (answer.receipt.origin, answer.receipt.tree_size)
    shown = opened(running, answer.receipt.index)
    assert shown.entry.leaf_data == receipt.extra
    assert shown.entry.entry_id == answer.decision.decision_id


def test_what_is_logged_is_what_came_and_what_went(running: Running, request_message: Request) -> None:
    sent = request_message.SerializeToString()
    went = running.call("/eligibility.v1.EligibilityService/Evaluate", sent)
    answer = service_pb2.EvaluateResponse.FromString(went)
    decision = opened(running, answer.receipt.index).opened.decision

    assert decision.request == sent
    assert went.startswith(decision.response)
    assert not service_pb2.EvaluateResponse.FromString(decision.response).HasField("receipt")


def test_a_page_is_proven_complete(running: Running, request_message: Request) -> None:
    for number in range(3):
        request_message.request_id = str(number)
        running.evaluate(request_message)
    request = log_pb2.ListDecisionsRequest(first_index=2, page_size=5)
    answer = ask(running, "ListDecisions", request, log_pb2.ListDecisionsResponse)

    page = check_page(request, answer, parse_vkey(running.server.ledger.vkey))
    assert page.is_complete
    assert answer.completeness == log_pb2.PAGE_COMPLETENESS_PROVABLE
    assert (answer.next_index, [item.index for item in answer.entries]) == (7, [2, 3, 4, 5, 6])


def test_a_filtered_page_says_that_it_is_not_provable(running: Running, request_message: Request) -> None:
    index = running.evaluate(request_message).receipt.index
    request = log_pb2.ListDecisionsRequest(kinds=[log_pb2.ENTRY_KIND_DECISION])
    answer = ask(running, "ListDecisions", request, log_pb2.ListDecisionsResponse)

    assert [item.index for item in answer.entries] == [index]
    assert answer.completeness == log_pb2.PAGE_COMPLETENESS_FILTERED
    assert (answer.next_index, answer.HasField("edge_proofs")) == (answer.tree_size, False)
    later = Timestamp(seconds=answer.entries[0].logged_at.seconds + 3600)
    assert not ask(
        running, "ListDecisions", log_pb2.ListDecisionsRequest(since=later), log_pb2.ListDecisionsResponse
    ).entries


READS: list[tuple[str, Message, str]] = [
    ("ListDecisions", log_pb2.ListDecisionsRequest(first_index=1, page_size=2), "list"),
    ("GetDecision", log_pb2.GetDecisionRequest(index=1), "get"),
    ("GetCheckpoint", log_pb2.GetCheckpointRequest(), "checkpoint"),
    ("GetInclusionProof", log_pb2.GetInclusionProofRequest(index=1), "prove-inclusion"),
    ("GetConsistencyProof", log_pb2.GetConsistencyProofRequest(old_size=1), "prove-consistency"),
    ("ReplayDecision", log_pb2.ReplayDecisionRequest(index=1), "replay"),
    ("ReplayDecisions", log_pb2.ReplayDecisionsRequest(first_index=1, end_index=3), "replay"),
]


def call_any(running: Running, method: str, request: Message | bytes) -> None:
    """Call a method with one answer or with many."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    if method == "ReplayDecisions":
        call = running.channel.unary_stream(SERVICE + method, request_serializer=None, response_deserializer=None)
        list(call(data, timeout=30))
    else:
        running.call(SERVICE + method, data)


@pytest.mark.parametrize(("method", "request_", "action"), READS)
def test_c96_every_reading_leaves_an_access_with_its_caller(
    running: Running, method: str, request_: Message, action: str
) -> None:
    before = size_of(running)
    call_any(running, method, request_)

    access = opened(running, before)
    assert access.entry.kind == log_pb2.ENTRY_KIND_ACCESS
    assert access.entry.body["action"] == action
    assert (access.opened.caller.name, access.opened.caller.method) == ("loopback", SERVICE + method)
    assert access.opened.state == log_pb2.PATIENT_PART_STATE_NONE


REFUSED: list[tuple[str, Message | bytes, str, Code]] = [
    ("ListDecisions", log_pb2.ListDecisionsRequest(first_index=10**6), "list", Code.INVALID_ARGUMENT),
    ("ListDecisions", b"\xff", "list", Code.INVALID_ARGUMENT),
    (
        "ListDecisions",
        log_pb2.ListDecisionsRequest(kinds=[log_pb2.ENTRY_KIND_DECISION] * 40_000),
        "list",
        Code.INVALID_ARGUMENT,
    ),
    ("GetDecision", log_pb2.GetDecisionRequest(index=10**6), "get", Code.NOT_FOUND),
    (
        "GetDecision",
        log_pb2.GetDecisionRequest(index=1, view=log_pb2.ENTRY_VIEW_OPEN),
        "open",
        Code.INVALID_ARGUMENT,
    ),
    ("GetConsistencyProof", log_pb2.GetConsistencyProofRequest(), "prove-consistency", Code.INVALID_ARGUMENT),
    ("ReplayDecision", log_pb2.ReplayDecisionRequest(index=10**6), "replay", Code.NOT_FOUND),
    ("ReplayDecisions", log_pb2.ReplayDecisionsRequest(first_index=10**6), "replay", Code.INVALID_ARGUMENT),
    ("AnalyzeImpact", log_pb2.AnalyzeImpactRequest(), "impact", Code.INVALID_ARGUMENT),
    ("RecordFeedback", log_pb2.RecordFeedbackRequest(), "feedback-refused", Code.INVALID_ARGUMENT),
    ("ShredPatient", log_pb2.ShredPatientRequest(), "shred-refused", Code.INVALID_ARGUMENT),
    ("SetLegalHold", log_pb2.SetLegalHoldRequest(), "hold-refused", Code.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("method", "request_", "action", "code"), REFUSED)
def test_c96_a_refused_call_leaves_an_access_too(
    running: Running, method: str, request_: Message | bytes, action: str, code: Code
) -> None:
    before = size_of(running)
    with pytest.raises(grpc.RpcError) as caught:
        call_any(running, method, request_)
    assert caught.value.code() is code

    access = opened(running, before)
    assert access.entry.body["action"] == action
    assert (access.entry.body["first"], access.entry.body["last"]) == (NO_ENTRY, NO_ENTRY)
    assert access.opened.caller.status == code.name


def test_a_call_that_cannot_be_logged_is_refused(running: Running, refusal: Unpack) -> None:
    running.server.ledger.close()
    with pytest.raises(grpc.RpcError) as caught:
        running.call(SERVICE + "GetCheckpoint", log_pb2.GetCheckpointRequest())
    answer = refusal(caught.value)
    assert (answer.code, answer.reason) == (Code.UNAVAILABLE, "LOG_UNAVAILABLE")
    assert answer.retry_seconds


def test_c96_the_access_is_there_although_the_answer_failed(running: Running, refusal: Unpack) -> None:
    before = size_of(running)
    request = log_pb2.ListDecisionsRequest(tree_size=10**6)
    assert refused(running, refusal, "ListDecisions", request)[1] == "CHECKPOINT_NOT_FOUND"
    access = opened(running, before)
    assert (access.entry.body["action"], access.entry.body["tree_size"]) == ("list", str(10**6))


def test_c96_without_purpose_and_ticket_nothing_is_opened(
    running: Running, refusal: Unpack, request_message: Request
) -> None:
    index = running.evaluate(request_message).receipt.index
    header = ask(running, "GetDecision", log_pb2.GetDecisionRequest(index=index), log_pb2.GetDecisionResponse)
    assert not header.HasField("opened")

    for nothing in ("", " \t", "\u200b", "\0"):
        request = log_pb2.GetDecisionRequest(
            index=index, view=log_pb2.ENTRY_VIEW_OPEN, access_purpose=nothing, ticket=nothing
        )
        code, _, fields = refused(running, refusal, "GetDecision", request)
        assert (code, fields) == (Code.INVALID_ARGUMENT, ["access_purpose", "ticket"])


def test_an_entry_is_found_by_the_id_of_its_decision_and_of_its_cards(
    running: Running, request_message: Request
) -> None:
    answer = running.evaluate(request_message)
    for name in (answer.decision.decision_id, f"{answer.decision.decision_id[:-1]}7"):
        request = log_pb2.GetDecisionRequest(decision_id=name)
        assert ask(running, "GetDecision", request, log_pb2.GetDecisionResponse).entry.index == answer.receipt.index


def test_what_names_no_entry_is_told_apart(running: Running, refusal: Unpack) -> None:
    nothing = log_pb2.GetDecisionRequest()
    unknown = log_pb2.GetDecisionRequest(decision_id="00000000-0000-0000-0000-000000000000")
    assert refused(running, refusal, "GetDecision", nothing) == (Code.INVALID_ARGUMENT, "INVALID_FIELDS", ["entry"])
    assert refused(running, refusal, "GetDecision", unknown) == (Code.NOT_FOUND, "ENTRY_NOT_FOUND", [])
    tree = log_pb2.GetCheckpointRequest(tree_size=2**63)
    assert refused(running, refusal, "GetCheckpoint", tree) == (Code.NOT_FOUND, "CHECKPOINT_NOT_FOUND", [])


def test_the_log_is_proven_to_have_only_grown(running: Running, request_message: Request) -> None:
    key = parse_vkey(running.server.ledger.vkey)
    old = ask(running, "GetCheckpoint", log_pb2.GetCheckpointRequest(), log_pb2.GetCheckpointResponse)
    running.evaluate(request_message)
    request = log_pb2.GetConsistencyProofRequest(old_size=old.tree_size, new_size=old.tree_size + 1)
    new = ask(running, "GetConsistencyProof", request, log_pb2.GetConsistencyProofResponse)

    one, other = open_checkpoint(old.checkpoint, key), open_checkpoint(new.checkpoint, key)
    assert other.tree_size > one.tree_size
    verify_consistency(one.tree_size, other.tree_size, list(new.proof), one.root_hash, other.root_hash)


def test_an_entry_is_proven_in_a_tree_of_a_size_that_was_asked_for(running: Running, request_message: Request) -> None:
    index = running.evaluate(request_message).receipt.index
    for tree_size in (0, index + 1, index + 2):
        request = log_pb2.GetInclusionProofRequest(index=index, tree_size=tree_size)
        receipt = ask(running, "GetInclusionProof", request, log_pb2.GetInclusionProofResponse).receipt
        assert receipt.tree_size > max(index, tree_size - 1)
        verify_receipt(parse_receipt(receipt.proof), parse_vkey(running.server.ledger.vkey))


def feedback(card: str, **changes: object) -> log_pb2.RecordFeedbackRequest:
    """Make feedback on a card."""
    given = {
        "card_id": card,
        "outcome": log_pb2.FEEDBACK_OUTCOME_OVERRIDDEN,
        "override_reason_code": "preference",
        "override_reason_text": "SECRET words",
        "outcome_time": TIME,
    }
    return log_pb2.RecordFeedbackRequest(**(given | changes))  # type: ignore[arg-type]


def test_feedback_is_logged_once_with_the_decision_it_is_about(running: Running, request_message: Request) -> None:
    decision = running.evaluate(request_message)
    request = feedback(f"{decision.decision.decision_id[:-1]}2")
    first = running.call(SERVICE + "RecordFeedback", request)
    again = running.call(SERVICE + "RecordFeedback", request)
    answer = log_pb2.RecordFeedbackResponse.FromString(first)

    assert answer.decision_index == decision.receipt.index
    assert log_pb2.RecordFeedbackResponse.FromString(again).receipt.index == answer.receipt.index
    shown = opened(running, answer.receipt.index)
    assert shown.entry.kind == log_pb2.ENTRY_KIND_FEEDBACK
    assert shown.entry.body["decision_index"] == str(decision.receipt.index)
    assert shown.opened.message.request == request.SerializeToString()
    assert shown.entry.patient_part.key_id == opened(running, decision.receipt.index).entry.patient_part.key_id


def test_feedback_of_an_unknown_card_is_logged_as_unknown(running: Running) -> None:
    request = feedback("00000000-0000-0000-0000-000000000000")
    answer = ask(running, "RecordFeedback", request, log_pb2.RecordFeedbackResponse)

    assert not answer.HasField("decision_index")
    verify_receipt(parse_receipt(answer.receipt.proof), parse_vkey(running.server.ledger.vkey))
    assert opened(running, answer.receipt.index).entry.body["decision_index"] == NO_ENTRY


def test_the_same_feedback_in_other_words_is_refused(
    running: Running, refusal: Unpack, request_message: Request
) -> None:
    card = running.evaluate(request_message).decision.decision_id
    running.call(SERVICE + "RecordFeedback", feedback(card))
    other = feedback(card, override_reason_text="other words")
    assert refused(running, refusal, "RecordFeedback", other)[2] == ["outcome_time"]


def test_feedback_names_all_that_is_wrong_at_once(running: Running, refusal: Unpack) -> None:
    request = log_pb2.RecordFeedbackRequest(
        card_id="SECRET", override_reason_code="x" * 129, override_reason_text="x" * 2001
    )
    fields = ["card_id", "outcome", "outcome_time", "override_reason_code", "override_reason_text"]
    assert refused(running, refusal, "RecordFeedback", request)[2] == fields


# Erasure.


@pytest.fixture
def officers(serve: Serve, tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    """Give one server as two key officers see it, each with a certificate; both may do everything."""
    house = make_certificate(tmp_path, "house")
    cards = {name: make_certificate(tmp_path, name) for name in OFFICERS}
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(b"".join(card.certificate.read_bytes() for card in cards.values()))
    every = frozenset({"evaluator", "auditor", "replayer", "key_officer"})
    first, second = (
        grpc.ssl_channel_credentials(
            house.certificate.read_bytes(), card.key.read_bytes(), card.certificate.read_bytes()
        )
        for card in cards.values()
    )
    running = serve(
        credentials=first,
        insecure=False,
        tls_cert=house.certificate,
        tls_key=house.key,
        client_ca=authorities,
        certificate_roles=dict.fromkeys(OFFICERS, every),
    )
    with grpc.secure_channel(f"localhost:{running.port}", second) as channel:
        yield running, replace(running, channel=channel)


def wanted(**changes: object) -> log_pb2.ShredPatientRequest:
    """Make a request to erase the patient."""
    given = {"patient_reference": SECRET, "reason_code": "gdpr-art-17", "authority": "DPO-7"}
    return log_pb2.ShredPatientRequest(**(given | changes))  # type: ignore[arg-type]


def test_two_officers_erase_a_patient(
    officers: tuple[Running, Running], refusal: Unpack, request_message: Request
) -> None:
    first, second = officers
    index = first.evaluate(request_message).receipt.index
    asked = ask(first, "ShredPatient", wanted(), log_pb2.ShredPatientResponse)
    assert asked.state == log_pb2.ERASURE_STATE_REQUESTED
    approval = wanted(approves=asked.index)

    assert refused(first, refusal, "ShredPatient", approval)[1] == "ERASURE_REFUSED"
    assert refused(second, refusal, "ShredPatient", wanted(approves=asked.index, authority="DPO-8"))[1] in {
        "ERASURE_REFUSED",
        "ENTRY_NOT_FOUND",
    }
    erased = ask(second, "ShredPatient", approval, log_pb2.ShredPatientResponse)

    assert (erased.state, erased.key_count) == (log_pb2.ERASURE_STATE_ERASED, 1)
    shown = opened(first, index)
    assert shown.opened.state == log_pb2.PATIENT_PART_STATE_ERASED
    assert shown.opened.caller.name == OFFICERS[0]
    assert opened(first, erased.index).opened.caller.name == OFFICERS[1]
    replayed = ask(first, "ReplayDecision", log_pb2.ReplayDecisionRequest(index=index), log_pb2.ReplayDecisionResponse)
    assert replayed.replay.outcome == log_pb2.REPLAY_OUTCOME_SHREDDED
    assert replayed.replay.tombstone_index == erased.index
    assert refused(first, refusal, "RecordFeedback", feedback(shown.entry.entry_id))[1] == "RESPONSE_ERASED"


def test_c39_a_repeated_request_whose_answer_was_erased_is_told_so_with_its_receipt(
    running: Running, request_message: Request
) -> None:
    answer = running.evaluate(request_message)
    header = opened(running, answer.receipt.index).entry
    running.server.ledger.keys.destroy([bytes.fromhex(header.patient_part.key_id)])  # an erasure, cut off here

    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    assert caught.value.code() is Code.FAILED_PRECONDITION
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == "RESPONSE_ERASED"
    assert parse_receipt(info.metadata["receipt"].encode()).index == answer.receipt.index


def test_c95_a_legal_hold_keeps_from_erasure(
    officers: tuple[Running, Running], refusal: Unpack, request_message: Request
) -> None:
    first, second = officers
    first.evaluate(request_message)
    asked = ask(first, "ShredPatient", wanted(), log_pb2.ShredPatientResponse)
    hold = log_pb2.SetLegalHoldRequest(
        patient_reference=SECRET, state=log_pb2.LEGAL_HOLD_STATE_HELD, reason_code="litigation", authority="COURT"
    )
    answer = ask(first, "SetLegalHold", hold, log_pb2.SetLegalHoldResponse)
    assert opened(first, answer.index).entry.body["is_on"] == "true"

    approval = wanted(approves=asked.index)
    assert refused(second, refusal, "ShredPatient", approval)[:2] == (Code.FAILED_PRECONDITION, "ERASURE_REFUSED")
    hold.state = log_pb2.LEGAL_HOLD_STATE_RELEASED
    first.call(SERVICE + "SetLegalHold", hold)
    erased = ask(second, "ShredPatient", approval, log_pb2.ShredPatientResponse)
    assert erased.state == log_pb2.ERASURE_STATE_ERASED


def test_nothing_is_erased_of_a_patient_whom_the_log_does_not_know(running: Running, refusal: Unpack) -> None:
    assert refused(running, refusal, "ShredPatient", wanted())[:2] == (Code.NOT_FOUND, "ENTRY_NOT_FOUND")


def test_a_key_officer_hears_of_all_that_is_wrong_at_once(running: Running, refusal: Unpack) -> None:
    request = wanted(patient_reference="", reason_code="no code", authority=" ")
    assert refused(running, refusal, "ShredPatient", request)[2] == ["authority", "patient_reference", "reason_code"]
    named = wanted(authority=f"for {SECRET}", reason_code="")
    assert refused(running, refusal, "ShredPatient", named)[2] == ["authority", "reason_code"]


def test_c92_no_patient_is_named_in_the_access_log(running: Running, refusal: Unpack, request_message: Request) -> None:
    running.evaluate(request_message)
    ask(running, "ShredPatient", wanted(), log_pb2.ShredPatientResponse)
    refused(running, refusal, "ShredPatient", wanted(authority=SECRET))
    assert "SECRET" not in running.log.getvalue()


def test_a_retried_request_is_one_entry_and_another_one_is_refused(
    running: Running, refusal: Unpack, request_message: Request
) -> None:
    first, again = running.evaluate(request_message), running.evaluate(request_message)
    assert (first.decision, first.receipt.index) == (again.decision, again.receipt.index)

    request_message.as_of = "2025-06-03"
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)
    assert (answer.code, answer.reason) == (Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert list(answer.fields) == ["request_id"]


def test_a_range_is_replayed_in_order_and_what_was_not_run_is_no_match(
    running: Running, request_message: Request
) -> None:
    index = running.evaluate(request_message).receipt.index
    call = running.channel.unary_stream(
        SERVICE + "ReplayDecisions", request_serializer=None, response_deserializer=None
    )
    request = log_pb2.ReplayDecisionsRequest(first_index=index - 2, end_index=index + 1)
    answers = [log_pb2.ReplayDecisionsResponse.FromString(data).replay for data in call(request.SerializeToString())]

    assert [answer.index for answer in answers] == [index - 2, index - 1, index]
    assert {answer.outcome for answer in answers[:2]} == {log_pb2.REPLAY_OUTCOME_NOT_A_DECISION}
    # The engines of these tests make decisions up, so the rules in the log cannot give them again.
    assert answers[2].outcome not in {log_pb2.REPLAY_OUTCOME_MATCH, log_pb2.REPLAY_OUTCOME_NOT_A_DECISION}
    assert answers[2].logged_engine_digest == answers[2].engine_digest != ""


def test_the_commands_ask_a_server(running: Running, request_message: Request) -> None:
    answer = running.evaluate(request_message)
    server, vkey = ("--server", f"127.0.0.1:{running.port}"), running.server.ledger.vkey

    def run(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(command(), ["log", *arguments, *server, "--format", "json"])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    index, decision_id = answer.receipt.index, answer.decision.decision_id
    assert run("verify", "--vkey", vkey)[0]["tree_size"] > index
    assert [item["index"] for item in run("list", "--first", str(index), "--count", "1", "--vkey", vkey)] == [index]
    opened_ = run("show", decision_id, "--open", "--purpose", "audit", "--ticket", "QA-7")[0]
    assert opened_["opened"]["caller"]["name"] == "loopback"
    assert run("prove", "--index", decision_id, "--vkey", vkey)[0]["receipt"]["index"] == index
    assert run("replay", "0..1")[-1]["outcomes"] == {"NOT_A_DECISION": 2}
    assert run("feedback", decision_id, "--outcome", "accepted")[0]["decision_index"] == index
    refused_ = CliRunner().invoke(command(), ["log", "show", "9999", *server])
    assert (refused_.exit_code, "no such entry" in refused_.stderr) == (1, True)


def test_the_command_takes_a_token_file_and_a_certificate(
    officers: tuple[Running, Running], tmp_path: Path, request_message: Request
) -> None:
    index = officers[0].evaluate(request_message).receipt.index
    files = ("--ca", tmp_path / "house.crt", "--client-cert", tmp_path / "officer-2.crt", "--client-key")
    arguments = ["log", "list", "--server", f"localhost:{officers[0].port}", "--first", index, "--count", 1]
    done = CliRunner().invoke(command(), [*map(str, (*arguments, *files)), str(tmp_path / "officer-2.key")])
    assert done.exit_code == 0, done.output

    token = tmp_path / "token"
    token.write_text("no.good.token\n")
    refused_ = CliRunner().invoke(
        command(), [*map(str, (*arguments, "--ca", tmp_path / "house.crt", "--token-file", token))]
    )
    assert refused_.exit_code == 1
