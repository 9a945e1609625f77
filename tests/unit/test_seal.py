"""`engine.ledger.seal`: a sealed part opens to what was sealed, beside its own entry, or not at all."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import fields, replace
from datetime import date
from typing import TypeAlias

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.canonical import frame
from engine.errors import IntegrityError
from engine.ledger import seal as sealing
from engine.ledger.entry import Header, Kind, Part
from engine.ledger.seal import (
    Associated,
    BadCommitment,
    CallerPart,
    Context,
    MessagePart,
    PartKind,
    PatientPart,
    Sealed,
    Undecryptable,
    open_part,
    record_key,
)

DATA_KEY, OTHER_KEY = b"K" * 32, b"L" * 32
SALT, NONCE = b"s" * 32, b"n" * 12
DRAFT = Header(
    Kind.DECISION,
    b"l" * 32,
    index=8,
    entry_id=b"e" * 16,
    tenant=3,
    pack_digest=b"1" * 32,
    engine_digest=b"2" * 32,
    schema_digest=b"3" * 32,
    reference_digest=b"4" * 32,
    key_id=b"A" * 16,
    caller_key_id=b"B" * 16,
    seal_algorithm=1,
)
CONTEXT = Context(date(2026, 1, 1), "Europe/Berlin", (("fda_label", b"2025"), ("fda_label", b"")))
PATIENT = PatientPart("/m", b"request", b"facts", CONTEXT, b"parameters", b"decision", b"d" * 64, b"why", b"response")
MESSAGE = MessagePart("/feedback", b"request", b"")
CALLER = CallerPart("caller-1", "evaluator", "care", "127.0.0.1:1", "request-1", "/m", 5000, "OK")

Content: TypeAlias = PatientPart | MessagePart | CallerPart


def seal(content: bytes, part: PartKind = PartKind.PATIENT, *, salt: bytes = SALT, nonce: bytes = NONCE) -> Sealed:
    associated = Associated.of(DRAFT)
    return sealing.seal(content, part=part, data_key=DATA_KEY, salt=salt, nonce=nonce, associated=associated)


def header_of(sealed: Sealed, part: PartKind = PartKind.PATIENT, draft: Header = DRAFT) -> Header:
    if part == PartKind.PATIENT:
        return replace(draft, patient=sealed.header_part)
    return replace(draft, caller=sealed.header_part)


def opened(sealed: Sealed, header: Header | None = None, key: bytes = DATA_KEY) -> bytes:
    return open_part(sealed.body, part=PartKind.PATIENT, data_key=key, header=header or header_of(sealed))


def sealed_by_hand(plaintext: bytes) -> Sealed:
    """Seal a plaintext that `seal` would never make; everything about it agrees."""
    associated = Associated.of(DRAFT).encode(PartKind.PATIENT)
    key = record_key(DATA_KEY, PartKind.PATIENT, DRAFT.entry_id)
    body = NONCE + AESGCM(key).encrypt(NONCE, plaintext, associated)
    commitment = hmac.digest(plaintext[:32], b"CDS-COMMIT-1\n\x01" + plaintext[32:], "sha256")
    return Sealed(body, len(body), hashlib.sha256(body).digest(), commitment)


@pytest.mark.parametrize(
    ("content", "part"), [(PATIENT, PartKind.PATIENT), (MESSAGE, PartKind.PATIENT), (CALLER, PartKind.CALLER)]
)
def test_a_content_comes_back(content: Content, part: PartKind) -> None:
    sealed = seal(content.encode(), part)

    read = open_part(sealed.body, part=part, data_key=DATA_KEY, header=header_of(sealed, part))

    assert read == content.encode()
    assert type(content).decode(read) == content


def test_the_header_part_says_what_the_body_is() -> None:
    sealed = seal(PATIENT.encode())

    assert sealed.header_part == Part(len(sealed.body), hashlib.sha256(sealed.body).digest(), sealed.commitment)


def test_a_plaintext_made_by_hand_opens_too() -> None:
    content = PATIENT.encode()
    sealed = sealed_by_hand(SALT + content + bytes(-(32 + len(content)) % 256))

    assert sealed == seal(content)
    assert opened(sealed) == content


def test_a_retry_may_seal_twice_under_one_entry_id() -> None:
    first, second = seal(PATIENT.encode()), seal(PATIENT.encode(), salt=b"t" * 32, nonce=b"o" * 12)

    assert first.body != second.body
    assert first.commitment != second.commitment
    assert opened(first) == opened(second)


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 1000, 60_000])
def test_c97_sizes_differ_only_by_the_bucket(size: int) -> None:
    message = MessagePart("/m", bytes(size), b"")
    length = 32 + len(message.encode())

    assert seal(message.encode()).length == 12 + -(-length // 256) * 256 + 16


def test_c97_what_fits_one_bucket_has_one_size() -> None:
    sizes = [seal(MessagePart("/m", bytes(size), b"").encode()).length for size in range(256 - 54 + 2)]

    assert sizes == [12 + 256 + 16] * (256 - 54 + 1) + [12 + 512 + 16]


def test_c64_another_valid_body_under_the_same_key_is_refused() -> None:
    logged, other = seal(PATIENT.encode()), seal(MESSAGE.encode(), salt=b"t" * 32, nonce=b"o" * 12)

    assert opened(other) == MESSAGE.encode()
    with pytest.raises(Undecryptable, match="entry 8: the sealed body of part 1 is not the one that was logged"):
        opened(other, header_of(logged))


def test_c64_a_body_of_another_length_is_refused_although_its_digest_fits() -> None:
    sealed = seal(PATIENT.encode())

    with pytest.raises(Undecryptable, match="not the one that was logged"):
        opened(sealed, header_of(replace(sealed, length=sealed.length + 256)))


def multiplied(left: int, right: int) -> int:
    """Multiply in the field of GCM. Source: NIST SP 800-38D, algorithm 1."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (0xE1 << 120 if right & 1 else 0)
    return product


