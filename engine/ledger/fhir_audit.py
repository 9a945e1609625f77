"""Entries of the log as FHIR R4 resources: an AuditEvent for each, and a Provenance for each decision.

For audit repositories that speak FHIR. They say what the headers say and, where the caller parts may be opened, who
acted; they hold no patient data. Every resource carries origin, index and leaf hash, so that the entry behind it can be
found and proven. Source: FHIR R4 AuditEvent and Provenance; IHE Basic Audit Log Patterns for the codes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.entry import Kind
from engine.ledger.merkle import leaf_hash

if TYPE_CHECKING:
    from engine.ledger.entry import Header
    from engine.ledger.seal import CallerPart

Json: TypeAlias = dict[str, object]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVENT_TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_ROLES = "http://terminology.hl7.org/CodeSystem/object-role"
_OBJECTS = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_PARTICIPANTS = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"
_OURS = frozenset({"internal", "engines-disagree", "engine-fault"})
"""Codes of refusals that are this system's fault, not the caller's."""


class _Pattern(NamedTuple):
    """How a kind of entry is told: an event, and C, R, U, D or E for what was done."""

    code: str
    display: str
    action: str
    system: str = _DICOM


_EXECUTED = _Pattern("110100", "Application Activity", "E")
_PATTERNS = {
    Kind.DECISION: _EXECUTED,
    Kind.DECISION_ERROR: _EXECUTED,
    Kind.ACCESS: _Pattern("110101", "Audit Log Used", "R"),
    Kind.FEEDBACK: _Pattern("110110", "Patient Record", "C"),
    Kind.CORRECTION: _Pattern("110110", "Patient Record", "U"),
    Kind.TOMBSTONE: _Pattern("object", "Object", "D", _EVENT_TYPES),
    Kind.ERASURE_DONE: _Pattern("object", "Object", "D", _EVENT_TYPES),
    Kind.LEGAL_HOLD: _Pattern("110113", "Security Alert", "U"),
}


def audit_event(header: Header, leaf_data: bytes, origin: str, caller: CallerPart | None) -> Json:
    """Tell an entry as an AuditEvent; without a caller part the agent is said to be sealed."""
    pattern = _PATTERNS.get(header.kind, _EXECUTED)
    return {
        "resourceType": "AuditEvent",
        "type": {"system": pattern.system, "code": pattern.code, "display": pattern.display},
        "subtype": [{"system": f"urn:{origin}:kind", "code": header.kind.name.lower().replace("_", "-")}],
        "action": pattern.action,
        "recorded": _instant(header.logged_at),
        "outcome": _outcome(header),
        "agent": [_agent(caller)],
        "source": {"observer": {"display": origin}},
        "entity": [
            {
                "what": {"identifier": _identifier(header)},
                "type": {"system": _OBJECTS, "code": "2", "display": "System Object"},
                "role": {"system": _ROLES, "code": "13", "display": "Security Resource"},
                "detail": _details(header, leaf_data, origin),
            }
        ],
    }


def provenance(header: Header, leaf_data: bytes, origin: str, caller: CallerPart | None) -> Json:
    """Tell what a decision came from: rule packs, engine build, contract and reference data, by their digests."""
    stood_on = {
        "pack set": header.pack_digest,
        "engine": header.engine_digest,
        "contract": header.schema_digest,
        "reference data": header.reference_digest,
    }
    agents: list[Json] = [
        {
            "type": _coded(_PARTICIPANTS, "assembler", "Assembler"),
            "who": {"identifier": {"system": "urn:sha-256", "value": header.engine_digest.hex()}},
        }
    ]
    if caller is not None:
        agents.append({"type": _coded(_PARTICIPANTS, "enterer", "Enterer"), "who": _who(caller)})
    return {
        "resourceType": "Provenance",
        "target": [{"identifier": _identifier(header)}],
        "recorded": _instant(header.logged_at),
        "agent": agents,
        "entity": [
            {
                "role": "source",
                "what": {"identifier": {"system": "urn:sha-256", "value": digest.hex()}, "display": name},
            }
            for name, digest in stood_on.items()
        ],
        "extension": [
            {"url": f"urn:{origin}:{detail['type']}", "valueString": detail["valueString"]}
            for detail in _details(header, leaf_data, origin)
        ],
    }


def _coded(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _identifier(header: Header) -> Json:
    return {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{entry.entry_uuid(header.entry_id)}"}


def _who(caller: CallerPart) -> Json:
    return {"display": caller.caller or "a caller on the server's own machine"}


def _agent(caller: CallerPart | None) -> Json:
    if caller is None:
        return {"requestor": True, "who": {"display": "sealed in the log, or the log itself"}}
    agent: Json = {"requestor": True, "who": _who(caller)}
    if caller.role:
        agent["role"] = [{"text": role} for role in caller.role.split(",")]
    if caller.purpose:
        agent["purposeOfUse"] = [{"text": caller.purpose}]
    if caller.peer:
        agent["network"] = {"address": caller.peer, "type": "2"}
    return agent


def _details(header: Header, leaf_data: bytes, origin: str) -> list[dict[str, str]]:
    told = {"origin": origin, "index": str(header.index), "leaf-hash": leaf_hash(leaf_data).hex()}
    match entry.read_body(header) if header.kind is not Kind.DECISION else None:
        case bodies.DecisionError() as body:
            told["code"] = body.code
        case bodies.Access() as body:
            told |= {"access": body.action, "first": str(body.first), "last": str(body.last)}
        case bodies.Tombstone() as body:
            told |= {"reason": body.reason, "authority": body.authority, "keys": str(len(body.key_ids))}
        case bodies.LegalHold() as body:
            told |= {"hold": "on" if body.is_on else "off", "authority": body.authority}
        case bodies.Feedback() as body:
            told["decision"] = str(body.decision_index)
    return [{"type": name, "valueString": value} for name, value in told.items() if value]


def _outcome(header: Header) -> str:
    if header.kind is not Kind.DECISION_ERROR:
        return _SUCCESS
    body = entry.read_body(header)
    return _SERIOUS if isinstance(body, bodies.DecisionError) and body.code in _OURS else _MINOR


def _instant(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
