"""Keeping decisions: what an evaluation gave, or why it gave nothing, goes into the log before anybody is answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from engine import canonical
from engine.errors import EnginesDisagree, EvaluationError, LedgerError
from engine.evaluator.agree import NO_DIGEST
from engine.evaluator.encoding import encode_facts
from engine.ledger.body import DecisionError
from engine.ledger.entry import Kind, entry_id_of, entry_uuid
from engine.ledger.log import Account
from engine.ledger.seal import Context, PatientPart
from server.convert.ledger import RESPONSES, subject, with_receipt, write_caller, write_receipt
from server.faults import Code
from server.interceptors.errors import fault_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.log import DecisionLog, Digests
    from engine.ledger.seal import CallerPart
    from server.convert.requests import Request
    from server.evaluation import Answer, Asked, Call, Circumstances
    from server.rules_in_force import LoadedRules

UNANSWERED = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})
"""Codes of calls whose caller has gone: nobody is told anything, so there is nothing to record."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One request's circumstances, who sent it, and the rules that it meets."""

    circumstances: Circumstances
    call: Call
    rules: LoadedRules


@dataclass(frozen=True, slots=True)
class Recorded:
    """What to answer with, and the id of the decision in it: an earlier one for a repeated request.

    `index` is its place in the log, `proof` the receipt of it; -1 and empty where nothing is kept.
    """

    response: bytes
    decision_id: str
    index: int = -1
    proof: bytes = b""


class Recorder(Protocol):
    """Keeps decisions and refusals. Nothing is returned to a caller before the matching method has returned."""

    def record(self, answer: Answer, situation: Situation) -> Recorded:
        """Make a decision durable.

        Raises:
            LedgerError: it could not be kept, so it must not be shown.

        """

    def record_refusal(self, error: Exception, data: bytes, asked: Asked | None, situation: Situation) -> None:
        """Make it durable that a request got no decision, and why. Raises: as `record`."""


class LogRecorder:
    """Keeps them in the decision log. `digests` gives what a decision by some rules stands on."""

    def __init__(
        self, log: DecisionLog, digests: Callable[[LoadedRules], Digests], monotonic: Callable[[], float]
    ) -> None:
        self._log = log
        self._digests = digests
        self._monotonic = monotonic

    def record(self, answer: Answer, situation: Situation) -> Recorded:
        """Log a decision; answer with its response and receipt, or with the first ones of a repeated request."""
        kept, request, call = answer.evaluated, answer.request, situation.call
        content = PatientPart(
            call.method,
            kept.request_bytes,
            kept.facts,
            Context.decode(kept.context),
            kept.parameters,
            kept.decision,
            kept.interpret_digest + kept.chain_digest,
            kept.explanation,
            kept.response_bytes,
        )
        caller = write_caller(call, purpose=request.purpose, request_id=request.request_id, status="OK")
        logged = self._log.append(self._account(Kind.DECISION, content, caller, situation, request))
        receipt = write_receipt(self._log.origin, logged.index, logged.receipt)
        response = kept.response_bytes if logged.response is None else logged.response
        position = None if logged.response is None else situation.circumstances.position
        given = with_receipt(response, RESPONSES[call.method], receipt, position)
        return Recorded(given, entry_uuid(logged.entry_id), logged.index, logged.receipt)

    def record_refusal(self, error: Exception, data: bytes, asked: Asked | None, situation: Situation) -> None:
        """Log why a request got no decision."""
        fault = fault_of(error)
        if isinstance(error, LedgerError) or fault.code in UNANSWERED:
            return
        decision, digests = b"", NO_DIGEST * 2
        if isinstance(error, EnginesDisagree):
            decision = canonical.frame(error.interpreted, error.chained)
            digests = error.interpret_digest + error.chain_digest
        content = PatientPart(
            situation.call.method,
            data,
            encode_facts(asked.facts, situation.rules.book.facts) if asked else b"",
            situation.circumstances.context(asked.facts.as_of if asked else None),
            error.parameters if isinstance(error, EvaluationError) else b"",
            decision,
            digests,
            b"",
            status_of(error).SerializeToString(),
        )
        request = asked.request if asked else None
        caller = write_caller(
            situation.call,
            purpose=request.purpose if request else "",
            request_id=request.request_id if request else "",
            status=fault.code.name,
        )
        account = self._account(Kind.DECISION_ERROR, content, caller, situation, request)
        self._log.append(replace(account, body=DecisionError(fault.reason.lower().replace("_", "-"))))

    def _account(
        self, kind: Kind, content: PatientPart, caller: CallerPart, situation: Situation, request: Request | None
    ) -> Account:
        call = situation.call
        return Account(
            kind=kind,
            content=content,
            caller=caller,
            digests=self._digests(situation.rules),
            patient=subject(request.patient_reference) if request else None,
            entry_id=entry_id_of(situation.circumstances.decision_id),
            deadline=self._monotonic() + call.deadline_ms / 1000 if call.deadline_ms else None,
        )