def power(number: int, exponent: int) -> int:
    result = 1 << 127
    while exponent:
        if exponent & 1:
            result = multiplied(result, number)
        number, exponent = multiplied(number, number), exponent >> 1
    return result


def block_of(key: bytes, block: bytes) -> int:
    return int.from_bytes(Cipher(algorithms.AES(key), modes.CTR(block)).encryptor().update(bytes(16)), "big")


def free_block(sealed: Sealed, associated: bytes, place: int, keys: tuple[bytes, bytes]) -> bytes:
    """Give the ciphertext block at `place` under which both keys find the same tag. Source: eprint 2019/016."""
    ciphertext = sealed.body[12:-16]
    padded = associated + bytes(-len(associated) % 16)
    lengths = (8 * len(associated)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    data = padded + ciphertext + lengths
    blocks = [int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)]
    place += len(padded) // 16
    hash_keys = [block_of(key, bytes(16)) for key in keys]
    weights = [power(hash_keys[0], n) ^ power(hash_keys[1], n) for n in range(len(blocks), 0, -1)]
    difference = block_of(keys[0], NONCE + b"\0\0\0\1") ^ block_of(keys[1], NONCE + b"\0\0\0\1")
    for at, (block, weight) in enumerate(zip(blocks, weights, strict=True)):
        difference ^= 0 if at == place else multiplied(block, weight)
    return multiplied(difference, power(weights[place], 2**128 - 2)).to_bytes(16, "big")


def test_c65_a_body_that_opens_under_two_keys_opens_only_to_what_was_committed_to() -> None:
    method = "/service/Methods"
    place = (32 + 8 + 4 + len(method) + 4) // 16  # the block of the plaintext that holds the request
    keys = tuple(record_key(key, PartKind.PATIENT, DRAFT.entry_id) for key in (DATA_KEY, OTHER_KEY))
    associated = Associated.of(DRAFT).encode(PartKind.PATIENT)
    blank = seal(MessagePart(method, bytes(16), b"").encode())
    keystream = blank.body[12 + 16 * place : 28 + 16 * place]
    block = free_block(blank, associated, place, (keys[0], keys[1]))
    request = bytes(a ^ b for a, b in zip(keystream, block, strict=True))

    sealed = seal(MessagePart(method, request, b"").encode())
    plaintexts = {AESGCM(key).decrypt(NONCE, sealed.body[12:], associated) for key in keys}

    assert len(plaintexts) == 2
    assert MessagePart.decode(opened(sealed)).request == request
    with pytest.raises(BadCommitment, match="entry 8: part 1 opens to something else than was committed to"):
        opened(sealed, key=OTHER_KEY)


