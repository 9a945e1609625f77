"""Records as they come: a JSON value to the resources in it.

A record is a Bundle of any type or none, a resource, a list of either, the lines of a bulk export (NDJSON), or the
`prefetch` map of CDS Hooks. Each resource stands once, however often it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.fhir.notes import Notes

PATIENT = "Patient"
RELATED_PERSON = "RelatedPerson"
REFERRED = frozenset({"Medication", RELATED_PERSON})
"""Types whose resources are no part of a patient's record: they say something only where another leads to them."""

READ = frozenset(
    {
        PATIENT, *REFERRED, "Condition", "Observation", "QuestionnaireResponse", "MedicationRequest",
        "MedicationStatement", "MedicationDispense", "MedicationAdministration", "AllergyIntolerance", "Procedure",
    }
)  # fmt: skip
"""Types of resources that are read. Claims, imaging and the rest of a full record are passed over."""

_BUNDLE, _OUTCOME = "Bundle", "OperationOutcome"
_PREFETCH = "prefetch"
_HISTORY = "_history"
_NESTED = 6


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: its type, its JSON object, and the urls under which it came."""

    kind: str
    data: shape.Element
    urls: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The resource's name as `Type/id`, which holds nothing but what an id may hold."""
        return shape.name_of(self.kind, self.data)

    @property
    def id(self) -> str:
        """The resource's id; empty if it has none."""
        return shape.code(self.data.get("id"))


@dataclass
class Envelope:
    """The resources of a record, by type, and by everything that a reference to them may say.

    `is_partial` says that more pages exist, so that nothing follows from what is not here.
    """

    by_kind: dict[str, list[Resource]] = field(default_factory=dict)
    by_reference: dict[str, Resource | None] = field(default_factory=dict)
    is_partial: bool = False

    def add(self, resource: Resource, *references: str) -> None:
        """Add a resource under its urls and further references; one that leads to two resources leads nowhere."""
        self.by_kind.setdefault(resource.kind, []).append(resource)
        for reference in (*resource.urls, *references):
            known = self.by_reference.setdefault(reference, resource)
            if known is None or known.data != resource.data:
                self.by_reference[reference] = None

    def find(self, reference: str) -> Resource | None:
        """Find the resource that a reference leads to, with or without server and version."""
        return self.by_reference.get(reference) or self.by_reference.get(relative(reference))

    def resolve(self, reference: object, within: shape.Element) -> shape.Element | None:
        """Find the object that a reference leads to: of the record, or one that is contained in `within`."""
        written = shape.text(reference)
        if written.startswith("#"):
            contained = shape.elements(within.get("contained"))
            named = [each for each in contained if shape.code(each.get("id")).lstrip("#") == written[1:]]
            return named[0] if len(named) == 1 else None
        found = self.find(written)
        return found.data if found is not None else None


def relative(reference: str) -> str:
    """Give a reference as `Type/id`, without server and version; as it is where it has no such form."""
    parts = reference.split("/")
    if len(parts) > 3 and parts[-2] == _HISTORY:  # noqa: PLR2004 - Type/id/_history/version
        parts = parts[:-2]
    return "/".join(parts[-2:])


def unwrap(content: object, notes: Notes) -> Envelope:
    """Take the resources out of a record, in whatever they came; what cannot be one is noted.

    INVARIANT: where they stood decides nothing, so the order of entries does not either.
    """
    envelope = Envelope()
    named: dict[str, Resource] = {}
    again: dict[str, list[Resource]] = {}
    unnamed: list[Resource] = []
    count = 0
    for found, url in _resources(content, envelope, notes, _NESTED):
        count += 1
        kind = shape.text(found.get("resourceType"))
        if kind == _OUTCOME:
            notes.note("fhir/outcome", _OUTCOME)
        elif kind in READ:
            resource = Resource(kind, found, (url,) if url else ())
            known = resource.id
            if not known:
                unnamed.append(resource)
            elif named.setdefault(f"{kind}/{known}", resource) is not resource:
                again.setdefault(f"{kind}/{known}", []).append(resource)
    if not count and not _is_empty(content):
        notes.note("fhir/malformed", "", effect="ignored")
    for key, resource in named.items():
        envelope.add(_newest_version([resource, *again[key]]) if key in again else resource, key)
    for resource in unnamed:
        envelope.add(resource)
    return envelope


def _is_empty(content: object) -> bool:
    return isinstance(content, list | dict) and (not content or shape.text(_kind(content)) == _BUNDLE)


def _kind(content: object) -> object:
    return content.get("resourceType") if isinstance(content, dict) else None


def _resources(content: object, envelope: Envelope, notes: Notes, depth: int) -> Iterator[tuple[shape.Element, str]]:
    """Give each resource with the url under which it came."""
    if not depth:
        notes.note("fhir/malformed", _BUNDLE, effect="ignored")
    elif isinstance(content, list):
        for each in content:
            yield from _resources(each, envelope, notes, depth - 1)
    elif not isinstance(content, dict):
        return
    elif _kind(content) == _BUNDLE:
        yield from _entries(content, envelope, notes, depth)
    elif isinstance(_kind(content), str):
        yield content, ""
    else:
        prefetched = content.get(_PREFETCH)
        for each in (prefetched if isinstance(prefetched, dict) else content).values():
            if isinstance(_kind(each), str) or isinstance(each, list):
                yield from _resources(each, envelope, notes, depth - 1)


def _entries(
    bundle: shape.Element, envelope: Envelope, notes: Notes, depth: int
) -> Iterator[tuple[shape.Element, str]]:
    entries = bundle.get("entry")
    if entries is not None and not isinstance(entries, list):
        notes.note("fhir/malformed", f"{_BUNDLE}.entry")
    count = 0
    for entry in shape.elements(entries):
        resource = entry.get("resource", entry if isinstance(_kind(entry), str) else None)
        if resource is entry:
            notes.note("fhir/malformed", f"{_BUNDLE}.entry.resource")
        elif isinstance(resource, list):
            notes.note("fhir/malformed", f"{_BUNDLE}.entry.resource")
            resource = shape.element(resource)
        if not isinstance(resource, dict):
            continue
        count += _kind(resource) != _OUTCOME
        if isinstance(_kind(resource), str) and _kind(resource) != _BUNDLE:
            yield resource, shape.text(entry.get("fullUrl"))
        else:
            yield from _resources(resource, envelope, notes, depth - 1)
    total = shape.number(bundle.get("total"))
    has_next = any(shape.text(link.get("relation")) == "next" for link in shape.elements(bundle.get("link")))
    if has_next or (total is not None and total > count):
        envelope.is_partial = True
        notes.note("fhir/history-incomplete", _BUNDLE)


def _newest_version(versions: list[Resource]) -> Resource:
    """Give the version that was updated last, under the urls of all; if that is not said, the same one in any order."""

    def key(resource: Resource) -> tuple[str, str]:
        updated = shape.text(shape.element(resource.data.get("meta")).get("lastUpdated"))
        return updated, json.dumps(resource.data, sort_keys=True, default=str)

    urls = {url for version in versions for url in version.urls}
    newest = max(versions, key=key)
    return Resource(newest.kind, newest.data, tuple(sorted(urls)))
