"""Refusals as a client sees them: an HTTP status and an OperationOutcome. They never hold patient data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import Response

from engine.errors import EntryNotFoundError, EvaluationError, LedgerError, NoRulePackError, ResponseErasedError
from server.faults import Code, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

UNEXPECTED = "unexpected"
_ISSUE_CODES: Mapping[int, str] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    408: "timeout",
    412: "required",
    413: "too-long",
    415: "not-supported",
    500: "exception",
    503: "transient",
}
_STATUSES: Mapping[Code, int] = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.FAILED_PRECONDITION: 400,
    Code.RESOURCE_EXHAUSTED: 503,
    Code.DEADLINE_EXCEEDED: 503,
    Code.CANCELLED: 503,
    Code.ABORTED: 503,
    Code.UNAVAILABLE: 503,
}


class Refusal(Exception):  # noqa: N818 - a refusal is not always an error of ours
    """A request gets no answer. `reason` is from a closed list and goes into the access log.

    `retry_after` is in whole seconds.
    """

    def __init__(
        self, status: int, reason: str, message: str, *, places: tuple[str, ...] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.places = places
        self.retry_after = retry_after

    def response(self) -> Response:
        """Write it as an OperationOutcome."""
        issue: dict[str, object] = {
            "severity": "error",
            "code": _ISSUE_CODES[self.status],
            "diagnostics": self.message,
        }
        if self.places:
            issue["expression"] = list(self.places)
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:  # noqa: PLR2004 - a challenge belongs to this status alone
            headers["www-authenticate"] = "Bearer"
        body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
        return Response(body, self.status, headers, "application/json")


def unauthenticated(reason: str) -> Refusal:
    """Refuse a caller. What is wrong is for the operators' log only."""
    return Refusal(401, reason, "authentication is required")


def malformed(message: str, *places: str) -> Refusal:
    """Refuse a body whose fields are wrong."""
    return Refusal(400, "malformed", message, places=places)


def busy() -> Refusal:
    """Refuse for want of room."""
    return Refusal(503, "busy", "the service has all the calls it takes; try again a little later", retry_after=1)


def late() -> Refusal:
    """Refuse because the time for an answer is over."""
    return Refusal(503, "late", "there was no decision in time", retry_after=1)


def refusal_of(error: Exception) -> Refusal:
    """Give the refusal that an exception of the desk stands for."""
    match error:
        case Refusal():
            return error
        case EntryNotFoundError():
            return Refusal(404, "unknown-decision", "there is no such decision")
        case ResponseErasedError():
            return Refusal(404, "erased", "the decision was erased")
        case LedgerError():
            message = "the decision cannot be kept now, so none is shown; try again"
            return Refusal(503, "log", message, retry_after=1)
        case NoRulePackError():
            return Refusal(500, "rules", "no rules are loaded for this client's jurisdiction")
        case EvaluationError():
            return Refusal(503, "engines", "the engines gave no decision", retry_after=1)
        case Fault():
            status = _STATUSES.get(error.code, 500)
            places = tuple(violation.path for violation in error.violations[:8])
            after = 1 if status == 503 else None  # noqa: PLR2004 - only what passes is worth a second try
            return Refusal(status, error.reason.lower(), error.message, places=places, retry_after=after)
    return Refusal(500, UNEXPECTED, "the service failed")
