"""The data dictionary, and the reading of one patient's facts at the door.

A fact is known or missing. A well-shaped value that cannot be used (out of range, in the future, stale, in a wrong
unit, contradictory) is unusable: treated as missing and listed with the reason. A malformed one is a `FactError`, all
at once. Nothing is defaulted here.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine import units
from engine.errors import FactError, Violation
from engine.names import nearest

MAX_TEXT = 200
MAX_RECORDS = 200
MAX_PROBLEMS = 100
MAX_MAGNITUDE = 30
DAYS_A_YEAR = 366

_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})
"""Categories of characters of which nothing can be seen where they stand alone."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters of other categories that are blank: fillers of Hangul, and the empty pattern of Braille."""

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

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


@dataclass(frozen=True, slots=True)
class Observed:
    """A known fact: its typed value, where the caller wrote it, and when and where it was observed, if given."""

    value: Typed
    path: str
    observed_on: date | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """An input that came but cannot be read. `reason` holds no patient data."""

    fact: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One record of a list fact: typed field values, whether a date lies in the future, and where it came from."""

    values: Mapping[str, Typed]
    path: str
    has_future_date: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """What is known of a patient at `as_of`. A fact that is in neither `known` nor `records` is missing."""

    as_of: date
    known: Mapping[str, Observed]
    records: Mapping[str, tuple[TrialRecord, ...]]
    unusable: tuple[Unusable, ...] = ()


class _MalformedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


class _UnusableError(Exception):
    pass


def read_facts(
    definitions: Mapping[str, FactDefinition],
    constraints: Sequence[Constraint],
    raw: Mapping[str, object],
    as_of: date,
    path_of: Callable[[str], str] = lambda name: f"facts.{name}",
) -> PatientFacts:
    """Read one patient's facts.

    Args:
        definitions: the data dictionary, by name.
        constraints: what cannot be, checked after every value was read on its own.
        raw: fact name to a JSON value or to `{"value", "date", "source", "unit"}`; a list of objects for a list fact,
            each alone or as `{"value", "source"}`.
        as_of: the day on which the rules are evaluated; dates are counted back from it.
        path_of: the caller's own path to a fact, for errors.

    Raises:
        FactError: unknown names, wrong types, malformed dates and numbers, values outside a closed list: all of them.

    """
    reader = _Reader(definitions, as_of, path_of)
    for name, value in raw.items():
        reader.read(str(name), value)
    if reader.violations:
        raise FactError(reader.violations[:MAX_PROBLEMS])
    reader.keep_possible(constraints)
    places = {name: place for place, name in enumerate(definitions)}
    unusable = sorted(reader.unusable, key=lambda entry: (places[entry.fact], entry.path))
    return PatientFacts(as_of, reader.known, reader.records, tuple(unusable))


_PLAIN = (str, int, list, float, type(None))


class _Reader:
    def __init__(self, definitions: Mapping[str, FactDefinition], as_of: date, path_of: Callable[[str], str]) -> None:
        self.definitions = definitions
        self.as_of = as_of
        self.path_of = path_of
        self.known: dict[str, Observed] = {}
        self.records: dict[str, tuple[TrialRecord, ...]] = {}
        self.unusable: list[Unusable] = []
        self.violations: list[Violation] = []

    def read(self, name: str, raw: object) -> None:
        definition = self.definitions.get(name)
        path = self.path_of(name[:MAX_TEXT])
        if definition is None:
            self.violations.append(Violation(path, "fact/unknown-name", _unknown_name(name, self.definitions)))
        elif definition.type == "records":
            self._read_records(definition, raw, path)
        else:
            self._read_scalar(definition, raw, path)

    def _read_scalar(self, definition: FactDefinition, raw: object, path: str) -> None:
        try:
            observed = self._observed(definition, raw, path)
        except _MalformedError as fault:
            self.violations.append(Violation(path, fault.code, fault.message))
        except _UnusableError as fault:
            self.unusable.append(Unusable(definition.id, path, str(fault)))
        else:
            if observed is not None:
                self.known[definition.id] = observed

    def _observed(self, definition: FactDefinition, raw: object, path: str) -> Observed | None:
        observed_on: date | None = None
        source = unit = ""
        if not isinstance(raw, _PLAIN) and isinstance(raw, Mapping):
            raw, observed_on, source, unit = _unwrap(raw)
        value = _typed(definition, raw, unit)
        if value is None:
            return None
        if isinstance(value, date) and value > self.as_of:
            msg = "the date lies after `as_of`"
            raise _UnusableError(msg)
        if observed_on is not None:
            age = (self.as_of - observed_on).days
            if age < 0:
                msg = "it was observed after `as_of`"
                raise _UnusableError(msg)
            if definition.valid_for_days is not None and age > definition.valid_for_days:
                msg = f"it was observed more than {definition.valid_for_days} days before `as_of`"
                raise _UnusableError(msg)
        return Observed(value, path, observed_on, source)

    def _read_records(self, definition: FactDefinition, raw: object, path: str) -> None:
        if raw is None:
            return
        if not isinstance(raw, list | tuple):
            self.violations.append(Violation(path, "fact/wrong-type", "must be a list of objects"))
            return
        if len(raw) > MAX_RECORDS:
            message = f"holds more than {MAX_RECORDS} records; send those of the current episode"
            self.violations.append(Violation(path, "fact/too-many", message))
            return
        self.records[definition.id] = tuple(
            self._record(definition, record, f"{path}[{position}]") for position, record in enumerate(raw)
        )

    def _record(self, definition: FactDefinition, raw: object, path: str) -> TrialRecord:
        values: dict[str, Typed] = {}
        source = ""
        try:
            if isinstance(raw, Mapping) and "value" in raw:
                raw, source = _unwrap_record(raw)
        except _MalformedError as fault:
            self.violations.append(Violation(path, fault.code, fault.message))
            return TrialRecord(values, path)
        if not isinstance(raw, Mapping):
            self.violations.append(Violation(path, "fact/wrong-type", "must be an object"))
            return TrialRecord(values, path)
        fields = {f.id: f for f in definition.fields}
        has_future_date = False
        for name, field_raw in raw.items():
            field_path = f"{path}.{str(name)[:MAX_TEXT]}"
            field_definition = fields.get(name)
            if field_definition is None:
                self.violations.append(Violation(field_path, "fact/unknown-name", _unknown_name(str(name), fields)))
                continue
            try:
                value = _typed(field_definition, field_raw, "")
            except _MalformedError as fault:
                self.violations.append(Violation(field_path, fault.code, fault.message))
            except _UnusableError as fault:
                self.unusable.append(Unusable(definition.id, field_path, str(fault)))
            else:
                if isinstance(value, date) and value > self.as_of:
                    has_future_date = True
                    self.unusable.append(Unusable(definition.id, field_path, "the date lies after `as_of`"))
                elif value is not None:
                    values[name] = value
        return TrialRecord(values, path, has_future_date, source)

    def keep_possible(self, constraints: Sequence[Constraint]) -> None:
        for constraint in constraints:
            if not self._violates(constraint):
                continue
            for name in constraint.unusable:
                observed = self.known.pop(name, None)
                if observed is not None:
                    self.unusable.append(Unusable(name, observed.path, constraint.says))

    def _violates(self, constraint: Constraint) -> bool:
        known = self.known
        if constraint.together:
            present = [name in known for name in constraint.together]
            if any(present) and not all(present):
                return True
        if constraint.greater:
            first, second = (known[n].value if n in known else None for n in constraint.greater)
            return isinstance(first, int) and isinstance(second, int) and first <= second
        if constraint.never:
            return all(n in known and known[n].value == v for n, v in constraint.never.items())
        if constraint.within_life in known and "age_years" in known:
            day, age = known[constraint.within_life].value, known["age_years"].value
            return isinstance(day, date) and (self.as_of - day).days > (int(age) + 1) * DAYS_A_YEAR  # type: ignore[arg-type]
        return False


def _unknown_name(name: str, known: Mapping[str, object]) -> str:
    hint = nearest(name, known) or "; see `DescribeInputs` or rules/facts.yaml for the names"
    return f"is not a fact of the data dictionary{hint}"


def _unwrap(raw: Mapping[object, object]) -> tuple[object, date | None, str, str]:
    extra = set(raw) - {"value", "date", "source", "unit"}
    if extra or "value" not in raw:
        code = "fact/wrong-type"
        raise _MalformedError(
            code, "an observed value has `value` and optionally `date`, `source` and `unit`, nothing else"
        )
    observed_on = None if raw.get("date") is None else _date(raw["date"])
    source, unit = ("" if raw.get(key) is None else raw[key] for key in ("source", "unit"))
    if not isinstance(source, str) or not isinstance(unit, str) or len(source) > MAX_TEXT or len(unit) > MAX_TEXT:
        code = "fact/wrong-type"
        raise _MalformedError(code, f"`source` and `unit` are texts of at most {MAX_TEXT} characters")
    return raw["value"], observed_on, source if is_visible(source) else "", unit


def is_visible(text: str) -> bool:
    """Say whether there is anything to see in a text."""
    return any(unicodedata.category(each) not in _UNSEEN and each not in _BLANK for each in text)


def _unwrap_record(raw: Mapping[object, object]) -> tuple[object, str]:
    if set(raw) - {"value", "source"}:
        code = "fact/wrong-type"
        raise _MalformedError(
            code, "a record with a source has `value` and `source`, nothing else; its dates are fields"
        )
    record, _, source, _ = _unwrap(raw)
    return record, source


def _typed(definition: FactDefinition, raw: object, unit: str) -> Typed | None:
    if raw is None:
        return None
    match definition.type:
        case "bool":
            if not isinstance(raw, bool):
                code = "fact/wrong-type"
                raise _MalformedError(code, "must be true, false or null")
            return raw
        case "int" | "decimal":
            return _number(definition, raw, unit)
        case "date":
            return _date(raw)
        case "enum":
            return _enum(definition, raw)
        case "set":
            if not isinstance(raw, list | tuple):
                code = "fact/wrong-type"
                raise _MalformedError(code, "must be a list; an empty list says that there are none")
            members = {_enum(definition, member) for member in raw}
            return None if None in members else tuple(v for v in definition.values if v in members)
        case _:
            if not isinstance(raw, str) or not raw or len(raw) > MAX_TEXT:
                code = "fact/wrong-type"
                raise _MalformedError(code, f"must be a text of 1 to {MAX_TEXT} characters")
            return raw


def _enum(definition: FactDefinition, raw: object) -> str | None:
    if raw == "unknown":
        return None
    if not isinstance(raw, str):
        code = "fact/wrong-type"
        raise _MalformedError(code, f"must be one of {', '.join(definition.values)}, unknown")
    if raw not in definition.values:
        code = "fact/unknown-value"
        raise _MalformedError(
            code, f"must be one of {', '.join(definition.values)}, unknown{nearest(raw, definition.values)}"
        )
    return None if raw in definition.missing_values else raw


def _date(raw: object) -> date:
    code = "fact/malformed-date"
    if not isinstance(raw, str) or not DATE.fullmatch(raw):
        raise _MalformedError(code, "must be a date written as YYYY-MM-DD")
    try:
        return date.fromisoformat(raw)
    except ValueError:
        raise _MalformedError(code, "must be a day that exists, written as YYYY-MM-DD") from None


def _number(definition: FactDefinition, raw: object, unit: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        code = "fact/wrong-type"
        raise _MalformedError(code, "must be a number")
    is_finite = raw.is_finite() if isinstance(raw, Decimal) else isinstance(raw, int) or math.isfinite(raw)
    if not is_finite:
        code = "fact/not-finite"
        raise _MalformedError(code, "must be a finite number")
    if isinstance(raw, Decimal) and raw and abs(raw.adjusted()) > MAX_MAGNITUDE:
        code = "fact/not-finite"
        raise _MalformedError(code, "must be a number of ordinary size")
    low, high = definition.range or (Decimal(0), Decimal(0))
    if isinstance(raw, int) and not unit:
        if not low <= raw <= high:
            raise _UnusableError(definition.outside)
        return raw * 10**definition.scale  # type: ignore[no-any-return]
    number = Fraction(str(raw)) if isinstance(raw, float) else Fraction(raw)
    if unit:
        conversion = units.factor(unit, definition.unit)
        if conversion is None:
            msg = f"its unit cannot be read as {definition.unit or 'a plain score'}"
            raise _UnusableError(msg)
        if conversion != 1:
            number = Fraction(round(number * conversion * 10**definition.scale), 10**definition.scale)
    if not Fraction(low) <= number <= Fraction(high):
        raise _UnusableError(definition.outside)
    scaled = definition.scaled(number)
    if scaled is None:
        if definition.type == "decimal":
            msg = f"it has more than {definition.scale} digits after the point"
            raise _UnusableError(msg)
        code = "fact/too-precise"
        raise _MalformedError(code, "must be a whole number")
    return scaled
