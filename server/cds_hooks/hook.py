"""Calls of hooks, read tolerantly: what is required is checked, everything unknown is passed over.

Source: CDS Hooks 2.0, HTTP request; what real clients send is in docs/cds-hooks.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.cds_hooks.body import is_whole
from server.cds_hooks.outcome import malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ID = re.compile(r"[A-Za-z0-9._~\-]{1,256}", re.ASCII)
MAX_TEXT = 256
BUNDLE = "Bundle"
_RESERVED = frozenset({"prefetch", "resourceType"})
"""Keys by which a record is told to be something else than prefetched values."""


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

    `drafts` is as it came. `prefetch` holds each value as records do, also where it came as an entry of a Bundle.
    `access` is None where the client gave no token: a FHIR server is never read without one.
    """

    hook: str
    instance: str
    user: str
    patient: str
    context: Mapping[str, str]
    drafts: object
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
        drafts=context.get("draftOrders"),
        selections=frozenset(s for s in selections if isinstance(s, str))
        if isinstance(selections, list)
        else frozenset(),
        prefetch=_opened(prefetch) if isinstance(prefetch, dict) else {},
        access=_access(body),
    )


def resources(value: object) -> Iterator[dict[str, object]]:
    """Give the resources of a Bundle of any type or none, of a list, or the one resource that a value is.

    An entry may be the resource itself. Bundles inside Bundles are opened.
    """
    return (resource for resource, _ in with_urls(value))


def with_urls(value: object) -> Iterator[tuple[dict[str, object], str]]:
    """Give the resources as `resources` does, each with the `fullUrl` of its entry; empty without one."""
    waiting = [(value, "")]
    while waiting:
        item, url = waiting.pop()
        if isinstance(item, list):
            waiting.extend((each, "") for each in reversed(item))
        elif isinstance(item, dict):
            kind, full_url = item.get("resourceType"), item.get("fullUrl")
            if isinstance(kind, str) and kind != BUNDLE:
                yield item, url
            elif kind != BUNDLE and isinstance(item.get("resource"), dict):
                waiting.append((item["resource"], full_url if isinstance(full_url, str) else ""))
            else:
                waiting.append((item.get("entry"), ""))


def _opened(prefetch: dict[str, object]) -> dict[str, object]:
    """Give prefetched values as records hold them; the same object where they came so.

    INVARIANT: what `resources` finds in a value is read with the record; nothing counts as there and is not looked at.
    """
    opened = {f"{key} more" if key in _RESERVED else key: _as_resource(value) for key, value in prefetch.items()}
    is_same = all(key in opened and opened[key] is value for key, value in prefetch.items())
    return prefetch if is_same else opened


def _as_resource(value: object) -> object:
    """Take a resource out of the entry in which it came, and say of a Bundle without a type that it is one."""
    while isinstance(value, dict) and not isinstance(value.get("resourceType"), str):
        if isinstance(value.get("resource"), dict):
            value = value["resource"]
        elif "entry" in value:
            return {**value, "resourceType": BUNDLE}
        else:
            return value
    return value


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
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not is_whole(value):
        raise malformed(f"`{place}` is required and is a text of at most {MAX_TEXT} characters", place)
    return value


def _access(body: Mapping[str, object]) -> FhirAccess | None:
    server, given = body.get("fhirServer"), body.get("fhirAuthorization")
    token = given.get("access_token") if isinstance(given, dict) else None
    if not isinstance(server, str) or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    return FhirAccess(server, token) if token else None
