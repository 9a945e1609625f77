"""Whose a resource is: the patients that a record names, and the resources of one of them.

Two servers may give the same id to two people. Where a record says on which server its patient is, what refers to a
patient of another server is another person's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.bundle import PATIENT, REFERRED, Envelope, Resource, relative, server_of, unversioned

if TYPE_CHECKING:
    from engine.fhir.notes import Notes

_SUBJECT, _PATIENT = "subject", "patient"
_UUID, _WEB = "urn:uuid:", "http"
_NAMES_A_PATIENT = re.compile(rf"{PATIENT}/([A-Za-z0-9\-.]{{1,64}})")


class Subjects:
    """The patients of a record, and who of them a resource is about.

    A patient's key is the id; where one record has two patients of one id, on two servers, it is the server and the id.
    """

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._patients = envelope.by_kind.get(PATIENT, [])
        self._known: dict[tuple[str, str], str] = {}
        self._servers: dict[str, set[str]] = {}
        for patient in self._patients:
            self._servers.setdefault(patient.id, set()).add(patient.server)
        self._silent = {known for known, servers in self._servers.items() if servers == {""}}
        self._claim()

    def _claim(self) -> None:
        """Learn the servers of patients that do not say theirs from what refers to them."""
        claimed: dict[str, set[str]] = {}
        for reference, server in {(_reference(each), each.server) for each in self._others()}:
            match = _NAMES_A_PATIENT.fullmatch(relative(reference))
            if match and (match[1] in self._silent or match[1] not in self._servers):
                claimed.setdefault(match[1], set()).add(server_of(reference) or server)
        for known, servers in claimed.items():
            self._servers.setdefault(known, set()).update(servers)
            self._servers[known] -= {""}

    def _others(self) -> list[Resource]:
        kinds = self._envelope.by_kind.items()
        return [each for kind, those in kinds if kind != PATIENT and kind not in REFERRED for each in those]

    @property
    def all(self) -> tuple[str, ...]:
        """The patients of the record: its Patients, or, where it has none, those to whom it refers."""
        named = map(self.of, self._patients or self._others())
        return tuple(sorted({*named} - {""}))

    def of(self, resource: Resource) -> str:
        """Give the patient whom a resource is about; empty if none is named, or in no way that can be resolved."""
        if resource.kind == PATIENT:
            return self._key(resource.id, resource.server) if resource.id else (*resource.urls, "?")[0]
        place = _reference(resource), resource.server
        if place not in self._known:
            self._known[place] = self._resolved(*place)
        return self._known[place]

    def named(self, patient: str) -> str:
        """Give the key of a patient who was asked for by id, by key or by url."""
        match = _NAMES_A_PATIENT.fullmatch(relative(patient))
        if match is None:
            return patient
        server = server_of(patient) or server_of(f"{_WEB}://{patient}")
        return self._key(match[1], server)

    def _key(self, known: str, server: str) -> str:
        servers = self._servers.get(known, set()) - {""}
        if not servers or servers == {server} or (len(servers) == 1 and not server):
            return known
        if server:
            return f"{server}/{PATIENT}/{known}"
        return known if known in self._silent else ""

    def _resolved(self, reference: str, server: str) -> str:
        if not reference:
            return ""
        exact = self._envelope.by_reference.get(unversioned(reference))
        if exact is not None and not _NAMES_A_PATIENT.fullmatch(reference):
            return self.of(exact) if exact.kind == PATIENT else ""
        match = _NAMES_A_PATIENT.fullmatch(relative(reference))
        if match:
            return self._key(match[1], server_of(reference) or server)
        bare = reference.removeprefix(_UUID)
        is_known = bare != reference and self._envelope.find(f"{PATIENT}/{bare}") is not None
        return bare if is_known else ""


def subjects_in(envelope: Envelope) -> Subjects:
    """Give the patients of a record that is whole, found once."""
    if envelope.subjects is None:
        envelope.subjects = Subjects(envelope)
    return envelope.subjects


def subject_of(resource: Resource, envelope: Envelope) -> str:
    """Give the patient whom a resource is about; empty if none is named, or in no way that can be resolved."""
    return subjects_in(envelope).of(resource)


def resources_of(patient: str, envelope: Envelope, notes: Notes) -> dict[str, list[Resource]]:
    """Give the resources of a patient by type; those of others, or of nobody who can be found, are noted."""
    mine: dict[str, list[Resource]] = {}
    subjects = subjects_in(envelope)
    asked = subjects.named(patient)
    for kind, resources in envelope.by_kind.items():
        if kind in REFERRED:
            continue
        for resource in resources:
            subject = subjects.of(resource)
            if subject and subject == asked:
                mine.setdefault(kind, []).append(resource)
            else:
                code = "fhir/wrong-patient" if subject else "fhir/subject-unresolved"
                notes.note(code, f"{resource.name}.subject" if kind != PATIENT else resource.name)
    return mine


def _reference(resource: Resource) -> str:
    data = resource.data
    value = data[_SUBJECT] if _SUBJECT in data else data.get(_PATIENT)
    return shape.text(shape.element(value).get("reference")) or shape.text(value)
