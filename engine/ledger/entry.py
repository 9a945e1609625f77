"""The header of an entry: what is hashed into the tree, byte for byte.

A header is 397 bytes in a fixed order and then the body, the public fields of its kind. Nothing is optional, so an
entry has one encoding, and which fields are zero follows from its kind. It never holds an outcome, a name, or a hash of
anything that could be guessed: those lie in the sealed parts, of which it has length, SHA-256 and commitment.

All that is found wrong is an `IntegrityError` that names the entry.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger import body as bodies
from engine.ledger.clock import LEAP, REGRESSED, UNSYNCHRONIZED

MAGIC = b"CDSLOG1\n"
FORMAT = 1
FIXED_LENGTH = 397
MAX_LENGTH = 65_535
"""In bytes: an entry bundle gives the length of an entry as a u16."""

ZERO_ID = bytes(bodies.ID_LENGTH)
ZERO_DIGEST = bytes(bodies.DIGEST_LENGTH)


class Kind(IntEnum):
    """What an entry records. Kind 15, a time-stamp token, is reserved and refused."""

    GENESIS = 1
    BLOB_REGISTERED = 2
    PACK_SET_ACTIVATED = 3
    DECISION = 4
    DECISION_ERROR = 5
    CORRECTION = 6
    TOMBSTONE = 7
    ERASURE_DONE = 8
    LEGAL_HOLD = 9
    ACCESS = 10
    SETTING_CHANGED = 11
    REPORT = 12
    CHECKPOINT_GAP = 13
    FEEDBACK = 14


BODY_TYPES: dict[Kind, type[bodies.Body]] = {
    Kind.GENESIS: bodies.Genesis,
    Kind.BLOB_REGISTERED: bodies.BlobRegistered,
    Kind.PACK_SET_ACTIVATED: bodies.PackSetActivated,
    Kind.DECISION_ERROR: bodies.DecisionError,
    Kind.CORRECTION: bodies.Correction,
    Kind.TOMBSTONE: bodies.Tombstone,
    Kind.ERASURE_DONE: bodies.ErasureDone,
    Kind.LEGAL_HOLD: bodies.LegalHold,
    Kind.ACCESS: bodies.Access,
    Kind.SETTING_CHANGED: bodies.SettingChanged,
    Kind.REPORT: bodies.Report,
    Kind.CHECKPOINT_GAP: bodies.CheckpointGap,
    Kind.FEEDBACK: bodies.Feedback,
}
"""All kinds but the decision, whose body is empty."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a header says of a sealed part: the sealed body's length and SHA-256, the commitment to its plaintext."""

    length: int = 0
    sha256: bytes = ZERO_DIGEST
    commitment: bytes = ZERO_DIGEST


NO_PART = Part()


@dataclass(frozen=True, slots=True)
class Header:
    """One entry's header; magic and format are implied. `logged_at` is in µs UTC, a claim and no evidence.

    A draft is a header whose `index`, `logged_at`, `clock_flags` and `batch_id` are not settled yet.
    """

    kind: Kind
    log_id: bytes
    index: int = 0
    logged_at: int = 0
    clock_flags: int = 0
    entry_id: bytes = ZERO_ID
    tenant: int = 0
    batch_id: bytes = ZERO_ID
    pack_digest: bytes = ZERO_DIGEST
    engine_digest: bytes = ZERO_DIGEST
    schema_digest: bytes = ZERO_DIGEST
    reference_digest: bytes = ZERO_DIGEST
    key_id: bytes = ZERO_ID
    caller_key_id: bytes = ZERO_ID
    seal_algorithm: int = 0
    patient: Part = NO_PART
    caller: Part = NO_PART
    body: bytes = b""


def encode(header: Header) -> bytes:
    """Check a header and give its bytes, the `leaf_data` of its entry.

    Raises:
        IntegrityError: a field breaks the rules of its kind or is out of range, or the whole is too long.

    """
    fault = _draft_fault(header)
    if fault:
        raise IntegrityError(fault, f"entry {header.index}")
    return finish(header, header.index, header.logged_at, header.clock_flags, header.batch_id)


def check_draft(draft: Header) -> None:
    """Check all that a draft settles, so that `finish` can make it an entry.

    Raises:
        IntegrityError: a field breaks the rules of its kind or is too wide, or the whole is too long.

    """
    fault = _draft_fault(draft)
    if fault:
        raise IntegrityError(fault, "draft")


