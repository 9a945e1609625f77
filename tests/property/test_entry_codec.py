"""Headers, bodies and sealed parts: each has one encoding, and no changed byte goes unseen."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.canonical import frame
from engine.errors import IntegrityError
from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.entry import NO_PART, ZERO_ID, Header, Kind, Part
from engine.ledger.seal import (
    Associated,
    BadCommitment,
    CallerPart,
    Context,
    MessagePart,
    PartKind,
    PatientPart,
    Undecryptable,
    open_part,
    seal,
)

U64 = st.integers(0, 2**64 - 1)
INDEX = st.integers(1, 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
DIGEST, ID = st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16)
SET_DIGEST, SET_ID = DIGEST.filter(any), ID.filter(any)
KEY_IDS = st.lists(ID, min_size=1, max_size=5).map(tuple)
PART = st.builds(Part, length=st.integers(1, 2**32 - 1), sha256=SET_DIGEST, commitment=SET_DIGEST)

BODIES: dict[Kind, st.SearchStrategy[bodies.Body]] = {
    Kind.GENESIS: st.builds(bodies.Genesis, TEXT, TEXT, st.binary(max_size=60)),
    Kind.BLOB_REGISTERED: st.builds(bodies.BlobRegistered, st.sampled_from(bodies.BlobKind), DIGEST, TEXT),
    Kind.PACK_SET_ACTIVATED: st.builds(bodies.PackSetActivated, TEXT, TEXT, TEXT),
    Kind.DECISION_ERROR: st.builds(bodies.DecisionError, TEXT),
    Kind.CORRECTION: st.builds(bodies.Correction, st.just(0), TEXT),
    Kind.TOMBSTONE: st.builds(bodies.Tombstone, KEY_IDS, TEXT, TEXT),
    Kind.ERASURE_DONE: st.builds(bodies.ErasureDone, U64),
    Kind.LEGAL_HOLD: st.builds(bodies.LegalHold, st.booleans(), KEY_IDS, TEXT),
    Kind.ACCESS: st.builds(bodies.Access, TEXT, U64, U64, U64),
    Kind.SETTING_CHANGED: st.builds(bodies.SettingChanged, TEXT, TEXT),
    Kind.REPORT: st.builds(bodies.Report, TEXT, U64, DIGEST, DIGEST),
    Kind.CHECKPOINT_GAP: st.builds(bodies.CheckpointGap, U64, U64, TEXT),
    Kind.FEEDBACK: st.builds(bodies.Feedback, st.sampled_from([0, bodies.UNKNOWN_DECISION])),
}
WHOLE = {Kind.DECISION, Kind.DECISION_ERROR, Kind.CORRECTION, Kind.FEEDBACK}


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Draw a header that keeps every rule."""
    kind = draw(st.sampled_from(Kind))
    is_whole = kind in WHOLE
    has_caller = is_whole or (Kind.TOMBSTONE <= kind <= Kind.CHECKPOINT_GAP and draw(st.booleans()))
    digests = SET_DIGEST if is_whole else st.just(entry.ZERO_DIGEST)
    return Header(
        kind,
        draw(DIGEST),
        draw(INDEX),
        draw(st.integers(-(2**63), 2**63 - 1)),
        draw(st.integers(0, 7)),
        draw(ID),
        draw(st.integers(0, 2**32 - 1)),
        draw(ID),
        draw(SET_DIGEST if kind is Kind.PACK_SET_ACTIVATED else digests),
        draw(digests),
        draw(digests),
        draw(digests),
        draw(SET_ID) if is_whole else ZERO_ID,
        draw(SET_ID) if has_caller else ZERO_ID,
        int(has_caller),
        draw(PART) if is_whole else NO_PART,
        draw(PART) if has_caller else NO_PART,
        b"" if kind is Kind.DECISION else bodies.write_body(draw(BODIES[kind])),
    )


def changed(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@given(headers())
def test_a_header_comes_back(header: Header) -> None:
    data = entry.encode(header)
    body = entry.read_body(header)

    assert entry.decode(data) == header
    assert header.body == (b"" if body is None else bodies.write_body(body))


@given(headers(), INDEX, st.integers(-(2**63), 2**63 - 1), st.integers(0, 7), ID)
def test_finishing_a_draft_is_encoding_its_header(
    draft: Header, index: int, logged_at: int, clock_flags: int, batch_id: bytes
) -> None:
    entry.check_draft(draft)
    header = replace(draft, index=index, logged_at=logged_at, clock_flags=clock_flags, batch_id=batch_id)

    assert entry.finish(draft, index, logged_at, clock_flags, batch_id) == entry.encode(header)


@given(headers(), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_gives_another_header(header: Header, mask: int) -> None:
    data = entry.encode(header)
    for at in range(len(data)):
        altered = changed(data, at, mask)
        with suppress(IntegrityError):
            other = entry.decode(altered)
            assert other != header
            assert entry.encode(other) == altered


@given(headers(), st.binary(min_size=1, max_size=5))
def test_more_bytes_are_refused(header: Header, more: bytes) -> None:
    with pytest.raises(IntegrityError):
        entry.decode(entry.encode(header) + more)


@given(headers(), st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=4)), max_size=3))
def test_any_bytes_are_one_header_or_an_integrity_fault(header: Header, edits: list[tuple[int, bytes]]) -> None:
    data = entry.encode(header)
    for at, written in edits:
        data = data[:at] + written + data[at + len(written) :]
    with suppress(IntegrityError):
        assert entry.encode(entry.decode(data)) == data


