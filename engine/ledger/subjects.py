"""Whose a key is: what the key store says of it, held against the requests that are sealed under it.

The rows that lead from a patient to the keys lie in the key store, and no signature covers them. A row that was
exchanged would erase another patient, and one that was deleted would leave a patient unerased; so nothing is destroyed
on their word alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import EntryNotFoundError, IntegrityError, LedgerError
from engine.ledger import entry
from engine.ledger.body import UNKNOWN_DECISION, Correction, Feedback
from engine.ledger.entry import Kind
from engine.ledger.log import open_entry
from engine.ledger.seal import MessagePart, PatientPart
from engine.ledger.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.entry import Header
    from engine.ledger.findings import Findings
    from engine.ledger.keys import KeyStore
    from engine.ledger.log import Opened
    from engine.ledger.store import Snapshot

_ALL = 2**62

SubjectOf: TypeAlias = Callable[[str, bytes], bytes | None]
"""From method and bytes of a request to the patient it names, None for nobody. Raises: UnknownSubjectError."""


class UnknownSubjectError(LedgerError):
    """Whom an entry is about cannot be told. Its text holds no patient data."""


def subject_in(snapshot: Snapshot, keys: KeyStore, opened: Opened, subject_of: SubjectOf) -> bytes | None:
    """Give the patient of an opened entry, None where nobody was named; feedback has the patient of its decision.

    Raises:
        UnknownSubjectError: what would tell is erased, or cannot be read.
        IntegrityError: the decision is not what was logged.

    """
    content = opened.content
    if isinstance(content, MessagePart):
        about = entry.read_body(opened.header)
        index = about.index if isinstance(about, Correction) else None
        index = about.decision_index if isinstance(about, Feedback) else index
        if index == UNKNOWN_DECISION:
            return None
        content = None if index is None else open_entry(snapshot, keys, index).content
    if not isinstance(content, PatientPart):
        raise UnknownSubjectError("the entry names no request that can be read")
    return subject_of(content.method, content.request)


def keys_of_patient(
    snapshot: Snapshot, keys: KeyStore, tenant: int, patient: bytes, subject_of: SubjectOf
) -> list[bytes]:
    """Give the ids of a patient's data keys: those that the key store gives, and those that it forgot.

    Every entry under them is opened. Where the store gives none, the log is searched key by key; else only the keys
    that it gives to nobody are.

    Raises:
        IntegrityError: an entry of somebody else, or of nobody, lies under one of them; nothing may be erased then.

    """
    given = keys.key_ids_of(tenant, patient)
    others = keys.patient_keys(is_owned=False) + ([] if given else keys.patient_keys(is_owned=True))
    found = given + [
        key_id
        for key_id in others
        if key_id not in given and next(_subjects(snapshot, keys, key_id, subject_of), None) == patient
    ]
    for key_id in found:
        if any(subject != patient for subject in _subjects(snapshot, keys, key_id, subject_of)):
            message = "the key store gives a patient the key of somebody else; run `eligibility log verify`"
            raise IntegrityError(message, f"key {key_id.hex()}")
    return found


def _subjects(snapshot: Snapshot, keys: KeyStore, key_id: bytes, subject_of: SubjectOf) -> Iterator[bytes | None]:
    """Give the patients of the entries under a key, as far as they can be told."""
    for row in snapshot.find(Wanted(0, _ALL, _ALL, key_ids=(key_id,))):
        try:
            yield subject_in(snapshot, keys, open_entry(snapshot, keys, row.entry_index), subject_of)
        except UnknownSubjectError:
            continue


class OwnerCheck:
    """Holds the owners of keys against the entries under them, a fault for each key that is another's."""

    def __init__(self, snapshot: Snapshot, keys: KeyStore, subject_of: SubjectOf, findings: Findings) -> None:
        self._snapshot = snapshot
        self._keys = keys
        self._subject_of = subject_of
        self._findings = findings
        self._owners: dict[bytes, Sequence[bytes]] = {}
        self._told: set[bytes] = set()

    def look(self, opened: Opened) -> None:
        """Look at an entry whose patient part was opened. Raises: Ended."""
        header = opened.header
        try:
            patient = subject_in(self._snapshot, self._keys, opened, self._subject_of)
        except (UnknownSubjectError, EntryNotFoundError, IntegrityError):
            return  # what is wrong with the decision is told where it lies
        if header.key_id in self._told or self._is_right(header, patient):
            return
        if self._keys.open_key(header.key_id) is None:
            return  # erased since it was opened, and its owner with it
        self._told.add(header.key_id)
        message = f"the key store does not give it to the patient of entry {header.index}: an erasure would go wrong"
        self._findings.add("owner", f"key {header.key_id.hex()}", message)

    def _is_right(self, header: Header, patient: bytes | None) -> bool:
        owners = self._owners.get(header.key_id)
        if owners is None:
            owners = self._owners[header.key_id] = self._keys.owners_of(header.key_id)
        if not owners and header.kind is Kind.DECISION_ERROR:
            return True  # a request that was refused before it was read is sealed under a key of its own
        return list(owners) == ([] if patient is None else [self._keys.pseudonym(header.tenant, patient)])
