"""`engine.ledger.entry` and `engine.ledger.body`: one header, one encoding, and no way around the rules of a kind."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TypeAlias

import pytest

from engine.canonical import frame
from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.entry import NO_PART, ZERO_DIGEST, ZERO_ID, Header, Kind, Part

LOG_ID = bytes(range(32))
KEY_A, KEY_B = b"A" * 16, b"B" * 16
PATIENT = Part(540, b"p" * 32, b"q" * 32)
CALLER = Part(284, b"c" * 32, b"d" * 32)

BODIES: dict[Kind, bodies.Body | None] = {
    Kind.GENESIS: bodies.Genesis("log.example.org/a", "log.example.org/a+00000000+AQ==", b"old note\n"),
    Kind.BLOB_REGISTERED: bodies.BlobRegistered(bodies.BlobKind.PACK, b"b" * 32, "pack"),
    Kind.PACK_SET_ACTIVATED: bodies.PackSetActivated("usual", "1.0.0", "2026-01-01"),
    Kind.DECISION: None,
    Kind.DECISION_ERROR: bodies.DecisionError("engines-disagree"),
    Kind.CORRECTION: bodies.Correction(3, "entered-in-error"),
    Kind.TOMBSTONE: bodies.Tombstone((KEY_A, KEY_B), "subject-request", "case 17"),
    Kind.ERASURE_DONE: bodies.ErasureDone(5),
    Kind.LEGAL_HOLD: bodies.LegalHold(is_on=True, key_ids=(KEY_A,), authority="court 4"),
    Kind.ACCESS: bodies.Access("list", 1, 6, 8),
    Kind.SETTING_CHANGED: bodies.SettingChanged("clock", "accepted the step of today"),
    Kind.REPORT: bodies.Report("impact", 8, b"x" * 32, b"y" * 32),
    Kind.CHECKPOINT_GAP: bodies.CheckpointGap(2, 7, "signer-down"),
    Kind.FEEDBACK: bodies.Feedback(4),
}
WHOLE = (Kind.DECISION, Kind.DECISION_ERROR, Kind.CORRECTION, Kind.FEEDBACK)
MAY_NAME_A_CALLER = tuple(kind for kind in Kind if Kind.TOMBSTONE <= kind <= Kind.CHECKPOINT_GAP)

Fields: TypeAlias = "dict[str, bytes | int | Part]"
SET: Fields = {
    "pack_digest": b"1" * 32,
    "engine_digest": b"2" * 32,
    "schema_digest": b"3" * 32,
    "reference_digest": b"4" * 32,
    "key_id": KEY_A,
    "caller_key_id": KEY_B,
    "patient": PATIENT,
    "caller": CALLER,
}
ZERO: Fields = {
    name: NO_PART if isinstance(value, Part) else bytes(len(value) if isinstance(value, bytes) else 0)
    for name, value in SET.items()
}


def a_header(kind: Kind) -> Header:
    body = BODIES[kind]
    header = Header(
        kind,
        LOG_ID,
        index=9,
        logged_at=1_767_225_600_000_000,
        clock_flags=1,
        entry_id=b"e" * 16,
        tenant=7,
        batch_id=b"b" * 16,
        body=b"" if body is None else bodies.write_body(body),
    )
    if kind in WHOLE:
        return with_fields(header, seal_algorithm=1, **SET)
    return with_fields(header, pack_digest=SET["pack_digest"]) if kind is Kind.PACK_SET_ACTIVATED else header


def with_fields(header: Header, **changes: bytes | int | Part) -> Header:
    return replace(header, **changes)  # type: ignore[arg-type] # each test gives a field its own type


def with_bytes(header: Header, offset: int, changed: bytes) -> bytes:
    data = entry.encode(header)
    return data[:offset] + changed + data[offset + len(changed) :]


def refuse(data: bytes, match: str | None = None) -> None:
    with pytest.raises(IntegrityError, match=match):
        entry.decode(data)


def test_every_kind_has_an_example() -> None:
    assert set(BODIES) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_header_and_its_body_come_back(kind: Kind) -> None:
    header = a_header(kind)

    assert entry.decode(entry.encode(header)) == header
    assert entry.read_body(header) == BODIES[kind]


def test_fields_stand_where_the_format_says() -> None:
    header = a_header(Kind.DECISION_ERROR)
    places = {
        0: b"CDSLOG1\n",
        8: struct.pack(">HB", 1, 5),
        11: LOG_ID,
        43: struct.pack(">Q", 9),
        51: struct.pack(">qB", 1_767_225_600_000_000, 1),
        60: b"e" * 16 + struct.pack(">I", 7) + b"b" * 16,
        96: b"1" * 32 + b"2" * 32 + b"3" * 32 + b"4" * 32,
        224: KEY_A + KEY_B,
        256: b"\x01",
        257: struct.pack(">I", 540) + b"p" * 32 + b"q" * 32,
        325: struct.pack(">I", 284) + b"c" * 32 + b"d" * 32,
        393: struct.pack(">I", 20) + frame(b"engines-disagree"),
    }

    data = entry.encode(header)

    assert b"".join(places.values()) == data
    assert all(data[at : at + len(value)] == value for at, value in places.items())


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        (Kind.GENESIS, frame(b"log.example.org/a", b"log.example.org/a+00000000+AQ==", b"old note\n")),
        (Kind.BLOB_REGISTERED, frame(b"\x06", b"b" * 32, b"pack")),
        (Kind.CORRECTION, frame(b"\0\0\0\0\0\0\0\x03", b"entered-in-error")),
        (Kind.TOMBSTONE, frame(KEY_A + KEY_B, b"subject-request", b"case 17")),
        (Kind.LEGAL_HOLD, frame(b"\x01", KEY_A, b"court 4")),
        (Kind.ACCESS, frame(b"list", struct.pack(">Q", 1), struct.pack(">Q", 6), struct.pack(">Q", 8))),
        (Kind.REPORT, frame(b"impact", struct.pack(">Q", 8), b"x" * 32, b"y" * 32)),
        (Kind.CHECKPOINT_GAP, frame(struct.pack(">Q", 2), struct.pack(">Q", 7), b"signer-down")),
    ],
)
def test_a_body_is_one_frame_of_its_fields(kind: Kind, encoded: bytes) -> None:
    assert a_header(kind).body == encoded


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("name", SET)
def test_a_field_that_a_kind_needs_or_leaves_zero_cannot_be_otherwise(kind: Kind, name: str) -> None:
    header = a_header(kind)
    other = ZERO[name] if getattr(header, name) == SET[name] else SET[name]

    for seal_algorithm in (0, 1):
        changed = with_fields(header, seal_algorithm=seal_algorithm, **{name: other})
        with pytest.raises(IntegrityError, match="entry 9: "):
            entry.encode(changed)


@pytest.mark.parametrize("kind", MAY_NAME_A_CALLER)
def test_an_event_may_name_a_caller_but_only_whole(kind: Kind) -> None:
    named = with_fields(a_header(kind), seal_algorithm=1, caller_key_id=KEY_B, caller=CALLER)

    assert entry.decode(entry.encode(named)) == named
    for change in ({"caller_key_id": ZERO_ID}, {"seal_algorithm": 0}, {"key_id": KEY_A}, {"patient": PATIENT}):
        with pytest.raises(IntegrityError):
            entry.encode(with_fields(named, **change))


@pytest.mark.parametrize("name", ["patient", "caller"])
@pytest.mark.parametrize("change", [{"length": 0}, {"sha256": ZERO_DIGEST}, {"commitment": ZERO_DIGEST}])
def test_a_part_is_there_or_zero_throughout(name: str, change: dict[str, int | bytes]) -> None:
    part = replace(PATIENT, **change)  # type: ignore[arg-type] # as above

    with pytest.raises(IntegrityError, match="a part is neither set nor zero"):
        entry.encode(with_fields(a_header(Kind.DECISION), **{name: part}))


@pytest.mark.parametrize("algorithm", [0, 2, 255])
def test_c68_another_seal_algorithm_is_refused(algorithm: int) -> None:
    refuse(with_bytes(a_header(Kind.DECISION), 256, bytes([algorithm])), "entry 9: seal algorithm")


def test_c68_a_seal_algorithm_without_a_part_is_refused() -> None:
    refuse(with_bytes(a_header(Kind.TOMBSTONE), 256, b"\x01"), "entry 9: seal algorithm")


@pytest.mark.parametrize("number", [0, 2, 256])
def test_c68_another_format_is_refused(number: int) -> None:
    refuse(with_bytes(a_header(Kind.DECISION), 8, struct.pack(">H", number)), "entry 9: unknown magic or format")


def test_another_magic_is_refused() -> None:
    refuse(with_bytes(a_header(Kind.DECISION), 0, b"CDSLOG2\n"), "unknown magic")


@pytest.mark.parametrize("number", [0, 15, 16, 255])
def test_unknown_kinds_are_refused(number: int) -> None:
    refuse(with_bytes(a_header(Kind.DECISION), 10, bytes([number])), f"entry 9: unknown kind {number}")


@pytest.mark.parametrize("kind", [Kind.DECISION_ERROR, Kind.CORRECTION, Kind.FEEDBACK, Kind.GENESIS, Kind.TOMBSTONE])
def test_c67_nothing_else_becomes_a_decision(kind: Kind) -> None:
    refuse(with_bytes(a_header(kind), 10, bytes([Kind.DECISION])), "entry 9: ")


def test_c67_a_decision_becomes_nothing_else() -> None:
    for kind in set(Kind) - {Kind.DECISION}:
        refuse(with_bytes(a_header(Kind.DECISION), 10, bytes([kind])), "entry 9: ")


@pytest.mark.parametrize("flags", range(8))
def test_known_clock_flags_come_back(flags: int) -> None:
    header = replace(a_header(Kind.DECISION), clock_flags=flags)

    assert entry.decode(entry.encode(header)).clock_flags == flags


@pytest.mark.parametrize("flags", [8, 9, 128, 255])
def test_unknown_clock_flags_are_refused(flags: int) -> None:
    refuse(with_bytes(a_header(Kind.DECISION), 59, bytes([flags])), "clock flags")


@pytest.mark.parametrize("kind", [Kind.DECISION, Kind.TOMBSTONE])
def test_cut_or_longer_bytes_are_refused(kind: Kind) -> None:
    data = entry.encode(a_header(kind))

    for length in range(len(data)):
        refuse(data[:length])
    refuse(data + b"\0", "entry 9: the body is shorter or longer")


def of_length(length: int) -> Header:
    return replace(a_header(Kind.DECISION_ERROR), body=frame(b"x" * (length - 397 - 4)))


def test_c44_the_longest_header_is_accepted_and_a_longer_one_refused() -> None:
    longest, longer = of_length(65_535), of_length(65_536)

    assert len(entry.encode(longest)) == 65_535
    assert entry.decode(entry.encode(longest)) == longest
    with pytest.raises(IntegrityError, match="entry 9: longer than 65535 bytes"):
        entry.encode(longer)
    with pytest.raises(IntegrityError, match="draft: longer than 65535 bytes"):
        entry.check_draft(longer)


def test_c44_decode_refuses_what_is_longer_even_if_its_lengths_fit() -> None:
    data = entry.encode(of_length(65_535))

    refuse(data[:393] + struct.pack(">II", 65_139, 65_135) + b"x" * 65_135, "65536 bytes are no header")


@pytest.mark.parametrize("kind", [Kind.CORRECTION, Kind.FEEDBACK])
@pytest.mark.parametrize("target", [9, 10, 2**63, 2**64 - 2])
def test_c69_what_points_forward_or_to_itself_is_refused(kind: Kind, target: int) -> None:
    header = a_header(kind)
    pointing = replace(header, body=header.body[:4] + struct.pack(">Q", target) + header.body[12:])
    data = entry.encode(header)[:397] + pointing.body

    entry.check_draft(pointing)
    for attempt in (
        lambda: entry.decode(data),
        lambda: entry.encode(pointing),
        lambda: entry.finish(pointing, 9, 0, 0, ZERO_ID),
    ):
        with pytest.raises(IntegrityError, match=f"entry 9: it points to entry {target}, which is not before it"):
            attempt()


def test_c69_only_feedback_may_be_about_no_known_decision() -> None:
    feedback = replace(a_header(Kind.FEEDBACK), body=bodies.write_body(bodies.Feedback(bodies.UNKNOWN_DECISION)))
    correction = bodies.write_body(bodies.Correction(bodies.UNKNOWN_DECISION, "entered-in-error"))

    assert entry.read_body(entry.decode(entry.encode(feedback))) == bodies.Feedback(2**64 - 1)
    with pytest.raises(IntegrityError, match="which is not before it"):
        entry.encode(replace(a_header(Kind.CORRECTION), body=correction))


@pytest.mark.parametrize("kind", Kind)
def test_a_draft_is_finished_to_what_its_header_encodes_to(kind: Kind) -> None:
    draft = replace(a_header(kind), index=0, logged_at=0, clock_flags=0, batch_id=ZERO_ID)
    entry.check_draft(draft)

    data = entry.finish(draft, 12, 34, 2, b"n" * 16)

    assert data == entry.encode(replace(draft, index=12, logged_at=34, clock_flags=2, batch_id=b"n" * 16))


@pytest.mark.parametrize(
    ("index", "logged_at", "clock_flags", "batch_id"),
    [
        (-1, 0, 0, ZERO_ID),
        (2**64, 0, 0, ZERO_ID),
        (0, 2**63, 0, ZERO_ID),
        (0, -(2**63) - 1, 0, ZERO_ID),
        (0, 0, 8, ZERO_ID),
        (0, 0, -1, ZERO_ID),
        (0, 0, 0, b"short"),
    ],
)
def test_what_comes_under_the_lock_must_be_in_range(
    index: int, logged_at: int, clock_flags: int, batch_id: bytes
) -> None:
    with pytest.raises(IntegrityError, match=f"entry {index}: "):
        entry.finish(a_header(Kind.DECISION), index, logged_at, clock_flags, batch_id)


@pytest.mark.parametrize("tenant", [-1, 2**32])
def test_a_tenant_out_of_range_is_refused(tenant: int) -> None:
    with pytest.raises(IntegrityError, match="entry 9: a number is out of its range"):
        entry.encode(replace(a_header(Kind.DECISION), tenant=tenant))


@pytest.mark.parametrize(
    "name",
    [
        *("log_id", "entry_id", "batch_id", "pack_digest", "engine_digest", "schema_digest", "reference_digest"),
        *("key_id", "caller_key_id"),
    ],
)
def test_an_id_or_digest_of_another_width_is_refused(name: str) -> None:
    header = a_header(Kind.DECISION)
    value = getattr(header, name)

    for other in (b"", value[1:], value + b"x"):
        with pytest.raises(IntegrityError, match="entry 9: "):
            entry.encode(with_fields(header, **{name: other}))


@pytest.mark.parametrize("name", ["patient", "caller"])
@pytest.mark.parametrize("field", ["sha256", "commitment"])
def test_a_part_of_another_width_is_refused(name: str, field: str) -> None:
    part = replace(PATIENT, **{field: b"x" * 31})  # type: ignore[arg-type] # as above

    with pytest.raises(IntegrityError, match="wrong length"):
        entry.encode(with_fields(a_header(Kind.DECISION), **{name: part}))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.DECISION, frame(b"")),
        (Kind.DECISION_ERROR, b""),
        (Kind.DECISION_ERROR, frame(b"a", b"b")),
        (Kind.DECISION_ERROR, b"\0\0\0\x05four"),
        (Kind.DECISION_ERROR, frame(b"code") + b"\0"),
        (Kind.DECISION_ERROR, frame(b"\xff")),
        (Kind.BLOB_REGISTERED, frame(b"\x00", b"b" * 32, b"pack")),
        (Kind.BLOB_REGISTERED, frame(b"\x08", b"b" * 32, b"pack")),
        (Kind.BLOB_REGISTERED, frame(b"\x00\x06", b"b" * 32, b"pack")),
        (Kind.BLOB_REGISTERED, frame(b"\x06", b"b" * 31, b"pack")),
        (Kind.TOMBSTONE, frame(b"", b"reason", b"authority")),
        (Kind.TOMBSTONE, frame(b"k" * 17, b"reason", b"authority")),
        (Kind.LEGAL_HOLD, frame(b"\x02", KEY_A, b"authority")),
        (Kind.LEGAL_HOLD, frame(b"", KEY_A, b"authority")),
        (Kind.ERASURE_DONE, frame(b"\0" * 7)),
        (Kind.FEEDBACK, frame(b"\0" * 9)),
        (Kind.REPORT, frame(b"impact", b"\0" * 8, b"x" * 32, b"")),
    ],
)
def test_a_body_that_is_none_of_its_kind_is_refused(kind: Kind, body: bytes) -> None:
    header = replace(a_header(kind), body=body)
    fixed = entry.encode(a_header(kind))[:393]

    with pytest.raises(IntegrityError, match="draft: "):
        entry.check_draft(header)
    refuse(fixed + struct.pack(">I", len(body)) + body, "entry 9: ")


@pytest.mark.parametrize(
    "body",
    [
        bodies.ErasureDone(-1),
        bodies.Feedback(2**64),
        bodies.DecisionError("\ud800"),
        bodies.Report("impact", 1, b"short", b"y" * 32),
        bodies.Tombstone((), "reason", "authority"),
        bodies.Tombstone((b"short",), "reason", "authority"),
    ],
)
def test_a_body_with_a_field_that_does_not_fit_is_not_written(body: bodies.Body) -> None:
    with pytest.raises(IntegrityError, match=type(body).__name__):
        bodies.write_body(body)


def test_an_entry_id_is_a_uuid_to_callers() -> None:
    entry_id = bytes.fromhex("d7610a0d3453a114870bffe1b3698340")

    assert entry.entry_uuid(entry_id) == "d7610a0d-3453-a114-870b-ffe1b3698340"
    assert entry.entry_id_of("d7610a0d-3453-a114-870b-ffe1b3698340") == entry_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D7610A0D-3453-A114-870B-FFE1B3698340",
        "d7610a0d3453a114870bffe1b3698340",
        "{d7610a0d-3453-a114-870b-ffe1b3698340}",
        "d7610a0d-3453-a114-870b-ffe1b369834",
        "d7610a0d-3453-a114-870b-ffe1b3698340\n",
        "d7610a0d-3453-a114-870b-ffe1b369834\u0660",
    ],
)
def test_what_is_no_uuid_of_ours_names_no_entry(text: str) -> None:
    with pytest.raises(EntryNotFoundError, match="lower-case UUID"):
        entry.entry_id_of(text)


def test_logs_differ_by_origin_and_by_key() -> None:
    ids = {entry.log_id(origin, key * 32) for origin in ("a", "b") for key in (b"1", b"2")}

    assert len(ids) == 4
