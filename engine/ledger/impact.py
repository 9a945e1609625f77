"""Impact: what other rules would have decided on the first entries of a log, and which of its decisions would differ.

A candidate is tried on every logged decision, with the day and the facts of that day. This is no replay: the two share
no report. Every entry counts in exactly one bucket, and where a candidate needs what the log does not hold, that is
`not_evaluable` and never `unchanged`.

There are two runs. The first takes the facts as they were logged; the second, reported apart, reads the requests anew
with the candidate's data dictionary, so that its ranges, periods of validity and constraints count too. The reference
interpreter decides alone: what both engines say of a candidate is tested before it comes here.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias, get_args

from engine.errors import EntryNotFoundError, FactError, NoRulePackError, RulePackError
from engine.evaluator.agree import Evaluator
from engine.evaluator.decision import Status
from engine.evaluator.encoding import decode_facts, encode_decision
from engine.evaluator.inputs import prepare
from engine.ledger import entry
from engine.ledger.body import DecisionError
from engine.ledger.decisions import Closed, ClosedEntry, LoggedDecision, LogView, Opener
from engine.ledger.entry import Kind
from engine.ledger.impact_report import FLOOR, Bucket, CriterionCounts, ImpactReport, Run, Turn, floored, floored_turns
from engine.ledger.replay import Reading, UnreadableRequestError, Wire
from engine.ledger.rulebook import MissingBlobError, blobs_of, body_of, read_pack_set
from engine.ledger.unlogged import Fitted, fit, fit_anew, hangs_on
from engine.pack.load import dictionary_from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine.dictionary import FactDefinition
    from engine.ledger.store import Snapshot
    from engine.pack.book import RuleBook

ABSENT = "absent"
"""What stands for a subject that a decision is not about: an option it does not know, a referral that is not due."""

_AT_ONCE = 64
"""Entries that are read in one snapshot, so that none is held open for long."""

_RANK = {status: rank for rank, status in enumerate(get_args(Status))}


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision comes to, by subject, and which criteria hold each option's status down."""

    outcomes: Mapping[str, str]
    why_not: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, decision: bytes) -> Self:
        """Read it from the canonical bytes of a decision. Raises: ValueError, LookupError, TypeError."""
        data = json.loads(decision)
        outcomes = {option["option"]: option["status"] for option in data["options"]}
        triage = data["triage"]
        outcomes["triage"] = f"{triage['level']}{', provisional' if triage['provisional'] else ''}"
        if data["coverage"] is not None:
            outcomes["coverage"] = data["coverage"]["status"]
        due: dict[str, list[str]] = defaultdict(list)
        for referral in data["referrals"]:
            due[f"referral: {referral['kind']}"].append(f"{referral['state']}, {referral['urgency']}")
        # One kind can be required, and not ruled out yet with a higher urgency.
        outcomes |= {subject: "; ".join(found) for subject, found in due.items()}
        return cls(outcomes, {option["option"]: frozenset(option["why_not"]) for option in data["options"]})


class Judged(NamedTuple):
    """Where one entry counts and why, and for a decision that was compared both its standings.

    `reasons` are codes or names of facts, never values.
    """

    bucket: Bucket
    reasons: tuple[str, ...] = ()
    then: Standing | None = None
    now: Standing | None = None

    @property
    def changes(self) -> dict[str, Turn]:
        """What differs, by subject."""
        return {subject: turn for subject, turn in _turns(self.then, self.now).items() if turn.old != turn.new}


Heard: TypeAlias = "Callable[[int, Judged, Judged | None], None]"
"""Hears of every entry: its index, the judgment over the logged facts, and that over the request read anew."""


def _silent(_index: int, _stored: Judged, _anew: Judged | None) -> None:
    return None