def test_c65_a_commitment_to_another_plaintext_is_refused() -> None:
    sealed = seal(PATIENT.encode())
    other = seal(replace(PATIENT, decision=b"another").encode())

    with pytest.raises(BadCommitment):
        opened(sealed, header_of(replace(sealed, commitment=other.commitment)))


def test_c67_a_part_does_not_open_beside_a_header_of_another_kind() -> None:
    sealed = seal(PATIENT.encode())

    for kind in set(Kind) - {Kind.DECISION}:
        with pytest.raises(Undecryptable, match="does not open under this key"):
            opened(sealed, replace(header_of(sealed), kind=kind))


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Associated)} - {"kind", "caller_key_id"}))
def test_a_part_belongs_to_its_entry(name: str) -> None:
    sealed = seal(PATIENT.encode())
    value = getattr(DRAFT, name)
    other = value + 1 if isinstance(value, int) else b"x" * len(value)
    moved = replace(header_of(sealed), **{name: other})  # type: ignore[arg-type] # each field has its own type

    with pytest.raises(Undecryptable, match="does not open under this key"):
        opened(sealed, moved)


def test_each_part_is_bound_to_its_own_key_id() -> None:
    patient, caller = seal(PATIENT.encode()), seal(CALLER.encode(), PartKind.CALLER)
    moved = header_of(caller, PartKind.CALLER, replace(header_of(patient), caller_key_id=b"x" * 16))

    assert opened(patient, moved) == PATIENT.encode()
    with pytest.raises(Undecryptable):
        open_part(caller.body, part=PartKind.CALLER, data_key=DATA_KEY, header=moved)


def test_index_and_time_are_not_bound_because_they_come_later() -> None:
    sealed = seal(PATIENT.encode())

    assert opened(sealed, replace(header_of(sealed), index=99, logged_at=1, clock_flags=1, batch_id=b"x" * 16))


def test_a_patient_part_is_no_caller_part() -> None:
    sealed = seal(PATIENT.encode())

    with pytest.raises(Undecryptable):
        open_part(sealed.body, part=PartKind.CALLER, data_key=DATA_KEY, header=header_of(sealed, PartKind.CALLER))


def test_another_key_does_not_open() -> None:
    with pytest.raises(Undecryptable):
        opened(seal(PATIENT.encode()), key=OTHER_KEY)


@pytest.mark.parametrize("body", [b"", b"short", bytes(12), bytes(27), bytes(28)])
def test_what_is_too_short_to_be_a_body_does_not_open(body: bytes) -> None:
    with pytest.raises(Undecryptable):
        opened(Sealed(body, len(body), hashlib.sha256(body).digest(), bytes(32)))


CONTENT = MESSAGE.encode()
PADDING = bytes(-(32 + len(CONTENT)) % 256)


@pytest.mark.parametrize(
    "plaintext",
    [
        SALT + CONTENT + PADDING[:-1] + b"\x01",
        SALT + CONTENT + b"\x01" + PADDING[1:],
        SALT + CONTENT + PADDING + bytes(256),
        SALT + CONTENT + PADDING[1:],
        SALT + CONTENT,
        SALT + b"CDSXXX1\n" + bytes(216),
        SALT + b"CDSMSG1\n" + b"\0\0\1\0" * 54,
        SALT + bytes(224),
        SALT,
        b"",
    ],
)
def test_a_plaintext_that_is_never_sealed_is_refused_although_all_else_agrees(plaintext: bytes) -> None:
    with pytest.raises(BadCommitment, match="entry 8: part 1"):
        opened(sealed_by_hand(plaintext))


