"""A key store's tables in memory, and wrapping keys that count: what the tests of `engine.ledger.keys` stand on."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from engine.errors import LogUnavailableError
from engine.ledger.keys import DataKeyRow, ErasureRequest, Owner, SecretRow, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.ledger.wrapping import FileWrappingKeys


class MemoryRows:
    """The tables in memory. `fault` is raised by every call; `crash_after` counts the writes that still succeed."""

    def __init__(self) -> None:
        self.keys: dict[bytes, DataKeyRow] = {}
        self.owners: dict[Owner, bytes] = {}
        self.secrets: dict[str, SecretRow] = {}
        self.wrapping: dict[bytes, tuple[str, bool]] = {}
        self.requests: dict[int, ErasureRequest] = {}
        self.fault: Exception | None = None
        self.crash_after: int | None = None
        self.before_adding: Callable[[], object] = lambda: None
        self.is_closed = False
        self._lock = threading.RLock()

    def _reached(self) -> None:
        if self.fault is not None:
            raise self.fault

    def _written(self, wrapping_key_id: bytes | None = None) -> None:
        self._reached()
        if wrapping_key_id is not None and wrapping_key_id not in self.wrapping:
            message = "the wrapping key is not registered"
            raise LogUnavailableError(message)
        if self.crash_after is not None:
            if self.crash_after == 0:
                raise ConnectionResetError
            self.crash_after -= 1

    def data_key(self, key_id: bytes) -> DataKeyRow | None:
        self._reached()
        return self.keys.get(key_id)

    def key_of(self, owner: Owner) -> DataKeyRow | None:
        self._reached()
        return self.keys.get(self.owners.get(owner, b""))

    def key_ids_of(self, pseudonym: bytes) -> list[bytes]:
        self._reached()
        found = [owner for owner in self.owners if isinstance(owner, Subject) and owner.pseudonym == pseudonym]
        return [self.owners[owner] for owner in sorted(found)]

    def patient_keys_before(self, created_at: int) -> list[bytes]:
        self._reached()
        rows = (row for row in self.keys.values() if row.part == 1 and row.hold_index is None)
        return [row.key_id for row in rows if row.created_at < created_at]

    def owners_of(self, key_id: bytes) -> list[bytes]:
        self._reached()
        owners = (owner for owner, owned in self.owners.items() if owned == key_id and isinstance(owner, Subject))
        return sorted({owner.pseudonym for owner in owners})

    def patient_keys(self, *, is_owned: bool) -> list[bytes]:
        self._reached()
        keys = (row.key_id for row in self.keys.values() if row.part == 1)
        return sorted(key_id for key_id in keys if bool(self.owners_of(key_id)) is is_owned)

    def add_key(self, row: DataKeyRow, owner: Owner | None) -> DataKeyRow:
        self.before_adding()
        with self._lock:
            self._written(row.wrapping_key_id)
            if owner is not None and owner in self.owners:
                return self.keys[self.owners[owner]]
            self.keys[row.key_id] = row
            if owner is not None:
                self.owners[owner] = row.key_id
            return row

    def delete_keys(self, key_ids: Sequence[bytes]) -> list[bytes]:
        with self._lock:
            self._written()
            held = [key_id for key_id in key_ids if key_id in self.keys and self.keys[key_id].hold_index is not None]
            if not held:
                self.keys = {key_id: row for key_id, row in self.keys.items() if key_id not in key_ids}
                self.owners = {owner: key_id for owner, key_id in self.owners.items() if key_id not in key_ids}
            return held

    def set_hold(self, key_ids: Sequence[bytes], index: int | None) -> None:
        with self._lock:
            self._written()
            for key_id in set(key_ids) & set(self.keys):
                self.keys[key_id] = self.keys[key_id]._replace(hold_index=index)

    def activate_wrapping_key(self, wrapping_key_id: bytes, provider: str) -> None:
        with self._lock:
            self._reached()
            self.wrapping = {name: (provider, False) for name, (provider, _) in self.wrapping.items()}
            self.wrapping[wrapping_key_id] = (provider, True)

    def drop_wrapping_keys(self) -> None:
        with self._lock:
            self._written()
            named = {row.wrapping_key_id for row in self.keys.values()}
            named |= {row.wrapping_key_id for row in self.secrets.values()}
            self.wrapping = {name: row for name, row in self.wrapping.items() if name in named or row[1]}

    def count_to_rewrap(self, wrapping_key_id: bytes) -> int:
        return len(self.keys_to_rewrap(wrapping_key_id, len(self.keys)))

    def keys_to_rewrap(self, wrapping_key_id: bytes, limit: int) -> list[DataKeyRow]:
        self._reached()
        return [row for row in self.keys.values() if row.wrapping_key_id != wrapping_key_id][:limit]

    def rewrap_key(self, key_id: bytes, wrapping_key_id: bytes, wrapped: bytes) -> None:
        with self._lock:
            self._written(wrapping_key_id)
            if key_id in self.keys:
                row = self.keys[key_id]
                self.keys[key_id] = row._replace(wrapping_key_id=wrapping_key_id, wrapped=wrapped)

    def secret(self, name: str) -> SecretRow | None:
        self._reached()
        return self.secrets.get(name)

    def add_secret(self, row: SecretRow) -> SecretRow:
        self.before_adding()
        with self._lock:
            self._written(row.wrapping_key_id)
            return self.secrets.setdefault(row.name, row)

    def rewrap_secret(self, row: SecretRow) -> None:
        with self._lock:
            self._written(row.wrapping_key_id)
            self.secrets[row.name] = row

    def add_erasure_request(self, row: ErasureRequest) -> None:
        self._written()
        self.requests[row.first_index] = row

    def take_erasure_request(self, first_index: int, request_mac: bytes, now: int) -> bool:
        with self._lock:
            self._written()
            self.requests = {index: row for index, row in self.requests.items() if row.expires_at > now}
            row = self.requests.get(first_index)
            if row is None or row.request_mac != request_mac:
                return False
            del self.requests[first_index]
            return True

    def close(self) -> None:
        self.is_closed = True


class CountingKeys:
    """The wrapping keys of a file; counts how often each wrapped key was unwrapped, and can be down."""

    provider = "file"

    def __init__(self, keys: FileWrappingKeys) -> None:
        self.keys = keys
        self.unwrapped: Counter[bytes] = Counter()
        self.fault: Exception | None = None
        self.before_unwrapping: Callable[[], object] = lambda: None

    @property
    def active_id(self) -> bytes:
        return self.keys.active_id

    def wrap(self, key: bytes) -> tuple[bytes, bytes]:
        if self.fault is not None:
            raise self.fault
        return self.keys.wrap(key)

    def unwrap(self, wrapping_key_id: bytes, wrapped: bytes) -> bytes:
        if self.fault is not None:
            raise self.fault
        self.unwrapped[wrapped] += 1
        self.before_unwrapping()
        return self.keys.unwrap(wrapping_key_id, wrapped)