def finish(draft: Header, index: int, logged_at: int, clock_flags: int, batch_id: bytes) -> bytes:
    """Give the bytes of a draft that `check_draft` let through, with what is known only under the lock.

    Raises:
        IntegrityError: the entry would point to itself or forward, or a number is out of range.

    """
    kind = draft.kind
    if kind in _POINTING:
        _check_backward(draft, index)
    if clock_flags > _CLOCK_FLAGS or len(batch_id) != bodies.ID_LENGTH:
        raise IntegrityError("unknown clock flags, or a batch id that has not 16 bytes", f"entry {index}")
    patient, caller, body = draft.patient, draft.caller, draft.body
    try:
        fixed = _FIXED.pack(
            MAGIC,
            FORMAT,
            kind,
            draft.log_id,
            index,
            logged_at,
            clock_flags,
            draft.entry_id,
            draft.tenant,
            batch_id,
            draft.pack_digest,
            draft.engine_digest,
            draft.schema_digest,
            draft.reference_digest,
            draft.key_id,
            draft.caller_key_id,
            draft.seal_algorithm,
            patient.length,
            patient.sha256,
            patient.commitment,
            caller.length,
            caller.sha256,
            caller.commitment,
            len(body),
        )
    except struct.error as fault:
        raise IntegrityError("a number is out of its range", f"entry {index}") from fault
    return fixed + body


def decode(data: bytes) -> Header:
    """Read the bytes of an entry.

    Raises:
        IntegrityError: they are not, to the last bit, what `encode` gives for a header that keeps every rule.

    """
    if not FIXED_LENGTH <= len(data) <= MAX_LENGTH:
        raise IntegrityError(f"{len(data)} bytes are no header, which has {FIXED_LENGTH} to {MAX_LENGTH}")
    magic, form, kind_number, *fields, body_length = _FIXED.unpack_from(data)
    place = f"entry {fields[1]}"
    if magic != MAGIC or form != FORMAT:
        raise IntegrityError("unknown magic or format", place)
    kind = _KINDS.get(kind_number)
    if kind is None:
        raise IntegrityError(f"unknown kind {kind_number}", place)
    if len(data) != FIXED_LENGTH + body_length:
        raise IntegrityError("the body is shorter or longer than the header says", place)
    fields[14:] = [Part(*fields[14:17]), Part(*fields[17:]), data[FIXED_LENGTH:]]
    header = Header(kind, *fields)
    if encode(header) != data:
        raise IntegrityError("the header has another encoding", place)
    return header


PlainDecision: TypeAlias = tuple[bytes, int, int, bytes, int, bytes, bytes, bytes, int, bytes, int, bytes]
"""log_id, index, logged_at, entry_id, tenant, batch_id, the digests joined, key_id, length and SHA-256 of each part."""


def read_plain(data: bytes) -> PlainDecision | None:
    """Read, many times faster than `decode`, a decision that keeps every rule; None tells nothing.

    Whoever asks still has to know the digests as those of a decision, and each SHA-256 as that of a body.
    """
    if len(data) != FIXED_LENGTH:
        return None
    start, log, index, time, flags, entry, tenant, batch, digests, *parts = _PLAIN.unpack(data)
    key, caller_key, algorithm, length, sha256, commitment, caller_length, caller_sha256, caller_commitment, end = parts
    if (
        start != _DECISION_START
        or flags > _CLOCK_FLAGS
        or algorithm != 1
        or end
        or not length
        or not caller_length
        or ZERO_DIGEST in (commitment, caller_commitment)
        or ZERO_ID in (key, caller_key)
    ):
        return None
    return log, index, time, entry, tenant, batch, digests, key, length, sha256, caller_length, caller_sha256


def read_body(header: Header) -> bodies.Body | None:
    """Read the body of a header; None for a decision, which has none.

    Raises:
        IntegrityError: it is not a body of the header's kind.

    """
    body_type = BODY_TYPES.get(header.kind)
    if body_type is not None:
        return bodies.read_body(body_type, header.body)
    if header.body:
        raise IntegrityError("a decision has a body, which has to be empty")
    return None


def log_id(origin: str, public_key: bytes) -> bytes:
    """Give the id of a log: its origin and the 32-byte Ed25519 key it began with, so that no entry fits another log."""
    return hashlib.sha256(b"CDS-LOG-ID-1\n" + origin.encode() + b"\n" + public_key).digest()


