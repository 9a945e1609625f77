"""Data keys, each wrapped by a key that the store does not have; destroying one is how a patient is erased.

A patient has a data key per quarter, found by a pseudonym that only a secret makes; a tenant has one per quarter for
what is recorded of callers. The tables lie in a store of their own (`KeyRows`), the wrapping keys somewhere else again.
What goes wrong because either is down is a `LogUnavailableError`: then nothing is decided.

INVARIANT: every use asks the store whether the key is still there. Only the unwrapping is remembered, so a key that was
destroyed anywhere is gone everywhere at once, and a store that is down stops this process too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from engine.errors import ErasureRefusedError, IntegrityError
from engine.ledger.seal import PartKind, hmac_sha256
from engine.ledger.wrapping import ID_LENGTH, KEY_LENGTH, reaching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.ledger.wrapping import WrappingKeys

REMEMBERED_KEYS = 4096
_REWRAPPED_AT_ONCE = 256
_PSEUDONYM, _IDEMPOTENCY = "pseudonym", "idempotency"
_REACHING = reaching("the key store")


class DataKeyRow(NamedTuple):
    """A wrapped data key. `hold_index` is the entry of the legal hold that keeps it, None without one."""

    key_id: bytes
    part: int
    wrapping_key_id: bytes
    wrapped: bytes
    created_at: int
    hold_index: int | None = None


class Subject(NamedTuple):
    """Whose data key: a patient's, in one quarter."""

    pseudonym: bytes
    period: int


class Caller(NamedTuple):
    """Whose data key: that of a tenant's callers, in one quarter."""

    tenant: int
    period: int


Owner: TypeAlias = Subject | Caller


class SecretRow(NamedTuple):
    """A wrapped secret of this store."""

    name: str
    wrapping_key_id: bytes
    wrapped: bytes


class ErasureRequest(NamedTuple):
    """One person asked for an erasure; entry `first_index` says who."""

    first_index: int
    request_mac: bytes
    expires_at: int


class KeyRows(Protocol):
    """The tables of a key store: wrapping_key, data_key, subject, caller, secret, erasure_request.

    Every call is one transaction, durable when it returns, and may come from any thread. A store that is down raises
    `LogUnavailableError` or an `OSError`; so does writing a row whose wrapping key is not registered (any more), which
    a second try heals.
    """

    def data_key(self, key_id: bytes) -> DataKeyRow | None:
        """Find a data key by its id."""

    def key_of(self, owner: Owner) -> DataKeyRow | None:
        """Find an owner's data key."""

    def key_ids_of(self, pseudonym: bytes) -> list[bytes]:
        """Give the ids of a patient's data keys, by period."""

    def patient_keys_before(self, created_at: int) -> list[bytes]:
        """Give the ids of the patients' data keys that were made before a time and are under no hold."""

    def owners_of(self, key_id: bytes) -> list[bytes]:
        """Give the pseudonyms of the patients whose data key this is: one, or none for a key of its own."""

    def patient_keys(self, *, is_owned: bool) -> list[bytes]:
        """Give the ids of all patients' data keys that have an owner, or of all that have none."""

    def add_key(self, row: DataKeyRow, owner: Owner | None) -> DataKeyRow:
        """Add a data key and its owner's row; give it.

        If the owner has a data key by now, perhaps from another process, add nothing and give that one.
        """

    def delete_keys(self, key_ids: Sequence[bytes]) -> list[bytes]:
        """Delete data keys and their owners' rows, so that no file of the store keeps a trace of them.

        Ids that are not there are passed over. If any of the keys is under a hold, delete nothing and give those.
        """

    def set_hold(self, key_ids: Sequence[bytes], index: int | None) -> None:
        """Put data keys under the hold of an entry, or (None) under none."""

    def activate_wrapping_key(self, wrapping_key_id: bytes, provider: str) -> None:
        """Register a wrapping key and make it the only active one; write nothing where that is so already."""

    def drop_wrapping_keys(self) -> None:
        """Delete the wrapping keys that are neither active nor named by any row."""

    def count_to_rewrap(self, wrapping_key_id: bytes) -> int:
        """Count the data keys that are wrapped by another key than this."""

    def keys_to_rewrap(self, wrapping_key_id: bytes, limit: int) -> list[DataKeyRow]:
        """Give some of the data keys that are wrapped by another key than this."""

    def rewrap_key(self, key_id: bytes, wrapping_key_id: bytes, wrapped: bytes) -> None:
        """Replace the wrapping of a data key; nothing happens if it was deleted meanwhile."""

    def secret(self, name: str) -> SecretRow | None:
        """Find a secret."""

    def add_secret(self, row: SecretRow) -> SecretRow:
        """Add a secret and give it; if there is one of this name by now, add nothing and give that one."""

    def rewrap_secret(self, row: SecretRow) -> None:
        """Replace the wrapping of the secret of this name."""

    def add_erasure_request(self, row: ErasureRequest) -> None:
        """Keep an erasure request."""

    def take_erasure_request(self, first_index: int, request_mac: bytes, now: int) -> bool:
        """Delete the request of this index and MAC that expires after `now`, and say whether there was one.

        Requests that expired go too.
        """

    def close(self) -> None:
        """Let go of the store."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key as it is used."""

    key_id: bytes
    key: bytes = field(repr=False)


