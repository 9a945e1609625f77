"""One evaluation from request bytes to response bytes, with everything that a log of decisions keeps of it.

Nothing here reads a clock, makes an id or knows gRPC: what varies comes in as `Circumstances` and is kept as `context`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from engine import canonical
from engine.errors import FactError, Violation
from engine.facts import PatientFacts, read_facts
from server.convert.answers import write_response
from server.convert.requests import Request, path_of, read_request
from server.faults import invalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from server.rules_in_force import LoadedRules, Outcome


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an evaluation sees beside the request and the rules.

    `moment` is aware and in UTC. `position` is the request's place on its stream; None where it came alone.
    """

    decision_id: str
    moment: datetime
    time_zone: str
    position: int | None = None

    def today(self) -> date:
        """Give the day it is in the evaluation time zone."""
        return self.moment.astimezone(ZoneInfo(self.time_zone)).date()


@dataclass(frozen=True, slots=True)
class Call:
    """Who asked and how, for the caller part of a log entry. `deadline_ms` is what was left; 0 without a deadline."""

    method: str
    caller: str
    roles: frozenset[str]
    peer: str
    deadline_ms: int


@dataclass(frozen=True)
class Evaluated:
    """What a replay needs, bit for bit. Canonical encodings are made when they are first asked for.

    `request_bytes` are as they came and `response_bytes` as they go out: for a request on a stream, its messages on
    the stream. `context` is a frame: as_of, time zone, then name and value of each thing that varied.
    """

    request_bytes: bytes
    context: bytes
    outcome: Outcome
    response_bytes: bytes

    @property
    def facts(self) -> bytes:
        """What was read of the patient."""
        return self.outcome.facts

    @property
    def parameters(self) -> bytes:
        """The dated numbers in effect."""
        return self.outcome.parameters

    @cached_property
    def decision(self) -> bytes:
        """The decision, whole."""
        return canonical.encode_typed(self.outcome.decision)

    @property
    def interpret_digest(self) -> bytes:
        """SHA-256 of what the interpreter concluded."""
        return self.outcome.interpret_digest

    @property
    def chain_digest(self) -> bytes:
        """The same of the forward-chaining engine; 32 zero bytes if it did not run."""
        return self.outcome.chain_digest

    @property
    def explanation(self) -> bytes:
        """The argument: every finding."""
        return self.outcome.explanation


@dataclass(frozen=True, slots=True)
class Answer:
    """An evaluation, its id, the request as it was read, and the packs that spoke, by id, with their digests."""

    evaluated: Evaluated
    decision_id: str
    request: Request
    packs: dict[str, str]


class Recorder(Protocol):
    """Keeps decisions. A decision is returned only after `record` has returned."""

    def record(self, evaluated: Evaluated, call: Call, purpose: str) -> None:
        """Make the decision durable.

        Raises:
            Fault: it could not be kept, so it must not be shown.

        """


class NoRecorder:
    """Keeps nothing. It stands where the decision log will; until then a decision exists only in its answer."""

    def record(self, evaluated: Evaluated, call: Call, purpose: str) -> None:
        """Do nothing."""


def evaluate(
    data: bytes, rules: LoadedRules, circumstances: Circumstances, max_trials: int, check: Callable[[], None]
) -> Answer:
    """Decide for one request.

    Args:
        data: the bytes of an EvaluateRequest, or of an EvaluateStreamRequest where `circumstances` has a position.
        rules: the rules in force; the same throughout.
        circumstances: what varies.
        max_trials: most records in the list of trials.
        check: called before each costly step; raises when the caller no longer waits.

    Raises:
        Fault: bytes that are no message, or invalid fields, all at once.
        NoRulePackError: no pack serves the jurisdiction.
        EvaluationError: the engines failed or disagree.

    """
    check()
    request = read_request(data, max_trials, is_streamed=circumstances.position is not None)
    as_of = request.as_of or circumstances.today()
    facts = _facts(request, rules, as_of)
    check()
    outcome = rules.engines.evaluate(facts, request.jurisdiction, request.payer_id, as_of, is_full=request.is_full_view)
    response = write_response(
        outcome.decision,
        request,
        decision_id=circumstances.decision_id,
        moment=circumstances.moment,
        time_zone=circumstances.time_zone,
        position=circumstances.position,
    )
    evaluated = Evaluated(data, _context(as_of, circumstances), outcome, response)
    return Answer(
        evaluated, circumstances.decision_id, request, {pack.id: pack.digest for pack in outcome.decision.packs}
    )


def _facts(request: Request, rules: LoadedRules, as_of: date) -> PatientFacts:
    violations: tuple[Violation, ...] = (*request.violations, *rules.book.check_payer(request.payer_id))
    try:
        facts = read_facts(rules.book.facts, rules.book.dictionary.constraints, request.raw, as_of, path_of)
    except FactError as error:
        violations += error.violations
        facts = None
    if violations or facts is None:
        raise invalid(violations)
    return facts


def _context(as_of: date, circumstances: Circumstances) -> bytes:
    seen = {"decision_id": circumstances.decision_id, "evaluate_time": circumstances.moment.isoformat()}
    if circumstances.position is not None:
        seen["position"] = str(circumstances.position)
    named = [text.encode() for name, value in sorted(seen.items()) for text in (name, value)]
    return canonical.frame(as_of.isoformat().encode(), circumstances.time_zone.encode(), *named)
