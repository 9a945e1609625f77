"""Erasing a patient, and keeping from erasure: tombstone first, then the keys, then what they opened.

Each step is durable before the next begins, so that a crash leaves either nothing done or something that `finish` ends:

1. a tombstone entry names the keys, the reason and the authority
2. the keys are destroyed, with the rows that led from the patient to them
3. the sealed bodies are emptied, and of what answers a repeated request only its id is kept, for a day at most
4. an erasure-done entry points to the tombstone

The leaf, the tiles and every proof stay as they are. Two key officers have to ask for the same erasure. Before anything
is destroyed, every entry under the patient's keys is opened and seen to be the patient's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import canonical
from engine.errors import EntryNotFoundError, ErasureRefusedError
from engine.ledger import entry
from engine.ledger.body import Access, ErasureDone, LegalHold, Tombstone
from engine.ledger.entry import Kind
from engine.ledger.log import TENANT
from engine.ledger.store import Wanted
from engine.ledger.subjects import keys_of_patient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from engine.ledger.log import DecisionLog, Opened
    from engine.ledger.seal import CallerPart

APPROVAL_MICROSECONDS = 24 * 3600 * 1_000_000
REQUESTED = "shred-requested"
RETENTION = "retention"
KEYS_AT_ONCE = 1000
_ALL = 2**62


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What two key officers have to agree on. `reason` is a code, `authority` a reference such as a case number.

    With `before` (µs UTC) it ends the retention of all patients' keys that were made before then and are not held;
    `patient` is empty.
    """

    patient: bytes
    reason: str
    authority: str
    before: int = 0

    def encode(self) -> bytes:
        """Give the bytes by which two requests are the same one."""
        told = (self.patient, self.reason.encode(), self.authority.encode(), self.before.to_bytes(8, "big"))
        return canonical.frame(*told)


@dataclass(frozen=True, slots=True)
class Requested:
    """The first officer asked: the entry that another has to approve within a day."""

    index: int


@dataclass(frozen=True, slots=True)
class Erased:
    """It is done: the (first) tombstone's entry, and how many keys and sealed bodies are gone."""

    tombstone_index: int
    keys: int
    bodies: int


def request(log: DecisionLog, wanted: ErasureRequest, officer: CallerPart) -> Requested:
    """Record that a key officer asks for an erasure. Nothing is erased yet.

    Raises:
        EntryNotFoundError: there is no such key.
        ErasureRefusedError: a legal hold stands.
        IntegrityError: the key store gives the patient a key of somebody else.
        LedgerError: as `DecisionLog.append`.

    """
    _keys_to_erase(log, wanted)
    with log.reading() as snapshot:
        size = snapshot.head().size
    asked = log.tell(Access(REQUESTED, 0, 0, size), officer)
    log.keys.request_erasure(asked.index, wanted.encode(), log.clock.now() + APPROVAL_MICROSECONDS)
    return Requested(asked.index)


def approve(log: DecisionLog, wanted: ErasureRequest, first_index: int, officer: CallerPart) -> Erased:
    """Erase, as the second of two key officers.

    Raises:
        ErasureRefusedError: no such request stands, it was another one, it is a day old, the same officer asked, or a
            legal hold stands.
        IntegrityError: as `request`.
        LedgerError: as `DecisionLog.append`; what has begun is finished at the next start.

    """
    with log.reading() as snapshot:
        opened = log.open_entry(snapshot, first_index)
    if opened.caller is None or opened.caller.caller == officer.caller:
        message = "the second person must be another one than the first"
        raise ErasureRefusedError(message)
    key_ids = _keys_to_erase(log, wanted)
    log.keys.approve_erasure(first_index, wanted.encode(), log.clock.now())
    return erase(log, key_ids, wanted.reason, wanted.authority, officer)


