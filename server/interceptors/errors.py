"""The one place where exceptions become gRPC statuses.

| what | code | reason |
|---|---|---|
| FactError, a request whose fields are wrong | INVALID_ARGUMENT with every field violation | INVALID_FIELDS |
| bytes that are no message | INVALID_ARGUMENT | MALFORMED_MESSAGE |
| a jurisdiction that no loaded pack serves | FAILED_PRECONDITION | NO_RULE_PACK |
| RulePackError at a reload | FAILED_PRECONDITION with every diagnostic | RULE_PACKS_REFUSED |
| EnginesDisagree, ChainFault | INTERNAL, without a decision | ENGINES_DISAGREE, ENGINE_FAULT |
| no room | RESOURCE_EXHAUSTED with when to retry | OVERLOADED |
| PushbackError, the log's queue is full | RESOURCE_EXHAUSTED with when to retry | LOG_FULL |
| LogUnavailableError, also of the signer and the keys | UNAVAILABLE with when to retry | LOG_UNAVAILABLE |
| RequestConflictError | INVALID_ARGUMENT, field `request_id` | REQUEST_ID_REUSED |
| ResponseErasedError | FAILED_PRECONDITION; metadata `receipt` proves that there was an answer | RESPONSE_ERASED |
| EntryNotFoundError | NOT_FOUND | ENTRY_NOT_FOUND |
| ErasureRefusedError | FAILED_PRECONDITION | ERASURE_REFUSED |
| IntegrityError | DATA_LOSS | INTEGRITY |
| anything else | INTERNAL, without its text, which could hold patient data | INTERNAL |
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from engine.errors import (
    EnginesDisagree,
    EntryNotFoundError,
    ErasureRefusedError,
    EvaluationError,
    FactError,
    IntegrityError,
    LedgerError,
    LogUnavailableError,
    NoRulePackError,
    PushbackError,
    RequestConflictError,
    ResponseErasedError,
    RulePackError,
    Violation,
)
from server.faults import Code, Fault, cancelled, invalid
from server.interceptors.layers import notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import grpc

M = TypeVar("M", bound=Message)

DOMAIN = "eligibility.v1"
MAX_TEXT = 300
MAX_DETAIL_BYTES = 5000
"""How much of a status lists faults: with base64 it stays below the 8 KiB that every client takes in trailers."""
UNEXPECTED = "INTERNAL"


def fault_of(error: Exception) -> Fault:
    """Give the refusal that an exception stands for."""
    match error:
        case Fault():
            return error
        case FactError():
            return invalid(error.violations)
        case NoRulePackError():
            return Fault(Code.FAILED_PRECONDITION, "NO_RULE_PACK", str(error))
        case RulePackError():
            message = f"the rule packs have {len(error.diagnostics)} faults; those in force stay"
            return Fault(Code.FAILED_PRECONDITION, "RULE_PACKS_REFUSED", message)
        case EnginesDisagree():
            message = "the two engines disagree, so there is no decision; the operators are alarmed"
            return Fault(Code.INTERNAL, "ENGINES_DISAGREE", message)
        case EvaluationError():
            return Fault(Code.INTERNAL, "ENGINE_FAULT", "an engine failed, so there is no decision", retry_after=1.0)
        case LedgerError():
            return _fault_of_log(error)
    return Fault(Code.INTERNAL, UNEXPECTED, "the server failed; the operators find the place in its log")


def _fault_of_log(error: LedgerError) -> Fault:
    match error:
        case PushbackError():
            return Fault(Code.RESOURCE_EXHAUSTED, "LOG_FULL", str(error), retry_after=error.retry_after)
        case LogUnavailableError():
            return Fault(Code.UNAVAILABLE, "LOG_UNAVAILABLE", str(error), retry_after=error.retry_after)
        case RequestConflictError():
            violation = Violation("request_id", "request/reused", "was used for another request; take a new one")
            return Fault(Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED", str(error), violations=[violation])
        case ResponseErasedError():
            return Fault(Code.FAILED_PRECONDITION, "RESPONSE_ERASED", str(error))
        case EntryNotFoundError():
            return Fault(Code.NOT_FOUND, "ENTRY_NOT_FOUND", str(error))
        case ErasureRefusedError():
            return Fault(Code.FAILED_PRECONDITION, "ERASURE_REFUSED", str(error))
        case IntegrityError():
            return Fault(Code.DATA_LOSS, "INTEGRITY", str(error))
    return Fault(Code.UNAVAILABLE, "LOG_UNAVAILABLE", "the decision log cannot be used now", retry_after=1.0)


def status_of(error: Exception) -> status_pb2.Status:
    """Give the rich status of an exception: code, message, ErrorInfo and what else helps."""
    fault = fault_of(error)
    info = error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN)
    if isinstance(error, ResponseErasedError) and len(error.receipt) <= MAX_DETAIL_BYTES:
        info.metadata["receipt"] = error.receipt.decode(errors="replace")
    details: list[Message] = [info]
    if fault.violations:
        listed = _fitting(
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.path[:MAX_TEXT], description=violation.message[:MAX_TEXT], reason=violation.code
            )
            for violation in fault.violations
        )
        details.append(error_details_pb2.BadRequest(field_violations=listed))
    if isinstance(error, RulePackError):
        violations = _fitting(
            error_details_pb2.PreconditionFailure.Violation(
                type=found.code,
                subject=f"{found.file}:{found.line}:{found.column}",
                description=found.message[:MAX_TEXT],
            )
            for found in error.diagnostics
        )
        details.append(error_details_pb2.PreconditionFailure(violations=violations))
    if fault.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(fault.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    listed_all = not fault.violations or len(details[1].field_violations) == len(fault.violations)  # type: ignore[attr-defined]
    text = fault.message if listed_all else f"{fault.message}, of which the first are listed"
    status = status_pb2.Status(code=fault.code.value[0], message=text)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _fitting(faults: Iterable[M]) -> list[M]:
    """Give the first faults, as many as a status may carry; the message of the status says how many there are."""
    size = 0
    listed: list[M] = []
    for found in faults:
        size += found.ByteSize() + 2
        if size > MAX_DETAIL_BYTES:
            break
        listed.append(found)
    return listed


def place_of(error: BaseException) -> str:
    """Name an exception and where it was raised, without its text, which could hold patient data."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join([type(error).__name__, *(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))])


class Errors:
    """Maps exceptions of the handler; `on_unexpected` hears of those that nobody raised on purpose."""

    def __init__(self, on_unexpected: Callable[[str], None]) -> None:
        self._on_unexpected = on_unexpected

    @contextmanager
    def around(self, _method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """End the call with the status of whatever the handler raises."""
        try:
            yield
        except Fault as fault:
            _abort(context, fault)
        except Exception as error:  # noqa: BLE001 - the last place that could keep a text with patient data in
            if not context.is_active():
                _abort(context, cancelled())
            if fault_of(error).reason == UNEXPECTED:
                self._on_unexpected(place_of(error))
            _abort(context, error)


def _abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    notes().add(reason=fault_of(error).reason)
    context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError
