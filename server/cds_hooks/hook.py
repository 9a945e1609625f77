"""Calls of hooks, read tolerantly: what is required is checked, everything unknown is passed over.

Source: CDS Hooks 2.0, HTTP request; what real clients send is in docs/cds-hooks.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.cds_hooks.outcome import malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ID = re.compile(r"[A-Za-z0-9._~\-]{1,256}", re.ASCII)
MAX_TEXT = 256


@dataclass(frozen=True, slots=True)
class FhirAccess:
    """Where the client's FHIR server is, and the token to read there with; never logged."""

    server: str
    token: str

    def __repr__(self) -> str:
        return "FhirAccess(...)"


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call. `context` holds the fields that prefetch templates may name; `drafts` and `selections` are of orders.

    `by_url` holds the drafts that have a `fullUrl`. `access` is None where the client gave no token: a FHIR server is
    never read without one.
    """

    hook: str
    instance: str
    user: str
    patient: str
    context: Mapping[str, str]
    drafts: tuple[Mapping[str, object], ...]
    by_url: Mapping[str, Mapping[str, object]]
    selections: frozenset[str]
    prefetch: Mapping[str, object]
    access: FhirAccess | None


def read_call(body: Mapping[str, object], hook: str) -> HookCall:
    """Read the body of a call for the one hook that the service is listed for.

    Raises:
        Refusal: 400, naming the field, where something required is missing or malformed.

    """
    if body.get("hook") != hook:
        raise malformed(f"`hook` must be {hook} for this service", "hook")
    context = body.get("context")
    if not isinstance(context, dict):
        raise malformed("`context` is required and is an object", "context")
    patient = _id(context, "patientId", "Patient")
    fields = {"patientId": patient}
    if context.get("encounterId") is not None:
        fields["encounterId"] = _id(context, "encounterId", "Encounter")
    prefetch = body.get("prefetch")
    selections = context.get("selections")
    return HookCall(
        hook=hook,
        instance=_text(body, "hookInstance", "hookInstance"),
        user=_text(context, "userId", "context.userId"),
        patient=patient,
        context=fields,
        drafts=tuple(resources(context.get("draftOrders"))),
        by_url=dict(_full_urls(context.get("draftOrders"))),
        selections=frozenset(s for s in selections if isinstance(s, str))
        if isinstance(selections, list)
        else frozenset(),
        prefetch=prefetch if isinstance(prefetch, dict) else {},
        access=_access(body),
    )


def resources(value: object) -> Iterator[Mapping[str, object]]:
    """Give the resources of a Bundle of any type or none, of a list, or the one resource that a value is.

    An entry may be the resource itself. Bundles inside Bundles are opened.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, dict):
            if item.get("resourceType") == "Bundle" or ("entry" in item and "resourceType" not in item):
                waiting.append(item.get("entry"))
            elif isinstance(item.get("resource"), dict):
                waiting.append(item["resource"])
            elif isinstance(item.get("resourceType"), str):
                yield item


def _full_urls(bundle: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    entries = bundle.get("entry") if isinstance(bundle, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if (
            isinstance(entry, dict)
            and isinstance(entry.get("fullUrl"), str)
            and isinstance(entry.get("resource"), dict)
        ):
            yield entry["fullUrl"], entry["resource"]


def check_patient(call: HookCall, content: Mapping[str, object]) -> bool:
    """Say whether the content holds the Patient that the call is about.

    Raises:
        Refusal: 400 where it holds the Patient of somebody else and not this one.

    """
    found = [r.get("id") for value in content.values() for r in resources(value) if r["resourceType"] == "Patient"]
    if found and call.patient not in found:
        raise malformed("the prefetched Patient is not `context.patientId`", "prefetch", "context.patientId")
    return bool(found)


def _id(context: Mapping[str, object], name: str, kind: str) -> str:
    value = context.get(name)
    text = value.removeprefix(f"{kind}/") if isinstance(value, str) else ""
    if _ID.fullmatch(text) is None:
        raise malformed(f"`context.{name}` is required and is the id of a resource", f"context.{name}")
    return text


def _text(holder: Mapping[str, object], name: str, place: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise malformed(f"`{place}` is required and is a text of at most {MAX_TEXT} characters", place)
    return value


def _access(body: Mapping[str, object]) -> FhirAccess | None:
    server, given = body.get("fhirServer"), body.get("fhirAuthorization")
    token = given.get("access_token") if isinstance(given, dict) else None
    if not isinstance(server, str) or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    return FhirAccess(server, token) if token else None
