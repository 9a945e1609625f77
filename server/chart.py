"""A patient's FHIR record on its way to a decision: parsed once, and read once for a rule book and a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir.read import read
from server.terminologies import terminology_of

if TYPE_CHECKING:
    from datetime import date

    from engine.fhir.reading import Reading
    from engine.pack.book import RuleBook


class Chart:
    """The JSON value of a record, and what was last read of it. For one call at a time."""

    def __init__(self, content: object) -> None:
        self._content = content
        self._last: tuple[RuleBook, date, str | None, Reading] | None = None

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