class KeyStore:
    """Gives, finds and destroys data keys. May be used from any thread.

    Args:
        rows: the tables.
        wrapping: what wraps the keys in them.
        random: gives that many unguessable bytes.
        clock: gives the time in µs UTC.
        remembered: how many unwrapped keys are kept in memory.

    Raises:
        LogUnavailableError: any method, when the tables or the wrapping keys cannot be reached.
        IntegrityError: any method, when a row is not what was stored.

    """

    def __init__(
        self,
        rows: KeyRows,
        wrapping: WrappingKeys,
        random: Callable[[int], bytes],
        clock: Callable[[], int],
        remembered: int = REMEMBERED_KEYS,
    ) -> None:
        self._rows = rows
        self._wrapping = wrapping
        self._random = random
        self._clock = clock
        self._remembered = remembered
        self._lock = threading.Lock()
        self._unwrapped: OrderedDict[bytes, bytes] = OrderedDict()
        self._erasures = 0
        self._secrets: dict[str, bytes] = {}

    @_REACHING
    def prove(self) -> None:
        """Make the secrets of this store, or open those it has, so that other wrapping keys are found out at once."""
        for name in (_PSEUDONYM, _IDEMPOTENCY):
            self._secret(name)

    @_REACHING
    def subject_key(self, tenant: int, patient: bytes | None, period: int) -> DataKey:
        """Give the data key of a patient in a quarter; a key of its own, which nobody can look for, without a patient.

        The key is stored when this returns, so no entry can name a key that a crash took.
        """
        if not patient:
            return self._new_key(PartKind.PATIENT, None)
        return self._key_of(PartKind.PATIENT, Subject(self.pseudonym(tenant, patient), period))

    @_REACHING
    def caller_key(self, tenant: int, period: int) -> DataKey:
        """Give the data key for what is recorded of a tenant's callers in a quarter."""
        return self._key_of(PartKind.CALLER, Caller(tenant, period))

    @_REACHING
    def open_key(self, key_id: bytes) -> bytes | None:
        """Give a data key; None where it was destroyed or never was."""
        erasures = self._erasures
        row = self._rows.data_key(key_id)
        return None if row is None else self._open(row, erasures)

    @_REACHING
    def key_ids_of(self, tenant: int, patient: bytes) -> list[bytes]:
        """Give the ids of all data keys of a patient that are left."""
        return self._rows.key_ids_of(self.pseudonym(tenant, patient))

    @_REACHING
    def pseudonym(self, tenant: int, patient: bytes) -> bytes:
        """Give the name under which a patient's keys are found, which nobody can guess without the secret."""
        return self._mac(_PSEUDONYM, tenant.to_bytes(4, "big") + patient)

    @_REACHING
    def request_macs(self, tenant: int, method: str, request_id: str, request: bytes) -> tuple[bytes, bytes]:
        """Give what tells whether a request was made before: MACs of its id and of its bytes."""
        key = b"k" + tenant.to_bytes(4, "big") + method.encode() + b"\x00" + request_id.encode()
        return self._mac(_IDEMPOTENCY, key), self._request_mac(request)

    @_REACHING
    def destroy(self, key_ids: Sequence[bytes]) -> None:
        """Destroy data keys, all or none; what is gone already is passed over, so it may be repeated after a crash.

        INVARIANT: their tombstone is in the log before this is called.

        Raises:
            ErasureRefusedError: a legal hold is on one of them.

        """
        try:
            held = self._rows.delete_keys(key_ids)
        finally:
            with self._lock:
                self._erasures += 1
                for key_id in key_ids:
                    self._unwrapped.pop(key_id, None)
        _refuse(held, key_ids)

    @_REACHING
    def hold(self, key_ids: Sequence[bytes], index: int | None) -> None:
        """Put keys under the legal hold of an entry; None lifts it."""
        self._rows.set_hold(key_ids, index)

    @_REACHING
    def refuse_held(self, key_ids: Sequence[bytes]) -> None:
        """Look for a legal hold before a tombstone is written. Raises: ErasureRefusedError where one is on a key."""
        rows = map(self._rows.data_key, key_ids)
        held = [row.key_id for row in rows if row is not None and row.hold_index is not None]
        _refuse(held, key_ids)

    @_REACHING
    def patient_keys_before(self, created_at: int) -> list[bytes]:
        """Give the ids of the patients' data keys that were made before a time (µs UTC) and are under no hold."""
        return self._rows.patient_keys_before(created_at)

    @_REACHING
    def owners_of(self, key_id: bytes) -> list[bytes]:
        """Give the pseudonyms of the patients whose data key this is: one, or none for a key of its own."""
        return self._rows.owners_of(key_id)

    @_REACHING
    def patient_keys(self, *, is_owned: bool) -> list[bytes]:
        """Give the ids of all patients' data keys that have an owner, or of all that have none."""
        return self._rows.patient_keys(is_owned=is_owned)

    @_REACHING
    def is_fresh(self) -> bool:
        """Say whether this store has no secret yet, so that it never had a patient's key either."""
        return self._rows.secret(_PSEUDONYM) is None

    @_REACHING
    def request_erasure(self, first_index: int, request: bytes, expires_at: int) -> None:
        """Keep what a first person asked for in entry `first_index`; `request` says it in canonical bytes."""
        self._rows.add_erasure_request(ErasureRequest(first_index, self._request_mac(request), expires_at))

    @_REACHING
    def approve_erasure(self, first_index: int, request: bytes, now: int) -> None:
        """Use up the request of a first person. Whoever calls has seen to it that the second is another one.

        Raises:
            ErasureRefusedError: nobody asked for just this in that entry, or the request expired.

        """
        if not self._rows.take_erasure_request(first_index, self._request_mac(request), now):
            raise ErasureRefusedError(f"no open request of entry {first_index} asks for this: a first person has to")

    @_REACHING
    def rewrap_all(self, progress: Callable[[int, int], object] = lambda _done, _all: None) -> int:
        """Wrap everything that is not wrapped by the active wrapping key by it, row by row; give how many data keys.

        Every key opens throughout. After a crash the next call goes on where this one stopped. `progress` hears how
        many keys are done, and of how many.
        """
        for name in (_PSEUDONYM, _IDEMPOTENCY):
            self._rewrap_secret(name)
        count, done = self._rows.count_to_rewrap(self._wrapping.active_id), 0
        # The active key is asked for each time: were it rotated again meanwhile, a fixed id would never be reached.
        while rows := self._rows.keys_to_rewrap(self._wrapping.active_id, _REWRAPPED_AT_ONCE):
            for row in rows:
                self._rows.rewrap_key(row.key_id, *self._wrap(self._unwrap(row.wrapping_key_id, row.wrapped)))
                done += 1
                progress(done, max(count, done))
        self._rows.drop_wrapping_keys()
        return done

    def close(self) -> None:
        """Let go of the tables, and of every key in memory."""
        with self._lock:
            self._unwrapped.clear()
            self._secrets.clear()
        self._rows.close()

    def _key_of(self, part: PartKind, owner: Owner) -> DataKey:
        erasures = self._erasures
        row = self._rows.key_of(owner)
        if row is None:
            return self._new_key(part, owner)
        if row.part != part:
            raise IntegrityError("a patient and a caller have one data key", "key store")
        return DataKey(row.key_id, self._open(row, erasures))

    def _new_key(self, part: PartKind, owner: Owner | None) -> DataKey:
        erasures = self._erasures
        new = DataKeyRow(self._random(ID_LENGTH), part, *self._wrap(self._random(KEY_LENGTH)), self._clock())
        row = self._rows.add_key(new, owner)
        return DataKey(row.key_id, self._open(row, erasures))  # unwrapped, so that nothing is sealed that stays shut

    def _open(self, row: DataKeyRow, erasures: int) -> bytes:
        """Unwrap a row that was read after `erasures` of them."""
        with self._lock:
            key = self._unwrapped.get(row.key_id)
            if key is not None:
                self._unwrapped.move_to_end(row.key_id)
                return key
        key = self._unwrap(row.wrapping_key_id, row.wrapped)
        with self._lock:
            if erasures == self._erasures:  # else the row may have been destroyed since it was read
                self._unwrapped[row.key_id] = key
                if len(self._unwrapped) > self._remembered:
                    self._unwrapped.popitem(last=False)
        return key

    def _wrap(self, key: bytes) -> tuple[bytes, bytes]:
        wrapping_key_id, wrapped = self._wrapping.wrap(key)
        self._rows.activate_wrapping_key(wrapping_key_id, self._wrapping.provider)
        return wrapping_key_id, wrapped

    def _unwrap(self, wrapping_key_id: bytes, wrapped: bytes) -> bytes:
        key = self._wrapping.unwrap(wrapping_key_id, wrapped)
        if len(key) != KEY_LENGTH:
            raise IntegrityError("an unwrapped key has the wrong length", "key store")
        return key

    def _request_mac(self, request: bytes) -> bytes:
        return self._mac(_IDEMPOTENCY, b"r" + request)

    def _mac(self, name: str, message: bytes) -> bytes:
        return hmac_sha256(self._secret(name), message)

    def _secret(self, name: str) -> bytes:
        secret = self._secrets.get(name)
        if secret is None:
            row = self._rows.secret(name)
            if row is None:
                row = self._rows.add_secret(SecretRow(name, *self._wrap(self._random(KEY_LENGTH))))
            secret = self._secrets[name] = self._unwrap(row.wrapping_key_id, row.wrapped)
        return secret

    def _rewrap_secret(self, name: str) -> None:
        row = self._rows.secret(name)
        if row is not None and row.wrapping_key_id != self._wrapping.active_id:
            self._rows.rewrap_secret(SecretRow(name, *self._wrap(self._unwrap(row.wrapping_key_id, row.wrapped))))


def _refuse(held: Sequence[bytes], key_ids: Sequence[bytes]) -> None:
    if held:
        raise ErasureRefusedError(f"a legal hold is on {len(held)} of {len(key_ids)} keys: lift it first")


def period(time: int) -> int:
    """Give the quarter of a time in µs UTC: the year times four, plus 0 to 3."""
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.year * 4 + (moment.month - 1) // 3


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