@pytest.mark.parametrize("content", [b"", b"CDSMSG1\n", b"hello world", CONTENT[:-1], CONTENT + b"\0", b"X" + CONTENT])
def test_what_could_not_be_read_again_is_not_sealed(content: bytes) -> None:
    with pytest.raises(ValueError, match="content"):
        seal(content)


@pytest.mark.parametrize("lengths", [(31, 32, 12), (32, 31, 12), (32, 32, 13), (16, 32, 12)])
def test_keys_salts_and_nonces_have_one_length(lengths: tuple[int, int, int]) -> None:
    data_key, salt, nonce = map(bytes, lengths)

    with pytest.raises(ValueError, match="32, 32 and 12 bytes"):
        sealing.seal(
            CONTENT, part=PartKind.PATIENT, data_key=data_key, salt=salt, nonce=nonce, associated=Associated.of(DRAFT)
        )


def patient_content(**changed: bytes) -> bytes:
    parts = {
        "method": b"/m",
        "request": b"",
        "facts": b"",
        "context": frame(b"2026-01-01", b"UTC"),
        "parameters": b"",
        "decision": b"",
        "digests": bytes(64),
        "explanation": b"",
        "response": b"",
    }
    return b"CDSPAT1\n" + frame(*{**parts, **changed}.values())


def test_the_patient_content_made_by_hand_is_read() -> None:
    context = Context(date(2026, 1, 1), "UTC")

    assert PatientPart.decode(patient_content()) == PatientPart("/m", b"", b"", context, b"", b"", bytes(64), b"", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        CONTENT,
        patient_content()[:-1],
        patient_content() + b"\0",
        b"CDSPAT1\n" + frame(b"/m", b""),
        patient_content(method=b"\xff"),
        patient_content(digests=bytes(63)),
        patient_content(context=b""),
        patient_content(context=frame(b"2026-01-01")),
        patient_content(context=frame(b"2026-01-01", b"UTC", b"name without value")),
        patient_content(context=frame(b"2026-01-01", b"UTC") + b"\0"),
        patient_content(context=frame(b"20260101", b"UTC")),
        patient_content(context=frame(b"2026-02-30", b"UTC")),
        patient_content(context=frame(b"2026-01-01", b"\xff")),
        patient_content(context=frame(b"2026-01-01", b"UTC", b"\xff", b"")),
    ],
)
def test_a_patient_content_is_read_strictly(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        PatientPart.decode(content)


@pytest.mark.parametrize("context", [Context(None, ""), Context(None, "UTC", (("now", b"1"),)), CONTEXT])
def test_a_context_comes_back(context: Context) -> None:
    assert Context.decode(context.encode()) == context


@pytest.mark.parametrize(
    "content",
    [
        b"CDSCAL1\n" + frame(*[b""] * 6, bytes(7), b""),
        b"CDSCAL1\n" + frame(*[b""] * 6, bytes(8)),
        b"CDSCAL1\n" + frame(*[b""] * 6, bytes(8), b"\xff"),
        b"CDSCAL1\n" + frame(b"\xff", *[b""] * 5, bytes(8), b""),
        CONTENT,
    ],
)
def test_a_caller_content_is_read_strictly(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        CallerPart.decode(content)


@pytest.mark.parametrize(
    "content", [CALLER.encode(), b"CDSMSG1\n" + frame(b"", b""), b"CDSMSG1\n" + frame(b"\xff", b"", b"")]
)
def test_a_message_content_is_read_strictly(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        MessagePart.decode(content)


def test_digests_of_both_engines_are_written_or_nothing_is() -> None:
    with pytest.raises(ValueError, match="32 bytes each"):
        replace(PATIENT, digests=b"d" * 32).encode()


@pytest.mark.parametrize("deadline_ms", [-1, 2**64])
def test_a_deadline_fits_its_field(deadline_ms: int) -> None:
    with pytest.raises(OverflowError):
        replace(CALLER, deadline_ms=deadline_ms).encode()


@pytest.mark.parametrize("content", [PATIENT, MESSAGE, CALLER])
def test_contents_do_not_show_in_messages(content: Content) -> None:
    assert f"{content} {content!r}" == f"{object.__repr__(content)} {object.__repr__(content)}"
