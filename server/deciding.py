"""Deciding for one request, whichever way it came: read, evaluated, logged, and only then answered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from engine.errors import EnginesDisagree
from server.convert.ledger import EVALUATE_FHIR
from server.evaluation import decide, read_asked, read_asked_fhir
from server.health import ENGINES
from server.recording import Situation

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.compiler.packset import PackSet
    from server.chart import Chart
    from server.config import Settings
    from server.evaluation import Answer, Asked, Call, Circumstances
    from server.health import Health
    from server.interceptors.layers import Notes
    from server.interceptors.metrics import Metrics
    from server.recording import Recorded, Recorder
    from server.rules_in_force import LoadedRules, RulesInForce

_NODES_LOGGED = 20


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that is in the log: what it was asked of, what was concluded, and what is kept of it.

    `rules` are those that decided; `packs` the compiled ones of a FHIR request, for whoever shows its trials.
    """

    asked: Asked
    answer: Answer
    recorded: Recorded
    rules: LoadedRules
    packs: PackSet | None


class Decider:
    """Decides. Safe to call from many threads.

    `circumstances` gives each evaluation its id and moment, from its place on a stream.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        rules: RulesInForce,
        recorder: Recorder,
        circumstances: Callable[[int | None], Circumstances],
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._recorder = recorder
        self._circumstances = circumstances
        self._health = health
        self._metrics = metrics

    def decide(
        self,
        data: bytes,
        call: Call,
        check: Callable[[], None],
        call_notes: Notes,
        position: int | None = None,
        *,
        chart: Chart | None = None,
    ) -> Decided:
        """Decide for the bytes of a request. INVARIANT: what is returned is in the log.

        Args:
            data: the request, of the method that `call` names.
            call: who asked, and how.
            check: called before each costly step; raises when the caller no longer waits.
            call_notes: for the access log.
            position: the request's place on its stream; None where it came alone.
            chart: of a FHIR request's content, for whoever has parsed it.

        Raises:
            Fault: the request is refused. It is logged with its reason.
            EvaluationError: the engines failed or disagree. It is logged too.
            LedgerError: it could not be logged, so nothing may be shown.

        """
        asked: Asked | None = None
        read = partial(read_asked_fhir, chart=chart) if call.method == EVALUATE_FHIR else read_asked
        with self._rules.reading() as rules:
            circumstances = self._circumstances(position)
            situation = Situation(circumstances, call, rules)
            try:
                check()
                asked = read(data, rules.book, circumstances, self._settings.max_trials)
                answer = decide(asked, rules, circumstances, check)
                check()
            except Exception as error:
                if isinstance(error, EnginesDisagree):
                    self._tell_disagreement(error, call_notes)
                self._recorder.record_refusal(error, data, asked, situation)
                raise
            recorded = self._recorder.record(answer, situation)
            packs = None
            if asked.reading is not None:
                packs = rules.engines.pack_set(answer.request.jurisdiction, answer.request.payer_id, asked.facts.as_of)
        self._metrics.decisions.labels(answer.request.jurisdiction).inc()
        if position is None:
            request_id = _loggable(answer.request.request_id)
            call_notes.add(packs=answer.packs, decision_id=recorded.decision_id, request_id=request_id)
        return Decided(asked, answer, recorded, rules, packs)

    def _tell_disagreement(self, error: EnginesDisagree, call_notes: Notes) -> None:
        self._metrics.disagreements.inc()
        self._health.tell(ENGINES, is_serving=False)
        call_notes.add(nodes=list(error.nodes[:_NODES_LOGGED]))


def _loggable(request_id: str) -> str | None:
    try:
        return str(UUID(request_id))
    except ValueError:
        return None
