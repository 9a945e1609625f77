"""One patient's part of a record, and the questions that every kind of resource is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from engine.dictionary import FactDefinition
    from engine.fhir.bundle import Envelope, Resource
    from engine.fhir.notes import Notes
    from engine.fhir.terminology import Terminology

NOT_COUNTED = "fhir/status-not-counted"
RETRACTED = "fhir/entered-in-error"


@dataclass(frozen=True)
class Record:
    """The resources of one patient, by type, with all that reading them needs."""

    patient: str
    by_kind: Mapping[str, list[Resource]]
    envelope: Envelope
    notes: Notes
    terminology: Terminology
    definitions: Mapping[str, FactDefinition]
    as_of: date

    def of_kind(self, kind: str) -> Iterator[Resource]:
        """Give the patient's resources of a type."""
        return iter(self.by_kind.get(kind, ()))

    def codings(self, concept: object) -> list[tuple[str, str]]:
        """Give the codes of a concept whose system is known, as system and code, sorted."""
        found = []
        for coding in shape.elements(shape.element(concept).get("coding")):
            system = self.terminology.system(coding.get("system"))
            if system:
                written = shape.code(coding.get("code"))
                if written:
                    found.append((system, written))
        return sorted(found)

    def texts(self, concept: object) -> list[str]:
        """Give what a concept is called: its text, and how its codes are displayed."""
        told = shape.element(concept)
        displays = (coding.get("display") for coding in shape.elements(told.get("coding")))
        return [written for written in map(shape.text, (told.get("text"), *displays)) if written]

    def meanings(self, resource: Resource, name: str) -> set[str]:
        """Give what an element's codes mean, whether it is a concept, a list of them or a code.

        Empty if the element is absent; an empty text stands for a code that is not known.
        """
        value = resource.data.get(name)
        if value is None:
            return set()
        concepts = shape.elements(value)
        codes = [c.get("code") for concept in concepts for c in shape.elements(concept.get("coding"))]
        if not concepts:
            codes = [value]
        found = {self.terminology.meaning(resource.kind, name, shape.code(each)) for each in codes}
        return (found - {""}) or {""}

    def counts(self, resource: Resource, facts: Iterable[str], name: str = "status") -> bool:
        """Say whether the status of a resource lets it count for `facts`; if not, that is noted."""
        meanings = self.meanings(resource, name)
        if self.is_prohibited(resource, facts):
            return False
        if meanings == {"counts"}:
            return True
        for fact in facts:
            self.notes.note(RETRACTED if "retracted" in meanings else NOT_COUNTED, f"{resource.name}.{name}", fact)
        return False

    def is_prohibited(self, resource: Resource, facts: Iterable[str]) -> bool:
        """Say whether a resource may say that something is not to be done; if it does, that is noted for `facts`."""
        if not shape.is_prohibited(resource.data):
            return False
        for fact in facts:
            self.notes.note(NOT_COUNTED, f"{resource.name}.doNotPerform", fact)
        return True

    def note_shape(self, resource: Resource) -> None:
        """Note the elements of a resource that have another shape than FHIR prescribes, and were read anyway."""
        for name in shape.misshapen(resource.kind, resource.data):
            self.notes.note("fhir/malformed", f"{resource.name}.{name}")

    def knows(self, fact: str) -> bool:
        """Say whether the data dictionary has a fact."""
        return fact in self.definitions

    def suggest(self, fact: str, suggests: str, reason: str, path: str) -> None:
        """Keep a candidate that has to be confirmed, with a reason of reasons.csv."""
        self.notes.suggest(fact, suggests, "fhir/needs-confirmation", path, self.terminology.reasons[reason])
