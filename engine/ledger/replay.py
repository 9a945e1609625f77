"""Replay: a logged decision made again from what the log holds, and compared with it, byte for byte.

The rules come from the log and never from the disk, and the date is the logged one. Stages are compared in the order
in which a decision is made, and the first that differs is told: facts, parameters, decision, engines, explanation,
response.

A replay says whether this build still gives the logged decision on the logged rules. What other rules would give is
`engine.ledger.impact`: the two share no report.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from engine.errors import ChainFault, EnginesDisagree, LedgerError, RulePackError
from engine.evaluator.agree import NO_DIGEST, Evaluator
from engine.evaluator.encoding import encode_decision, encode_explanation, encode_facts
from engine.ledger.decisions import ClosedEntry, LoggedDecision, LogView, Opener
from engine.ledger.manifest import SUPPORTED, semantics_version
from engine.ledger.rulebook import MissingBlobError, body_of, book_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from engine.evaluator.agree import Evaluation, Mode
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.ledger.seal import Context, PatientPart
    from engine.ledger.store import Snapshot
    from engine.pack.book import RuleBook

KEPT_SETS = 4
"""How many pack sets are kept ready; each has its engines."""

MAX_DIFFERENCES = 20


class UnreadableRequestError(LedgerError):
    """A logged request can no longer be read. Its text holds no patient data."""


class Reading(NamedTuple):
    """What was asked, and about whom. `request` is what the method's writer makes the response from."""

    facts: PatientFacts
    jurisdiction: str
    payer_id: str | None
    as_of: date
    is_full: bool
    request: object = None


Reader: TypeAlias = "Callable[[bytes, RuleBook, Context], Reading]"
"""From the bytes of a request, with the data dictionary of its day. Raises: UnreadableRequestError."""
Writer: TypeAlias = "Callable[[Decision, Any, Context], bytes]"
"""From a decision and the `request` that the method's reader gave to the bytes of the response."""
Comparer: TypeAlias = "Callable[[bytes, bytes], list[str]]"
"""The paths of the fields in which two responses differ; empty for none."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How requests become questions and decisions responses, by method."""

    readers: Mapping[str, Reader]
    writers: Mapping[str, Writer]
    differences: Mapping[str, Comparer]


class Outcome(StrEnum):
    """What came of a replay. Nothing that was not run is a match."""

    MATCH = "MATCH"
    MISMATCH = "MISMATCH"
    SHREDDED = "SHREDDED"
    MISSING_BLOB = "MISSING_BLOB"
    UNDECRYPTABLE = "UNDECRYPTABLE"
    BAD_COMMITMENT = "BAD_COMMITMENT"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    NOT_A_DECISION = "NOT_A_DECISION"


class Stage(StrEnum):
    """A stage of a decision, in the order in which they are compared."""

    FACTS = "facts"
    PARAMETERS = "parameters"
    DECISION = "decision"
    ENGINES = "engines"
    EXPLANATION = "explanation"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of one replay, without patient data.

    Attributes:
        index: the entry.
        outcome: what came of it.
        stage: the first stage that differs; None unless it is a mismatch.
        detail: what happened, in words.
        differences: paths of what differs there, without values; the first of them.
        tombstone_index: where the erasure is written; None unless it was erased.
        missing_digest: the blob that the log lacks; empty unless one does.
        logged_engine: the engine that the entry names; empty where the entry is no decision.

    """

    index: int
    outcome: Outcome
    stage: Stage | None = None
    detail: str = ""
    differences: tuple[str, ...] = ()
    tombstone_index: int | None = None
    missing_digest: bytes = b""
    logged_engine: bytes = b""


class _Differs(NamedTuple):
    stage: Stage
    detail: str
    differences: tuple[str, ...] = ()


class Replayer:
    """Replays entries of one log. Engines are built once for a pack set and kept; close it to free them.

    `engine_digest` is that of this build: where the entry names another one, responses are compared field by field.
    Safe to call from many threads, one of which is served at a time.
    """

    def __init__(self, view: LogView, wire: Wire, engine_digest: bytes) -> None:
        self.engine_digest = engine_digest
        self._view = view
        self._wire = wire
        self._opener = Opener(view)
        self._books: OrderedDict[tuple[bytes, bytes], RuleBook] = OrderedDict()
        self._evaluators: OrderedDict[tuple[bytes, bytes, Mode], Evaluator] = OrderedDict()
        self._lock = threading.Lock()

    def replay(self, index: int) -> ReplayResult:
        """Replay one entry.

        Raises:
            EntryNotFoundError: there is none.
            IntegrityError: its header, or a pack set that it names, is none.
            LogUnavailableError: the log or its keys cannot be read.

        """
        with self._lock:
            return self._replay(index)

    def close(self) -> None:
        """Free the engines, and let go of the log."""
        with self._lock:
            for evaluator in self._evaluators.values():
                evaluator.close()
            self._evaluators.clear()
            self._view.close()

    def _replay(self, index: int) -> ReplayResult:
        with self._view.reading() as snapshot:
            looked = self._opener.open(snapshot, index)
            if isinstance(looked, ClosedEntry):
                outcome = Outcome(looked.reason)
                engine = looked.header.engine_digest if outcome is not Outcome.NOT_A_DECISION else b""
                return ReplayResult(
                    index, outcome, detail=looked.detail, tombstone_index=looked.tombstone_index, logged_engine=engine
                )
            engine = looked.header.engine_digest
            try:
                unavailable = self._unavailable(snapshot, looked)
                evaluator = None if unavailable else self._evaluator(snapshot, looked)
            except MissingBlobError as error:
                return ReplayResult(
                    index, Outcome.MISSING_BLOB, None, str(error), missing_digest=error.digest, logged_engine=engine
                )
            except RulePackError as error:
                unavailable = f"this build does not read the packs: {len(error.diagnostics)} faults"
        if unavailable or evaluator is None:
            return ReplayResult(index, Outcome.ENGINE_UNAVAILABLE, None, unavailable, logged_engine=engine)
        try:
            differs = self._compare(looked, evaluator)
        except ChainFault as error:
            return ReplayResult(index, Outcome.ENGINE_UNAVAILABLE, None, str(error), logged_engine=engine)
        if differs is None:
            return ReplayResult(index, Outcome.MATCH, logged_engine=engine)
        return ReplayResult(index, Outcome.MISMATCH, *differs, logged_engine=engine)

    def _unavailable(self, snapshot: Snapshot, logged: LoggedDecision) -> str:
        """Say why this build cannot replay an entry; empty if it can. Raises: MissingBlobError."""
        version = semantics_version(body_of(snapshot, logged.header.engine_digest))
        if version not in SUPPORTED:
            return f"this build does not know version `{version}` of the rule language"
        if logged.content.method not in self._wire.readers:
            return "this build does not know the method"
        return ""

    def _evaluator(self, snapshot: Snapshot, logged: LoggedDecision) -> Evaluator:
        header = logged.header
        mode: Mode = "interpret" if logged.content.digests.endswith(NO_DIGEST) else "both"
        key = (header.pack_digest, header.reference_digest, mode)
        evaluator = self._evaluators.get(key)
        if evaluator is None:
            evaluator = self._evaluators[key] = Evaluator(self._book(snapshot, key[:2]), mode, sessions=1)
        self._evaluators.move_to_end(key)
        if len(self._evaluators) > KEPT_SETS:
            self._evaluators.popitem(last=False)[1].close()
        return evaluator

    def _book(self, snapshot: Snapshot, digests: tuple[bytes, bytes]) -> RuleBook:
        book = self._books.get(digests)
        if book is None:
            book = self._books[digests] = book_of(snapshot, *digests)
        self._books.move_to_end(digests)
        if len(self._books) > KEPT_SETS:
            self._books.popitem(last=False)
        return book

    def _compare(self, logged: LoggedDecision, evaluator: Evaluator) -> _Differs | None:
        """Find the first stage that differs. Raises: ChainFault."""
        content = logged.content
        stage = Stage.FACTS
        try:
            reading = self._wire.readers[content.method](content.request, evaluator.rules, content.context)
            if differs := _compare_facts(content, reading, evaluator.rules):
                return differs
            stage = Stage.DECISION
            evaluation = evaluator.evaluate(*reading[:4], is_full=reading.is_full)
            if differs := _compare_evaluation(content, evaluation):
                return differs
            stage = Stage.RESPONSE
            return self._compare_response(logged, evaluation.decision, reading.request)
        except ChainFault:
            raise
        except UnreadableRequestError as error:
            return _Differs(Stage.FACTS, f"the logged request cannot be read any more: {error}")
        except EnginesDisagree as error:
            return _Differs(Stage.ENGINES, "the two engines no longer agree", error.nodes[:MAX_DIFFERENCES])
        except Exception as error:  # noqa: BLE001 - however it fails: it did not, and so it differs
            return _Differs(stage, f"this build fails here: {type(error).__name__}")

    def _compare_response(self, logged: LoggedDecision, decision: Decision, request: object) -> _Differs | None:
        content = logged.content
        response = self._wire.writers[content.method](decision, request, content.context)
        if response == content.response:
            return None
        paths = tuple(self._wire.differences[content.method](content.response, response))
        if paths:
            return _Differs(Stage.RESPONSE, "fields of the response differ", paths[:MAX_DIFFERENCES])
        if logged.header.engine_digest == self.engine_digest:
            return _Differs(Stage.RESPONSE, "the response has other bytes, although no field differs")
        return None


def _compare_facts(content: PatientPart, reading: Reading, rules: RuleBook) -> _Differs | None:
    if reading.as_of != content.context.as_of:
        return _Differs(Stage.FACTS, "the request is about another day than the logged one", ("as_of",))
    facts = encode_facts(reading.facts, rules.facts)
    return None if facts == content.facts else _differs(Stage.FACTS, content.facts, facts)


def _compare_evaluation(content: PatientPart, evaluation: Evaluation) -> _Differs | None:
    if evaluation.parameters != content.parameters:
        return _differs(Stage.PARAMETERS, content.parameters, evaluation.parameters)
    decision = encode_decision(evaluation.decision)
    if decision != content.decision:
        return _differs(Stage.DECISION, content.decision, decision)
    digests = evaluation.interpret_digest, evaluation.chain_digest
    if b"".join(digests) != content.digests:
        interpreted, chained = (d == content.digests[i : i + 32] for d, i in zip(digests, (0, 32), strict=True))
        names = [n for n, is_equal in (("interpret", interpreted), ("chain", chained)) if not is_equal]
        return _Differs(Stage.ENGINES, "what the engines conclude differs", tuple(names))
    explanation = encode_explanation(evaluation.decision)
    if explanation != content.explanation:
        return _differs(Stage.EXPLANATION, content.explanation, explanation)
    return None


def _differs(stage: Stage, logged: bytes, now: bytes) -> _Differs:
    try:
        parsed = json.loads(logged)
        is_canonical = _canonical(parsed) == logged
    except ValueError:
        is_canonical = False
    if not is_canonical:
        return _Differs(stage, f"the logged {stage} are not canonical bytes")
    paths: list[str] = []
    _walk(parsed, json.loads(now), "", paths)
    return _Differs(stage, f"the {stage} differ", tuple(paths))


def _canonical(parsed: object) -> bytes:
    return json.dumps(parsed, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _walk(one: object, other: object, path: str, paths: list[str]) -> None:
    """Collect the paths at which two JSON values differ, as far as there is room for them."""
    if len(paths) >= MAX_DIFFERENCES or one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            _walk(one.get(name), other.get(name), f"{path}.{name}" if path else name, paths)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            _walk(mine, theirs, f"{path}[{position}]", paths)
    else:
        paths.append(path)
