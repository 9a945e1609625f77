"""The decision log as servers and commands use it: tell it an account of what happened, get a receipt.

Sealing happens here, on the caller's thread; the writer gets bytes and never objects.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from engine.errors import IntegrityError, LedgerError, LogUnavailableError, ResponseErasedError
from engine.ledger import entry
from engine.ledger.body import BlobKind, BlobRegistered, PackSetActivated, write_body
from engine.ledger.checkpoint import Receipt, format_receipt
from engine.ledger.entry import BODY_TYPES, Header, Kind
from engine.ledger.keys import period
from engine.ledger.merkle import inclusion_proof
from engine.ledger.plan import Draft, Idempotency, Placed
from engine.ledger.seal import (
    NONCE_LENGTH,
    SALT_LENGTH,
    Associated,
    CallerPart,
    MessagePart,
    PartKind,
    PatientPart,
    Sealed,
    open_part,
    seal,
)
from engine.ledger.store import BlobRow, StoreBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from engine.ledger.body import Body
    from engine.ledger.clock import Clock
    from engine.ledger.keys import DataKey, KeyStore
    from engine.ledger.store import LogStore, Snapshot
    from engine.ledger.subjects import SubjectOf
    from engine.ledger.writer import Acknowledged, LogWriter

TENANT = 0
"""One organization; a number for each would come in here."""

ANSWER_SECONDS = 30.0
"""How long a caller without a deadline waits for the log."""

_ID_MASK = 0xF0
"""The last four bits of a random entry id are zero: card n of a decision is its id plus n."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What an evaluation stood on: SHA-256 of four registered blobs."""

    packs: bytes
    engine: bytes
    schema: bytes
    reference: bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that headers name by its SHA-256. `label` is for people."""

    kind: BlobKind
    body: bytes
    label: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the content."""
        return hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True)
class Account:
    """What an entry of kind DECISION, DECISION_ERROR, CORRECTION or FEEDBACK tells.

    Attributes:
        kind: the kind.
        content: what is sealed for the patient.
        caller: who asked; its request_id, if there is one, makes a repeated request the same one (not for errors).
        digests: what the evaluation stood on.
        patient: the caller's reference to the patient; None or empty gives the entry a key of its own.
        entry_id: None for a random one.
        body: the kind's public body; None for a decision.
        deadline: monotonic seconds after which nobody waits any more.

    """

    kind: Kind
    content: PatientPart | MessagePart
    caller: CallerPart
    digests: Digests
    patient: bytes | None = None
    entry_id: bytes | None = None
    body: Body | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that is in the log. `receipt` is empty at level `durable` until the note is there.

    `response` is the first answer's bytes where the same request had been answered before; then the account was not
    logged again.
    """

    index: int
    entry_id: bytes
    receipt: bytes
    response: bytes | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry as it can be read. A part is None where the header has none, or where its key is gone."""

    index: int
    header: Header
    leaf_data: bytes
    content: PatientPart | MessagePart | None
    caller: CallerPart | None


class OpeningKeys(Protocol):
    """What opens sealed parts; `engine.ledger.keys.KeyStore` does."""

    def open_key(self, key_id: bytes) -> bytes | None:
        """Give a data key; None once it is destroyed."""


