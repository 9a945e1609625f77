"""A patient's FHIR record on its way to a decision: parsed once, and read once for a rule book and a day."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Self

from engine.fhir.read import read
from engine.fhir.record_json import parse
from server.terminologies import terminology_of

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from engine.fhir.reading import Reading
    from engine.pack.book import RuleBook


class Chart:
    """The bytes of a record, its value, and what was last read of it. For one call at a time.

    INVARIANT: `content` is what `engine.fhir.record_json.parse` makes of `data`, since a replay has the bytes alone.
    """

    def __init__(self, data: bytes, content: object) -> None:
        self.data = data
        self._content = content
        self._last: tuple[RuleBook, date, str | None, Reading] | None = None

    @classmethod
    def of(cls, content: object) -> Self:
        """Give the chart of a record that never was one text. A number that no computer can hold is absent in it."""
        data = json.dumps(content, allow_nan=False, separators=(",", ":"), default=_nearest).encode()
        return cls(data, parse(data))

    def read(self, book: RuleBook, as_of: date, patient: str | None) -> Reading:
        """Read the record of a patient: `engine.fhir.read.read`. Equal questions in a row are answered once."""
        if self._last is not None:
            asked_of, day, whom, reading = self._last
            if asked_of is book and (day, whom) == (as_of, patient):
                return reading
        reading = read(
            self._content,
            terminology=terminology_of(book),
            definitions=book.facts,
            as_of=as_of,
            patient=patient,
        )
        self._last = book, as_of, patient, reading
        return reading


def _nearest(value: Decimal) -> float | None:
    number = float(value)
    return number if isfinite(number) else None