def impact(
    view: LogView,
    tree_size: int,
    candidate: RuleBook,
    *,
    wire: Wire | None = None,
    floor: int = FLOOR,
    heard: Heard = _silent,
) -> ImpactReport:
    """Try a candidate on the first `tree_size` entries; what is appended meanwhile does not count.

    Args:
        view: the log and its keys.
        tree_size: how many entries, all of them in the log.
        candidate: the rules to try.
        wire: how requests are read, for the second run; without it there is none.
        floor: the smallest count that a breakdown shows.
        heard: hears of every entry, for progress and for a list of what changes.

    Raises:
        EntryNotFoundError: the log is not that long.
        LedgerError: the log or its keys cannot be read, or an entry was not counted.

    """
    with view.reading() as snapshot:
        size = snapshot.head().size
    if tree_size > size:
        message = f"the log has {size} entries and not {tree_size}"
        raise EntryNotFoundError(message)
    stored, anew = _Tally(), _Tally()
    with closing(Evaluator(candidate, "interpret")) as evaluator:
        judge = _Judge(view, evaluator, wire)
        for first in range(0, tree_size, _AT_ONCE):
            indices = range(first, min(first + _AT_ONCE, tree_size))
            with view.reading() as snapshot:
                opened = [judge.open(snapshot, index) for index in indices]
            for index, item in zip(indices, opened, strict=True):
                judged = item if isinstance(item, Judged) else judge.stored(item)
                judged_anew = None
                if wire is not None:
                    judged_anew = item if isinstance(item, Judged) else judge.anew(item, wire)
                    anew.add(judged_anew)
                stored.add(judged)
                heard(index, judged, judged_anew)
    blobs = blobs_of(candidate)
    report = ImpactReport(
        tree_size,
        floor,
        blobs.pack_set.digest.hex(),
        blobs.reference.digest.hex(),
        tuple(blob.label for blob in blobs.packs),
        stored.run(floor),
        anew.run(floor) if wire is not None else None,
    )
    for run in (report.stored, report.requests):
        if run is not None:
            run.check(tree_size)
    return report


class _Opened(NamedTuple):
    """A decision, opened, with the data dictionary of its day."""

    logged: LoggedDecision
    definitions: Mapping[str, FactDefinition]
    then: Standing


class _Judge:
    """Tries one candidate on one entry after the other."""

    def __init__(self, view: LogView, evaluator: Evaluator, wire: Wire | None) -> None:
        self._opener = Opener(view)
        self._evaluator = evaluator
        self._wire = wire
        self._facts_digests: dict[bytes, bytes] = {}
        self._definitions: dict[bytes, Mapping[str, FactDefinition]] = {}

    def open(self, snapshot: Snapshot, index: int) -> _Opened | Judged:
        """Open an entry, or judge that there is nothing to try. Raises: LedgerError."""
        looked = self._opener.open(snapshot, index)
        if isinstance(looked, ClosedEntry):
            return _judge_closed(looked)
        try:
            definitions = self._dictionary(snapshot, looked.header.pack_digest)
            return _Opened(looked, definitions, Standing.of(looked.content.decision))
        except MissingBlobError:
            return Judged(Bucket.UNREADABLE, ("missing-blob",))
        except RulePackError:
            return Judged(Bucket.UNREADABLE, ("facts-yaml",))
        except (ValueError, LookupError, TypeError):
            return Judged(Bucket.UNREADABLE, ("decision",))

    def stored(self, opened: _Opened) -> Judged:
        """Try the candidate on the facts as they were logged."""
        content = opened.logged.content
        try:
            facts = decode_facts(content.facts, opened.definitions)
        except ValueError:
            return Judged(Bucket.UNREADABLE, ("facts",))
        data = json.loads(content.decision)
        payer = data["coverage"]["payer_id"] if data["coverage"] else None
        fitted = fit(facts, opened.definitions, self._evaluator.rules.facts)
        reading = Reading(fitted.facts, data["jurisdiction"], payer, facts.as_of, is_full=False)
        return self._compare(opened.then, fitted, reading)

    def anew(self, opened: _Opened, wire: Wire) -> Judged:
        """Try the candidate on the request, read with the candidate's own data dictionary."""
        content, book = opened.logged.content, self._evaluator.rules
        try:
            reading = wire.readers[content.method](content.request, book, content.context)
        except UnreadableRequestError:
            return Judged(Bucket.ERROR, ("request",))
        except KeyError:
            return Judged(Bucket.UNREADABLE, ("method",))
        return self._compare(opened.then, fit_anew(reading.facts, opened.definitions, book.facts), reading)

    def _compare(self, then: Standing, fitted: Fitted, reading: Reading) -> Judged:
        try:
            evaluation = self._evaluator.evaluate(*reading[:4])
            packs = self._evaluator.pack_set(*reading[1:4])
            inputs = prepare(self._evaluator.rules, packs, reading.facts)
            needed = hangs_on(fitted, packs, evaluation.decision, {**inputs.values, **evaluation.values.values})
        except NoRulePackError:
            return Judged(Bucket.ERROR, ("no-rule-pack",))
        except FactError:
            return Judged(Bucket.ERROR, ("payer",))
        except Exception as error:  # noqa: BLE001 - a candidate that fails is told, and the next entry tried
            return Judged(Bucket.ERROR, (type(error).__name__,))
        if needed:
            return Judged(Bucket.NOT_EVALUABLE, tuple(sorted(needed)))
        now = Standing.of(encode_decision(evaluation.decision))
        bucket = Bucket.UNCHANGED if now.outcomes == then.outcomes else Bucket.CHANGED
        return Judged(bucket, (), then, now)

    def _dictionary(self, snapshot: Snapshot, pack_digest: bytes) -> Mapping[str, FactDefinition]:
        facts_digest = self._facts_digests.get(pack_digest)
        if facts_digest is None:
            text = read_pack_set(body_of(snapshot, pack_digest), pack_digest)
            facts_digest = self._facts_digests[pack_digest] = text.facts_digest
        found = self._definitions.get(facts_digest)
        if found is None:
            dictionary = dictionary_from_bytes(body_of(snapshot, facts_digest))
            found = self._definitions[facts_digest] = dictionary.by_name()
        return found


