"""Sealed parts: what an entry says of a patient and of who asked, as ciphertext beside the leaf.

A plaintext is 32 bytes of salt, the content, and zeros up to a multiple of 256 bytes. It is encrypted under a key of
its own, derived from the data key and the entry id, and the header binds the ciphertext by length and SHA-256.

AES-GCM does not bind its key: one ciphertext can open to two plaintexts. So the header also holds a commitment to the
plaintext, keyed with the salt. The salt lies inside: while the data key lives the commitment binds, and once it is
destroyed the commitment tells nothing.

Randomness comes in. Contents have no `repr`, so that they cannot slip into a message.
"""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.canonical import frame
from engine.errors import IntegrityError
from engine.ledger.body import unframe
from engine.ledger.entry import Part

if TYPE_CHECKING:
    from engine.ledger.entry import Header, Kind

KEY_LENGTH = 32
SALT_LENGTH = 32
NONCE_LENGTH = 12
DIGESTS_LENGTH = 64
_U64_LENGTH = 8
PADDED_TO = 256

PATIENT_MAGIC = b"CDSPAT1\n"
MESSAGE_MAGIC = b"CDSMSG1\n"
CALLER_MAGIC = b"CDSCAL1\n"
_MAGIC_LENGTH = 8
_FIELD_COUNTS = {PATIENT_MAGIC: 9, MESSAGE_MAGIC: 3, CALLER_MAGIC: 8}


class Undecryptable(IntegrityError):  # noqa: N818 - named after what happened, as in engine.errors
    """A sealed body does not open: it is not the one that was logged, or the key is another."""


class BadCommitment(IntegrityError):  # noqa: N818 - as above
    """A sealed body opens, but not to what the header is committed to, or to nothing that is ever sealed."""


class PartKind(IntEnum):
    """Which of an entry's sealed parts."""

    PATIENT = 1
    CALLER = 2


