"""The reading of one patient's facts at the door.

A fact is known or missing. A well-shaped value that cannot be used (out of range, in the future, stale, in a wrong
unit, contradictory) is unusable: treated as missing and listed with the reason. A malformed one is a `FactError`, all
at once. Nothing is defaulted here.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from engine import units
from engine.errors import FactError, Violation
from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.dictionary import Constraint, FactDefinition, Typed

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
    """What is known of a patient at `as_of`. A fact that is in neither `known` nor `records` is missing.

    `stale` are observations that are too old to count: the facts are missing, and an alarm of then may still be raised.
    """

    as_of: date
    known: Mapping[str, Observed]
    records: Mapping[str, tuple[TrialRecord, ...]]
    unusable: tuple[Unusable, ...] = ()
    stale: Mapping[str, Observed] = field(default_factory=dict)


class _MalformedError(Exception):
    """A value that is refused; `part` names what beside the value is wrong, as in `date`."""

    def __init__(self, code: str, message: str, part: str = "") -> None:
        self.code = code
        self.message = message
        self.part = part


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
        path_of: the caller's own path to a fact, or to `NAME.date`, `NAME.source` and `NAME.unit` of it, for errors.

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
    return PatientFacts(as_of, reader.known, reader.records, tuple(unusable), reader.stale)


_PLAIN = (str, int, list, float, type(None))


class _Reader:
    def __init__(self, definitions: Mapping[str, FactDefinition], as_of: date, path_of: Callable[[str], str]) -> None:
        self.definitions = definitions
        self.as_of = as_of
        self.path_of = path_of
        self.known: dict[str, Observed] = {}
        self.records: dict[str, tuple[TrialRecord, ...]] = {}
        self.unusable: list[Unusable] = []
        self.stale: dict[str, Observed] = {}
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
            place = self.path_of(f"{definition.id}.{fault.part}") if fault.part else path
            self.violations.append(Violation(place, fault.code, fault.message))
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
            limit = definition.valid_for_days
            if limit is not None and age > limit:
                self.stale[definition.id] = Observed(value, path, observed_on, source)
                raise _UnusableError(_too_old(limit))
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


def _too_old(limit: int) -> str:
    days = f"more than {limit} day{'s' if limit > 1 else ''}" if limit else "on a day"
    return f"it was observed {days} before `as_of`"


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
    try:
        observed_on = None if raw.get("date") is None else _date(raw["date"])
    except _MalformedError as fault:
        raise _MalformedError(fault.code, fault.message, "date") from None
    source, unit = (_short(raw.get(part), part) for part in ("source", "unit"))
    return raw["value"], observed_on, source if is_visible(source) else "", unit


def _short(text: object, part: str) -> str:
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        code = "fact/wrong-type"
        raise _MalformedError(code, f"is a text of at most {MAX_TEXT} characters", part)
    return text


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
        msg = "it is no number of ordinary size"
        raise _UnusableError(msg)
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
