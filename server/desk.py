"""What decides for the faces that are no gRPC service: the same way into the engines and the log, in this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from engine.evaluator.agree import Evaluation
from engine.ledger.body import Access
from engine.page.timeline import read_history
from server.cds_hooks.desk import Opened, Shown
from server.convert.asking import write_feedback_request, write_fhir_request
from server.convert.ledger import EVALUATE_FHIR, read_card, write_caller
from server.evaluation import Call
from server.faults import Code, Fault, expired
from server.interceptors.layers import Notes
from server.rpc.decision_log import SERVICE as LOG_SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from engine.fhir.reading import Reading
    from engine.ledger.log import DecisionLog
    from engine.page.timeline import History
    from server.cds_hooks.desk import Feedback, Purpose
    from server.chart import Chart
    from server.deciding import Decided, Decider
    from server.interceptors.callers import Caller
    from server.rpc.decision_log import DecisionLog as DecisionLogService
    from server.rules_in_force import RulesInForce

REMEMBERED = 512
"""How many decisions stay open for their pages; links to older ones are refused as expired."""

_FEEDBACK = f"/{LOG_SERVICE}/RecordFeedback"
_OPEN = "/cds-hooks/decisions"


class LocalDesk:
    """The desk of this process. Safe to call from many threads.

    `today` gives the day in the evaluation time zone, `monotonic` seconds; `peer` names where callers come from in the
    log.
    """

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        decider: Decider,
        rules: RulesInForce,
        log: DecisionLog,
        log_service: DecisionLogService,
        *,
        today: Callable[[], date],
        monotonic: Callable[[], float],
        peer: str = "cds-hooks",
    ) -> None:
        self._decider = decider
        self._rules = rules
        self._today = today
        self._log = log
        self._log_service = log_service
        self._monotonic = monotonic
        self._peer = peer
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, chart: Chart, patient: str) -> Reading:
        """Read a patient's resources as of today; nothing is decided and nothing kept."""
        with self._rules.reading() as rules:
            book = rules.book
        return chart.read(book, self._today(), patient)

    def evaluate(  # noqa: PLR0913 - what an evaluation is asked with, by name
        self,
        *,
        content: bytes,
        patient: str,
        explicit: Mapping[str, object],
        jurisdiction: str,
        purpose: Purpose,
        request_id: str,
        caller: Caller,
        deadline: float,
        chart: Chart | None = None,
    ) -> Shown:
        """Decide, log, and keep the decision open for its page. Arguments and errors: `cds_hooks.desk.Desk`."""
        data = write_fhir_request(
            content=content,
            patient_id=patient,
            facts=explicit,
            jurisdiction=jurisdiction,
            purpose=purpose,
            request_id=request_id,
        )

        def check() -> None:
            if self._monotonic() >= deadline:
                raise expired()

        call = self._call(EVALUATE_FHIR, caller, deadline)
        decided = self._decider.decide(data, call, check, Notes(), chart=chart)
        asked, recorded = decided.asked, decided.recorded
        if recorded.decision_id != decided.answer.decision_id:
            return self._first(recorded.decision_id) or self.evaluate(
                content=content,
                patient=patient,
                explicit=explicit,
                jurisdiction=jurisdiction,
                purpose=purpose,
                request_id="",
                caller=caller,
                deadline=deadline,
                chart=chart,
            )
        if asked.reading is None:
            message = "a FHIR request was read without a reading"
            raise AssertionError(message)
        shown = Shown(
            recorded.decision_id,
            decided.answer.evaluated.outcome.decision,
            asked.reading,
            asked.facts,
            recorded.proof,
            recorded.index,
        )
        opened = Opened(shown, content, patient, explicit, jurisdiction, _history(decided))
        with self._lock:
            self._opened[shown.decision_id] = opened
            self._opened.move_to_end(shown.decision_id)
            if len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        return shown

    def _first(self, decision_id: str) -> Shown | None:
        """Give the decision that a repeated request had; None where it is no longer at hand.

        INVARIANT: what is shown is what is in the log under its id. What was computed for the repetition may differ, by
        rules that were loaded since; without the first one at hand, the request is decided and logged anew.
        """
        with self._lock:
            opened = self._opened.get(decision_id)
        return opened.shown if opened else None

    def open(self, decision_id: str, caller: Caller) -> Opened:
        """Open a decision for its page; the log says who saw it before it is shown. Raises: LedgerError, Fault."""
        with self._lock:
            opened = self._opened.get(decision_id)
        if opened is None:
            raise Fault(Code.NOT_FOUND, "DECISION_CLOSED", "the decision is no longer open; ask for it again")
        index = opened.shown.index
        call = self._call(_OPEN, caller, 0)
        with self._log.reading() as snapshot:
            size = snapshot.head().size
            if self._log.open_entry(snapshot, index).content is None:
                with self._lock:
                    self._opened.pop(decision_id, None)
                message = "the decision was erased with its patient's data"
                raise Fault(Code.FAILED_PRECONDITION, "RESPONSE_ERASED", message)
        self._log.tell(Access("page", index, index, size), write_caller(call, purpose="care", status="OK"))
        return opened

    def feedback(self, feedback: Feedback, caller: Caller, deadline: float) -> None:
        """Log what became of a card; a repeat changes nothing. Raises: LedgerError; Fault, also for another's card."""
        self._check_client(feedback.card, caller)
        data = write_feedback_request(
            card=feedback.card,
            outcome=feedback.outcome,
            reason=feedback.reason,
            comment=feedback.comment,
            moment=feedback.moment,
        )
        self._log_service.answer("RecordFeedback", data, self._call(_FEEDBACK, caller, deadline))

    def _check_client(self, card: str, caller: Caller) -> None:
        """Refuse feedback on a card that went to another client; a card that the log does not know may be anybody's.

        INVARIANT: the log names a caller by its client, which has no space in its name, and after one by its user.
        """
        with self._log.reading() as snapshot:
            index = snapshot.index_of(read_card(card))
            asked_by = None if index is None else self._log.open_entry(snapshot, index).caller
        if asked_by is not None and asked_by.caller.partition(" ")[0] != caller.name.partition(" ")[0]:
            raise Fault(Code.NOT_FOUND, "CARD_UNKNOWN", "no card of this id went to this client")

    def _call(self, method: str, caller: Caller, deadline: float) -> Call:
        deadline_ms = max(1, round((deadline - self._monotonic()) * 1000)) if deadline else 0
        return Call(method, caller.name, caller.roles, self._peer, deadline_ms)


def _history(decided: Decided) -> History | None:
    outcome = decided.answer.evaluated.outcome
    if decided.packs is None or not isinstance(outcome, Evaluation):
        return None
    return read_history(decided.rules.book, decided.packs, outcome)
