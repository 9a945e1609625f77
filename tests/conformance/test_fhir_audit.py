"""Every kind of entry becomes a valid FHIR R4 AuditEvent, and says what can be proven of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import fhirkit
import pytest

from engine.ledger import entry, erasure
from engine.ledger.body import Access, DecisionError, Feedback
from engine.ledger.entry import Kind
from engine.ledger.fhir_audit import Json, audit_event, provenance
from engine.ledger.log import Account
from engine.ledger.merkle import leaf_hash
from engine.ledger.seal import CallerPart, MessagePart
from tests.conformance.ledger_world import DIGESTS, KEY, World, account, register

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.log import DecisionLog

OFFICER = CallerPart("officer-1", "key_officer", "", "unix:", "", "/log", 0, "OK")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DecisionLog]:
    world = World(tmp_path)
    opened = world.open()
    register(opened)
    yield opened
    world.close()


def told(log: DecisionLog) -> list[tuple[Kind, Json, Json | None]]:
    """Tell every entry of the log."""
    events = []
    with log.reading() as snapshot:
        for index, leaf_data in snapshot.leaves(0, 2**40):
            opened = log.open_entry(snapshot, index)
            given = (opened.header, leaf_data, KEY.verifier.name, opened.caller)
            decided = provenance(*given) if opened.header.kind is Kind.DECISION else None
            events.append((opened.header.kind, audit_event(*given), decided))
    return events


def detail(event: Json) -> dict[str, str]:
    entities = event["entity"]
    assert isinstance(entities, list)
    return {one["type"]: one["valueString"] for one in entities[0]["detail"]}


def test_every_kind_is_valid_and_can_be_found_again(log: DecisionLog) -> None:
    log.append(account(1, patient=b"patient x"))
    log.append(replace(account(2, kind=Kind.DECISION_ERROR), body=DecisionError("engines-disagree")))
    log.append(replace(account(3, kind=Kind.DECISION_ERROR), body=DecisionError("invalid-fields")))
    log.tell(Access("list", 0, 9, 10), replace(OFFICER, caller="auditor-1", role="auditor"))
    card = replace(OFFICER, request_id="card", method="/log/RecordFeedback")
    content = MessagePart("/log/RecordFeedback", b"", b"")
    log.append(Account(Kind.FEEDBACK, content, card, DIGESTS, b"patient x", body=Feedback(6)))
    erasure.hold(log, b"patient x", "court 3", OFFICER, is_on=True)
    erasure.hold(log, b"patient x", "court 3", OFFICER, is_on=False)
    asked = erasure.ErasureRequest(b"patient x", "subject-request", "case 17")
    first = erasure.request(log, asked, OFFICER)
    erasure.approve(log, asked, first.index, replace(OFFICER, caller="officer-2"))
    events = told(log)

    for index, (kind, event, decided) in enumerate(events):
        for resource in filter(None, (event, decided)):
            assert fhirkit.validate(json.dumps(resource)) == [], (kind, resource)
        with log.reading() as snapshot:
            leaf_data = snapshot.leaf(index)
        found = detail(event)
        assert found["origin"] == KEY.verifier.name
        assert (int(found["index"]), found["leaf-hash"]) == (index, leaf_hash(leaf_data).hex())
        assert entry.entry_uuid(entry.decode(leaf_data).entry_id) in json.dumps(event)
    by_kind = {kind: event for kind, event, _ in events}
    outcomes = [event["outcome"] for kind, event, _ in events if kind is Kind.DECISION_ERROR]
    assert outcomes == ["8", "4"]
    assert {event["action"] for kind, event, _ in events if kind is Kind.TOMBSTONE} == {"D"}
    assert detail(by_kind[Kind.TOMBSTONE])["authority"] == "case 17"
    assert "auditor-1" in json.dumps([event["agent"] for kind, event, _ in events if kind is Kind.ACCESS])
    assert sum(decided is not None for _, _, decided in events) == 1
    assert "patient x" not in json.dumps(events)
    assert "request 1" not in json.dumps(events)
