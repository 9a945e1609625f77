"""Dates and times as FHIR writes them: kept as written, with their own offset, and never finer than they are.

A partial date (2025 or 2025-06) is a span of days. Days compare as written; only within one day do times decide.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from collections.abc import Iterable

_WRITTEN = re.compile(
    r"(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"(T(?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2})?)(\.(?P<fraction>[0-9]+))?(?P<offset>Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?"
)
_SPACES = re.compile(r"\s+")
_MINUTES = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was, between two days, both included; equal where it is known to the day.

    `clock` orders moments of one day; it is None where no time was written.
    """

    first: date
    last: date
    clock: tuple[date, float] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the day is known."""
        return self.first == self.last

    @property
    def day(self) -> date | None:
        """The day, where it is known."""
        return self.first if self.is_exact else None


def read_moment(value: object) -> Moment | None:
    """Read a date, dateTime or instant; stray spaces are ignored. None if it is none, or no day that exists."""
    match = _WRITTEN.fullmatch(_SPACES.sub("", shape.text(value)))
    if match is None:
        return None
    year, month, day = (int(match[part]) if match[part] else 0 for part in ("year", "month", "day"))
    try:
        first = date(year, month or 1, day or 1)
        last_month = month or 12
        last = date(year, last_month, day or calendar.monthrange(year, last_month)[1])
        return Moment(first, last, _clock(match) if match["time"] else None)
    except (ValueError, OverflowError, calendar.IllegalMonthError):
        return None


def _clock(match: re.Match[str]) -> tuple[date, float]:
    """Give the instant in UTC, where an offset was written, else the time as it stands."""
    written = datetime.fromisoformat(f"{match['year']}-{match['month']}-{match['day']}T{match['time']}")
    offset = match["offset"] or "Z"
    if offset != "Z":
        minutes = int(offset[1:3]) * _MINUTES + int(offset[4:])
        written -= timedelta(minutes=minutes if offset[0] == "+" else -minutes)
    seconds = written.hour * 3600 + written.minute * 60 + written.second + float(f"0.{match['fraction'] or 0}")
    return written.date(), seconds


def of_value(resource: shape.Element, *names: str) -> Moment | None:
    """Give when a value was: the first choice `names[x]` that is there; of a period, its end, else its start."""
    return _first(resource, names, ("end", "start"))


def of_start(resource: shape.Element, *names: str) -> Moment | None:
    """Give when something began: as `of_value`, but of a period its start. An age or a range is no date."""
    return _first(resource, names, ("start",))


def _first(resource: shape.Element, names: Iterable[str], ends: tuple[str, ...]) -> Moment | None:
    for name in names:
        found = (name, resource[name]) if name in resource else shape.choice(resource, name)
        if found is None:
            continue
        period = shape.element(found[1])
        if not period:
            return read_moment(found[1])
        return next((m for m in map(read_moment, map(period.get, ends)) if m is not None), None)
    return None


def newest(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    """Give those of `moments` that may be the newest: of the last day, the last time and whatever has no time."""
    known = tuple(moments)
    if not known:
        return ()
    last_start = max(m.first for m in known)
    latest = tuple(m for m in known if m.last >= last_start)
    clocks = [m.clock for m in latest if m.clock is not None]
    return tuple(m for m in latest if m.clock is None or m.clock == max(clocks)) if clocks else latest


def completed_years(birth: date, as_of: date) -> int:
    """Count the birthdays up to `as_of`; someone born on 29 February has theirs on 1 March of other years."""
    return as_of.year - birth.year - ((as_of.month, as_of.day) < (birth.month, birth.day))


def months_before(as_of: date, months: int) -> date:
    """Give the day that lies so many months before `as_of`; the last of the month where that day does not exist."""
    year, month = divmod(as_of.year * 12 + as_of.month - 1 - months, 12)
    return date(year, month + 1, min(as_of.day, calendar.monthrange(year, month + 1)[1]))
