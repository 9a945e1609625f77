"""Logged decisions as they are opened for a replay or an impact analysis: from the log and the keys alone.

An erased decision is told from a damaged one by its tombstone. INVARIANT: a key that a tombstone names is never used,
even if a restored key store gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import IntegrityError
from engine.ledger import entry
from engine.ledger.body import Tombstone
from engine.ledger.entry import Kind
from engine.ledger.seal import BadCommitment, PartKind, PatientPart, Undecryptable, open_part
from engine.ledger.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from engine.ledger.entry import Header
    from engine.ledger.store import Snapshot


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class LogView:
    """A log and its keys, to read. `open_key` gives the data key of an id, None once it is destroyed."""

    reading: Callable[[], AbstractContextManager[Snapshot]]
    open_key: Callable[[bytes], bytes | None]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True, repr=False)
class LoggedDecision:
    """A decision, opened."""

    header: Header
    content: PatientPart


class Closed(StrEnum):
    """Why an entry is not opened."""

    NOT_A_DECISION = "NOT_A_DECISION"
    SHREDDED = "SHREDDED"
    UNDECRYPTABLE = "UNDECRYPTABLE"
    BAD_COMMITMENT = "BAD_COMMITMENT"


@dataclass(frozen=True, slots=True)
class ClosedEntry:
    """An entry that is not opened. `tombstone_index` says where an erasure is written."""

    header: Header
    reason: Closed
    detail: str
    tombstone_index: int | None = None


Looked: TypeAlias = LoggedDecision | ClosedEntry


class Opener:
    """Opens the decisions of one log. For one thread at a time."""

    def __init__(self, view: LogView) -> None:
        self._view = view
        self._tombstones: dict[bytes, int] = {}
        self._searched = 0

    def open(self, snapshot: Snapshot, index: int) -> Looked:
        """Open an entry, if it is a decision that can be opened.

        Raises:
            EntryNotFoundError: there is none.
            IntegrityError: its header is none.
            LogUnavailableError: the key store is down.

        """
        header = entry.decode(snapshot.leaf(index))
        if header.kind is not Kind.DECISION:
            return ClosedEntry(header, Closed.NOT_A_DECISION, f"it is of kind {header.kind.name.lower()}")
        tombstone = self._tombstone(snapshot, header.key_id)
        if tombstone is not None:
            return ClosedEntry(header, Closed.SHREDDED, "it was erased", tombstone)
        body, key = snapshot.sealed(index, PartKind.PATIENT), self._view.open_key(header.key_id)
        if body is None or key is None:
            lost = "its sealed part" if body is None else "its key"
            return ClosedEntry(header, Closed.UNDECRYPTABLE, f"{lost} is gone, and no tombstone says why")
        return self._opened(header, body, key)

    @staticmethod
    def _opened(header: Header, body: bytes, key: bytes) -> Looked:
        try:
            content = open_part(body, part=PartKind.PATIENT, data_key=key, header=header)
            return LoggedDecision(header, PatientPart.decode(content))
        except Undecryptable as fault:
            return ClosedEntry(header, Closed.UNDECRYPTABLE, str(fault))
        except BadCommitment as fault:
            return ClosedEntry(header, Closed.BAD_COMMITMENT, str(fault))
        except IntegrityError as fault:
            # It is what was committed to, and yet nothing that is ever sealed for a decision.
            return ClosedEntry(header, Closed.BAD_COMMITMENT, str(fault))

    def _tombstone(self, snapshot: Snapshot, key_id: bytes) -> int | None:
        size = snapshot.head().size
        if size > self._searched:
            wanted = Wanted(self._searched, size, size - self._searched, kinds=(Kind.TOMBSTONE,))
            for row in snapshot.find(wanted):
                body = entry.read_body(entry.decode(snapshot.leaf(row.entry_index)))
                if isinstance(body, Tombstone):
                    for named in body.key_ids:
                        self._tombstones.setdefault(named, row.entry_index)
            self._searched = size
        return self._tombstones.get(key_id)
