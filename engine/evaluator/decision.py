"""What an evaluation answers: plain data, in the words of the public contract.

Lists keep the order in which a person should read them. Truth is `met`, `not_met` or `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Truth: TypeAlias = Literal["met", "not_met", "unknown"]
Status: TypeAlias = Literal[
    "contraindicated",
    "not_recommended",
    "not_indicated",
    "insufficient_data",
    "deferred",
    "eligible_with_precautions",
    "eligible",
]

ReferralState: TypeAlias = Literal["required", "unresolved"]
Side: TypeAlias = Literal["for", "against", "cautioning", "unresolved", "informing"]
DocumentationState: TypeAlias = Literal["documented", "self_reported", "stated", "missing"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that supports a criterion: its key, title, section and what it supports, in our own words."""

    source: str
    title: str
    section: str
    supports: str


@dataclass(frozen=True, slots=True)
class FactRead:
    """A fact that a criterion read: `value` as text with its unit, or None while it is missing.

    `path` is the caller's own path to it, `date` when it was observed (ISO), `source` where it came from; empty if
    not given.
    """

    fact: str
    label: str
    value: str | None
    path: str = ""
    date: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class CriterionFinding:
    """One criterion as it stands for this patient. `side` is its place in the argument."""

    id: str
    title: str
    effect: str
    truth: Truth
    side: Side
    because: str
    facts: tuple[FactRead, ...]
    references: tuple[Citation, ...]
    strength: str
    confirmed: str
    contested: str
    visit_level: bool
    is_reported: bool
    note: str = ""

    @property
    def part(self) -> str:
        """The part of the argument in which it is shown: its side, but `deferring` for what an option waits for."""
        return "deferring" if self.side == "cautioning" and self.effect == "defers" else self.side


@dataclass(frozen=True, slots=True)
class ShownItem:
    """A line of the plan, the monitoring, the dosing or the notes shown with an answer."""

    id: str
    text: str
    confirmed: str


@dataclass(frozen=True, slots=True)
class OptionAnswer:
    """The answer for one option."""

    option: str
    title: str
    authorization: Literal["labeled", "off_label", "standard_care"]
    status: Status
    could_be: tuple[Status, ...]
    summary: str
    criteria: tuple[CriterionFinding, ...]
    missing: tuple[str, ...]
    why_not: tuple[str, ...]
    plan: tuple[ShownItem, ...]
    dosing: tuple[ShownItem, ...]
    monitoring: tuple[ShownItem, ...]
    notes: tuple[ShownItem, ...]


@dataclass(frozen=True, slots=True)
class TriageAnswer:
    """Suicide-risk level; `provisional` while an input that decides it is missing."""

    level: Literal["none", "low", "moderate", "high", "emergency"]
    provisional: bool
    criteria: tuple[CriterionFinding, ...]


@dataclass(frozen=True, slots=True)
class Referral:
    """Someone else who must see the patient. `unresolved`: it is not known yet whether they must."""

    kind: str
    title: str
    urgency: Literal["emergency", "same_day", "routine"]
    state: ReferralState
    criteria: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class CriterionDates:
    """From which day on a criterion of a payer is in force, and until which; ISO, empty where the copy gives none."""

    criterion: str
    effective_from: str
    effective_until: str


@dataclass(frozen=True, slots=True)
class DocumentationItem:
    """A fact that a payer's criteria rest on, or one record of a list, and how it is evidenced.

    Attributes:
        fact: its name.
        label: words for it.
        criteria: the ids of the payer's criteria in force that rest on it.
        state: `documented` if a record or a source came with it; `self_reported` if the patient said it; `stated`
            without either; `missing` if it is not known or cannot be used.
        value: its value as text, with its unit; None while nothing usable came.
        question: what to ask; empty unless it is missing.
        reason: why what came, or a part of it, cannot be used. Holds no patient data.
        lacking: what is not recorded of a record and keeps a criterion from being judged, in words.
        path: the caller's own path to it.
        date: when it was observed (ISO), empty if not given; the days of a record stand in its value.
        source: where it came from; empty if not given.

    """

    fact: str
    label: str
    criteria: tuple[str, ...]
    state: DocumentationState
    value: str | None
    question: str = ""
    reason: str = ""
    lacking: tuple[str, ...] = ()
    path: str = ""
    date: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class CoverageAnswer:
    """What the payer's rules say about esketamine; never part of the clinical status.

    `standing` says what those rules are a copy of, `dates` when each criterion listed is in force, `documentation` what
    the criteria in force rest on.
    """

    payer_id: str
    status: Literal["covered", "not_covered", "not_met", "prior_approval", "insufficient_data"]
    criteria: tuple[CriterionFinding, ...]
    notes: tuple[ShownItem, ...]
    standing: str = ""
    dates: tuple[CriterionDates, ...] = ()
    documentation: tuple[DocumentationItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A missing fact, the question to put, and what its answer is for (option ids, `triage`, `coverage`)."""

    fact: str
    question: str
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnusableInput:
    """An input that came but cannot be read; treated as missing. `reason` holds no patient data."""

    fact: str
    label: str
    reason: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class ChangeDate:
    """The next date on which the same facts would give another answer for an option.

    `fact` and its `label` name what moves; both are empty where a rule's own date does.
    """

    date: str
    fact: str
    label: str
    option: str
    to: Status


@dataclass(frozen=True, slots=True)
class PackIdentity:
    """A rule pack that spoke."""

    id: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Which engines computed the decision, and whether they agreed (never False in an answer that is returned)."""

    mode: Literal["both", "interpret"]
    agree: bool
    version: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole answer for one patient on one day."""

    as_of: str
    jurisdiction: str
    options: tuple[OptionAnswer, ...]
    triage: TriageAnswer
    referrals: tuple[Referral, ...]
    coverage: CoverageAnswer | None
    missing: tuple[Question, ...]
    also_ask: tuple[Question, ...]
    unusable: tuple[UnusableInput, ...]
    changes_on: ChangeDate | None
    option_order: tuple[str, ...]
    packs: tuple[PackIdentity, ...]
    engines: EngineReport
    disclaimer: str
