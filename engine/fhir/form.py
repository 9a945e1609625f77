"""A questionnaire that was answered: its items by code, from wherever they were gathered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.fhir.notes import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.fhir import shape
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.values import Read


@dataclass(frozen=True, slots=True)
class Form:
    """Answers by the code of their items. An item that stands twice has two holders.

    Attributes:
        sources: the resources that it was read from, as `Type/id`.
        when: when it was answered; None if that is not said.
        answers: the elements that hold the answers to an item; an item that was not answered has none.
        part: where in a source the answers stand, for issues.
        is_partial: whether a part of it is not in the record or does not count, so that what it lacks was not
            left out by whoever answered.
        unsure: answers that do not count and may still suggest something.

    """

    sources: tuple[str, ...]
    when: Moment | None
    answers: Mapping[str, list[shape.Element]]
    part: str
    is_partial: bool = False
    unsure: Mapping[str, list[shape.Element]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where its answers stand, for issues."""
        return f"{self.sources[0]}{self.part}"

    def has(self, items: Iterable[str]) -> bool:
        """Say whether any of these items is there, answered or not."""
        return any(item in self.answers for item in items)

    def observe(
        self,
        fact: str,
        found: Read,
        matched_by: str,
        record: Record,
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Keep what the form says of a fact, once for each of its sources; `more` are further fields of `Evidence`."""
        if record.knows(fact):
            for source in self.sources:
                evidence = Evidence(fact, found.value, self.when, source, f"{source}{self.part}", matched_by, found.raw)
                record.notes.observe(replace(evidence, fault=found.fault, **more))
