"""What goes wrong with the decision log, as a caller of the server sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.rpc import error_details_pb2

from engine.errors import (
    EntryNotFoundError,
    ErasureRefusedError,
    IntegrityError,
    LedgerError,
    LogUnavailableError,
    PushbackError,
    RequestConflictError,
    ResponseErasedError,
)
from engine.ledger.store import StoreBusyError, UnsafeStoreError
from server.faults import Code
from server.interceptors.errors import MAX_DETAIL_BYTES, status_of

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.rpc import status_pb2

RECEIPT = "c2sp.org/tlog-proof@v1\nindex 7\n\nexample.org/1\n8\n…\n\n— example.org/1 x\n"


def detail(status: status_pb2.Status, kind: Message) -> Message | None:
    """Give a detail of a status, if it has one of this kind."""
    return kind if any(packed.Unpack(kind) for packed in status.details) else None


@pytest.mark.parametrize(
    ("error", "code", "reason", "retry_seconds"),
    [
        (PushbackError("full", 1.5), Code.RESOURCE_EXHAUSTED, "LOG_FULL", 1.5),
        (LogUnavailableError("down"), Code.UNAVAILABLE, "LOG_UNAVAILABLE", 1.0),
        (StoreBusyError("locked", 2.0), Code.UNAVAILABLE, "LOG_UNAVAILABLE", 2.0),
        (UnsafeStoreError("not safe"), Code.UNAVAILABLE, "LOG_UNAVAILABLE", 1.0),
        (IntegrityError("is not what was logged", "entry 7"), Code.DATA_LOSS, "INTEGRITY", None),
        (EntryNotFoundError("no such entry"), Code.NOT_FOUND, "ENTRY_NOT_FOUND", None),
        (RequestConflictError("used"), Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED", None),
        (ResponseErasedError("erased", RECEIPT.encode()), Code.FAILED_PRECONDITION, "RESPONSE_ERASED", None),
        (ErasureRefusedError("a hold stands"), Code.FAILED_PRECONDITION, "ERASURE_REFUSED", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LedgerError) else "",
)
def test_an_error_of_the_log_has_its_code_reason_and_when_to_retry(
    error: LedgerError, code: Code, reason: str, retry_seconds: float | None
) -> None:
    status = status_of(error)
    info = detail(status, error_details_pb2.ErrorInfo())
    retry = detail(status, error_details_pb2.RetryInfo())

    assert (status.code, info.reason) == (code.value[0], reason)  # type: ignore[union-attr]
    assert (retry.retry_delay.ToMilliseconds() / 1000 if retry else None) == retry_seconds  # type: ignore[attr-defined]


def test_a_request_id_that_was_used_is_named_as_the_field_that_is_wrong() -> None:
    bad = detail(status_of(RequestConflictError("used")), error_details_pb2.BadRequest())
    assert [violation.field for violation in bad.field_violations] == ["request_id"]  # type: ignore[union-attr]


def test_an_erased_answer_still_comes_with_its_receipt() -> None:
    info = detail(status_of(ResponseErasedError("erased", RECEIPT.encode())), error_details_pb2.ErrorInfo())
    assert info.metadata["receipt"] == RECEIPT  # type: ignore[union-attr]


def test_a_receipt_that_no_client_would_take_is_left_out() -> None:
    error = ResponseErasedError("erased", b"x" * (MAX_DETAIL_BYTES + 1))
    info = detail(status_of(error), error_details_pb2.ErrorInfo())
    assert not info.metadata  # type: ignore[union-attr]
