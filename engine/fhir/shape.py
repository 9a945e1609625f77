"""JSON read tolerantly, element by element: what has one reading only is read, everything else is as if absent.

FHIR prescribes where a list, an object or a text stands; senders differ. Nothing here raises, whatever it is given.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Element: TypeAlias = dict[str, object]

MAX_ID = 64
"""Longest id of a resource, in characters (FHIR R4, data type id)."""

_MOST_DIGITS = 15
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_NOT_AN_ID = re.compile(r"[^A-Za-z0-9.\-]")

_LISTS = {
    "Condition": ("category",),
    "Observation": ("category", "component", "hasMember"),
    "QuestionnaireResponse": ("item",),
    "MedicationRequest": ("category", "dosageInstruction"),
    "MedicationDispense": ("dosageInstruction",),
    "MedicationStatement": ("dosage",),
    "AllergyIntolerance": ("reaction",),
}
_MODIFIER = "modifierExtension"
_PARTS = frozenset(
    {"component", "item", "answer", "dosageInstruction", "dosage", "reaction", "ingredient", "contained"}
)
"""Parts of resources that are read and may have a modifier extension of their own."""
_PROHIBITION = "doNotPerform"
_OBJECTS = ("subject", "patient", "code", "clinicalStatus", "verificationStatus", "medicationCodeableConcept")


def element(value: object) -> Element:
    """Give an object; also one that stands in a list alone. Empty if there is none."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return value[0]
    return {}


def elements(value: object) -> list[Element]:
    """Give a list's objects; an object alone counts as a list of one."""
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict)]
    return [value] if isinstance(value, dict) else []


def text(value: object) -> str:
    """Give a text without the spaces around it; also one that stands in a list alone. Empty if there is none."""
    if isinstance(value, str):
        return value.strip()
    return value[0].strip() if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else ""


def code(value: object) -> str:
    """Give a code, also one that was written as a whole number."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)


def number(value: object) -> Decimal | None:
    """Give a finite number of ordinary size, also one that was written as a text; None if there is none."""
    if isinstance(value, str):
        written = value.strip()
        return Decimal(written) if _NUMBER.fullmatch(written) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    return exact if exact.is_finite() and (not exact or abs(exact.adjusted()) < _MOST_DIGITS) else None


def choice(resource: Element, name: str) -> tuple[str, object] | None:
    """Give the one element of a choice `name[x]` that is there, with its type; None if none is, or several are."""
    found = [
        (key[len(name) :], value)
        for key, value in resource.items()
        if key.startswith(name) and key[len(name) :][:1].isupper() and value is not None
    ]
    return found[0] if len(found) == 1 else None


def count_choices(resource: Element, name: str) -> int:
    """Count the elements of a choice `name[x]`."""
    return sum(
        1 for key, value in resource.items() if key.startswith(name) and key[len(name) :][:1].isupper() and value
    )


def extensions(resource: Element, url: str) -> Iterator[Element]:
    """Give the extensions of an element that have this url."""
    return (each for each in elements(resource.get("extension")) if text(each.get("url")) == url)


def is_modified(resource: Element) -> bool:
    """Say whether a resource, or a part of it that is read, has a modifier extension. None of them is known here."""
    waiting = [resource]
    while waiting:
        part = waiting.pop()
        if part.get(_MODIFIER):
            return True
        waiting += [each for key in _PARTS.intersection(part) for each in elements(part[key])]
    return False


def is_prohibited(resource: Mapping[str, object]) -> bool:
    """Say whether a resource may say that something is not to be done: all that is there and not `false` may."""
    is_there = _PROHIBITION in resource or f"_{_PROHIBITION}" in resource
    return is_there and resource.get(_PROHIBITION) is not False


def name_of(kind: str, resource: Element) -> str:
    """Name a resource, as `Type/id`; what is no id of FHIR is left out, so that a name holds nothing else."""
    written = _NOT_AN_ID.sub("", code(resource.get("id")))[:MAX_ID]
    return f"{kind}/{written or '?'}"


def misshapen(kind: str, resource: Element) -> Iterator[str]:
    """Name the elements of a resource that are lists where an object is due, or the reverse."""
    for key in _LISTS.get(kind, ()):
        if key in resource and not isinstance(resource[key], list):
            yield key
    for key in _OBJECTS:
        if key in resource and not isinstance(resource[key], dict):
            yield key