def erase(
    log: DecisionLog, key_ids: Sequence[bytes], reason: str, authority: str, officer: CallerPart | None
) -> Erased:
    """Erase keys; see the module for the order. One tombstone names up to a thousand of them.

    Raises:
        ErasureRefusedError: a legal hold stands.
        LedgerError: as `DecisionLog.append`.

    """
    log.keys.refuse_held(key_ids)
    done = []
    for first in range(0, len(key_ids), KEYS_AT_ONCE):
        part = key_ids[first : first + KEYS_AT_ONCE]
        tombstone = log.tell(Tombstone(tuple(part), reason, authority), officer)
        done.append(_finish(log, tombstone.index, part))
    return Erased(done[0].tombstone_index, sum(one.keys for one in done), sum(one.bodies for one in done))


def hold(log: DecisionLog, patient: bytes, authority: str, officer: CallerPart, *, is_on: bool) -> int:
    """Put a legal hold on a patient's keys, or lift it; give the entry that says so.

    Raises: EntryNotFoundError where the log has no key of this patient.
    """
    key_ids = _key_ids(log, patient)
    said = log.tell(LegalHold(is_on, tuple(key_ids), authority), officer)
    log.keys.hold(key_ids, said.index if is_on else None)
    return said.index


def subject_access(log: DecisionLog, patient: bytes) -> Iterator[Opened]:
    """Give every entry about a patient, opened, in order. Raises: EntryNotFoundError."""
    key_ids = tuple(_key_ids(log, patient))
    with log.reading() as snapshot:
        for row in snapshot.find(Wanted(0, _ALL, _ALL, key_ids=key_ids)):
            yield log.open_entry(snapshot, row.entry_index)


def finish(log: DecisionLog) -> int:
    """Destroy again what a tombstone names, and end what a crash cut short; give how many erasures were ended.

    A key file that was restored from a backup must not undo an erasure, nor lift a legal hold. A hold that came between
    the question and the tombstone stands; that erasure is ended at the first start after the hold is lifted.
    """
    with log.reading() as snapshot:
        size = snapshot.head().size
        rows = snapshot.find(Wanted(0, size, size, kinds=(Kind.TOMBSTONE, Kind.ERASURE_DONE, Kind.LEGAL_HOLD)))
        bodies = [(row.entry_index, entry.read_body(entry.decode(snapshot.leaf(row.entry_index)))) for row in rows]
    done = {body.tombstone_index for _, body in bodies if isinstance(body, ErasureDone)}
    ended = 0
    for index, body in bodies:
        if isinstance(body, LegalHold):
            log.keys.hold(_existing(log, body.key_ids), index if body.is_on else None)
    for index, body in bodies:
        if isinstance(body, Tombstone) and index in done:
            log.keys.destroy(_existing(log, body.key_ids))
        elif isinstance(body, Tombstone):
            with suppress(ErasureRefusedError):
                _finish(log, index, body.key_ids)
                ended += 1
    return ended


def _finish(log: DecisionLog, tombstone_index: int, key_ids: Sequence[bytes]) -> Erased:
    log.keys.destroy(list(key_ids))
    bodies = sum(log.store.erase_bodies(tombstone_index, key_id) for key_id in key_ids)
    log.tell(ErasureDone(tombstone_index))
    log.store.scrub()
    return Erased(tombstone_index, len(key_ids), bodies)


def _existing(log: DecisionLog, key_ids: Iterable[bytes]) -> list[bytes]:
    return [key_id for key_id in key_ids if log.keys.open_key(key_id) is not None]


def _key_ids(log: DecisionLog, patient: bytes) -> list[bytes]:
    """Give a patient's keys, each seen to be the patient's. Raises: EntryNotFoundError, IntegrityError."""
    if log.subject_of is None:
        key_ids = log.keys.key_ids_of(TENANT, patient)
    else:
        with log.reading() as snapshot:
            key_ids = keys_of_patient(snapshot, log.keys, TENANT, patient, log.subject_of)
    if not key_ids:
        message = "the log has no entry about this patient, or it was erased"
        raise EntryNotFoundError(message)
    return key_ids


def _keys_to_erase(log: DecisionLog, wanted: ErasureRequest) -> list[bytes]:
    key_ids = log.keys.patient_keys_before(wanted.before) if wanted.before else _key_ids(log, wanted.patient)
    if not key_ids:
        message = "no patient's key that is not held is as old as that"
        raise EntryNotFoundError(message)
    log.keys.refuse_held(key_ids)
    return key_ids
