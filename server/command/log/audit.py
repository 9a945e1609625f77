"""One entry of the log as plain data for people: who asked, what was known, what was decided, and what came after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from engine.ledger.checkpoint import parse_receipt, verify_receipt
from engine.ledger.seal import Context
from server.command.log.showing import as_json, kind_text, shown_body, time_text
from server.convert.ledger import EVALUATE, EVALUATE_FHIR, EVALUATE_STREAM, RESPONSES
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rpc.log_reading import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

    from engine.cli.output import JsonObject
    from engine.ledger.checkpoint import VerifierKey
    from server.command.log.asking import Asking

_MESSAGES: Mapping[str, tuple[type[Message], type[Message]]] = {
    EVALUATE: (service_pb2.EvaluateRequest, RESPONSES[EVALUATE]),
    EVALUATE_STREAM: (service_pb2.EvaluateStreamRequest, RESPONSES[EVALUATE_STREAM]),
    EVALUATE_FHIR: (service_pb2.EvaluateFhirRequest, RESPONSES[EVALUATE_FHIR]),
    f"/{SERVICE}/RecordFeedback": (log_pb2.RecordFeedbackRequest, log_pb2.RecordFeedbackResponse),
}
_LATER = (log_pb2.ENTRY_KIND_CORRECTION, log_pb2.ENTRY_KIND_FEEDBACK, log_pb2.ENTRY_KIND_ACCESS)
_PAGE_SIZE = 1000
_DIGESTS = ("pack", "engine", "schema", "reference")


@dataclass(frozen=True, slots=True)
class Audited:
    """An entry that was opened, what came of replaying it (None where none was asked for), and what came after it."""

    answer: log_pb2.GetDecisionResponse
    is_verified: bool
    replay: log_pb2.Replay | None
    later: tuple[JsonObject, ...]


def gather(
    asking: Asking, request: log_pb2.GetDecisionRequest, key: VerifierKey | None, *, is_replayed: bool
) -> Audited:
    """Open an entry for an auditor.

    Args:
        asking: what answers.
        request: names the entry, the purpose and the ticket.
        key: the log's verifier key; without it the proof is passed on and not checked.
        is_replayed: replay it too.

    Raises:
        IntegrityError: the proof does not hold.

    """
    request.view = log_pb2.ENTRY_VIEW_OPEN
    answer = asking.ask("GetDecision", request, log_pb2.GetDecisionResponse)
    is_verified = key is not None and bool(answer.receipt.proof)
    if key is not None and is_verified:
        verify_receipt(parse_receipt(answer.receipt.proof), key)
    index = answer.entry.index
    replay = None
    if is_replayed:
        wanted = log_pb2.ReplayDecisionRequest(index=index)
        replay = asking.ask("ReplayDecision", wanted, log_pb2.ReplayDecisionResponse).replay
    return Audited(answer, is_verified, replay, tuple(_later(asking, index)))


def as_data(audited: Audited) -> JsonObject:
    """Give all of it as plain data.

    The keys are `index`, `id`, `kind`, `logged_at`, `clock`, `body`, `digests`, `proof`, `state`, `caller`, `method`,
    `request`, `facts`, `context`, `parameters`, `decision`, `explanation`, `engines`, `response`, `replay`, `later`;
    those of what is sealed are left out where it was erased or never there.
    """
    item, opened, receipt = audited.answer.entry, audited.answer.opened, audited.answer.receipt
    data: JsonObject = {
        "index": item.index,
        "id": item.entry_id,
        "kind": kind_text(item.kind),
        "logged_at": time_text(item.logged_at),
        "clock": clock_words(item),
        "body": shown_body(item),
        "digests": {name: digest for name in _DIGESTS if (digest := getattr(item, f"{name}_digest"))},
        "proof": {
            "origin": receipt.origin,
            "tree_size": receipt.tree_size,
            "is_signed": bool(receipt.proof),
            "is_verified": audited.is_verified,
            "receipt": receipt.proof.decode(),
        },
        "state": log_pb2.PatientPartState.Name(opened.state).removeprefix("PATIENT_PART_STATE_").lower(),
    }
    if opened.HasField("caller"):
        data["caller"] = as_json(opened.caller)
    match opened.WhichOneof("content"):
        case "decision":
            data |= _decision(opened.decision, is_error=item.kind == log_pb2.ENTRY_KIND_DECISION_ERROR)
        case "message":
            data |= _messages(opened.message.method, opened.message.request, opened.message.response)
    if audited.replay is not None:
        data["replay"] = as_json(audited.replay)
    return data | {"later": list(audited.later)}


def _decision(part: log_pb2.LoggedDecision, *, is_error: bool) -> JsonObject:
    return {
        **_messages(part.method, part.request, part.response, is_error=is_error),
        "facts": _json(part.facts),
        "context": read_context(part.context),
        "parameters": _json(part.parameters),
        "decision": _json(part.decision),
        "explanation": _json(part.explanation),
        "engines": {"interpret": part.interpret_digest.hex(), "chain": part.chain_digest.hex()},
    }


def read_context(data: bytes) -> dict[str, str]:
    """Give what an evaluation saw beside its request, by name. Raises: IntegrityError."""
    context = Context.decode(data)
    seen = {name: value.decode(errors="replace") for name, value in context.seen}
    return {"as_of": context.as_of.isoformat() if context.as_of else "", "time_zone": context.time_zone, **seen}


def clock_words(item: log_pb2.LogEntry) -> list[str]:
    """Say what was odd about the clock."""
    return [log_pb2.ClockFlag.Name(flag).removeprefix("CLOCK_FLAG_").lower() for flag in item.clock_flags]


def _messages(method: str, request: bytes, response: bytes, *, is_error: bool = False) -> JsonObject:
    """Show what came and what went. A request that could not be read, or of a method of another build, stays bytes."""
    asked, answered = _MESSAGES.get(method, (None, None))
    return {
        "method": method,
        "request": _message(asked, request),
        "response": _message(status_pb2.Status if is_error else answered, response),
    }


def _message(kind: type[Message] | None, data: bytes) -> JsonObject:
    if kind is not None:
        try:
            return as_json(kind.FromString(data))
        except DecodeError:
            pass
    return {"bytes": data.hex()}


def _json(data: bytes) -> object:
    """Read canonical JSON; where the engines disagreed, the frame of what each concluded stays bytes."""
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return {"bytes": data.hex()}


def _later(asking: Asking, index: int) -> Iterator[JsonObject]:
    """Give the entries behind an entry that are about it: corrections, feedback, and who opened or replayed it."""
    request = log_pb2.ListDecisionsRequest(first_index=index + 1, page_size=_PAGE_SIZE, kinds=_LATER)
    while True:
        answer = asking.ask("ListDecisions", request, log_pb2.ListDecisionsResponse)
        for item in answer.entries:
            body = shown_body(item)
            if _is_about(index, body):
                yield {
                    "index": item.index,
                    "kind": kind_text(item.kind),
                    "logged_at": time_text(item.logged_at),
                    "body": body,
                }
        if answer.next_index >= answer.tree_size:
            return
        request.first_index, request.tree_size = answer.next_index, answer.tree_size


def _is_about(index: int, body: Mapping[str, str]) -> bool:
    if body.get("action") in {"open", "replay"} and body["first"] != "none":
        return int(body["first"]) <= index <= int(body["last"])
    return str(index) in {body.get("index"), body.get("decision_index")}
