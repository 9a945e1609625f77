"""What was read of a record: facts that it settles, candidates that a clinician has to confirm, and issues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.facts import MAX_TEXT

if TYPE_CHECKING:
    from datetime import date

TRIALS = "trials"
DECEASED = "fhir/deceased"
SOURCES_SHOWN = 3

_ABOUT_A_TRIAL = frozenset({"sources", "adequacy", "missing"})
"""What a reading says of a trial beside the fields of the data dictionary."""


@dataclass(frozen=True, slots=True)
class Sourced:
    """A fact that the record settles.

    Attributes:
        value: as `engine.facts.read_facts` takes it, in the unit of the data dictionary.
        raw: the number as it was written, where it was rounded or converted.
        unit: the unit of `value` (UCUM), where it has one.
        date: the day of the observation, as YYYY-MM-DD, where it is known.
        sources: the resources that say so, as `Type/id`.
        matched_by: `code`, `unconfirmed code` (check it on a terminology server), `name` or `element`.

    """

    value: object
    raw: object = None
    unit: str = ""
    date: str = ""
    sources: tuple[str, ...] = ()
    matched_by: str = "code"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fact that the record suggests and does not settle; it never reaches the rules as a value.

    `suggests` is the value to confirm, empty where the record suggests that there is something to ask, but no value.
    """

    fact: str
    suggests: str
    why: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that was not read at face value.

    Issues of one code, fact and type of resource are one, with a `count` and the first `paths`; `path` is the first of
    them. `effect` is `unusable` (the fact came and cannot be read), `unconfirmed` (it is a candidate), `ignored` (it
    does not count) or `noted` (it was read anyway). It holds codes and paths only.
    """

    code: str
    path: str
    fact: str = ""
    effect: str = ""
    count: int = 1
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was read of one patient's record at `as_of`. A fact that is in none of the first three is missing.

    `earlier` holds what an earlier observation says of a fact of which the newest cannot be used, where it reassures
    nobody: it is too old to count, and may still raise an alarm, or is the worst that there is.
    """

    patient: str
    as_of: date
    facts: Mapping[str, Sourced] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    issues: tuple[Issue, ...] = ()
    earlier: Mapping[str, Sourced] = field(default_factory=dict)

    @property
    def is_deceased(self) -> bool:
        """Whether the patient had died by `as_of`, so that nothing is to be evaluated."""
        return any(issue.code == DECEASED for issue in self.issues)

    def to_plain(self) -> dict[str, object]:
        """Give the reading as plain JSON data; what is empty is left out."""
        return {
            "patient": self.patient,
            "as_of": self.as_of.isoformat(),
            "facts": {name: _plain_fact(name, fact) for name, fact in self.facts.items()},
            "candidates": [
                {"fact": c.fact, "suggests": c.suggests, "why": c.why, "sources": list(c.sources)}
                for c in self.candidates
            ],
            "issues": [_plain_issue(issue) for issue in self.issues],
        }

    def raw_facts(self) -> dict[str, object]:
        """Give the facts as `engine.facts.read_facts` takes them: values with date and source, trials as a list."""
        known = {name: _trials(fact) if name == TRIALS else _observed(fact) for name, fact in self.facts.items()}
        return {**{name: _observed(fact) for name, fact in self.earlier.items()}, **known}


def merged(explicit: Mapping[str, object], reading: Reading) -> dict[str, object]:
    """Join facts that were given with those of a record: per fact, what was given wins.

    A fact given as null or as unknown says no more than one that is absent, so the record stands beside it.
    """
    given = {name: value for name, value in explicit.items() if not _is_unknown(value)}
    return {**explicit, **reading.raw_facts(), **given}


def _is_unknown(value: object) -> bool:
    if isinstance(value, Mapping) and "value" in value:
        value = value["value"]
    return value is None or value == "unknown"


def _plain_fact(name: str, fact: Sourced) -> dict[str, object]:
    if name == TRIALS:
        return {"value": _plain(fact.value)}
    told = {
        "value": _plain(fact.value),
        "raw": _plain(fact.raw),
        "unit": fact.unit,
        "date": fact.date,
        "sources": list(fact.sources),
    }
    return {
        **{key: value for key, value in told.items() if key == "value" or value not in (None, "", [])},
        "matched_by": fact.matched_by,
    }


def _plain(value: object) -> object:
    """Give a value as JSON has it: a decimal as a number, and as a whole one where it is whole."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def _plain_issue(issue: Issue) -> dict[str, object]:
    told: dict[str, object] = {"code": issue.code, "path": issue.path}
    if issue.fact:
        told["fact"] = issue.fact
    told |= {"effect": issue.effect, "count": issue.count}
    if len(issue.paths) > 1:
        told["paths"] = list(issue.paths)
    return told


def _observed(fact: Sourced) -> dict[str, object]:
    observed: dict[str, object] = {"value": fact.value}
    if fact.date:
        observed["date"] = fact.date
    if fact.sources:
        observed["source"] = _told(fact.sources)
    return observed


def _trials(fact: Sourced) -> list[object]:
    trials = fact.value if isinstance(fact.value, list) else []
    return [
        {
            "value": {name: value for name, value in trial.items() if name not in _ABOUT_A_TRIAL},
            "source": _told(trial.get("sources", ())),
        }
        for trial in trials
    ]


def _told(sources: Sequence[str]) -> str:
    return ", ".join(sources[:SOURCES_SHOWN])[:MAX_TEXT]
