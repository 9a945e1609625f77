"""Modifier extensions: FHIR forbids to read past one that is not known, since it may turn what is said around."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.fhir.bundle import Envelope, Resource


def modified_in(by_kind: Mapping[str, Sequence[Resource]], envelope: Envelope) -> frozenset[str]:
    """Name the resources that have a modifier extension, or that are read by way of one that has."""
    return frozenset(
        resource.name
        for resources in by_kind.values()
        for resource in resources
        if shape.is_modified(resource.data) or any(map(shape.is_modified, _read_with(resource, envelope)))
    )


def _read_with(resource: Resource, envelope: Envelope) -> Iterator[shape.Element]:
    """Give what a resource refers to for its content: the medication of an order, the members of a panel."""
    for name in ("medicationReference", "hasMember"):
        for reference in shape.elements(resource.data.get(name)):
            yield envelope.resolve(reference.get("reference"), resource.data) or {}