def _judge_closed(closed: ClosedEntry) -> Judged:
    header = closed.header
    match closed.reason:
        case Closed.SHREDDED:
            return Judged(Bucket.SHREDDED)
        case Closed.NOT_A_DECISION if header.kind is Kind.DECISION_ERROR:
            body = entry.read_body(header)
            return Judged(Bucket.LOGGED_ERROR, (body.code,) if isinstance(body, DecisionError) else ())
        case Closed.NOT_A_DECISION:
            return Judged(Bucket.NOT_A_DECISION, (header.kind.name.lower(),))
    return Judged(Bucket.UNREADABLE, (closed.reason.lower(),))


def _turns(then: Standing | None, now: Standing | None) -> dict[str, Turn]:
    if then is None or now is None:
        return {}
    subjects = [*then.outcomes, *(subject for subject in now.outcomes if subject not in then.outcomes)]
    return {s: Turn(then.outcomes.get(s, ABSENT), now.outcomes.get(s, ABSENT)) for s in subjects}


@dataclass
class _Tally:
    """The counts of one run."""

    buckets: Counter[Bucket] = field(default_factory=Counter)
    reasons: defaultdict[Bucket, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    turns: defaultdict[str, Counter[Turn]] = field(default_factory=lambda: defaultdict(Counter))
    then: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)

    def add(self, judged: Judged) -> None:
        """Count one entry."""
        self.buckets[judged.bucket] += 1
        self.reasons[judged.bucket].update(judged.reasons)
        for subject, turn in _turns(judged.then, judged.now).items():
            self.turns[subject][turn] += 1
        if judged.then is not None and judged.now is not None:
            self._add_criteria(judged.then, judged.now)

    def run(self, floor: int) -> Run:
        """Give what was counted."""
        compared = self.buckets[Bucket.UNCHANGED] + self.buckets[Bucket.CHANGED]
        for turns in self.turns.values():
            turns[Turn(ABSENT, ABSENT)] += compared - turns.total()
        return Run(
            {bucket: self.buckets[bucket] for bucket in Bucket},
            {subject: floored_turns(turns, floor) for subject, turns in self.turns.items()},
            CriterionCounts(*(floored(counts, floor) for counts in (self.then, self.now, self.lost, self.gained))),
            {bucket: floored(self.reasons[bucket], floor) for bucket in Bucket if self.reasons[bucket]},
        )

    def _add_criteria(self, then: Standing, now: Standing) -> None:
        held = {name for criteria in then.why_not.values() for name in criteria}
        holding = {name for criteria in now.why_not.values() for name in criteria}
        self.then.update(held)
        self.now.update(holding)
        lost: set[str] = set()
        gained: set[str] = set()
        for option in then.why_not.keys() & now.why_not.keys():
            before, after = then.why_not[option], now.why_not[option]
            step = _RANK[now.outcomes[option]] - _RANK[then.outcomes[option]]
            if step < 0 and len(after - before) == 1:
                lost |= after - before
            if step > 0 and len(before - after) == 1:
                gained |= before - after
        self.lost.update(lost)
        self.gained.update(gained)
