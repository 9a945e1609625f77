"""What the CDS Hooks face says and asks for, as data: `rules/cds-hooks.yaml`."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads annotations when the program runs
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from engine.errors import Diagnostic, RulePackError
from engine.pack.model import Model, Status
from engine.pack.source import read_source

if TYPE_CHECKING:
    from pathlib import Path

FILE = "cds-hooks.yaml"

Indicator: TypeAlias = Literal["info", "warning", "critical"]
Hook: TypeAlias = Literal["patient-view", "order-select", "order-sign"]


class Service(Model):
    """One service of the discovery document."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    hook: Hook
    title: str
    description: str


class Systems(Model):
    """Code systems: the one that LOINC codes are sent with, and by name those that codes of drugs are read with."""

    loinc: str
    drugs: Mapping[str, frozenset[str]]


class Links(Model):
    """The labels of links: the decision's page, the same behind an emergency, and the site's own SMART app."""

    page: str
    emergency_page: str
    smart: str


class Query(Model):
    """A prefetch template: a read by a field of the context, or a search for the patient's resources of a type."""

    resource: str
    read: Literal["patientId", "encounterId", ""] = ""
    facts: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    sort: str = ""
    count: int = 0


class AgeLimit(Model):
    """The fact that holds the age, and the completed years from which a patient is an adult."""

    fact: str
    at_least: int


class Diagnosis(Model):
    """The fact that holds the diagnosis, and the values of it, or of a candidate for it, that are a depression."""

    fact: str
    values: frozenset[str]


class Audience(Model):
    """For whom the patient-view service speaks; `always` is the area of facts that make it look at anybody."""

    always: str
    age: AgeLimit
    diagnosis: Diagnosis


class Order(Model):
    """What tells that a draft orders an option: codes as `System code`, or names as whole words, in lower case.

    A code may end in `*`, for any end.
    """

    option: str
    codes: tuple[str, ...]
    unconfirmed: tuple[str, ...] = ()
    names: tuple[str, ...]
    source: str


class StatusWords(Model):
    """How a status is said, how urgent it is for an order, and the topic of its card."""

    words: str
    indicator: Indicator
    topic: str


class Emergency(Model):
    """The card of the triage level that comes before everything else."""

    level: str
    topic: str
    summary: str = Field(max_length=139)
    detail: str
    pathway: str


class Measurement(Model):
    """A measurement or questionnaire that settles facts, by its LOINC code."""

    label: str
    description: str
    facts: tuple[str, ...]
    code: str
    display: str
    unconfirmed: bool = False


class Words(Model):
    """The whole file."""

    version: str
    title: str
    services: tuple[Service, ...] = Field(min_length=1)
    usage_requirements: str
    systems: Systems
    prefetch: Mapping[str, Query]
    audience: Audience
    orders: tuple[Order, ...]
    authorizations: Mapping[str, str]
    statuses: Mapping[Status, StatusWords]
    topics: Mapping[str, str]
    emergency: Emergency
    links: Links
    closing: str
    suggestions: tuple[Measurement, ...] = Field(max_length=12)
    reason_system: str
    reasons: Mapping[str, str]
    reasons_by_topic: Mapping[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _is_whole(self) -> Words:
        used = {s.topic for s in self.statuses.values()} | {self.emergency.topic}
        if set(self.statuses) != set(Status.__args__):  # type: ignore[attr-defined]
            msg = "`statuses` names every status once"
        elif used - set(self.topics) or set(self.topics) - set(self.reasons_by_topic):
            msg = "every topic that is used has words in `topics` and reasons in `reasons_by_topic`"
        elif any(set(codes) - set(self.reasons) for codes in self.reasons_by_topic.values()):
            msg = "`reasons_by_topic` names a reason that `reasons` does not have"
        elif len({s.id for s in self.services}) != len(self.services):
            msg = "each service has an id of its own; one id for several hooks would replace guidance of another hook"
        elif {code.partition(" ")[0] for o in self.orders for code in (*o.codes, *o.unconfirmed)} - set(
            self.systems.drugs
        ):
            msg = "each code in `orders` begins with a system of `systems.drugs`"
        elif any(name != name.casefold() for order in self.orders for name in order.names):
            msg = "the names in `orders` are in lower case, as texts are compared"
        else:
            return self
        raise ValueError(msg)


def load_words(rules: Path) -> Words:
    """Load the words from the rules folder.

    Raises:
        RulePackError: the file is not there or not of this shape, with the place of each fault.

    """
    try:
        source = read_source(FILE, (rules / FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise RulePackError([Diagnostic(FILE, 1, 1, "cds/unreadable", "the file cannot be read")]) from None
    if source.faults:
        raise RulePackError(source.faults)
    try:
        return Words.model_validate(source.data)
    except ValidationError as error:
        faults = [source.fault(found["loc"], "cds/shape", found["msg"]) for found in error.errors()]
        raise RulePackError(faults) from None