@dataclass(frozen=True, slots=True)
class Associated:
    """What a sealed part belongs to: it opens beside no other entry. Index and time come later, bound by the leaf."""

    log_id: bytes
    kind: Kind
    entry_id: bytes
    tenant: int
    pack_digest: bytes
    engine_digest: bytes
    schema_digest: bytes
    reference_digest: bytes
    key_id: bytes
    caller_key_id: bytes

    @classmethod
    def of(cls, header: Header) -> Self:
        """Take it from a header or a draft."""
        return cls(*(getattr(header, name) for name in cls.__slots__))

    def encode(self, part: PartKind) -> bytes:
        """Give the associated data of a part."""
        return b"".join(
            (
                b"CDS-AAD-1\n",
                part.to_bytes(1, "big"),
                self.log_id,
                self.kind.to_bytes(1, "big"),
                self.entry_id,
                self.tenant.to_bytes(4, "big"),
                self.pack_digest,
                self.engine_digest,
                self.schema_digest,
                self.reference_digest,
                self.key_id if part == PartKind.PATIENT else self.caller_key_id,
            )
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed body, and what the header says of it."""

    body: bytes
    length: int
    sha256: bytes
    commitment: bytes

    @property
    def header_part(self) -> Part:
        """The header's fields for this part."""
        return Part(self.length, self.sha256, self.commitment)


def seal(
    content: bytes, *, part: PartKind, data_key: bytes, salt: bytes, nonce: bytes, associated: Associated
) -> Sealed:
    """Seal the content of a part; salt and nonce are random, and new for each call.

    Raises:
        ValueError: a length is wrong, or the content is none that could be read after opening.

    """
    if (len(data_key), len(salt), len(nonce)) != (KEY_LENGTH, SALT_LENGTH, NONCE_LENGTH):
        raise ValueError("data key, salt and nonce have 32, 32 and 12 bytes")
    if _end_of_content(content, 0) != len(content):
        raise ValueError("something follows the content")
    plaintext = b"".join((salt, content, bytes(-(SALT_LENGTH + len(content)) % PADDED_TO)))
    cipher = AESGCM(record_key(data_key, part, associated.entry_id))
    body = nonce + cipher.encrypt(nonce, plaintext, associated.encode(part))
    return Sealed(body, len(body), hashlib.sha256(body).digest(), _commitment(plaintext, part))


def open_part(body: bytes, *, part: PartKind, data_key: bytes, header: Header) -> bytes:
    """Open a sealed body and give its content.

    Raises:
        Undecryptable: the body is not the one of this header, or does not decrypt.
        BadCommitment: what it decrypts to is not what the header is committed to.

    """
    place = f"entry {header.index}"
    said = header.patient if part == PartKind.PATIENT else header.caller
    if len(body) != said.length or hashlib.sha256(body).digest() != said.sha256:
        raise Undecryptable(f"the sealed body of part {part} is not the one that was logged", place)
    nonce, ciphertext = body[:NONCE_LENGTH], body[NONCE_LENGTH:]
    try:
        cipher = AESGCM(record_key(data_key, part, header.entry_id))
        plaintext = cipher.decrypt(nonce, ciphertext, Associated.of(header).encode(part))
    except (InvalidTag, ValueError) as fault:
        raise Undecryptable(f"the sealed body of part {part} does not open under this key", place) from fault
    if not hmac.compare_digest(_commitment(plaintext, part), said.commitment):
        raise BadCommitment(f"part {part} opens to something else than was committed to", place)
    try:
        end = _end_of_content(plaintext, SALT_LENGTH)
    except ValueError as fault:
        raise BadCommitment(f"part {part} opens to nothing that is ever sealed", place) from fault
    if plaintext[end:] != bytes(-end % PADDED_TO):
        raise BadCommitment(f"part {part} is not padded as it has to be", place)
    return plaintext[SALT_LENGTH:end]


def record_key(data_key: bytes, part: PartKind, entry_id: bytes) -> bytes:
    """Derive the key of one part of one entry: HKDF with SHA-256, whose output is one block. Source: RFC 5869."""
    return hmac_sha256(hmac_sha256(entry_id, data_key), _INFO[part] + b"\x01")


_INFO = {PartKind.PATIENT: b"CDS-SEAL-1 patient", PartKind.CALLER: b"CDS-SEAL-1 caller"}


def _commitment(plaintext: bytes, part: PartKind) -> bytes:
    message = b"".join((b"CDS-COMMIT-1\n", part.to_bytes(1, "big"), memoryview(plaintext)[SALT_LENGTH:]))
    return hmac_sha256(plaintext[:SALT_LENGTH], message)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Give HMAC-SHA-256; unlike `hmac.digest`, it hands the interpreter to no other thread for a short message."""
    return hmac.new(key, message, "sha256").digest()


def _end_of_content(data: bytes, start: int) -> int:
    """Say where the content that begins at `start` ends: only its own lengths tell it from the padding."""
    at = start + _MAGIC_LENGTH
    count = _FIELD_COUNTS.get(data[start:at])
    if count is None:
        raise ValueError("the content is none of the forms that are sealed")
    for _ in range(count):
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    if at > len(data):
        raise ValueError("the content is cut short")
    return at


@dataclass(frozen=True, slots=True)
class Context:
    """What an evaluation took from outside the request: date, time zone, and each value it looked up, in order.

    `as_of` is None where an error came before any date was known.
    """

    as_of: date | None
    time_zone: str
    seen: tuple[tuple[str, bytes], ...] = ()

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        seen = (field for name, value in self.seen for field in (name.encode(), value))
        return frame(self.as_of.isoformat().encode() if self.as_of else b"", self.time_zone.encode(), *seen)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read them. Raises: IntegrityError."""
        try:
            as_of, time_zone, *seen = unframe(data)
            pairs = zip(map(bytes.decode, seen[::2]), seen[1::2], strict=True)
            context = cls(date.fromisoformat(as_of.decode()) if as_of else None, time_zone.decode(), tuple(pairs))
        except ValueError:
            context = None
        # A date can be read from several texts, but is written as one.
        if context is None or context.encode() != data:
            raise IntegrityError("the context of a patient part cannot be read")
        return context


@dataclass(frozen=True, slots=True, repr=False)
class PatientPart:
    """All that a bit-exact replay of a decision needs.

    `request` and `response` are the bytes that came and went, `facts`, `parameters` and `decision` canonical encodings;
    `digests` are those of the decision by both engines, zeros for one that did not run. Where the engines disagreed,
    `decision` is the frame of what each concluded.
    """

    method: str
    request: bytes
    facts: bytes
    context: Context
    parameters: bytes
    decision: bytes
    digests: bytes
    explanation: bytes
    response: bytes

    def encode(self) -> bytes:
        """Give the content to seal. Raises: ValueError."""
        if len(self.digests) != DIGESTS_LENGTH:
            raise ValueError("the digests of the two engines have 32 bytes each")
        rest = (self.parameters, self.decision, self.digests, self.explanation, self.response)
        return PATIENT_MAGIC + frame(self.method.encode(), self.request, self.facts, self.context.encode(), *rest)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read the content. Raises: IntegrityError."""
        method, request, facts, context, *rest = _fields(PATIENT_MAGIC, content)
        if len(rest[2]) != DIGESTS_LENGTH:
            raise IntegrityError("the digests of a patient part have the wrong length")
        return cls(_text(method), request, facts, Context.decode(context), *rest)


@dataclass(frozen=True, slots=True, repr=False)
class MessagePart:
    """The patient part of a correction or of feedback: the bytes that came and went."""

    method: str
    request: bytes
    response: bytes

    def encode(self) -> bytes:
        """Give the content to seal."""
        return MESSAGE_MAGIC + frame(self.method.encode(), self.request, self.response)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read the content. Raises: IntegrityError."""
        method, request, response = _fields(MESSAGE_MAGIC, content)
        return cls(_text(method), request, response)


@dataclass(frozen=True, slots=True, repr=False)
class CallerPart:
    """Who asked, and why. `deadline_ms` is how long the caller waits, in milliseconds; `status` a gRPC status name."""

    caller: str
    role: str
    purpose: str
    peer: str
    request_id: str
    method: str
    deadline_ms: int
    status: str

    def encode(self) -> bytes:
        """Give the content to seal. Raises: ValueError, OverflowError."""
        before = (self.caller, self.role, self.purpose, self.peer, self.request_id, self.method)
        return CALLER_MAGIC + frame(
            *map(str.encode, before), self.deadline_ms.to_bytes(_U64_LENGTH, "big"), self.status.encode()
        )

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read the content. Raises: IntegrityError."""
        caller, role, purpose, peer, request_id, method, deadline_ms, status = _fields(CALLER_MAGIC, content)
        if len(deadline_ms) != _U64_LENGTH:
            raise IntegrityError("the deadline of a caller part has the wrong length")
        before = (_text(caller), _text(role), _text(purpose), _text(peer), _text(request_id), _text(method))
        return cls(*before, int.from_bytes(deadline_ms, "big"), _text(status))


def _fields(magic: bytes, content: bytes) -> list[bytes]:
    fields = []
    if content.startswith(magic):
        with suppress(ValueError):
            fields = unframe(content[_MAGIC_LENGTH:])
    if len(fields) != _FIELD_COUNTS[magic]:
        raise IntegrityError(f"a sealed content is not of the form `{magic[:-1].decode()}`")
    return fields


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise IntegrityError("a text of a sealed content is not UTF-8") from None
