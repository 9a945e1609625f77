"""What comes together while a record is read: evidence, candidates and issues, folded so that order is lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.fhir.reading import SOURCES_SHOWN, Candidate, Issue, Sourced

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from engine.fhir.moment import Moment
    from engine.fhir.terminology import Terminology


MODIFIED, _MODIFIER = "fhir/modifier-extension", "modifierExtension"
WAYS = ("name", "unconfirmed code", "code")
"""How a fact may have been found, from the weakest way to the strongest."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One value of a fact at one moment.

    Attributes:
        fact: the fact.
        value: its value, as the data dictionary has it; None if it cannot be used.
        moment: when it was observed; None if that is not said.
        source: the resource, as `Type/id`.
        path: where it stands, for issues.
        matched_by: how it was found.
        raw: the number as it was written.
        unit: the unit of `value`.
        fault: the issue code that says why it cannot be used; empty if it can.
        is_stated: whether it is a total that somebody stated, over which a sum of items goes.
        suggests: what it suggests although it cannot be used; None for nothing.
        is_open: whether it leaves something open that has to be confirmed.
        is_absent: whether it only says that something was to be read and did not come; what was read of the very same
            moment goes before it.

    """

    fact: str
    value: object
    moment: Moment | None
    source: str
    path: str
    matched_by: str = "code"
    raw: object = None
    unit: str = ""
    fault: str = ""
    is_stated: bool = False
    suggests: str | None = None
    is_open: bool = False
    is_absent: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """What a diagnosis, an allergy or a medication settles of a fact, whatever else was observed when.

    `is_loose` says that it leaves open what a more exact statement may settle, `is_negative` that it says no, which
    holds only while nothing in the record suggests otherwise.
    """

    fact: str
    value: str
    day: date | None
    source: str
    matched_by: str
    is_loose: bool = False
    is_negative: bool = False


@dataclass
class Notes:
    """Everything that was found in one record.

    INVARIANT: what a resource in `modified` says settles nothing. It has a modifier extension, which may turn it into
    its opposite, so what it would have settled is a candidate.
    """

    terminology: Terminology
    modified: frozenset[str] = frozenset()
    evidence: dict[str, list[Evidence]] = field(default_factory=dict)
    statements: dict[str, list[Statement]] = field(default_factory=dict)
    facts: dict[str, Sourced] = field(default_factory=dict)
    earlier: dict[str, Sourced] = field(default_factory=dict)
    _issues: dict[tuple[str, str, str, str], set[str]] = field(default_factory=dict)
    _candidates: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)

    def observe(self, evidence: Evidence) -> None:
        """Keep one value of a fact."""
        if evidence.source in self.modified and not evidence.fault:
            suggests = plain(evidence.value)
            evidence = replace(evidence, value=None, fault=MODIFIED, suggests=suggests, is_open=False)
        self.evidence.setdefault(evidence.fact, []).append(evidence)

    def state(self, statement: Statement) -> None:
        """Keep what settles a fact."""
        if statement.source in self.modified:
            self.suggest(statement.fact, statement.value, MODIFIED, f"{statement.source}.{_MODIFIER}")
        else:
            self.statements.setdefault(statement.fact, []).append(statement)

    def settle(self, fact: str, found: Sourced) -> None:
        """Keep a fact that nothing else in the record speaks of."""
        modified = self.modified.intersection(found.sources)
        for source in modified:
            self.suggest(fact, plain(found.value), MODIFIED, f"{source}.{_MODIFIER}")
        if not modified:
            self.facts[fact] = found

    def note(self, code: str, path: str, fact: str = "", effect: str = "") -> None:
        """Keep an issue, with its usual effect unless another is given."""
        kind = path.partition("/")[0].partition(".")[0]
        key = (code, fact, kind, effect or self.terminology.issues[code].effect)
        self._issues.setdefault(key, set()).add(path)

    def suggest(self, fact: str, suggests: str, code: str, path: str, why: str = "") -> None:
        """Keep a candidate with the issue that makes it one; it gives the words of its code, unless `why` is given."""
        self.note(code, path, fact)
        reason = why or self.terminology.words(code)
        source = path.partition(".")[0]
        self._candidates.setdefault((fact, suggests, reason), set()).add(source)

    def suggests_other(self, fact: str, than: str) -> bool:
        """Say whether anything suggests a fact and not the value `than`, be it another or that there is one to ask."""
        return any(suggested == fact and value != than for suggested, value, _ in self._candidates)

    def issues(self) -> tuple[Issue, ...]:
        """Give the issues, folded by code, fact, effect and type of resource, and sorted."""
        return tuple(
            Issue(code, min(paths), fact, effect, len(paths), tuple(sorted(paths)[:SOURCES_SHOWN]))
            for (code, fact, _, effect), paths in sorted(self._issues.items())
        )

    def candidates(self, settled: Iterable[str]) -> tuple[Candidate, ...]:
        """Give the candidates, sorted; a fact that the record settles has none, except where it has several values."""
        without = frozenset(settled)
        return tuple(
            Candidate(fact, suggests, why, tuple(sorted(sources)))
            for (fact, suggests, why), sources in sorted(self._candidates.items())
            if fact not in without
        )


def plain(value: object) -> str:
    """Give a value as a candidate suggests it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
