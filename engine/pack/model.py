"""Rule packs as data: the shape of every YAML file that docs/rule-format.md describes.

Conditions stay as plain trees here; `engine.compiler` reads and types them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Condition: TypeAlias = Any
"""`always`, an atom's text, or {all|any|not|at_least: ...}; checked by the compiler, which has the places."""

Effect: TypeAlias = Literal[
    "contraindicates",
    "excludes",
    "advises_against",
    "indicates",
    "requires",
    "defers",
    "cautions",
    "triages",
    "plans",
    "shows",
    "reports",
    "concludes",
    "discounts",
    "covers",
    "denies",
    "asks_approval",
    "withholds",
    "defines",
]
Urgency: TypeAlias = Literal["emergency", "same_day", "routine"]
Status: TypeAlias = Literal[
    "contraindicated",
    "not_recommended",
    "not_indicated",
    "insufficient_data",
    "deferred",
    "eligible_with_precautions",
    "eligible",
]
Confirmed: TypeAlias = Literal["read", "read (secondary)", "partly read", "unconfirmed", "engine"]

JUDGES_COVERAGE: frozenset[str] = frozenset({"covers", "denies", "asks_approval"})
"""Effects of a payer's criteria that rest on facts about the patient."""
UNCONDITIONAL: frozenset[str] = frozenset({"concludes", "defines", "withholds"})
MAX_SUPPORTS = 200


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | Decimal | date) and not isinstance(value, bool) else value


Text: TypeAlias = Annotated[str, BeforeValidator(_text)]


