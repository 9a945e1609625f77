"""The bodies of entries: what each kind says in public, in one frame of its fields.

One class a kind, its fields in the order in which they are framed. A decision has no body.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from engine.canonical import frame
from engine.errors import IntegrityError

DIGEST_LENGTH = 32
ID_LENGTH = 16

UNKNOWN_DECISION = 2**64 - 1
"""The index that feedback gives for a card of which no decision is known."""


class BlobKind(IntEnum):
    """What a registered blob is."""

    PACK_SET = 1
    ENGINE_MANIFEST = 2
    SCHEMA = 3
    REFERENCE_DATA = 4
    REPORT = 5
    PACK = 6
    FACTS = 7


@dataclass(frozen=True, slots=True)
class Genesis:
    """The log begins. `old_checkpoint` is the last note of the log that it replaces, or empty."""

    origin: str
    vkey: str
    old_checkpoint: bytes = b""


@dataclass(frozen=True, slots=True)
class BlobRegistered:
    """A blob may be named from now on."""

    kind: BlobKind
    digest: bytes
    label: str


@dataclass(frozen=True, slots=True)
class PackSetActivated:
    """From now on decisions use the pack set that the header's pack_digest names."""

    label: str
    version: str
    effective_from: str


@dataclass(frozen=True, slots=True)
class DecisionError:
    """A request got no decision."""

    code: str


@dataclass(frozen=True, slots=True)
class Correction:
    """An earlier decision was wrong."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The data keys of these ids are destroyed after this entry."""

    key_ids: tuple[bytes, ...]
    reason: str
    authority: str


@dataclass(frozen=True, slots=True)
class ErasureDone:
    """All that a tombstone ordered has been done."""

    tombstone_index: int


@dataclass(frozen=True, slots=True)
class LegalHold:
    """From now on the data keys of these ids may not be destroyed, or may be again."""

    is_on: bool
    key_ids: tuple[bytes, ...]
    authority: str


@dataclass(frozen=True, slots=True)
class Access:
    """Somebody was shown the entries `first` to `last`, under the checkpoint of `tree_size`."""

    action: str
    first: int
    last: int
    tree_size: int


@dataclass(frozen=True, slots=True)
class SettingChanged:
    """The witnesses, the log's key or its clock changed."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report was made over the first `tree_size` entries; a digest that it has no use for is zero."""

    kind_code: str
    tree_size: int
    candidate_digest: bytes
    report_digest: bytes


@dataclass(frozen=True, slots=True)
class CheckpointGap:
    """No note was released in time between two tree sizes."""

    from_size: int
    to_size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of a decision's card; `UNKNOWN_DECISION` where no decision is known."""

    decision_index: int


Body: TypeAlias = (
    Genesis
    | BlobRegistered
    | PackSetActivated
    | DecisionError
    | Correction
    | Tombstone
    | ErasureDone
    | LegalHold
    | Access
    | SettingChanged
    | Report
    | CheckpointGap
    | Feedback
)


def write_body(body: Body) -> bytes:
    """Encode a body.

    Raises:
        IntegrityError: a field does not fit its form.

    """
    fields = (getattr(body, name) for name in body.__slots__)
    try:
        data = frame(*(write(field) for (write, _), field in zip(_FORMS[type(body)], fields, strict=True)))
    except (UnicodeEncodeError, struct.error) as fault:
        raise IntegrityError(f"a field of `{type(body).__name__}` does not fit its form") from fault
    read_body(type(body), data)
    return data


def read_body(body_type: type[Body], data: bytes) -> Body:
    """Decode a body.

    Raises:
        IntegrityError: it is not, to the last bit, what `write_body` gives for a body of this type.

    """
    make: Callable[..., Body] = body_type
    try:
        return make(*(read(field) for (_, read), field in zip(_FORMS[body_type], unframe(data), strict=True)))
    except (ValueError, struct.error) as fault:
        raise IntegrityError(f"the body is none of type `{body_type.__name__}`") from fault


def unframe(data: bytes) -> list[bytes]:
    """Give the parts that `canonical.frame` joined.

    Raises:
        ValueError: a part ends behind the end of the data.

    """
    parts = []
    at, end = 0, len(data)
    while at < end:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        if at > end:
            raise ValueError("a part ends behind the end of the frame")
        parts.append(data[start:at])
    return parts


def _read_digest(data: bytes) -> bytes:
    if len(data) != DIGEST_LENGTH:
        raise ValueError("a digest has 32 bytes")
    return data


def _read_key_ids(data: bytes) -> tuple[bytes, ...]:
    if not data or len(data) % ID_LENGTH:
        raise ValueError("key ids are one or more, of 16 bytes each")
    return tuple(data[at : at + ID_LENGTH] for at in range(0, len(data), ID_LENGTH))


def _read_switch(data: bytes) -> bool:
    if data not in {b"\x00", b"\x01"}:
        raise ValueError("a switch is 0 or 1")
    return data == b"\x01"


def _read_blob_kind(data: bytes) -> BlobKind:
    return BlobKind(*_U8.unpack(data))


def _read_u64(data: bytes) -> int:
    (value,) = _U64.unpack(data)
    return int(value)


_U8, _U64 = struct.Struct(">B"), struct.Struct(">Q")

# How a field is written and read.
_Form: TypeAlias = tuple[Callable[[Any], bytes], Callable[[bytes], object]]
_TEXT: _Form = (str.encode, bytes.decode)
_BYTES: _Form = (bytes, bytes)
_DIGEST: _Form = (bytes, _read_digest)
_KEY_IDS: _Form = (b"".join, _read_key_ids)
_SWITCH: _Form = (_U8.pack, _read_switch)
_BLOB_KIND: _Form = (_U8.pack, _read_blob_kind)
_NUMBER: _Form = (_U64.pack, _read_u64)

_FORMS: dict[type[Body], tuple[_Form, ...]] = {
    Genesis: (_TEXT, _TEXT, _BYTES),
    BlobRegistered: (_BLOB_KIND, _DIGEST, _TEXT),
    PackSetActivated: (_TEXT, _TEXT, _TEXT),
    DecisionError: (_TEXT,),
    Correction: (_NUMBER, _TEXT),
    Tombstone: (_KEY_IDS, _TEXT, _TEXT),
    ErasureDone: (_NUMBER,),
    LegalHold: (_SWITCH, _KEY_IDS, _TEXT),
    Access: (_TEXT, _NUMBER, _NUMBER, _NUMBER),
    SettingChanged: (_TEXT, _TEXT),
    Report: (_TEXT, _NUMBER, _DIGEST, _DIGEST),
    CheckpointGap: (_NUMBER, _NUMBER, _TEXT),
    Feedback: (_NUMBER,),
}
