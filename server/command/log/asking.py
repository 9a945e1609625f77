"""Asking the decision log: a server over the wire, or the same service over a log that is opened here."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, cast

import click
import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engine.errors import EntryNotFoundError, IntegrityError, LedgerError, LogUnavailableError, Violation
from server.evaluation import Call
from server.faults import Code, Fault
from server.rpc.log_reading import READINGS, SERVICE, read_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.store import LogStore
    from server.rpc.decision_log import DecisionLog

M = TypeVar("M", bound=Message)

QUICK_SECONDS = 30.0
_SLOW = frozenset({"ReplayDecision", "ReplayDecisions", "AnalyzeImpact"})
LOCAL = frozenset({"local"})
"""What stands where a caller of a server has roles: the files were enough."""


class Asking(Protocol):
    """Answers requests of DecisionLogService that read what is open. A refusal is a UsageError or a LedgerError."""

    def ask(self, method: str, request: Message, kind: type[M]) -> M:
        """Ask a method that gives one answer."""


class AskingAll(Asking, Protocol):
    """Answers every request of DecisionLogService."""

    def ask_many(self, method: str, request: Message, kind: type[M]) -> Iterator[M]:
        """Ask a method that gives many."""


class Remote:
    """A server. `token` is a bearer token, or empty."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def ask(self, method: str, request: Message, kind: type[M]) -> M:
        """Ask a method that gives one answer."""
        call = self._channel.unary_unary(f"/{SERVICE}/{method}", _write, kind.FromString)
        try:
            timeout = None if method in _SLOW else QUICK_SECONDS
            return cast("M", call(request, timeout=timeout, metadata=self._metadata))
        except grpc.RpcError as error:
            refuse(fault_of(error))

    def ask_many(self, method: str, request: Message, kind: type[M]) -> Iterator[M]:
        """Ask a method that gives many."""
        call = self._channel.unary_stream(f"/{SERVICE}/{method}", _write, kind.FromString)
        try:
            yield from call(request, metadata=self._metadata)
        except grpc.RpcError as error:
            refuse(fault_of(error))


class Local:
    """The service over a log that this process writes."""

    def __init__(self, service: DecisionLog) -> None:
        self._service = service

    def ask(self, method: str, request: Message, kind: type[M]) -> M:
        """Ask a method that gives one answer."""
        try:
            return kind.FromString(self._service.answer(method, request.SerializeToString(), _call(method)))
        except Fault as fault:
            refuse(fault)

    def ask_many(self, method: str, request: Message, kind: type[M]) -> Iterator[M]:
        """Ask ReplayDecisions."""
        try:
            for answer in self._service.replay_range(request.SerializeToString(), _call(method)):
                yield kind.FromString(answer)
        except Fault as fault:
            refuse(fault)


class LocalReading:
    """The store of a log, beside its server: headers, checkpoints, proofs; nothing sealed, and no entry of its own."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def ask(self, method: str, request: Message, kind: type[M]) -> M:
        """Ask a method that only reads what is open."""
        reading = READINGS[method]
        try:
            with self._store.reading() as snapshot:
                checked = read_message(reading.request, request.SerializeToString())
                answer = reading.answer(snapshot, checked, reading.scope(snapshot, checked), b"")
        except Fault as fault:
            refuse(fault)
        assert isinstance(answer, kind)  # noqa: S101 - the table names the answer of each method
        return answer


def fault_of(error: grpc.RpcError) -> Fault:
    """Give back the fault that a status was made of."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        _ = detail.Unpack(info) or detail.Unpack(bad)
    violations = [Violation(v.field, v.reason, v.description) for v in bad.field_violations]
    return Fault(error.code(), info.reason, error.details() or error.code().name, violations=violations)


def refuse(fault: Fault) -> NoReturn:
    """Raise what a fault means at a command line: wrong usage, or an error of the log."""
    message = fault.message
    match fault.code:
        case Code.INVALID_ARGUMENT:
            raise click.UsageError(_lines(fault.violations) or message)
        case Code.DATA_LOSS:
            raise IntegrityError(message)
        case Code.NOT_FOUND:
            raise EntryNotFoundError(message)
        case Code.UNAVAILABLE | Code.RESOURCE_EXHAUSTED | Code.DEADLINE_EXCEEDED:
            raise LogUnavailableError(message)
    raise LedgerError(message)


def local_user() -> str:
    """Name the user of this process. The environment is not asked: anybody may set it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _call(method: str) -> Call:
    return Call(f"/{SERVICE}/{method}", local_user(), LOCAL, "local", 0)


def _write(message: Message) -> bytes:
    return message.SerializeToString()


def _lines(violations: Sequence[Violation]) -> str:
    return "; ".join(f"`{v.path}` {v.message}" for v in violations)