class DecisionLog:
    """One log in work. Safe to call from many threads; made by `engine.ledger.recovery.open_log`."""

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        *,
        origin: str,
        log_id: bytes,
        vkey: str,
        store: LogStore,
        keys: KeyStore,
        writer: LogWriter,
        clock: Clock,
        random: Callable[[int], bytes],
        subject_of: SubjectOf | None = None,
    ) -> None:
        self.origin = origin
        self.log_id = log_id
        self.vkey = vkey
        self.store = store
        self.keys = keys
        self.clock = clock
        self.subject_of = subject_of
        self._writer = writer
        self._random = random

    @property
    def acknowledged(self) -> int:
        """How many entries this process has acknowledged."""
        return self._writer.acknowledged

    @property
    def written(self) -> int:
        """How many entries this process has written; those not acknowledged await the signer, or their caller left."""
        return self._writer.written

    def append(self, account: Account) -> Logged:
        """Log an account; returns once the entry is durable (and signed, at level `signed`).

        Raises:
            PushbackError: the log has too much to write; nothing was written.
            LogUnavailableError: it cannot be written, or it is not known whether it was; show nothing, retry with the
                same request id.
            RequestConflictError: the request id was used for another request.
            ResponseErasedError: the request was answered before, and that answer was erased.
            IntegrityError: the log is not what it was.

        """
        now = self.clock.now()
        with self._using_keys():
            patient_key = self.keys.subject_key(TENANT, account.patient or None, period(now))
            draft = self._draft(account, patient_key, self.keys.caller_key(TENANT, period(now)))
        acknowledged = self._settle(self._writer.submit(draft), account.deadline)
        if isinstance(acknowledged.outcome, Placed):
            receipt = self._receipt_of(acknowledged)
            return Logged(acknowledged.outcome.index, draft.header.entry_id, receipt)
        return self._repeated(acknowledged, account)

    def tell(self, body: Body, caller: CallerPart | None = None, blobs: Sequence[Blob] = ()) -> Logged:
        """Log what happened to the log itself: kinds BLOB_REGISTERED to CHECKPOINT_GAP. Raises: as `append`."""
        return self.tell_all([(body, caller, blobs)])[0]

    def tell_all(self, events: Sequence[tuple[Body, CallerPart | None, Sequence[Blob]]]) -> list[Logged]:
        """Log several events in their order. Raises: as `append`."""
        futures = []
        for body, caller, blobs in events:
            draft = self._event(body, caller, blobs)
            futures.append((draft, self._writer.submit(draft)))
        logged = []
        for draft, future in futures:
            acknowledged = self._settle(future, None)
            receipt = self._receipt_of(acknowledged)
            logged.append(Logged(acknowledged.outcome.index, draft.header.entry_id, receipt))
        return logged

    def register(self, blobs: Sequence[Blob], activation: PackSetActivated | None = None) -> None:
        """Register the blobs that are not yet there, each by an entry, and then say which pack set is in force.

        The activated pack set is the blob of kind PACK_SET among them. Raises: as `append`.
        """
        with self.reading() as snapshot:
            fresh = [blob for blob in blobs if snapshot.blob(blob.digest) is None]
        events: list[tuple[Body, CallerPart | None, Sequence[Blob]]] = [
            (BlobRegistered(blob.kind, blob.digest, blob.label), None, (blob,)) for blob in fresh
        ]
        self.tell_all(events)
        if activation is not None:
            digest = next(blob.digest for blob in blobs if blob.kind is BlobKind.PACK_SET)
            self._settle(self._writer.submit(self._event(activation, None, (), digest)), None)

    def reading(self) -> AbstractContextManager[Snapshot]:
        """Read the log in one snapshot."""
        return self.store.reading()

    def checkpoint(self) -> bytes:
        """Give the latest released note; empty before the first."""
        with self.reading() as snapshot:
            found = snapshot.checkpoint()
        return found[1] if found else b""

    def receipt(self, index: int) -> bytes:
        """Prove an entry under the first checkpoint that covers it; empty while none does.

        Raises: EntryNotFoundError, IntegrityError.
        """
        with self.reading() as snapshot:
            leaf_data = snapshot.leaf(index)
            found = snapshot.checkpoint(index + 1)
            if found is None:
                return b""
            size, note = found
            proof = inclusion_proof(snapshot.tile, index, size)
        return format_receipt(Receipt(leaf_data, index, tuple(proof), note))

    def open_entry(self, snapshot: Snapshot, index: int) -> Opened:
        """Open an entry; see the function of this name."""
        return open_entry(snapshot, self.keys, index)

    def alarms(self) -> tuple[str, ...]:
        """Name what is wrong now; empty while all is well."""
        if "keys" in self._writer.alarms():
            with suppress(LedgerError), self._using_keys():
                self.keys.caller_key(TENANT, period(self.clock.now()))
        return self._writer.alarms()

    def raise_alarm(self, name: str) -> None:
        """Record that something is wrong with the log."""
        self._writer.raise_alarm(name)

    def close(self) -> None:
        """Write all that waits, and let go of everything. Every waiter is answered or refused."""
        self._writer.close()
        self.store.close()
        self.keys.close()

    def entry_id(self) -> bytes:
        """Make the id of an entry; its last four bits are zero."""
        random = self._random(16)
        return random[:15] + bytes([random[15] & _ID_MASK])

    @contextmanager
    def _using_keys(self) -> Iterator[None]:
        """Raise an alarm while the key store is down; stop for good where it failed in a way that does not heal."""
        try:
            yield
        except StoreBrokenError as error:
            self._writer.stop("keys", error)
            raise
        except LogUnavailableError:
            self._writer.raise_alarm("keys")
            raise
        self._writer.clear_alarm("keys")

    def _settle(self, future: Future[Acknowledged], deadline: float | None) -> Acknowledged:
        left = ANSWER_SECONDS if deadline is None else max(0.0, deadline - self.clock.monotonic())
        try:
            return future.result(min(left, ANSWER_SECONDS))
        except TimeoutError:
            message = "the log did not answer in time; whether the entry was written is not known yet"
            raise LogUnavailableError(message) from None

    def _draft(self, account: Account, patient_key: DataKey, caller_key: DataKey) -> Draft:
        given = account.digests
        associated = Associated(
            self.log_id,
            account.kind,
            account.entry_id or self.entry_id(),
            TENANT,
            given.packs,
            given.engine,
            given.schema,
            given.reference,
            patient_key.key_id,
            caller_key.key_id,
        )
        patient = self._seal(PartKind.PATIENT, account.content.encode(), patient_key, associated)
        caller = self._seal(PartKind.CALLER, account.caller.encode(), caller_key, associated)
        header = Header(
            kind=account.kind,
            log_id=self.log_id,
            entry_id=associated.entry_id,
            tenant=TENANT,
            pack_digest=given.packs,
            engine_digest=given.engine,
            schema_digest=given.schema,
            reference_digest=given.reference,
            key_id=patient_key.key_id,
            caller_key_id=caller_key.key_id,
            seal_algorithm=1,
            patient=patient.header_part,
            caller=caller.header_part,
            body=b"" if account.body is None else write_body(account.body),
        )
        entry.check_draft(header)
        idempotency = None
        if account.caller.request_id and account.kind is not Kind.DECISION_ERROR:
            asked = account.caller
            macs = self.keys.request_macs(TENANT, asked.method, asked.request_id, account.content.request)
            idempotency = Idempotency(TENANT, *macs)
        sealed = ((PartKind.PATIENT, patient.body), (PartKind.CALLER, caller.body))
        return Draft(header, sealed, idempotency, deadline=account.deadline)

    def _event(
        self, body: Body, caller: CallerPart | None, blobs: Sequence[Blob], pack_digest: bytes = entry.ZERO_DIGEST
    ) -> Draft:
        header = Header(
            kind=_KINDS[type(body)],
            log_id=self.log_id,
            entry_id=self.entry_id(),
            tenant=TENANT,
            pack_digest=pack_digest,
            body=write_body(body),
        )
        rows = tuple(BlobRow(blob.digest, blob.kind, blob.body) for blob in blobs)
        if caller is None:
            entry.check_draft(header)
            return Draft(header, blobs=rows)
        with self._using_keys():
            key = self.keys.caller_key(TENANT, period(self.clock.now()))
        header = replace(header, caller_key_id=key.key_id, seal_algorithm=1)
        sealed = self._seal(PartKind.CALLER, caller.encode(), key, Associated.of(header))
        header = replace(header, caller=sealed.header_part)
        entry.check_draft(header)
        return Draft(header, ((PartKind.CALLER, sealed.body),), blobs=rows)

    def _seal(self, part: PartKind, content: bytes, key: DataKey, associated: Associated) -> Sealed:
        random = self._random(SALT_LENGTH + NONCE_LENGTH)
        salt, nonce = random[:SALT_LENGTH], random[SALT_LENGTH:]
        return seal(content, part=part, data_key=key.key, salt=salt, nonce=nonce, associated=associated)

    def _receipt_of(self, acknowledged: Acknowledged) -> bytes:
        outcome = acknowledged.outcome
        if not acknowledged.note:
            return b""
        if isinstance(outcome, Placed) and acknowledged.note_size == acknowledged.tree.size:
            proof = acknowledged.tree.inclusion_proof(outcome.index)
            return format_receipt(Receipt(outcome.leaf_data, outcome.index, tuple(proof), acknowledged.note))
        with self.reading() as snapshot:
            leaf_data = snapshot.leaf(outcome.index)
            proof = inclusion_proof(snapshot.tile, outcome.index, acknowledged.note_size)
        return format_receipt(Receipt(leaf_data, outcome.index, tuple(proof), acknowledged.note))

    def _repeated(self, acknowledged: Acknowledged, account: Account) -> Logged:
        """Answer a repeated request with the first answer. The idempotency row is a hint; what is sealed decides."""
        index = acknowledged.outcome.index
        with self.reading() as snapshot:
            opened = self.open_entry(snapshot, index)
        receipt = self._receipt_of(acknowledged)
        if opened.content is None:
            message = "this request was answered before, and the answer was erased since"
            raise ResponseErasedError(message, receipt)
        asked = opened.caller.request_id if opened.caller else account.caller.request_id
        if asked != account.caller.request_id or opened.content.request != account.content.request:
            message = "an idempotency row names an entry of another request"
            raise IntegrityError(message, f"entry {index}")
        return Logged(index, opened.header.entry_id, receipt, opened.content.response)


