"""One logged decision as a page for an auditor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engine.errors import LedgerError
from engine.ledger.checkpoint import parse_checkpoint, parse_receipt
from engine.ledger.merkle import leaf_hash
from engine.page.audit import Audit, Logged, Proof, Replayed, render_audit
from server.command.log.audit import clock_words, read_context
from server.command.log.showing import time_text
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.command.log.audit import Audited


def write_page(audited: Audited) -> str:
    """Write the page. Raises: LedgerError where the entry is no decision."""
    item, opened = audited.answer.entry, audited.answer.opened
    if item.kind != log_pb2.ENTRY_KIND_DECISION:
        raise LedgerError(f"entry {item.index} is no decision, and only a decision has a page; give --format text")
    decision = opened.decision if opened.HasField("decision") else None
    replay = audited.replay
    audit = Audit(
        origin=audited.answer.receipt.origin,
        index=item.index,
        entry_id=item.entry_id,
        logged_at=time_text(item.logged_at),
        clock=tuple(clock_words(item)),
        digests={
            "packs": item.pack_digest,
            "reference": item.reference_digest,
            "engine": item.engine_digest,
            "schema": item.schema_digest,
        },
        caller=dict(_caller(opened.caller)) if opened.HasField("caller") else None,
        logged=_logged(decision) if decision else None,
        tombstone_index=replay.tombstone_index if replay and replay.tombstone_index else None,
        proof=_proof(audited.answer),
        replay=_replayed(replay) if replay else None,
        titles=dict(_titles(decision)) if decision else {},
    )
    return render_audit(audit)


def _caller(caller: log_pb2.LoggedCaller) -> Iterator[tuple[str, str]]:
    yield "caller", caller.name
    yield "roles", ", ".join(caller.roles)
    yield "purpose", caller.purpose
    yield "from", caller.peer
    yield "request id", caller.request_id
    yield "method", caller.method
    yield "deadline", f"{caller.deadline_ms} ms" if caller.deadline_ms else "none"
    yield "answered with", caller.status


def _logged(part: log_pb2.LoggedDecision) -> Logged:
    return Logged(
        method=part.method,
        facts=part.facts,
        parameters=part.parameters,
        decision=part.decision,
        explanation=part.explanation,
        interpret_digest=part.interpret_digest.hex(),
        chain_digest=part.chain_digest.hex(),
        context=read_context(part.context),
    )


def _proof(answer: log_pb2.GetDecisionResponse) -> Proof | None:
    if not answer.receipt.proof:
        return None
    receipt = parse_receipt(answer.receipt.proof)
    note = receipt.checkpoint.decode()
    checkpoint = parse_checkpoint(note.partition("\n\n")[0] + "\n")
    return Proof(
        leaf_hash=leaf_hash(receipt.extra).hex(),
        tree_size=checkpoint.tree_size,
        root_hash=checkpoint.root_hash.hex(),
        path=tuple(each.hex() for each in receipt.proof),
        checkpoint=note,
    )


def _replayed(replay: log_pb2.Replay) -> Replayed:
    stage = log_pb2.ReplayStage.Name(replay.stage).removeprefix("REPLAY_STAGE_").lower()
    return Replayed(
        outcome=log_pb2.ReplayOutcome.Name(replay.outcome).removeprefix("REPLAY_OUTCOME_"),
        stage="" if stage == "unspecified" else stage,
        detail=replay.detail,
        differences=tuple(replay.differences),
        engine_digest=replay.engine_digest,
    )


def _titles(part: log_pb2.LoggedDecision) -> Iterator[tuple[str, str]]:
    """Give the words that the decision itself used for options, criteria and facts."""
    decision: dict[str, Any] = json.loads(part.decision)
    explanation: dict[str, Any] = json.loads(part.explanation)
    for option in decision["options"]:
        yield option["option"], option["title"]
    for findings in (*explanation["options"].values(), explanation["triage"], explanation["coverage"]):
        for finding in findings:
            yield finding["id"], finding["title"]
            for fact in finding["facts"]:
                yield fact["fact"], fact["label"]
