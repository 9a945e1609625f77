"""DecisionLogService.

INVARIANT: every call that is not pushed back leaves an entry before it is answered. What reads leaves an access, also
where it is refused; an erasure, a legal hold or feedback leaves its own entry, and an access where it is refused.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import (
    EntryNotFoundError,
    IntegrityError,
    LogUnavailableError,
    PushbackError,
    RequestConflictError,
    Violation,
)
from engine.facts import is_visible
from engine.ledger import erasure
from engine.ledger.body import UNKNOWN_DECISION, Access, Feedback
from engine.ledger.checkpoint import parse_receipt
from engine.ledger.decisions import LoggedDecision
from engine.ledger.entry import Kind
from engine.ledger.log import Account, Digests
from engine.ledger.seal import MessagePart, PatientPart
from server.convert.ledger import (
    is_time,
    read_card,
    read_time,
    subject,
    subject_of,
    with_receipt,
    write_caller,
    write_opened,
    write_receipt,
)
from server.faults import Code, Fault, invalid, overloaded
from server.interceptors.errors import fault_of
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.rpc import log_reading
from server.rpc.log_reading import (
    READINGS,
    Reading,
    Scope,
    entry_scope,
    find_tree,
    read_message,
    write_header,
)
from server.rpc.replays import Replays, read_rule_files
from server.rpc.service import Pool, call_of, on_pool, register, still_waited_for, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import grpc
    from google.protobuf.message import Message

    from engine.ledger import log as ledger
    from engine.ledger.entry import Header
    from engine.ledger.store import Snapshot
    from server.evaluation import Call

SERVICE = log_reading.SERVICE

MAX_LONG = 4
"""Replays and impact analyses that are in work or wait; more are pushed back."""

MAX_WORDS = 128
MAX_REASON = 2000
MAX_REFERENCE = 256
TELLING = 4
"""A shorter reference may stand in a text by chance."""
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class DecisionLog:
    """The service.

    `digests` gives what decisions stand on at the moment, for feedback of which no decision is known. `pool` are
    threads that read and write the log, `long` those that replay.
    """

    def __init__(
        self,
        *,
        log: ledger.DecisionLog,
        digests: Callable[[], Digests],
        replays: Replays,
        pool: Pool,
        long: Pool,
        max_message_bytes: int,
    ) -> None:
        self._log = log
        self._digests = digests
        self._replays = replays
        self._pool = pool
        self._long = long
        self._limit = max_message_bytes
        self._quick: Mapping[str, Callable[[bytes, Call], bytes]] = {
            **{name: self._reading(name) for name in READINGS},
            "RecordFeedback": self._record_feedback,
            "ShredPatient": self._shred_patient,
            "SetLegalHold": self._set_legal_hold,
        }
        self._slow: Mapping[str, Callable[[bytes, Call, Callable[[], None]], bytes]] = {
            "ReplayDecision": self._replay,
            "AnalyzeImpact": self._analyze_impact,
        }

    def register(self, server: grpc.Server) -> None:
        """Serve the methods."""
        unary = {name: self._behavior(name, self._pool) for name in self._quick}
        unary |= {name: self._behavior(name, self._long) for name in self._slow}

        def replay_range(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            call = self._taken_in("ReplayDecisions", data, context, self._long)
            for answer in self.replay_range(data, call):
                still_waited_for(context)
                yield answer

        register(server, SERVICE, unary, {}, {"ReplayDecisions": on_pool(replay_range, self._long)})

    def answer(self, name: str, data: bytes, call: Call, check: Callable[[], None] = lambda: None) -> bytes:
        """Answer one call of a method that has one answer.

        Args:
            name: the method.
            data: the request.
            call: who asks.
            check: called now and then while it takes long; raises when the caller no longer waits.

        Raises:
            Fault, EngineError: there is no answer.

        """
        quick = self._quick.get(name)
        return quick(data, call) if quick else self._slow[name](data, call, check)

    def replay_range(self, data: bytes, call: Call) -> Iterator[bytes]:
        """Answer ReplayDecisions. Raises: Fault, EngineError."""
        with self._refusals("replay", call):
            request = read_message(log_pb2.ReplayDecisionsRequest, data)
            with self._log.reading() as snapshot:
                scope = self._replays.range_scope(snapshot, request)
        self._access("replay", scope, call)
        with self._alarming():
            for answer in self._replays.range(scope):
                yield log_pb2.ReplayDecisionsResponse(replay=answer).SerializeToString()

    def _behavior(self, name: str, pool: Pool) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def behavior(data: bytes, context: grpc.ServicerContext) -> bytes:
            call = self._taken_in(name, data, context, pool)
            return self.answer(name, data, call, lambda: still_waited_for(context))

        return on_pool(behavior, pool)

    def _taken_in(self, name: str, data: bytes, context: grpc.ServicerContext, pool: Pool) -> Call:
        within(self._limit, data)
        still_waited_for(context)
        if pool is self._long and pool.load > MAX_LONG:
            raise overloaded("replays are in work; ask again when some of them are done", 1.0)
        return call_of(f"/{SERVICE}/{name}", context)

    # What reads.

    def _reading(self, name: str) -> Callable[[bytes, Call], bytes]:
        def read(data: bytes, call: Call) -> bytes:
            reading = READINGS[name]
            with self._refusals(reading.action, call):
                request = read_message(reading.request, data)
            if name == "GetDecision" and request.view == log_pb2.ENTRY_VIEW_OPEN:
                return self._read(self._opening(), request, call)
            return self._read(reading, request, call)

        return read

    def _read(self, reading: Reading, request: Message, call: Call) -> bytes:
        with self._refusals(reading.action, call), self._log.reading() as snapshot:
            scope = reading.scope(snapshot, request)
        # The note over the access covers whatever the caller may have been told of before.
        newest = self._access(
            reading.action,
            scope,
            call,
            purpose=getattr(request, "access_purpose", ""),
            ticket=getattr(request, "ticket", ""),
        )
        with self._alarming(), self._log.reading() as snapshot:
            answer = reading.answer(snapshot, request, scope, newest)
        return answer.SerializeToString()

    def _opening(self) -> Reading:
        def scope(snapshot: Snapshot, request: log_pb2.GetDecisionRequest) -> Scope:
            violations = [
                violation
                for name in ("access_purpose", "ticket")
                for violation in _words(name, getattr(request, name), MAX_WORDS, "is required to open an entry")
            ]
            if violations:
                raise invalid(violations)
            return entry_scope(snapshot, request)

        def answer(snapshot: Snapshot, request: log_pb2.GetDecisionRequest, scope: Scope, newest: bytes) -> Message:
            response = write_header(snapshot, request, scope, newest)
            response.opened.CopyFrom(write_opened(self._log.open_entry(snapshot, scope.first)))
            return response

        return Reading("open", log_pb2.GetDecisionRequest, scope, answer)

    def _replay(self, data: bytes, call: Call, _check: Callable[[], None]) -> bytes:
        with self._refusals("replay", call):
            request = read_message(log_pb2.ReplayDecisionRequest, data)
            with self._log.reading() as snapshot:
                scope = entry_scope(snapshot, request)
        self._access("replay", scope, call)
        with self._alarming():
            replay = self._replays.replay(scope.first)
        return log_pb2.ReplayDecisionResponse(replay=replay).SerializeToString()

    def _analyze_impact(self, data: bytes, call: Call, check: Callable[[], None]) -> bytes:
        with self._refusals("impact", call):
            request = read_message(log_pb2.AnalyzeImpactRequest, data)
            candidate = read_rule_files(request.rule_files)
        newest = self._access("impact", Scope(tree_size=request.tree_size), call)
        with self._alarming():
            with self._log.reading() as snapshot:
                size, _ = find_tree(snapshot, request.tree_size, newest)
            answer = self._replays.analyze_impact(candidate, size, write_caller(call), check)
        return answer.SerializeToString()

    # What writes.

    def _record_feedback(self, data: bytes, call: Call) -> bytes:
        with self._refusals("feedback-refused", call):
            request = read_message(log_pb2.RecordFeedbackRequest, data)
            account = self._feedback(request, data, call)
            try:
                logged = self._log.append(account)
            except RequestConflictError:
                message = "this card, outcome and time were recorded in other words; give the time of this feedback"
                raise invalid([Violation("outcome_time", "request/reused", message)]) from None
        response = logged.response if logged.response is not None else account.content.response
        receipt = write_receipt(self._log.origin, logged.index, logged.receipt)
        return with_receipt(response, log_pb2.RecordFeedbackResponse, receipt)

    def _feedback(self, request: log_pb2.RecordFeedbackRequest, data: bytes, call: Call) -> ledger.Account:
        violations = _feedback_faults(request)
        if violations:
            raise invalid(violations)
        decision = self._decision_of(request.card_id)
        index = decision.header.index if decision else None
        response = log_pb2.RecordFeedbackResponse(decision_index=index).SerializeToString()
        key = f"{request.card_id} {request.outcome} {read_time(request.outcome_time)}"
        return Account(
            kind=Kind.FEEDBACK,
            content=MessagePart(call.method, data, response),
            caller=write_caller(call, request_id=key, status="OK"),
            digests=_digests_of(decision.header) if decision else self._digests(),
            patient=subject_of(decision.content.method, decision.content.request) if decision else None,
            body=Feedback(UNKNOWN_DECISION if index is None else index),
            deadline=self._log.clock.monotonic() + call.deadline_ms / 1000 if call.deadline_ms else None,
        )

    def _decision_of(self, card_id: str) -> LoggedDecision | None:
        """Find a card's decision, under whose patient's key the feedback is sealed, to be erased with it.

        Raises:
            Fault: the decision was erased.

        """
        with self._log.reading() as snapshot:
            index = snapshot.index_of(read_card(card_id))
            opened = None if index is None else self._log.open_entry(snapshot, index)
        if opened is None or opened.header.kind is not Kind.DECISION:
            return None
        if not isinstance(opened.content, PatientPart):
            message = "the decision was erased with its patient's data, so nothing more is recorded of it"
            raise Fault(Code.FAILED_PRECONDITION, "RESPONSE_ERASED", message)
        return LoggedDecision(opened.header, opened.content)

    def _shred_patient(self, data: bytes, call: Call) -> bytes:
        with self._refusals("shred-refused", call):
            request = read_message(log_pb2.ShredPatientRequest, data)
            wanted = erasure.ErasureRequest(_patient(request), request.reason_code, request.authority)
            officer = write_caller(call, purpose=request.reason_code)
            if not request.HasField("approves"):
                asked = erasure.request(self._log, wanted, officer)
                state = log_pb2.ERASURE_STATE_REQUESTED
                return log_pb2.ShredPatientResponse(state=state, index=asked.index).SerializeToString()
            erased = erasure.approve(self._log, wanted, self._existing(request.approves), officer)
        return log_pb2.ShredPatientResponse(
            state=log_pb2.ERASURE_STATE_ERASED, index=erased.tombstone_index, key_count=erased.keys
        ).SerializeToString()

    def _existing(self, index: int) -> int:
        with self._log.reading() as snapshot:
            if index >= snapshot.head().size:
                raise EntryNotFoundError("the log has no entry of the index in `approves`")
        return index

    def _set_legal_hold(self, data: bytes, call: Call) -> bytes:
        with self._refusals("hold-refused", call):
            request = read_message(log_pb2.SetLegalHoldRequest, data)
            patient = _patient(request)
            officer = write_caller(call, purpose=request.reason_code)
            is_on = request.state == log_pb2.LEGAL_HOLD_STATE_HELD
            index = erasure.hold(self._log, patient, request.authority, officer, is_on=is_on)
        return log_pb2.SetLegalHoldResponse(index=index, state=request.state).SerializeToString()

    # What every call leaves.

    @contextmanager
    def _refusals(self, action: str, call: Call) -> Iterator[None]:
        """Log a call that is refused; what the log has no room for, or cannot write, stays unlogged."""
        try:
            with self._alarming():
                yield
        except (PushbackError, LogUnavailableError):
            raise
        except Exception as error:
            self._access(action, Scope(), call, status=fault_of(error).code.name)
            raise

    @contextmanager
    def _alarming(self) -> Iterator[None]:
        """Tell the operators when a reader finds that the log is not what was logged."""
        try:
            yield
        except IntegrityError:
            self._log.raise_alarm("integrity")
            raise

    def _access(
        self, action: str, scope: Scope, call: Call, *, purpose: str = "", ticket: str = "", status: str = ""
    ) -> bytes:
        """Log an access; give the note that covers it, empty if there is none yet."""
        caller = write_caller(call, purpose=purpose, request_id=ticket, status=status)
        logged = self._log.tell(Access(action, scope.first, scope.last, scope.tree_size), caller)
        return parse_receipt(logged.receipt).checkpoint if logged.receipt else b""


def _digests_of(header: Header) -> Digests:
    return Digests(header.pack_digest, header.engine_digest, header.schema_digest, header.reference_digest)


def _feedback_faults(request: log_pb2.RecordFeedbackRequest) -> list[Violation]:
    violations = _words("override_reason_code", request.override_reason_code, MAX_WORDS)
    violations += _words("override_reason_text", request.override_reason_text, MAX_REASON)
    try:
        read_card(request.card_id)
    except EntryNotFoundError as error:
        violations.append(Violation("card_id", "request/malformed-id", str(error)))
    if request.outcome == log_pb2.FEEDBACK_OUTCOME_UNSPECIFIED:
        violations.append(Violation("outcome", "request/missing", "is required"))
    if not request.HasField("outcome_time"):
        violations.append(Violation("outcome_time", "request/missing", "is required; it keys the feedback"))
    elif not is_time(request.outcome_time):
        violations.append(
            Violation("outcome_time", "request/malformed-time", "is no time between the years 1 and 9999")
        )
    return violations


def _patient(request: log_pb2.ShredPatientRequest | log_pb2.SetLegalHoldRequest) -> bytes:
    """Give the subject of a request of a key officer, after all of it was checked. Raises: Fault."""
    violations = _words("patient_reference", request.patient_reference, MAX_REFERENCE, "is required")
    violations += _words("authority", request.authority, MAX_REFERENCE, "is required")
    if _CODE.fullmatch(request.reason_code) is None:
        message = "is a code of 1 to 64 letters, digits, dots, dashes and underscores"
        violations.append(Violation("reason_code", "request/malformed-code", message))
    violations += [
        Violation(name, "request/names-the-patient", "holds the patient reference, and is logged in the open")
        for name in ("reason_code", "authority")
        if len(request.patient_reference) >= TELLING
        and request.patient_reference.casefold() in getattr(request, name).casefold()
    ]
    if isinstance(request, log_pb2.SetLegalHoldRequest) and request.state == log_pb2.LEGAL_HOLD_STATE_UNSPECIFIED:
        violations.append(Violation("state", "request/missing", "is required"))
    patient = subject(request.patient_reference)
    if violations or patient is None:
        raise invalid(violations)
    return patient


def _words(name: str, text: str, limit: int, required: str = "") -> list[Violation]:
    if required and not is_visible(text):
        return [Violation(name, "request/missing", required)]
    if len(text) > limit:
        return [Violation(name, "request/too-long", f"has more than {limit} characters")]
    return []
