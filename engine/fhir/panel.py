"""A panel of observations: what it holds as components, as members of the record, and as members it contains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.bundle import Resource
from engine.fhir.focus import fault_of_focus
from engine.fhir.response import read_response
from engine.fhir.subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.fhir.record import Record
    from engine.fhir.response import Answers

_OBSERVATION, _RESPONSE = "Observation", "QuestionnaireResponse"
_COMPONENT, _MEMBER = "component", "hasMember"


@dataclass
class Panel:
    """The parts of a panel by their code.

    Attributes:
        answers: the parts that count.
        unsure: members whose status does not count and that were not retracted.
        members: the identities of the content of the members that count.
        is_partial: whether a part is not in the record, cannot be read as one or does not count.

    """

    answers: Answers = field(default_factory=dict)
    unsure: Answers = field(default_factory=dict)
    members: set[int] = field(default_factory=set)
    is_partial: bool = False


def has_parts(observation: shape.Element) -> bool:
    """Say whether an observation has any part, readable or not."""
    return bool(observation.get(_COMPONENT) or observation.get(_MEMBER))


def gather(resource: Resource, record: Record) -> Panel:
    """Gather the parts of an observation."""
    panel = Panel(is_partial=_is_torn(resource.data))
    _add(panel.answers, shape.elements(resource.data.get(_COMPONENT)), record)
    for reference in shape.elements(resource.data.get(_MEMBER)):
        member = _member(reference, resource, record)
        meanings = record.meanings(member, "status") if member is not None else {"absent"}
        panel.is_partial |= meanings != {"counts"}
        if member is None or "retracted" in meanings:
            continue
        if meanings != {"counts"}:
            _add(panel.unsure, [member.data], record)
        elif member.kind == _RESPONSE:
            response = read_response(member.data)
            panel.is_partial |= response.is_torn
            for code, those in response.answers.items():
                panel.answers.setdefault(code, []).extend(those)
        else:
            panel.members.add(id(member.data))
            _add(panel.answers, [member.data, *shape.elements(member.data.get(_COMPONENT))], record)
    return panel


def are_all_here(resource: Resource, record: Record) -> bool:
    """Say whether an observation has members, all of which are in the record and count."""
    return bool(resource.data.get(_MEMBER)) and not gather(resource, record).is_partial


def _add(answers: Answers, holders: Iterable[shape.Element], record: Record) -> None:
    for holder in holders:
        for _, code in record.codings(holder.get("code")):
            answers.setdefault(code, []).append(holder)


def _is_torn(observation: shape.Element) -> bool:
    """Say whether a list of parts holds something that is none."""
    lists = [told if isinstance(told, list) else [told] for told in map(observation.get, (_COMPONENT, _MEMBER)) if told]
    return any(not isinstance(part, dict) for parts in lists for part in parts)


def _member(reference: shape.Element, panel: Resource, record: Record) -> Resource | None:
    """Give a member that is about this patient, also a contained one; that need not say whose it is."""
    written = shape.text(reference.get("reference"))
    is_contained = written.startswith("#")
    if is_contained:
        told = record.envelope.resolve(written, panel.data)
        found = Resource(shape.text(told.get("resourceType")), told) if told is not None else None
    else:
        found = record.envelope.find(written)
    if found is None or found.kind not in {_OBSERVATION, _RESPONSE} or fault_of_focus(found.data, record):
        return None
    is_silent = is_contained and "subject" not in found.data
    return found if is_silent or subject_of(found, record.envelope) == record.patient else None
