"""One evaluation from request bytes to response bytes, with everything that a log of decisions keeps of it.

Nothing here reads a clock, makes an id or knows gRPC: what varies comes in as `Circumstances` and is kept as `context`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from engine.errors import FactError, Violation
from engine.evaluator.encoding import encode_decision
from engine.facts import PatientFacts, read_facts
from engine.fhir.reading import merged
from engine.fhir.record_json import parse
from engine.ledger.seal import Context
from server.chart import Chart
from server.convert.answers import write_fhir_response, write_response
from server.convert.readings import write_reading
from server.convert.requests import FhirRequest, Request, path_of, read_fhir_request, read_request
from server.faults import deceased, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from engine.evaluator.decision import Decision
    from engine.fhir.reading import Reading
    from engine.pack.book import RuleBook
    from server.rules_in_force import LoadedRules, Outcome


CONTENT = "content"


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

    def context(self, as_of: date | None) -> Context:
        """Give what a log keeps of it for an evaluation on `as_of`; None where no date was known yet."""
        seen = [("decision_id", self.decision_id), ("evaluate_time", self.moment.isoformat())]
        if self.position is not None:
            seen.append(("position", str(self.position)))
        return Context(as_of, self.time_zone, tuple((name, value.encode()) for name, value in seen))

    @classmethod
    def of(cls, context: Context) -> Self:
        """Give back what `context` was made of. Raises: LookupError, ValueError."""
        seen = {name: value.decode() for name, value in context.seen}
        position = int(seen["position"]) if "position" in seen else None
        return cls(seen["decision_id"], datetime.fromisoformat(seen["evaluate_time"]), context.time_zone, position)


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
        """The decision, with its criteria as id, truth and side."""
        return encode_decision(self.outcome.decision)

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
class Asked:
    """A request that was read. Where there is no decision in the end, a log keeps this: `facts` and `request_bytes`.

    `reading` is what was read of a FHIR record, None where none came; `overridden` names the facts in it over which the
    caller's own won.
    """

    request_bytes: bytes
    request: Request
    facts: PatientFacts
    reading: Reading | None = None
    overridden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """An evaluation, its id, the request as it was read, and the packs that spoke, by id, with their digests."""

    evaluated: Evaluated
    decision_id: str
    request: Request
    packs: dict[str, str]


def evaluate(
    data: bytes, rules: LoadedRules, circumstances: Circumstances, max_trials: int, check: Callable[[], None]
) -> Answer:
    """Decide for one request: `read_asked`, then `decide`. Arguments and what is raised are theirs."""
    check()
    return decide(read_asked(data, rules.book, circumstances, max_trials), rules, circumstances, check)


def read_asked(
    data: bytes, book: RuleBook, circumstances: Circumstances, max_trials: int, day: date | None = None
) -> Asked:
    """Read a request.

    Args:
        data: the bytes of an EvaluateRequest, or of an EvaluateStreamRequest where `circumstances` has a position.
        book: the rules whose data dictionary says what facts are.
        circumstances: what varies.
        max_trials: most records in the list of trials.
        day: the day of a request that names none; without it, the day that the circumstances say it is. A replay gives
            the logged one, because the time zone database may have changed since.

    Raises:
        Fault: bytes that are no message, or invalid fields, all at once.

    """
    request = read_request(data, max_trials, is_streamed=circumstances.position is not None)
    as_of = request.as_of or day or circumstances.today()
    return Asked(data, request, _facts(request, request.raw, book, as_of))


def read_asked_fhir(
    data: bytes,
    book: RuleBook,
    circumstances: Circumstances,
    max_trials: int,
    day: date | None = None,
    *,
    chart: Chart | None = None,
) -> Asked:
    """Read a request with a FHIR record; what it gives itself wins over what the record says. Arguments: `read_asked`.

    `chart` is of the request's content, for whoever has parsed it.

    Raises:
        Fault: bytes that are no message, invalid fields, all at once, or a patient who had died by then.

    """
    asking = read_fhir_request(data, max_trials)
    request = asking.request
    as_of = request.as_of or day or circumstances.today()
    reading = (chart or _chart_of(asking)).read(book, as_of, asking.patient_id)
    raw = merged(request.raw, reading)
    facts = _facts(request, raw, book, as_of)
    if reading.is_deceased:
        raise deceased()
    overridden = frozenset(name for name in reading.facts if raw[name] is request.raw.get(name))
    return Asked(data, replace(request, raw=raw), facts, reading, overridden)


def _chart_of(asking: FhirRequest) -> Chart:
    violations = asking.request.violations
    try:
        content = parse(asking.content)
    except FactError as error:
        faults = (Violation(CONTENT, violation.code, violation.message) for violation in error.violations)
        raise invalid((*violations, *faults)) from None
    if not isinstance(content, dict | list):
        message = "is no resource, Bundle, list of resources or prefetch object"
        raise invalid((*violations, Violation(CONTENT, "fhir/not-a-record", message)))
    return Chart(asking.content, content)


def _facts(request: Request, raw: Mapping[str, object], book: RuleBook, as_of: date) -> PatientFacts:
    violations: tuple[Violation, ...] = (*request.violations, *book.check_payer(request.payer_id))
    try:
        facts = read_facts(book.facts, book.dictionary.constraints, raw, as_of, path_of)
    except FactError as error:
        violations += error.violations
        facts = None
    if violations or facts is None:
        raise invalid(violations)
    return facts


def decide(asked: Asked, rules: LoadedRules, circumstances: Circumstances, check: Callable[[], None]) -> Answer:
    """Decide for a request that was read.

    Args:
        asked: the request.
        rules: the rules in force, the same that it was read with.
        circumstances: what varies.
        check: called before each costly step; raises when the caller no longer waits.

    Raises:
        NoRulePackError: no pack serves the jurisdiction.
        EvaluationError: the engines failed or disagree; it carries the parameters.

    """
    check()
    request, as_of = asked.request, asked.facts.as_of
    outcome = rules.engines.evaluate(
        asked.facts, request.jurisdiction, request.payer_id, as_of, is_full=request.is_full_view
    )
    evaluated = Evaluated(
        asked.request_bytes,
        circumstances.context(as_of).encode(),
        outcome,
        write_answer(outcome.decision, asked, circumstances),
    )
    return Answer(
        evaluated, circumstances.decision_id, request, {pack.id: pack.digest for pack in outcome.decision.packs}
    )


def write_answer(decision: Decision, asked: Asked, circumstances: Circumstances) -> bytes:
    """Write the response to a request as it goes out."""
    request = asked.request
    if asked.reading is not None:
        return write_fhir_response(
            decision,
            request,
            write_reading(asked.reading, asked.overridden),
            decision_id=circumstances.decision_id,
            moment=circumstances.moment,
            time_zone=circumstances.time_zone,
        )
    return write_response(
        decision,
        request,
        decision_id=circumstances.decision_id,
        moment=circumstances.moment,
        time_zone=circumstances.time_zone,
        position=circumstances.position,
    )
