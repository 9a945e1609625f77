"""Records as they come: a JSON value to the resources in it.

A record is a Bundle of any type or none, a resource, a list of either, the lines of a bulk export (NDJSON), or the
`prefetch` map of CDS Hooks. Each resource stands once, however often it came.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.fhir.notes import Notes
    from engine.fhir.subject import Subjects

PATIENT = "Patient"
RELATED_PERSON = "RelatedPerson"
REFERRED = frozenset({"Medication", RELATED_PERSON})
"""Types whose resources are no part of a patient's record: they say something only where another leads to them."""

READ = frozenset(
    {
        PATIENT, *REFERRED, "Condition", "Observation", "QuestionnaireResponse", "MedicationRequest",
        "MedicationStatement", "MedicationDispense", "MedicationAdministration", "AllergyIntolerance", "Procedure",
        "Flag",
    }
)  # fmt: skip
"""Types of resources that are read. Claims, imaging and the rest of a full record are passed over."""

_BUNDLE, _OUTCOME = "Bundle", "OperationOutcome"
_PREFETCH, _ENTRY, _RESOURCE, _RESPONSE = "prefetch", "entry", "resource", "response"
_WRAPPERS = frozenset(
    {_ENTRY, _RESOURCE, _RESPONSE, "fullUrl", "search", "request", "link", "total", "type", "id", "meta", "timestamp"}
)
"""What an entry or a Bundle consists of, also one that does not say what it is."""
_SEARCH, _HISTORY, _SCHEME = "search", "_history", "://"
_NESTED = 6
_ON_A_SERVER = re.compile(r"https?://(.+)/[A-Za-z]+/[A-Za-z0-9\-.]{1,64}", re.IGNORECASE)
_DONE = re.compile(r"2[0-9][0-9]\b.*")
_MATCH, _PARTIAL, _COMPLETE = "match", "partial", "complete"


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

    @property
    def server(self) -> str:
        """The server from which it came; empty if that is not said."""
        for url in self.urls:
            if found := server_of(url):
                return found
        return ""


@dataclass
class Envelope:
    """The resources of a record, by type, and by everything that a reference to them may say.

    `is_partial` says that more exists than came, so that nothing follows from what is not here; `subjects`, once they
    are asked for, who is who.
    """

    by_kind: dict[str, list[Resource]] = field(default_factory=dict)
    by_reference: dict[str, Resource | None] = field(default_factory=dict)
    is_partial: bool = False
    subjects: Subjects | None = None

    def add(self, resource: Resource, *references: str) -> None:
        """Add a resource under its urls and further references; one that leads to two resources leads nowhere."""
        self.by_kind.setdefault(resource.kind, []).append(resource)
        for reference in (*resource.urls, *references):
            known = self.by_reference.setdefault(reference, resource)
            if known is None or known.data != resource.data:
                self.by_reference[reference] = None

    def find(self, reference: str) -> Resource | None:
        """Find the resource that a reference leads to, with or without version, and server unless another is said."""
        exact = self.by_reference.get(unversioned(reference))
        if exact is not None:
            return exact
        found = self.by_reference.get(relative(reference))
        is_elsewhere = found is not None and found.server and server_of(reference) not in {"", found.server}
        return None if is_elsewhere else found

    def resolve(self, reference: object, within: shape.Element) -> shape.Element | None:
        """Find the object that a reference leads to: of the record, or one that is contained in `within`."""
        written = shape.text(reference)
        if written.startswith("#"):
            contained = shape.elements(within.get("contained"))
            named = [each for each in contained if shape.code(each.get("id")).lstrip("#") == written[1:]]
            return named[0] if len(named) == 1 else None
        found = self.find(written)
        return found.data if found is not None else None


def unversioned(reference: str) -> str:
    """Give a reference without its version."""
    if _HISTORY not in reference:
        return reference
    parts = reference.split("/")
    if len(parts) > 3 and parts[-2] == _HISTORY:  # noqa: PLR2004 - Type/id/_history/version
        parts = parts[:-2]
    return "/".join(parts)


def relative(reference: str) -> str:
    """Give a reference as `Type/id`, without server and version; as it is where it has no such form."""
    return "/".join(unversioned(reference).split("/")[-2:])


def server_of(url: str) -> str:
    """Give the server that a url of a resource names, without its scheme; empty if it names none."""
    if _SCHEME not in url:
        return ""
    match = _ON_A_SERVER.fullmatch(unversioned(url))
    return match[1].lower() if match else ""


def unwrap(content: object, notes: Notes) -> Envelope:
    """Take the resources out of a record, in whatever they came; what cannot be one is noted.

    INVARIANT: where they stood decides nothing, so the order of entries does not either.
    """
    envelope = Envelope()
    named: dict[str, list[Resource]] = {}
    unnamed: list[Resource] = []
    count = 0
    for found, url in _resources(content, envelope, notes, _NESTED):
        count += 1
        kind = shape.text(found.get("resourceType"))
        if kind == _OUTCOME:
            _read_outcome(found, envelope, notes)
        elif kind in READ:
            resource = Resource(kind, found, (url,) if url else ())
            known = resource.id
            if not known:
                unnamed.append(resource)
            else:
                named.setdefault(f"{kind}/{known}", []).append(resource)
    if not count and not _is_empty(content):
        notes.note("fhir/malformed", "", effect="ignored")
    for key, versions in named.items():
        for same in _by_server(versions) if len(versions) > 1 else (versions,):
            envelope.add(same[0] if len(same) == 1 else _newest_version(same), key)
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
    elif content and content.keys() <= _WRAPPERS:
        yield from _wrapped(content, envelope, notes, depth - 1, is_due=True)
    else:
        prefetched = content.get(_PREFETCH)
        is_request = isinstance(prefetched, dict)
        for each in (prefetched if isinstance(prefetched, dict) else content).values():
            if isinstance(_kind(each), str) or isinstance(each, list):
                yield from _resources(each, envelope, notes, depth - 1)
            else:
                yield from _wrapped(each, envelope, notes, depth - 1, is_due=is_request)


