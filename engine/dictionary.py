"""The data dictionary: what each fact is, what values it takes, and how it is written for a clinician."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine import units

Typed: TypeAlias = bool | int | str | date | tuple[str, ...]
FactKind: TypeAlias = Literal["bool", "int", "decimal", "enum", "date", "set", "records", "code"]


class FhirBinding(BaseModel):
    """Where FHIR R4 keeps a fact. `unconfirmed` codes must be checked on a terminology server before use."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    resource: str
    codes: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()


class FactDefinition(BaseModel):
    """One entry of `facts.yaml`.

    `range` is in `unit` (UCUM); `scale` is how many digits after the point a decimal keeps; `values` maps each enum
    value to the words for it; `missing_values` are values that say that the result is not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    area: str = ""
    type: FactKind
    unit: str = ""
    range: tuple[Decimal, Decimal] | None = None
    scale: int = Field(default=0, ge=0, le=4)
    values: Mapping[str, str] = Field(default_factory=dict)
    missing_values: tuple[str, ...] = ()
    label: str
    meaning: str
    ask: str = ""
    if_unknown: str = ""
    mutable: bool = False
    valid_for: str = ""
    fhir: FhirBinding | None = None
    fields: tuple[FactDefinition, ...] = ()
    complete_when: str = ""
    table: str = ""

    @property
    def valid_for_days(self) -> int | None:
        """How many days an observation speaks after its date; None without a limit."""
        return int(self.valid_for.split()[0]) if self.valid_for else None

    @property
    def outside(self) -> str:
        """What is said of a number outside the range."""
        low, high = self.range or (0, 0)
        return f"it is outside {low} to {high} {self.unit}".rstrip()

    @model_validator(mode="after")
    def _is_whole(self) -> FactDefinition:
        if self.unit and not units.is_unit(self.unit):
            msg = f"`{self.unit}` is not a unit that this project knows"
            raise ValueError(msg)
        if (self.type in {"enum", "set"}) != bool(self.values):
            msg = "`values` belongs to enums and sets, and they need it"
            raise ValueError(msg)
        if "unknown" in self.values:
            msg = "`unknown` is allowed for every enum and is not listed"
            raise ValueError(msg)
        if self.type in {"int", "decimal"} and self.range is None:
            msg = "a number needs a `range`"
            raise ValueError(msg)
        return self

    def scaled(self, number: Decimal | Fraction | int) -> int | None:
        """Give the whole number that stands for `number` (times 10 to the `scale`); None if it has more digits."""
        value = Fraction(number) * 10**self.scale
        return int(value) if value.denominator == 1 else None

    def in_words(self, value: Typed, *, with_unit: bool = True) -> str:
        """Write a value as a clinician reads it; a sentence that names the unit itself asks for none."""
        match value:
            case bool():
                return "yes" if value else "no"
            case date():
                return value.isoformat()
            case tuple():
                return ", ".join(self.values.get(v, v) for v in value) or "none"
            case str():
                return self.values.get(value, value.replace("_", " "))
            case _:
                number = str(value) if not self.scale else f"{Decimal(value).scaleb(-self.scale).normalize():f}"
                return f"{number} {unit_in_words(self.unit)}".strip() if with_unit else number


_UNIT_WORDS = {"mm[Hg]": "mmHg", "a": "years", "wk": "weeks", "d": "days", "mg/d": "mg a day"}


def unit_in_words(unit: str) -> str:
    """Write a unit (UCUM) as a clinician reads it."""
    return _UNIT_WORDS.get(unit, unit)


class Constraint(BaseModel):
    """A plain impossibility: while it is violated, the facts of `unusable` are treated as missing.

    Exactly one of: `greater` (the first number exceeds the second; with `together`, one without the other violates it
    too), `never` (facts that never have these values at once), `within_life` (a date not before birth, as far as
    `age_years` says).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    together: tuple[str, ...] = ()
    greater: tuple[str, str] | None = None
    never: Mapping[str, bool | str] = Field(default_factory=dict)
    within_life: str = ""
    unusable: tuple[str, ...]
    says: str


class RequestField(BaseModel):
    """A field that stands beside the facts in every request."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    type: str
    values: Mapping[str, str] = Field(default_factory=dict)
    label: str = ""
    meaning: str
    ask: str = ""
    if_unknown: str = ""
    fhir: FhirBinding | None = None


class Dictionary(BaseModel):
    """`facts.yaml`: every input fact by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: str
    areas: Mapping[str, str]
    request: tuple[RequestField, ...]
    facts: tuple[FactDefinition, ...]
    constraints: tuple[Constraint, ...] = ()

    def by_name(self) -> dict[str, FactDefinition]:
        """Give the facts by their names."""
        return {fact.id: fact for fact in self.facts}

    def allowed(self, name: str) -> tuple[str, ...]:
        """Give the values that request field `name` may have."""
        return tuple(next(f.values for f in self.request if f.id == name))

    def with_payers(self, payers: Iterable[str]) -> Dictionary:
        """Give the dictionary with payers of rule packs among the values of `payer_id`; a new one stands by its id."""
        more = {payer: payer.replace("_", " ") for payer in sorted(payers)}
        request = (
            f.model_copy(update={"values": more | dict(f.values)}) if f.id == "payer_id" else f for f in self.request
        )
        return self.model_copy(update={"request": tuple(request)})