def open_entry(snapshot: Snapshot, keys: OpeningKeys, index: int) -> Opened:
    """Open an entry and check what is sealed against its header.

    Raises:
        EntryNotFoundError: there is none.
        IntegrityError: header or parts are not what was logged; `Undecryptable` and `BadCommitment` of `seal` say how a
            part fails.
        LogUnavailableError: the key store is down.

    """
    leaf_data = snapshot.leaf(index)
    header = entry.decode(leaf_data)
    if header.index != index:
        message = "the entry belongs to another place"
        raise IntegrityError(message, f"entry {index}")
    patient = _open_part(snapshot, keys, header, PartKind.PATIENT)
    caller = _open_part(snapshot, keys, header, PartKind.CALLER)
    content = None if patient is None else read_content(header, patient)
    return Opened(index, header, leaf_data, content, None if caller is None else CallerPart.decode(caller))


def read_content(header: Header, patient: bytes) -> PatientPart | MessagePart:
    """Read what was sealed as an entry's patient part. Raises: IntegrityError."""
    is_decided = header.kind in {Kind.DECISION, Kind.DECISION_ERROR}
    return PatientPart.decode(patient) if is_decided else MessagePart.decode(patient)


def _open_part(snapshot: Snapshot, keys: OpeningKeys, header: Header, part: PartKind) -> bytes | None:
    is_patient = part is PartKind.PATIENT
    told, key_id = (header.patient, header.key_id) if is_patient else (header.caller, header.caller_key_id)
    if not told.length:
        return None
    key = keys.open_key(key_id)
    if key is None:
        return None
    body = snapshot.sealed(header.index, part)
    if body is None:
        message = "the sealed part is gone although its key is there"
        raise IntegrityError(message, f"entry {header.index}")
    return open_part(body, part=part, data_key=key, header=header)


_KINDS = {body_type: kind for kind, body_type in BODY_TYPES.items()}