def _wrapped(
    value: object, envelope: Envelope, notes: Notes, depth: int, *, is_due: bool
) -> Iterator[tuple[shape.Element, str]]:
    """Give the resources of a prefetched value that is none itself: in a response, or a Bundle that does not say so.

    One of another shape is noted, a text or number only where data are due: it may hold what nobody has read.
    """
    told = value if isinstance(value, dict) else {}
    if _RESPONSE in told and _has_failed(told):
        _note_partial(envelope, notes)
    if isinstance(told.get(_RESOURCE), dict | list):
        yield from _resources(told[_RESOURCE], envelope, notes, depth)
    elif isinstance(told.get(_ENTRY), dict | list):
        notes.note("fhir/malformed", f"{_BUNDLE}.resourceType")
        yield from _entries(told, envelope, notes, depth)
    elif (told or (is_due and value is not None)) and _RESPONSE not in told:
        notes.note("fhir/malformed", _PREFETCH, effect="ignored")


def _has_failed(wrapper: shape.Element) -> bool:
    """Say whether the response to a search or read says that it failed, or nothing that is understood."""
    return _DONE.fullmatch(shape.code(shape.element(wrapper.get(_RESPONSE)).get("status"))) is None


def _note_partial(envelope: Envelope, notes: Notes) -> None:
    envelope.is_partial = True
    notes.note("fhir/history-incomplete", _BUNDLE)


def _read_outcome(outcome: shape.Element, envelope: Envelope, notes: Notes) -> None:
    """Note a message of the server; one that speaks of an error or of missing data makes what came a part.

    A severity that is not known counts as an error.
    """
    notes.note("fhir/outcome", _OUTCOME)
    meaning = notes.terminology.meaning
    for issue in shape.elements(outcome.get("issue")):
        severity = meaning(_OUTCOME, "severity", shape.code(issue.get("severity")))
        if severity != _COMPLETE or meaning(_OUTCOME, "code", shape.code(issue.get("code"))) == _PARTIAL:
            _note_partial(envelope, notes)


def _entries(
    bundle: shape.Element, envelope: Envelope, notes: Notes, depth: int
) -> Iterator[tuple[shape.Element, str]]:
    entries = bundle.get(_ENTRY)
    if entries is not None and not isinstance(entries, list):
        notes.note("fhir/malformed", f"{_BUNDLE}.entry")
    count = 0
    for entry in shape.elements(entries):
        resource = entry.get(_RESOURCE)
        if resource is None and _RESOURCE not in entry and isinstance(_kind(entry), str):
            resource = entry
        if _RESPONSE in entry and _has_failed(entry):
            _note_partial(envelope, notes)
        if resource is entry:
            notes.note("fhir/malformed", f"{_BUNDLE}.entry.resource")
        elif isinstance(resource, list):
            notes.note("fhir/malformed", f"{_BUNDLE}.entry.resource")
            resource = shape.element(resource)
        if not isinstance(resource, dict):
            continue
        kind = _kind(resource)
        mode = shape.text(shape.element(entry[_SEARCH]).get("mode")) if _SEARCH in entry else ""
        count += mode in {"", _MATCH} and kind != _OUTCOME
        if isinstance(kind, str) and kind != _BUNDLE:
            yield resource, shape.text(entry.get("fullUrl"))
        else:
            yield from _resources(resource, envelope, notes, depth - 1)
    total = shape.number(bundle.get("total"))
    has_next = any(shape.text(link.get("relation")) == "next" for link in shape.elements(bundle.get("link")))
    if has_next or (total is not None and total > count):
        _note_partial(envelope, notes)


def _by_server(versions: list[Resource]) -> list[list[Resource]]:
    """Give what is one resource together: the same type and id on two servers are two resources.

    One whose server is not said is the one on the only server that is named; of several, it is none.
    """
    servers = [version.server for version in versions]
    named = sorted(set(servers) - {""})
    if len(named) < 2:  # noqa: PLR2004 - two servers or more
        return [versions]
    return [
        [version for version, server in zip(versions, servers, strict=True) if server == each]
        for each in (*named, "")
        if each in servers
    ]


def _newest_version(versions: list[Resource]) -> Resource:
    """Give the version that was updated last, under the urls of all; if that is not said, the same one in any order."""

    def key(resource: Resource) -> tuple[str, str]:
        updated = shape.text(shape.element(resource.data.get("meta")).get("lastUpdated"))
        return updated, json.dumps(resource.data, sort_keys=True, default=str)

    urls = {url for version in versions for url in version.urls}
    newest = max(versions, key=key)
    return Resource(newest.kind, newest.data, tuple(sorted(urls)))
