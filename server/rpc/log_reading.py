"""What can be said of the log without opening anything: headers, checkpoints and proofs, each from one snapshot.

A reading first settles what a request is about (`scope`), so that the access can be logged, and then answers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import EntryNotFoundError, IntegrityError, Violation
from engine.ledger.checkpoint import Receipt, format_receipt
from engine.ledger.entry import Kind
from engine.ledger.merkle import MAX_TREE_SIZE, consistency_proof, inclusion_proof
from engine.ledger.store import Wanted
from server.convert.ledger import read_card, read_time, tree_size_of, write_entry, write_receipt
from server.convert.messages import parse, refuse_unknown
from server.faults import Code, Fault, invalid
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from engine.ledger.store import Snapshot
    from server.pb.eligibility.v1 import receipt_pb2

SERVICE = log_pb2.DESCRIPTOR.services_by_name["DecisionLogService"].full_name

NO_ENTRY = 2**64 - 1
"""The index that an access gives where it is about no entry."""

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 512 * 1024
"""Of headers on one page; decoded they take up to five times as much, and 4 MiB is what every client takes."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call is about: entries `first` to `last`, in a tree of at least `tree_size` entries."""

    first: int = NO_ENTRY
    last: int = NO_ENTRY
    tree_size: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of reading. `action` is its code in the access entry.

    `answer` gets the newest note that the caller may know of, which perhaps is not stored yet, or nothing.
    """

    action: str
    request: type[Message]
    scope: Callable[[Snapshot, Any], Scope]
    answer: Callable[[Snapshot, Any, Scope, bytes], Message]


def read_message(kind: type[Message], data: bytes) -> Any:  # noqa: ANN401 - a message of that kind
    """Parse a request strictly. Raises: Fault."""
    request = parse(kind, data)
    violations = refuse_unknown(request)
    if violations:
        raise invalid(violations)
    return request


def find_tree(snapshot: Snapshot, tree_size: int, newest: bytes) -> tuple[int, bytes]:
    """Give size and note of the smallest checkpoint of at least a size; of the newest for 0. Raises: Fault."""
    found = snapshot.checkpoint(tree_size or None) if tree_size <= MAX_TREE_SIZE else None
    if newest:
        size = tree_size_of(newest)
        if size >= tree_size and (found is None or (tree_size == 0 and found[0] < size)):
            found = (size, newest)
    if found is None:
        message = "no checkpoint covers that many entries yet; ask again in a second, or for a smaller tree"
        raise Fault(Code.NOT_FOUND, "CHECKPOINT_NOT_FOUND", message)
    return found


def find_index(snapshot: Snapshot, request: Any) -> int:  # noqa: ANN401 - a request with the oneof `entry`
    """Give the index of the entry that a request names.

    Raises:
        Fault: it names none.
        EntryNotFoundError: the log has none such.

    """
    match request.WhichOneof("entry"):
        case "index":
            index: int | None = request.index
        case "decision_id":
            index = snapshot.index_of(read_card(request.decision_id))
        case _:
            raise invalid([Violation("entry", "request/missing", "give `index` or `decision_id`")])
    if index is None or index >= snapshot.head().size:
        raise EntryNotFoundError("the log has no such entry")
    return index


def receipt_of(snapshot: Snapshot, index: int, tree: tuple[int, bytes] | None) -> receipt_pb2.LogReceipt:
    """Prove an entry in a tree, of which size and note are given; without one, give no proof.

    Raises:
        IntegrityError: entry, tiles and checkpoint do not fit each other.

    """
    proof = b""
    if tree is not None:
        size, note = tree
        hashes = inclusion_proof(snapshot.tile, index, size)
        proof = format_receipt(Receipt(snapshot.leaf(index), index, tuple(hashes), note))
    return write_receipt(snapshot.meta()["origin"].decode(), index, proof)


def _page_scope(snapshot: Snapshot, request: log_pb2.ListDecisionsRequest) -> Scope:
    size = snapshot.head().size
    violations = []
    if request.page_size > MAX_PAGE_SIZE:
        violations.append(Violation("page_size", "request/too-large", f"is at most {MAX_PAGE_SIZE}"))
    if request.first_index > size:
        violations.append(_BEHIND)
    violations += [
        Violation(f"kinds[{place}]", "request/missing", "names no kind; leave it out")
        for place, kind in enumerate(request.kinds)
        if kind == log_pb2.ENTRY_KIND_UNSPECIFIED
    ]
    if len(request.kinds) > len(Kind):
        violations = [Violation("kinds", "request/too-many", f"names more than the {len(Kind)} kinds that there are")]
    if violations:
        raise invalid(violations)
    first, end = request.first_index, min(size, request.first_index + (request.page_size or PAGE_SIZE))
    tree_size = request.tree_size or size
    return Scope(first, end - 1, tree_size) if first < end else Scope(tree_size=tree_size)


_BEHIND = Violation("first_index", "request/out-of-range", "lies behind the tree that is listed")


def _page(snapshot: Snapshot, request: log_pb2.ListDecisionsRequest, _scope: Scope, newest: bytes) -> Message:
    size, note = find_tree(snapshot, request.tree_size, newest)
    if request.first_index > size:
        raise invalid([_BEHIND])
    response = log_pb2.ListDecisionsResponse(checkpoint=note, tree_size=size)
    if request.kinds or request.HasField("since") or request.HasField("until"):
        _fill_filtered(snapshot, request, response)
    else:
        _fill_whole(snapshot, request, response)
    return response


def _fill_whole(
    snapshot: Snapshot, request: log_pb2.ListDecisionsRequest, response: log_pb2.ListDecisionsResponse
) -> None:
    first, size = request.first_index, response.tree_size
    end = min(size, first + (request.page_size or PAGE_SIZE))
    budget = MAX_PAGE_BYTES
    next_index = first
    for index, leaf_data in snapshot.leaves(first, end):
        budget -= len(leaf_data)
        if budget < 0 and next_index > first:
            break
        if index != next_index:
            raise IntegrityError("the entry is not there", f"entry {next_index}")
        response.entries.append(write_entry(leaf_data))
        next_index += 1
    if next_index == first < end:
        raise IntegrityError("the entry is not there", f"entry {first}")
    response.next_index = next_index
    response.completeness = log_pb2.PAGE_COMPLETENESS_PROVABLE
    if response.entries:
        response.edge_proofs.first.extend(inclusion_proof(snapshot.tile, first, size))
        response.edge_proofs.last.extend(inclusion_proof(snapshot.tile, next_index - 1, size))


def _fill_filtered(
    snapshot: Snapshot, request: log_pb2.ListDecisionsRequest, response: log_pb2.ListDecisionsResponse
) -> None:
    limit = request.page_size or PAGE_SIZE
    wanted = Wanted(
        request.first_index,
        response.tree_size,
        limit,
        kinds=tuple(dict.fromkeys(map(Kind, request.kinds))),
        since=read_time(request.since) if request.HasField("since") else None,
        until=read_time(request.until) if request.HasField("until") else None,
    )
    rows = snapshot.find(wanted)
    budget = MAX_PAGE_BYTES
    response.next_index = rows[-1].entry_index + 1 if len(rows) == limit else response.tree_size
    for row in rows:
        leaf_data = snapshot.leaf(row.entry_index)
        budget -= len(leaf_data)
        if budget < 0 and response.entries:
            response.next_index = row.entry_index
            break
        response.entries.append(write_entry(leaf_data))
    response.completeness = log_pb2.PAGE_COMPLETENESS_FILTERED


def entry_scope(snapshot: Snapshot, request: Any) -> Scope:  # noqa: ANN401 - a request with the oneof `entry`
    """Settle which entry a request is about. Raises: Fault, EntryNotFoundError."""
    index = find_index(snapshot, request)
    return Scope(index, index, snapshot.head().size)


def write_header(
    snapshot: Snapshot, _request: log_pb2.GetDecisionRequest, scope: Scope, newest: bytes
) -> log_pb2.GetDecisionResponse:
    """Answer GetDecision with the header."""
    tree = snapshot.checkpoint(scope.first + 1)
    if tree is None and newest:
        tree = (tree_size_of(newest), newest)
    return log_pb2.GetDecisionResponse(
        entry=write_entry(snapshot.leaf(scope.first)), receipt=receipt_of(snapshot, scope.first, tree)
    )


def _tree_scope(_snapshot: Snapshot, request: log_pb2.GetCheckpointRequest) -> Scope:
    return Scope(tree_size=request.tree_size)


def _checkpoint(snapshot: Snapshot, request: log_pb2.GetCheckpointRequest, _scope: Scope, newest: bytes) -> Message:
    size, note = find_tree(snapshot, request.tree_size, newest)
    origin = snapshot.meta()["origin"].decode()
    return log_pb2.GetCheckpointResponse(checkpoint=note, tree_size=size, origin=origin)


def _inclusion_scope(snapshot: Snapshot, request: log_pb2.GetInclusionProofRequest) -> Scope:
    index = find_index(snapshot, request)
    return Scope(index, index, request.tree_size)


def _inclusion(snapshot: Snapshot, request: log_pb2.GetInclusionProofRequest, scope: Scope, newest: bytes) -> Message:
    tree = find_tree(snapshot, request.tree_size, newest)
    if tree[0] <= scope.first:
        tree = find_tree(snapshot, scope.first + 1, newest)
    return log_pb2.GetInclusionProofResponse(receipt=receipt_of(snapshot, scope.first, tree))


def _consistency_scope(_snapshot: Snapshot, request: log_pb2.GetConsistencyProofRequest) -> Scope:
    if request.old_size == 0:
        raise invalid([Violation("old_size", "request/missing", "is required; nothing can be shown of an empty tree")])
    return Scope(tree_size=request.new_size)


def _consistency(
    snapshot: Snapshot, request: log_pb2.GetConsistencyProofRequest, _scope: Scope, newest: bytes
) -> Message:
    size, note = find_tree(snapshot, request.new_size, newest)
    if request.old_size > size:
        raise invalid([Violation("old_size", "request/out-of-range", "is larger than the newer tree")])
    proof = consistency_proof(snapshot.tile, request.old_size, size)
    return log_pb2.GetConsistencyProofResponse(old_size=request.old_size, new_size=size, proof=proof, checkpoint=note)


READINGS: Mapping[str, Reading] = {
    "ListDecisions": Reading("list", log_pb2.ListDecisionsRequest, _page_scope, _page),
    "GetDecision": Reading("get", log_pb2.GetDecisionRequest, entry_scope, write_header),
    "GetCheckpoint": Reading("checkpoint", log_pb2.GetCheckpointRequest, _tree_scope, _checkpoint),
    "GetInclusionProof": Reading("prove-inclusion", log_pb2.GetInclusionProofRequest, _inclusion_scope, _inclusion),
    "GetConsistencyProof": Reading(
        "prove-consistency", log_pb2.GetConsistencyProofRequest, _consistency_scope, _consistency
    ),
}
"""By method of DecisionLogService."""