def entry_uuid(entry_id: bytes) -> str:
    """Give an entry id as a lower-case UUID, the form in which callers know it."""
    text = entry_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def entry_id_of(text: str) -> bytes:
    """Give the entry id that `entry_uuid` wrote.

    Raises:
        EntryNotFoundError: it never wrote this.

    """
    if _UUID.fullmatch(text) is None:
        raise EntryNotFoundError("no entry has this id: give the lower-case UUID that came with the decision")
    return bytes.fromhex(text.replace("-", ""))


_FIXED = struct.Struct(">8sHB 32s QqB 16sI16s 32s32s32s32s 16s16s B I32s32s I32s32s I")
_PLAIN = struct.Struct(">11s 32s QqB 16sI16s 128s 16s16s B I32s32s I32s32s I")
_DECISION_START = MAGIC + FORMAT.to_bytes(2, "big") + Kind.DECISION.to_bytes(1, "big")
_CLOCK_FLAGS = REGRESSED | UNSYNCHRONIZED | LEAP
_KINDS = {kind.value: kind for kind in Kind}
_POINTING = frozenset({Kind.CORRECTION, Kind.FEEDBACK})
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# The widths of what `_widths` measures: the log id and the entry id, the four digests, the key ids, the two parts.
_WIDTHS = (32, 16, 32, 32, 32, 32, 16, 16, 32, 32, 32, 32)

# Which fields are set: the four digests, the key ids of patient and caller, their parts.
_NOTHING = (False,) * 8
_EVERYTHING = (True,) * 8
_PACK_ONLY = (True, False, False, False, False, False, False, False)
_CALLER_ONLY = (False, False, False, False, False, True, False, True)
_MAY_BE_SET: dict[Kind, tuple[tuple[bool, ...], ...]] = {
    **dict.fromkeys((Kind.GENESIS, Kind.BLOB_REGISTERED), (_NOTHING,)),
    Kind.PACK_SET_ACTIVATED: (_PACK_ONLY,),
    **dict.fromkeys((Kind.DECISION, Kind.DECISION_ERROR, Kind.CORRECTION, Kind.FEEDBACK), (_EVERYTHING,)),
    **{kind: (_NOTHING, _CALLER_ONLY) for kind in Kind if Kind.TOMBSTONE <= kind <= Kind.CHECKPOINT_GAP},
}


def _draft_fault(draft: Header) -> str:
    """Say what is wrong with a draft; empty where nothing is."""
    if _widths(draft) != _WIDTHS:
        return "an id or a digest has the wrong length"
    if FIXED_LENGTH + len(draft.body) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} bytes"
    has_patient, has_caller = draft.patient.length != 0, draft.caller.length != 0
    if not (_is_whole(draft.patient) and _is_whole(draft.caller)):
        return "a part is neither set nor zero throughout"
    is_set = (
        draft.pack_digest != ZERO_DIGEST,
        draft.engine_digest != ZERO_DIGEST,
        draft.schema_digest != ZERO_DIGEST,
        draft.reference_digest != ZERO_DIGEST,
        draft.key_id != ZERO_ID,
        draft.caller_key_id != ZERO_ID,
        has_patient,
        has_caller,
    )
    if is_set not in _MAY_BE_SET.get(draft.kind, ()):
        return f"a digest, key id or part is set that kind {draft.kind} leaves zero, or the other way round"
    if draft.seal_algorithm != (has_patient or has_caller):
        return f"seal algorithm {draft.seal_algorithm} is unknown, or not that of the parts"
    try:
        read_body(draft)
    except IntegrityError as fault:
        return str(fault)
    return ""


def _widths(draft: Header) -> tuple[int, ...]:
    patient, caller = draft.patient, draft.caller
    return (
        len(draft.log_id),
        len(draft.entry_id),
        len(draft.pack_digest),
        len(draft.engine_digest),
        len(draft.schema_digest),
        len(draft.reference_digest),
        len(draft.key_id),
        len(draft.caller_key_id),
        len(patient.sha256),
        len(patient.commitment),
        len(caller.sha256),
        len(caller.commitment),
    )


def _is_whole(part: Part) -> bool:
    """Say whether a part is set, or zero, in all its fields."""
    is_set = part.length != 0
    return (part.sha256 != ZERO_DIGEST) is is_set and (part.commitment != ZERO_DIGEST) is is_set


def _check_backward(draft: Header, index: int) -> None:
    """Refuse to point forward. The bodies of both kinds that point begin with the index they point to."""
    target = int.from_bytes(draft.body[4:12], "big")
    if target >= index and not (draft.kind == Kind.FEEDBACK and target == bodies.UNKNOWN_DECISION):
        raise IntegrityError(f"it points to entry {target}, which is not before it", f"entry {index}")