@given(st.sampled_from(list(BODIES.values())).flatmap(lambda strategy: strategy), st.binary(max_size=3))
def test_a_body_comes_back_and_nothing_else_is_read_as_it(body: bodies.Body, more: bytes) -> None:
    data = bodies.write_body(body)

    assert bodies.read_body(type(body), data) == body
    for other in (data[: len(data) - len(more)] + more, data + more):
        with suppress(IntegrityError):
            assert bodies.write_body(bodies.read_body(type(body), other)) == other


@given(st.lists(st.binary(max_size=20)))
def test_a_frame_comes_apart_again(parts: list[bytes]) -> None:
    assert bodies.unframe(frame(*parts)) == parts


CONTEXTS = st.builds(
    Context, st.dates() | st.none(), TEXT, st.lists(st.tuples(TEXT, st.binary(max_size=9)), max_size=3).map(tuple)
)
BYTES = st.binary(max_size=300)
PATIENTS = st.builds(
    PatientPart, TEXT, BYTES, BYTES, CONTEXTS, BYTES, BYTES, st.binary(min_size=64, max_size=64), BYTES, BYTES
)
MESSAGES = st.builds(MessagePart, TEXT, BYTES, BYTES)
CALLERS = st.builds(CallerPart, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, U64, TEXT)
HEADER = Header(
    Kind.DECISION,
    b"l" * 32,
    8,
    entry_id=b"e" * 16,
    pack_digest=b"1" * 32,
    engine_digest=b"2" * 32,
    schema_digest=b"3" * 32,
    reference_digest=b"4" * 32,
    key_id=b"A" * 16,
    caller_key_id=b"B" * 16,
    seal_algorithm=1,
)


def sealed(content: bytes, part: PartKind, data_key: bytes, salt: bytes, nonce: bytes) -> tuple[bytes, Header]:
    result = seal(content, part=part, data_key=data_key, salt=salt, nonce=nonce, associated=Associated.of(HEADER))
    name = "patient" if part is PartKind.PATIENT else "caller"
    return result.body, replace(HEADER, **{name: result.header_part})  # type: ignore[arg-type] # a part by its name


@given(PATIENTS | MESSAGES | CALLERS, DIGEST, DIGEST, st.binary(min_size=12, max_size=12))
def test_a_sealed_content_comes_back(
    content: PatientPart | MessagePart | CallerPart, data_key: bytes, salt: bytes, nonce: bytes
) -> None:
    part = PartKind.CALLER if isinstance(content, CallerPart) else PartKind.PATIENT
    body, header = sealed(content.encode(), part, data_key, salt, nonce)

    read = open_part(body, part=part, data_key=data_key, header=header)

    assert read == content.encode()
    assert type(content).decode(read) == content
    assert len(body) % 256 == 28


@given(MESSAGES, st.integers(1, 255))
def test_a_changed_byte_of_a_sealed_body_does_not_open(content: MessagePart, mask: int) -> None:
    body, header = sealed(content.encode(), PartKind.PATIENT, b"K" * 32, b"s" * 32, b"n" * 12)
    for at in range(len(body)):
        altered = changed(body, at, mask)
        fitted = replace(header, patient=replace(header.patient, sha256=hashlib.sha256(altered).digest()))
        for claimed in (header, fitted):
            with pytest.raises(Undecryptable):
                open_part(altered, part=PartKind.PATIENT, data_key=b"K" * 32, header=claimed)


@given(MESSAGES, st.integers(0, 31), st.integers(1, 255))
def test_a_changed_byte_of_a_commitment_is_refused(content: MessagePart, at: int, mask: int) -> None:
    body, header = sealed(content.encode(), PartKind.PATIENT, b"K" * 32, b"s" * 32, b"n" * 12)
    other = replace(header.patient, commitment=changed(header.patient.commitment, at, mask))

    with pytest.raises(BadCommitment):
        open_part(body, part=PartKind.PATIENT, data_key=b"K" * 32, header=replace(header, patient=other))


@given(PATIENTS | CALLERS, st.data())
def test_a_changed_content_is_refused_or_read_as_what_it_says(
    content: PatientPart | CallerPart, data: st.DataObject
) -> None:
    encoded = content.encode()
    altered = changed(encoded, data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.integers(1, 255)))
    with suppress(IntegrityError):
        other = type(content).decode(altered)
        assert other != content
        assert other.encode() == altered


@given(st.dates(max_value=date(9999, 12, 31)), TEXT)
def test_a_date_has_one_text(as_of: date, time_zone: str) -> None:
    for text in (as_of.strftime("%Y%m%d"), as_of.isoformat() + "T00:00", "-".join(map(str, as_of.isocalendar()))):
        assume(text != as_of.isoformat())
        with pytest.raises(IntegrityError):
            Context.decode(frame(text.encode(), time_zone.encode()))
