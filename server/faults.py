"""Why a call is refused, before it becomes a gRPC status.

Messages are one line, lower case, and hold no patient data and no text of the caller's but names of fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from engine.facts import MAX_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.errors import Violation

Code = grpc.StatusCode


class Fault(Exception):  # noqa: N818 - a refusal is not always an error of ours
    """A call that is refused on purpose.

    `reason` is stable, in UPPER_SNAKE_CASE, for machines. `violations` name the fields of a bad request, all at once.
    `retry_after` is in seconds; None where a retry without a change cannot help.
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.violations = tuple(sorted(set(violations)))
        self.retry_after = retry_after


def overloaded(message: str, retry_after: float) -> Fault:
    """Refuse for want of room; nothing was done."""
    return Fault(Code.RESOURCE_EXHAUSTED, "OVERLOADED", message, retry_after=retry_after)


def idle(seconds: float) -> Fault:
    """End a stream on which nothing is asked."""
    message = f"nothing was asked on this stream for {seconds:g} seconds; open another when there is something to ask"
    return Fault(Code.ABORTED, "STREAM_IDLE", message)


def invalid(violations: Iterable[Violation]) -> Fault:
    """Refuse a request whose fields are wrong."""
    listed = frozenset(violations)
    fields = len({violation.path for violation in listed})
    most = "at least " if len(listed) >= MAX_PROBLEMS else ""
    message = f"the request has {most}{fields} invalid field{'s' * (fields != 1)}; see the field violations"
    return Fault(Code.INVALID_ARGUMENT, "INVALID_FIELDS", message, violations=listed)


def malformed() -> Fault:
    """Refuse bytes that are no message."""
    return Fault(
        Code.INVALID_ARGUMENT,
        "MALFORMED_MESSAGE",
        "the bytes are not a message of this method; check the contract's version",
    )


def too_large(limit: int) -> Fault:
    """Refuse a message above the limit, in bytes."""
    return Fault(Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", f"the message is larger than {limit} bytes; send less")


def deceased() -> Fault:
    """Refuse to decide for a patient who has died."""
    message = "the record says that the patient had died by `as_of`; nothing is decided"
    return Fault(Code.FAILED_PRECONDITION, "PATIENT_DECEASED", message)


def expired() -> Fault:
    """End a call whose deadline has passed."""
    return Fault(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the deadline passed before there was a decision")


def cancelled() -> Fault:
    """End a call whose caller has gone."""
    return Fault(Code.CANCELLED, "CANCELLED", "the caller cancelled")


def draining() -> Fault:
    """Refuse while the server shuts down."""
    return Fault(
        Code.UNAVAILABLE,
        "DRAINING",
        "the server is shutting down; send what was not answered elsewhere",
        retry_after=1.0,
    )
