"""Pages of a list, checked here: nothing that a server says of them is believed.

A page is whole if its leaves, with the inclusion proofs of its first and of its last, give the root hash that the log
signed. Left of the page only subtrees on the first path are needed, right of it only those on the last.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import IntegrityError
from engine.ledger.checkpoint import open_note, parse_checkpoint
from engine.ledger.merkle import leaf_hash, node_hash, verify_inclusion
from server.convert.ledger import write_entry
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.checkpoint import Checkpoint, VerifierKey
    from server.command.log.asking import Asking

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Entries that were checked, and the checkpoint they are under."""

    entries: Sequence[log_pb2.LogEntry]
    checkpoint: Checkpoint
    is_complete: bool


def read_pages(asking: Asking, request: log_pb2.ListDecisionsRequest, key: VerifierKey | None) -> Iterator[Page]:
    """Ask for page after page under one checkpoint, and check each.

    Args:
        asking: what answers.
        request: what to list; `page_size` is how many entries at most, 0 for all.
        key: the log's verifier key; without it no signature is checked.

    Raises:
        IntegrityError: a page is not what the log signed.

    """
    wanted = request.page_size
    asked = log_pb2.ListDecisionsRequest()
    asked.CopyFrom(request)
    while True:
        asked.page_size = min(wanted, PAGE_SIZE) if wanted else PAGE_SIZE
        answer = asking.ask("ListDecisions", asked, log_pb2.ListDecisionsResponse)
        page = check_page(asked, answer, key)
        yield page
        asked.tree_size = answer.tree_size
        if wanted:
            wanted -= len(answer.entries)
        if answer.next_index >= answer.tree_size or (request.page_size and wanted <= 0):
            return
        asked.first_index = answer.next_index


def check_page(
    request: log_pb2.ListDecisionsRequest, answer: log_pb2.ListDecisionsResponse, key: VerifierKey | None
) -> Page:
    """Check one page against its checkpoint. Raises: IntegrityError."""
    checkpoint = open_checkpoint(answer.checkpoint, key)
    if checkpoint.tree_size != answer.tree_size or (request.tree_size and answer.tree_size < request.tree_size):
        raise IntegrityError("the checkpoint is not of the tree that is listed", "checkpoint")
    first, end = request.first_index, answer.next_index
    if not first <= end <= answer.tree_size or (first == end) is (first < answer.tree_size):
        raise IntegrityError("the page does not go on where it should", f"entry {first}")
    is_complete = not (request.kinds or request.HasField("since") or request.HasField("until"))
    leaves = [item.leaf_data for item in answer.entries]
    for position, item in enumerate(answer.entries):
        if item != write_entry(item.leaf_data) or not first <= item.index < end:
            raise IntegrityError("the header does not say what is said of it", f"entry {item.index}")
        if is_complete and item.index != first + position:
            raise IntegrityError("the entry is left out of the list", f"entry {first + position}")
    if is_complete:
        if len(leaves) != end - first:
            raise IntegrityError("the entry is left out of the list", f"entry {first + len(leaves)}")
        if leaves:
            _check_edges(first, [leaf_hash(leaf_data) for leaf_data in leaves], answer.edge_proofs, checkpoint)
    return Page(answer.entries, checkpoint, is_complete)


def open_checkpoint(note: bytes, key: VerifierKey | None) -> Checkpoint:
    """Open a signed note; without a key its signature is not looked at. Raises: IntegrityError."""
    if key is not None:
        return open_note(note, key)
    return parse_checkpoint(note.partition(b"\n\n")[0].decode(errors="replace") + "\n")


def _check_edges(first: int, leaves: Sequence[bytes], proofs: log_pb2.EdgeProofs, checkpoint: Checkpoint) -> None:
    """Compute the root hash from a page and compare. Raises: IntegrityError."""
    size, root = checkpoint.tree_size, checkpoint.root_hash
    end = first + len(leaves)
    verify_inclusion(first, size, leaves[0], proofs.first, root)
    verify_inclusion(end - 1, size, leaves[-1], proofs.last, root)
    # An inclusion proof goes from the leaf up, and the walk below from the root down and from left to right.
    left = deque(h for h, is_left in reversed(list(zip(proofs.first, _sides(first, size), strict=True))) if is_left)
    right = deque(h for h, is_left in zip(proofs.last, _sides(end - 1, size), strict=True) if not is_left)

    def node(start: int, stop: int) -> bytes:
        if stop <= first:
            return left.popleft()
        if start >= end:
            return right.popleft()
        if stop - start == 1:
            return leaves[start - first]
        middle = start + (1 << (stop - start - 1).bit_length() - 1)
        return node_hash(node(start, middle), node(middle, stop))

    if node(0, size) != root or left or right:
        raise IntegrityError("the entries between do not give the root hash that was signed", f"entry {first}")


def _sides(index: int, size: int) -> list[bool]:
    """Tell of each hash of an inclusion proof, from the leaf up, whether it lies to the left."""
    sides = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + (1 << (stop - start - 1).bit_length() - 1)
        sides.append(index >= middle)
        start, stop = (middle, stop) if index >= middle else (start, middle)
    return sides[::-1]
