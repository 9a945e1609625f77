"""What the offline verifier refuses although it is in the tree and signed: headers, bodies, pointers, registrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.offline_export import CALLER, DIGESTS, PATIENT, ZERO, Log, digest, frame, run, u64, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_KEYS = (bytes(16), bytes(16))
NO_PART = (0, ZERO, ZERO)
KEY_IDS = PATIENT + CALLER


def verdict(log: Log, folder: Path) -> tuple[int, object, object]:
    return run(write(log.files(), folder), "--vkey", log.signer.vkey).named


WRONG_HEADERS: dict[str, Callable[[Log], int]] = {
    "magic": lambda log: log.call(magic=b"CDSLOG2\n"),
    "format 0": lambda log: log.call(format=0),
    "format 2": lambda log: log.call(format=2),
    "log_id": lambda log: log.call(log_id=digest(b"another")),
    "index": lambda log: log.call(index=7),
    "flags": lambda log: log.call(flags=8),
    "kind 0": lambda log: log.add(0),
    "kind 15, which has no form yet": lambda log: log.add(15),
    "kind 255": lambda log: log.add(255),
    "length of the body too small": lambda log: log.add(11, frame(b"clock", b"step"), length=1),
    "length of the body too large": lambda log: log.call(length=1),
    "seal 0 with parts": lambda log: log.call(seal=0),
    "seal 2": lambda log: log.call(seal=2),
    "seal 1 without parts": lambda log: log.add(11, frame(b"clock", b"step"), seal=1),
    "no digests": lambda log: log.call(digests=(ZERO,) * 4),
    "first digest unset": lambda log: log.call(digests=(ZERO, *DIGESTS[1:])),
    "last digest unset": lambda log: log.call(digests=(*DIGESTS[:3], ZERO)),
    "a digest where none belongs": lambda log: log.add(
        11, frame(b"clock", b"step"), digests=(DIGESTS[0],) + (ZERO,) * 3
    ),
    "activated without pack set": lambda log: log.add(3, frame(b"label", b"1", b"2026-01-01")),
    "activated with another digest": lambda log: log.add(
        3, frame(b"label", b"1", b"2026-01-01"), digests=(ZERO, DIGESTS[0], ZERO, ZERO)
    ),
    "activated with two digests": lambda log: log.add(
        3, frame(b"label", b"1", b"2026-01-01"), digests=(*DIGESTS[:2], ZERO, ZERO)
    ),
    "decision without patient part": lambda log: log.call(patient=NO_PART, keys=(bytes(16), CALLER)),
    "decision without caller part": lambda log: log.call(caller=NO_PART, keys=(PATIENT, bytes(16))),
    "decision without parts": lambda log: log.call(patient=NO_PART, caller=NO_PART, keys=NO_KEYS),
    "no key id": lambda log: log.call(keys=(bytes(16), CALLER)),
    "no caller's key id": lambda log: log.call(keys=(PATIENT, bytes(16))),
    "a key id without a part": lambda log: log.add(11, frame(b"clock", b"step"), keys=(bytes(16), CALLER)),
    "a patient's key id without a part": lambda log: log.add(11, frame(b"clock", b"step"), keys=(PATIENT, bytes(16))),
    "no length": lambda log: log.call(patient=(0, digest(b"body"), digest(b"commitment"))),
    "no digest of a part": lambda log: log.call(patient=(60, ZERO, digest(b"commitment"))),
    "no commitment": lambda log: log.call(patient=(60, digest(b"body"), ZERO)),
    "only a commitment": lambda log: log.add(11, frame(b"clock", b"step"), caller=(0, ZERO, digest(b"c")), seal=0),
    "patient part of a tombstone": lambda log: log.add(
        7, frame(KEY_IDS, b"reason", b"law"), keys=(PATIENT, bytes(16)), patient=log.seal("patient")
    ),
    "caller part of a blob": lambda log: log.add(
        2, frame(b"\x01", digest(b"blob"), b"label"), keys=(bytes(16), CALLER), caller=log.seal("caller")
    ),
}


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
def test_c68_a_signed_header_against_the_rules_is_named(tmp_path: Path, wrong: str) -> None:
    log = Log().begin()
    WRONG_HEADERS[wrong](log)

    assert verdict(log, tmp_path) == (3, 6, "tile/entries/000.p/7")


WRONG_BODIES: dict[str, tuple[int, bytes]] = {
    "decision with a body": (4, b"\x00"),
    "error without code": (5, b""),
    "error with two fields": (5, frame(b"code", b"more")),
    "correction of no u64": (6, frame(bytes(7), b"reason")),
    "tombstone without key": (7, frame(b"", b"reason", b"law")),
    "tombstone with half a key": (7, frame(KEY_IDS[:24], b"reason", b"law")),
    "tombstone without authority": (7, frame(KEY_IDS, b"reason")),
    "erasure done of no u64": (8, frame(bytes(9))),
    "hold neither on nor off": (9, frame(b"\x02", KEY_IDS, b"court")),
    "hold of no key": (9, frame(b"\x01", b"", b"court")),
    "hold without its flag": (9, frame(b"", KEY_IDS, b"court")),
    "access with a short index": (10, frame(b"list", u64(0), bytes(4), u64(6))),
    "setting of one field": (11, frame(b"clock")),
    "report with a short digest": (12, frame(b"impact", u64(6), bytes(31), ZERO)),
    "gap without reason": (13, frame(u64(0), u64(3))),
    "feedback of two": (14, frame(u64(6), u64(6))),
    "blob of kind 0": (2, frame(b"\x00", digest(b"blob"), b"label")),
    "blob of kind 8": (2, frame(b"\x08", digest(b"blob"), b"label")),
    "blob of two kinds": (2, frame(b"\x01\x02", digest(b"blob"), b"label")),
    "a field longer than the body": (11, b"\x00\x00\x00\x09clock"),
    "a length that is cut": (11, frame(b"clock") + b"\x00\x00\x00"),
    "bytes after the last field": (11, frame(b"clock", b"step") + b"\x00"),
}


@pytest.mark.parametrize("wrong", WRONG_BODIES)
def test_a_signed_body_against_the_grammar_of_its_kind_is_named(tmp_path: Path, wrong: str) -> None:
    kind, body = WRONG_BODIES[wrong]
    log = Log().begin()
    log.call()
    if kind in {4, 5, 6, 14}:
        log.call(kind, body)
    else:
        log.add(kind, body)

    assert verdict(log, tmp_path) == (3, 7, "tile/entries/000.p/8")


def test_a_header_of_65535_bytes_is_taken(tmp_path: Path) -> None:
    log = Log().begin()
    log.add(11, frame(b"clock", bytes(65_535 - 397 - 8 - 5)))

    assert len(log.headers[6]) == 65_535
    assert verdict(log, tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (6, 7),
        (6, 8),
        (6, 5),
        (6, 2**64 - 1),
        (14, 7),
        (14, 9),
        (14, 0),
        (14, 2**64 - 2),
        (8, 6),
        (8, 7),
        (8, 2**64 - 1),
    ],
)
def test_c69_what_points_forward_to_itself_or_to_another_kind(tmp_path: Path, kind: int, target: int) -> None:
    log = Log().begin()
    log.call()
    body = frame(u64(target), b"reason") if kind == 6 else frame(u64(target))
    index = log.add(8, body) if kind == 8 else log.call(kind, body)

    assert verdict(log, tmp_path)[:2] == (3, index)


def test_c67_a_correction_of_an_error_is_no_correction(tmp_path: Path) -> None:
    log = Log().begin()
    error = log.call(5, frame(b"engines-disagree"))
    log.call(6, frame(u64(error), b"wrong-patient"))

    assert verdict(log, tmp_path)[:2] == (3, 7)


def test_erasure_done_points_to_a_tombstone_before_it(tmp_path: Path) -> None:
    log = Log().begin()
    tombstone = log.add(7, frame(PATIENT, b"reason", b"law"))
    log.add(8, frame(u64(tombstone)))

    assert verdict(log, tmp_path)[0] == 0


@pytest.mark.parametrize("position", range(4))
def test_c59_a_digest_must_be_registered_before_it_is_named(tmp_path: Path, position: int) -> None:
    log = Log().begin()
    unknown = digest(b"late")
    log.call(digests=(*DIGESTS[:position], unknown, *DIGESTS[position + 1 :]))
    log.register(b"late")

    assert verdict(log, tmp_path)[:2] == (3, 6)


def test_a_pack_set_must_be_registered_before_it_is_activated(tmp_path: Path) -> None:
    log = Log().begin()
    log.add(3, frame(b"label", b"2", b"2026-01-01"), digests=(digest(b"unknown"), ZERO, ZERO, ZERO))

    assert verdict(log, tmp_path)[:2] == (3, 6)


def test_the_genesis_is_entry_0_and_no_other(tmp_path: Path) -> None:
    twice = Log().begin()
    twice.add(1, frame(twice.signer.name.encode(), twice.signer.vkey.encode(), b""))
    without = Log()
    without.register(b"pack set")

    assert verdict(twice, tmp_path / "twice")[:2] == (3, 6)
    assert verdict(without, tmp_path / "without")[:2] == (3, 0)


@pytest.mark.parametrize("field", ["origin", "vkey"])
def test_c66_a_genesis_of_another_origin_or_key(tmp_path: Path, field: str) -> None:
    log = Log()
    texts = {"origin": log.signer.name, "vkey": log.signer.vkey} | {field: "another"}
    log.add(1, frame(*(text.encode() for text in texts.values()), b""))

    assert verdict(log, tmp_path)[:2] == (3, 0)


def test_a_genesis_may_name_the_checkpoint_of_the_log_before(tmp_path: Path) -> None:
    log = Log()
    log.add(1, frame(log.signer.name.encode(), log.signer.vkey.encode(), log.note()))

    assert verdict(log, tmp_path)[0] == 0


def test_a_log_of_no_entries_is_none(tmp_path: Path) -> None:
    log = Log()

    assert verdict(log, tmp_path) == (3, None, "checkpoint")


def test_a_blob_registered_twice_is_looked_at_once(tmp_path: Path) -> None:
    log = Log().begin()
    log.register(b"engine", 2)
    log.call()

    assert verdict(log, tmp_path)[0] == 0
