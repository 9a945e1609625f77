"""The seam to what decides: the face asks a desk, which evaluates and logs, and never decides anything itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.page.timeline import History
    from server.chart import Chart
    from server.interceptors.callers import Caller

Outcome: TypeAlias = Literal["accepted", "overridden"]
Purpose: TypeAlias = Literal["care", "what_if"]

DECEASED = "PATIENT_DECEASED"
"""Reason of the fault that a desk raises for a patient who had died by the day of the evaluation."""


class Candidate(Protocol):
    """What the record suggests and a clinician has to confirm; `engine.fhir.reading.Candidate` is one."""

    @property
    def fact(self) -> str: ...  # noqa: D102
    @property
    def suggests(self) -> object: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def sources(self) -> Sequence[str]: ...  # noqa: D102


class Issue(Protocol):
    """What was not read at face value; `engine.fhir.reading.Issue` is one. `paths` and `fact` hold no patient data."""

    @property
    def code(self) -> str: ...  # noqa: D102
    @property
    def fact(self) -> str: ...  # noqa: D102
    @property
    def effect(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def paths(self) -> Sequence[str]: ...  # noqa: D102


class Sourced(Protocol):
    """A fact that the record settles; `engine.fhir.reading.Sourced` is one."""

    @property
    def value(self) -> object: ...  # noqa: D102


class Reading(Protocol):
    """What was read of a record; `engine.fhir.reading.Reading` is one."""

    @property
    def facts(self) -> Mapping[str, Sourced]: ...  # noqa: D102
    @property
    def candidates(self) -> Sequence[Candidate]: ...  # noqa: D102
    @property
    def issues(self) -> Sequence[Issue]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Shown:
    """A decision that is in the log, and what it was made of. `receipt` proves the entry at `index`."""

    decision_id: str
    decision: Decision
    reading: Reading
    facts: PatientFacts
    receipt: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A logged decision, opened for a clinician, with what has to be asked again to change an answer of it.

    `history` holds the antidepressant trials in words; None while the list is missing.
    """

    shown: Shown
    content: bytes
    patient: str
    explicit: Mapping[str, object]
    jurisdiction: str
    history: History | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of a card. The same card, outcome and time is the same feedback.

    `card` is the id of a decision or of one of its cards; `comment` is patient data.
    """

    card: str
    outcome: Outcome
    reason: str
    comment: str
    moment: datetime


class Desk(Protocol):
    """Evaluates and logs. Called on threads, several at once; nothing is returned before it is in the log."""

    def read(self, chart: Chart, patient: str) -> Reading:
        """Read a patient's FHIR resources as of today, without deciding anything; nothing of it is kept."""

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
        """Decide for a patient's FHIR resources.

        Args:
            content: a JSON object of prefetched resources, as the hook calls it `prefetch`.
            patient: logical id of the Patient.
            explicit: facts that a clinician gave; they win over the record's.
            jurisdiction: whose rules are asked.
            purpose: `care` for a hook, `what_if` for answers given on the page.
            request_id: the same id and content give the same decision.
            caller: the client and the user whom it names.
            deadline: monotonic seconds after which nobody waits any more.
            chart: of the content, for whoever has parsed it.

        Raises:
            LedgerError: the log cannot take the decision, so nothing may be shown.
            Fault: the request cannot be evaluated; reason PATIENT_DECEASED where the patient has died.

        """

    def open(self, decision_id: str, caller: Caller) -> Opened:
        """Open a decision for a clinician, and log that it was opened. Raises: LedgerError, Fault."""

    def feedback(self, feedback: Feedback, caller: Caller, deadline: float) -> None:
        """Log what became of a card; a repeat changes nothing, an unknown card is logged as such.

        Raises:
            LedgerError: it cannot be logged; the client may send it again.
            Fault: it is not of a form that can be logged, the decision was erased, or the card went to another client.

        """