class Model(BaseModel):
    """Base of all pack data: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Citation(Model):
    """A source by its key, the section of it, and what that section supports in our own words."""

    source: Text
    section: Text = ""
    supports: str = Field(default="", max_length=MAX_SUPPORTS)

    @model_validator(mode="after")
    def _is_our_own_text(self) -> Citation:
        if any(mark in self.supports for mark in '"“”«»'):
            msg = "`supports` is written in our own words, without quotation marks"
            raise ValueError(msg)
        return self


class Reference(Model):
    """A source, once. `status` says how far it was read."""

    title: str
    publisher: Text = ""
    date: Text = ""
    section_read: Text = ""
    identifier: Text = ""
    status: Text = ""
    grade: Text = ""
    replaces: Text = ""


class Period(Model):
    """`start` inclusive, `until` exclusive; an absent end is open."""

    from_: date | None = Field(default=None, alias="from")
    until: date | None = None

    def holds(self, day: date) -> bool:
        """Say whether `day` lies in the period."""
        return (self.from_ is None or self.from_ <= day) and (self.until is None or day < self.until)


class EffectivePeriod(Model):
    """When a pack speaks: `start` inclusive, `end` exclusive."""

    start: date
    end: date | None = None


class Criterion(Model):
    """One rule: one condition, one effect, its sentence, its sources."""

    id: str = Field(pattern=r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$")
    title: str
    options: tuple[str, ...] = ()
    of: str = ""
    effect: Effect
    level: str = ""
    gives: Literal["deferred", "unknown", ""] = ""
    plan: str = ""
    as_: Literal["monitoring", "dosing", "warning", "note", ""] = Field(default="", alias="as")
    shown_if: Literal["met", "unknown"] = "met"
    at: tuple[Status, ...] = ()
    beside: tuple[str, ...] = ()
    option: str = ""
    statuses: tuple[Status, ...] = ()
    prior_approval_if: str = ""
    before_status: bool = False
    defined_by: tuple[str, ...] = ()
    repeats: str = ""
    when: Condition = None
    needs: tuple[str, ...] = ()
    given: Condition = None
    unless: Condition = None
    explain: str = ""
    explain_unknown: str = ""
    references: tuple[Citation, ...] = Field(min_length=1)
    jurisdictions: tuple[str, ...] = ()
    replaces: str = ""
    effective: Period = Period()
    effective_in: Mapping[str, Period] = Field(default_factory=dict)
    strength: Text
    confirmed: Confirmed
    contested: str = ""
    visit_level: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _fits_its_effect(self) -> Criterion:
        has_condition = self.when is not None or bool(self.needs) or bool(self.repeats)
        if self.effect in UNCONDITIONAL and has_condition:
            msg = f"`{self.effect}` has no condition of its own; leave out `when` and `needs`"
        elif self.effect not in UNCONDITIONAL and not has_condition:
            msg = f"`{self.effect}` needs a condition: `when`"
        elif self.effect == "requires" and not self.needs:
            msg = "`requires` names what must be known: `needs`"
        elif self.effect != "defines" and not self.explain:
            msg = "`explain` is missing: the sentence that a clinician reads"
        elif self.effect == "excludes" and self.level not in {"", "population", "indication"}:
            msg = f"`{self.level}` is no level of `excludes`; write population or indication"
        elif self.effect == "triages" and not self.level:
            msg = "`triages` needs a `level`"
        elif self.effect == "plans" and not self.plan:
            msg = "`plans` needs a `plan`"
        elif self.effect == "shows" and not self.as_:
            msg = "`shows` needs `as`: monitoring, dosing, warning or note"
        else:
            return self
        raise ValueError(msg)

    def within(self, jurisdiction: str) -> Criterion:
        """Give the criterion with the dates that it has in a jurisdiction."""
        period = self.effective_in.get(jurisdiction)
        return self if period is None else self.model_copy(update={"effective": period, "effective_in": {}})


class UnknownIf(Model):
    """A contradiction that makes a concept unknown, the criterion that reports it, and what it says."""

    when: Condition
    report: str
    says: str


class Derived(Model):
    """A named concept: a condition, a choice of evidence, or a count over a list's records."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str
    of: str = ""
    values: tuple[str, ...] = ()
    when: Condition = None
    unless: Condition = None
    unknown_if: UnknownIf | None = None
    first_known: tuple[str | Mapping[str, Mapping[str, bool | str]], ...] = ()
    otherwise: bool | str | None = None
    count: str = ""
    where: Condition = None
    distinct: str = ""
    references: tuple[Citation, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Derived:
        kinds = [self.when is not None, bool(self.first_known), bool(self.count)]
        if sum(kinds) != 1:
            msg = "a derived fact has exactly one of `when`, `first_known` and `count`"
        elif self.otherwise is not None and not self.first_known:
            msg = "`otherwise` belongs to `first_known`"
        elif self.count and self.where is None:
            msg = "`count` needs `where`"
        else:
            return self
        raise ValueError(msg)


class Parameter(Model):
    """A dated number: first day of effect to value."""

    label: str
    unit: str = ""
    values: Mapping[date, Decimal | int] = Field(min_length=1)
    still_valid_on: date
    references: tuple[Citation, ...] = Field(min_length=1)
    note: str = ""

    def at(self, day: date) -> Decimal:
        """Give the value in effect on `day`; before the first day of effect, the first value."""
        days = sorted(self.values)
        current = max((d for d in days if d <= day), default=days[0])
        return Decimal(self.values[current])

    def tightened(self, local: Parameter) -> Parameter:
        """Give the parameter with a local pack's values from that pack's first day on."""
        first = min(local.values)
        return local.model_copy(
            update={"values": {d: v for d, v in self.values.items() if d < first} | dict(local.values)}
        )


class Triage(Model):
    """`triage.yaml`: levels from none to worst, and the criteria that reach them."""

    levels: tuple[str, ...]
    provisional_while_missing: tuple[str, ...]
    asks: tuple[str, ...]
    criteria: tuple[Criterion, ...]


class ReferralRule(Model):
    """One way in which one kind of referral comes to be required."""

    kind: str
    urgency: Urgency
    criteria: tuple[str, ...] = Field(min_length=1)
    when: Condition
    unless: Condition = None
    explain: str
    effective: Period = Period()
    jurisdictions: tuple[str, ...] = ()
    note: str = ""

    @property
    def id(self) -> str:
        """The referral's name in the compiled form."""
        return f"{self.kind}/{self.urgency}/{self.criteria[0]}"


class Referrals(Model):
    """`referrals.yaml`: words for the kinds, and the rules."""

    kinds: Mapping[str, str] = Field(default_factory=dict)
    referrals: tuple[ReferralRule, ...]


class IndicationGroup(Model):
    """What an option's indications conclude together, by criterion id."""

    not_met: str
    unknown: str
    out_of_date: str = ""
    trials: str = ""


class Option(Model):
    """A therapy that may be offered."""

    id: str
    title: str
    authorization: Literal["labeled", "off_label", "standard_care"]
    indication: IndicationGroup | None = None


class DisplayOrder(Model):
    """In which order options are shown."""

    groups: tuple[tuple[Status, ...], ...]
    within_group: tuple[str, ...]
    conventional_first_when: Condition
    ketamine_behind_esketamine_while: tuple[Status, ...]


class Screen(Model):
    """A fact to ask for while it is missing and `when` is met, although no status waits for it."""

    fact: str
    when: Condition


class Options(Model):
    """`options.yaml`."""

    options: tuple[Option, ...]
    order: DisplayOrder
    also_ask: tuple[Screen, ...] = ()


class PackHeader(Model):
    """`pack.yaml`: a pack's life and provenance. `standing` says what a payer's rules are a copy of, how current."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    status: Literal["draft", "active", "retired"]
    serves: str = ""
    payer: str = Field(default="", pattern=r"^([A-Z][A-Z0-9_]*)?$")
    standing: str = ""
    tightens: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    effective_period: EffectivePeriod
    approval_date: date | None = None
    last_review_date: date
    review_interval_days: int = 366
    authors: tuple[str, ...] = Field(min_length=1)
    reviewers: tuple[str, ...] = ()
    funding: str = ""
    extends: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_what_a_payers_rules_are(self) -> PackHeader:
        if bool(self.payer) != bool(self.standing):
            msg = "a payer's pack, and no other, has a `standing`: one line on what its rules are a copy of"
            raise ValueError(msg)
        return self


class CriterionCases(Model):
    """The cases of one criterion, derived fact or referral.

    The facts that make it met, not met, unknown, or a value.
    """

    criterion: str = ""
    derived: str = ""
    referral: str = ""
    as_of: date | None = None
    payer_id: str = ""
    jurisdictions: tuple[str, ...] = ()
    with_: Mapping[str, Any] = Field(default_factory=dict, alias="with")
    met: tuple[Mapping[str, Any], ...] = ()
    not_met: tuple[Mapping[str, Any], ...] = ()
    unknown: tuple[Mapping[str, Any], ...] = ()
    value: Mapping[str, tuple[Mapping[str, Any], ...]] = Field(default_factory=dict)


class CaseFile(Model):
    """A cases file that gives a day for all its cases; a plain list of `CriterionCases` is read too."""

    as_of: date | None = None
    cases: tuple[Any, ...]
