"""The offline verifier against exports that somebody altered, cut or forged: refused, and the entry named."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, TypeAlias

import pytest

from engine.ledger import offline
from tests.unit.offline_export import (
    CALLER,
    DIGESTS,
    PATIENT,
    ZERO,
    Log,
    Signer,
    Verdict,
    digest,
    every_kind,
    frame,
    many,
    run,
    u64,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.long

BUNDLE, TILE = "tile/entries/000.p/19", "tile/0/000.p/19"
LOG = every_kind()
FILES = LOG.files([7, 12])
ERASED = f"sealed/{LOG.headers[7][261:293].hex()}"
MAY_LACK = {"manifest", ERASED, *(name for name in FILES if name.startswith("checkpoints/"))}
OTHER_KEY = Signer(seed=b"\x08" * 32)


Verify: TypeAlias = "Callable[..., Verdict]"


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Write files as an export and verify it; keyword arguments are the notes and receipts kept elsewhere."""

    def write_and_verify(files: dict[str, bytes], signer: Signer = LOG.signer, **kept: bytes) -> Verdict:
        shutil.rmtree(tmp_path / "export", ignore_errors=True)
        arguments: list[str | Path] = [write(files, tmp_path / "export"), "--vkey", signer.vkey]
        for name, content in kept.items():
            (tmp_path / name).write_bytes(content)
            arguments += [f"--{name}", tmp_path / name]
        return run(*arguments)

    return write_and_verify


def read_through(folder: Path, log: Log) -> dict[str, int | str]:
    """Verify an export as it lies there; give the place of the fault, or nothing where all is good."""
    reading = offline.Verification(str(folder), offline.Key(log.signer.vkey), [])
    try:
        reading.run()
    except offline.FaultError:
        return reading.place
    return {}


def heard_by_a_terminal(folder: Path, log: Log) -> bytes:
    """Verify a good export, and give what goes to the terminal meanwhile."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-I", offline.__file__, str(folder), "--vkey", log.signer.vkey]
    subprocess.run(command, stderr=theirs, stdout=subprocess.DEVNULL, check=True)
    os.close(theirs)
    heard = os.read(ours, 10_000)
    os.close(ours)
    return heard


def index_of(bundle: bytes, offset: int) -> int:
    """Give the index of the entry that a byte of the first bundle belongs to, its length included."""
    index = end = 0
    while True:
        end += 2 + struct.unpack_from(">H", bundle, end)[0]
        if offset < end:
            return index
        index += 1


def flip(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 1 << offset % 8]) + content[offset + 1 :]


def bundle(headers: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(header)) + header for header in headers)


def renumbered(header: bytes, index: int) -> bytes:
    return header[:43] + u64(index) + header[51:]


def having(*headers: bytes, signer: Signer = LOG.signer) -> Log:
    """Give a log of just these headers, with the bodies of the usual one."""
    return Log(signer, list(headers), dict(LOG.sealed), dict(LOG.blobs))


def short_log() -> Log:
    log = Log().begin()
    log.call()
    log.add(7, frame(b"another's key id", b"subject-request", b"case 17"))
    return log


# What is right


def test_an_export_with_every_kind_of_entry_is_good(verify: Verify) -> None:
    verdict = verify(FILES)

    assert verdict.code == 0
    assert verdict.lines == [
        {
            "verdict": "good",
            "file": "checkpoint",
            "tree_size": 19,
            "root_hash": LOG.root.hex(),
            "message": f"signed by {LOG.signer.name}",
        }
    ]


@pytest.mark.parametrize("size", [7, 255, 256, 257, 511, 512, 513, 700])
def test_every_size_is_good_with_checkpoints_on_both_sides_of_each_tile(verify: Verify, size: int) -> None:
    log = many(size)
    sizes = (1, 2, 3, 7, 100, 254, 255, 256, 257, 258, 511, 512, 513)

    verdict = verify(log.files(each for each in sizes if each < size), receipt=log.receipt(6), since=log.note(5))

    assert (verdict.code, verdict.lines[-1]["tree_size"]) == (0, size)


def test_tiles_of_level_two_are_compared(tmp_path: Path) -> None:
    log = short_log()
    log.headers += (renumbered(log.headers[7], index) for index in range(8, 65_537 + 300))
    files = log.files([65_535, 65_536, 65_537])
    folder = write(files, tmp_path)

    assert b"16,384 of 65,837 entries\r" in heard_by_a_terminal(folder, log)
    for name, index in (("tile/2/000.p/1", 0), ("tile/1/001.p/1", 65_536), ("tile/0/257.p/45", 65_792)):
        write({name: flip(files[name], 0)}, folder)
        assert read_through(folder, log)["index"] == index
        write({name: files[name]}, folder)


# One bit, one byte


def test_c45_a_bit_of_any_byte_of_any_file_is_found_and_its_entry_named(tmp_path: Path) -> None:
    log = short_log()
    files = log.files([3])
    folder = write(files, tmp_path)
    assert read_through(folder, log) == {}
    for name in files.keys() - {"manifest"}:
        for offset in range(len(files[name])):
            (folder / name).write_bytes(flip(files[name], offset))

            place = read_through(folder, log)

            if name == "tile/entries/000.p/8":
                assert place["index"] == index_of(files[name], offset), (name, offset)
            elif name == "tile/0/000.p/8":
                assert place["index"] == offset // 32, (name, offset)
            elif name.startswith(("sealed", "blob")):
                assert place == {"index": log.names(name), "file": name}
            else:
                assert place["file"] == name
        write({name: files[name]}, folder)


def test_c45_bits_of_each_kind_of_entry_are_found_and_the_entry_named(tmp_path: Path) -> None:
    folder = write(FILES, tmp_path)
    for offset in range(0, len(FILES[BUNDLE]), 7):
        write({BUNDLE: flip(FILES[BUNDLE], offset)}, folder)

        assert read_through(folder, LOG)["index"] == index_of(FILES[BUNDLE], offset), offset


def test_the_byte_offset_of_the_faulty_entry_is_told(verify: Verify) -> None:
    headers = [*LOG.headers]
    headers[9] = headers[9][:11] + ZERO + headers[9][43:]

    verdict = verify(FILES | {BUNDLE: bundle(headers)})

    assert verdict.lines[-1]["offset"] == len(bundle(headers[:9]))


# Entries moved, doubled, removed, replaced


def test_c46_two_entries_swapped(verify: Verify) -> None:
    headers = [*LOG.headers]
    headers[6], headers[8] = headers[8], headers[6]

    assert verify(FILES | {BUNDLE: bundle(headers)}).named == (3, 6, BUNDLE)
    headers[6], headers[8] = renumbered(headers[6], 6), renumbered(headers[8], 8)
    assert verify(FILES | {BUNDLE: bundle(headers)}).named == (3, 6, BUNDLE)


def test_c46_two_bundles_swapped(verify: Verify) -> None:
    files = many(700).files()
    first, second = "tile/entries/000", "tile/entries/001"

    assert verify(files | {first: files[second], second: files[first]}).named == (3, 0, first)


def test_c47_sealed_bodies_of_two_entries_swapped(verify: Verify) -> None:
    one, two = (name for name in FILES if name.startswith("sealed") and LOG.names(name) == 6)

    assert verify(FILES | {one: FILES[two], two: FILES[one]}).named[:2] == (3, 6)


def test_c49_an_entry_doubled(verify: Verify) -> None:
    assert verify(FILES | {BUNDLE: bundle([*LOG.headers[:7], *LOG.headers[6:18]])}).named == (3, 7, BUNDLE)
    assert verify(FILES | {BUNDLE: bundle([*LOG.headers, LOG.headers[18]])}).named == (3, 18, BUNDLE)


def test_c50_the_last_entries_removed(verify: Verify) -> None:
    cut = having(*LOG.headers[:15])

    with_old_note = cut.files() | {"checkpoint": FILES["checkpoint"]}
    assert verify(with_old_note).named == (1, 0, TILE)
    same_names = FILES | {BUNDLE: bundle(cut.headers), TILE: b"".join(cut.leaves)}
    assert verify(same_names).named == (3, 15, BUNDLE)
    assert verify(cut.files() | {"checkpoints/19": LOG.note()}).named == (1, 15, "checkpoints/19")


def test_c50_c58_an_older_checkpoint_served_again(verify: Verify, tmp_path: Path) -> None:
    cut = having(*LOG.headers[:15]).files()

    assert verify(cut).code == 0
    assert verify(cut, receipt=LOG.receipt(6)).named == (1, 15, str(tmp_path / "receipt"))
    assert verify(cut, receipt=LOG.receipt(17)).named == (1, 15, str(tmp_path / "receipt"))
    assert verify(cut, since=LOG.note()).named == (1, 15, str(tmp_path / "since"))


def test_c51_an_entry_removed_and_the_rest_renumbered(verify: Verify) -> None:
    headers = [*LOG.headers[:8], *(renumbered(header, at) for at, header in enumerate(LOG.headers[9:], 8))]
    log = having(*headers)
    signed = {name: note for name, note in FILES.items() if name.startswith("checkpoint") and name != "checkpoints/19"}

    assert verify(FILES | {BUNDLE: bundle(headers)}).named == (3, 8, BUNDLE)
    notes = {"checkpoint": LOG.note(), "checkpoints/19": LOG.note()}
    assert verify(log.files() | notes).code == 1  # what a tree of 19 needs is not there
    assert verify(log.files() | signed | {"checkpoint": log.note()}).named[0] == 3  # entry 8 points to no decision


def test_c52_an_entry_replaced_and_all_recomputed_without_the_key(verify: Verify) -> None:
    headers = [*LOG.headers]
    headers[8] = headers[8][:51] + headers[9][51:59] + headers[8][59:]  # its time
    forged = Log(LOG.signer, headers, LOG.sealed, LOG.blobs)
    unsigned = forged.files([7, 12]) | {name: FILES[name] for name in FILES if name.startswith("checkpoint")}

    assert verify(unsigned).named == (3, 7, "checkpoints/12")
    assert verify(unsigned | {"checkpoint": OTHER_KEY.note(19, forged.root)}).named == (3, None, "checkpoint")


def test_c53_c54_a_fork_with_the_signing_key_is_shown_by_receipt_and_note(verify: Verify, tmp_path: Path) -> None:
    headers = [*LOG.headers]
    headers[9] = headers[9][:51] + headers[8][51:59] + headers[9][59:]  # back-dated, still in order
    fork = Log(LOG.signer, headers, LOG.sealed, LOG.blobs).files([7, 12])

    assert verify(fork).code == 0
    assert verify(fork, receipt=LOG.receipt(9)).named == (3, 9, str(tmp_path / "receipt"))
    assert verify(fork, receipt=LOG.receipt(6)).named == (3, 18, str(tmp_path / "receipt"))
    assert verify(fork, receipt=LOG.receipt(6, 9)).code == 0  # from before the fork
    assert verify(fork, since=LOG.note(12)).named == (3, 7, str(tmp_path / "since"))


def test_c53_a_receipt_of_a_larger_tree_shows_a_fork_if_its_entry_differs(verify: Verify, tmp_path: Path) -> None:
    fork = having(*LOG.headers[:10])
    fork.call()

    assert verify(fork.files(), receipt=LOG.receipt(10)).named == (3, 10, str(tmp_path / "receipt"))


def test_c77_two_signed_roots_of_one_size(verify: Verify, tmp_path: Path) -> None:
    other = LOG.signer.note(19, digest(b"another tree"))

    assert verify(FILES, since=other).named == (3, 18, str(tmp_path / "since"))
    assert verify(FILES | {"checkpoints/19": other}).named == (3, 18, "checkpoints/19")


def test_c78_growth_that_is_no_extension(verify: Verify, tmp_path: Path) -> None:
    note = LOG.signer.note(9, digest(b"nine other entries"))

    assert verify(FILES, since=note).named == (3, 7, str(tmp_path / "since"))
    assert verify(FILES | {"checkpoints/9": note}).named == (3, 7, "checkpoints/9")


def test_c58_a_checkpoint_under_the_name_of_another_size(verify: Verify) -> None:
    assert verify(FILES | {"checkpoints/8": FILES["checkpoints/7"]}).named == (3, None, "checkpoints/8")


def test_c54_time_that_goes_back(verify: Verify) -> None:
    log = Log().begin()
    log.call(logged_at=0)

    assert verify(log.files()).named == (3, 6, "tile/entries/000.p/7")


def test_c55_tiles_cut_longer_or_with_another_prefix(verify: Verify) -> None:
    tile = FILES[TILE]
    for content, index in ((tile[:-32], 18), (tile[:-1], 18), (b"", 0), (tile + tile[:32], 18), (tile[32:] + tile, 0)):
        assert verify(FILES | {TILE: content}).named[:2] == (3, index)
    files = many(700).files()
    level_1 = files["tile/1/000.p/2"]
    for content, index in ((level_1[:32], 256), (level_1[:31], 0), (level_1 + level_1, 512), (level_1[::-1], 0)):
        assert verify(files | {"tile/1/000.p/2": content}).named == (3, index, "tile/1/000.p/2")


def test_c64_ciphertext_replaced_by_another_of_the_same_length(verify: Verify) -> None:
    name = next(name for name in FILES if name.startswith("sealed"))

    assert verify(FILES | {name: bytes(len(FILES[name]))}).named == (3, LOG.names(name), name)


def test_a_sealed_body_of_another_length_than_its_header_says(verify: Verify) -> None:
    log = Log().begin()
    length, name, commitment = log.seal("patient")
    log.call(patient=(length + 1, name, commitment))

    assert verify(log.files()).named == (3, 6, f"sealed/{name.hex()}")


def test_c66_a_log_under_another_origin_or_key(verify: Verify) -> None:
    elsewhere = Signer(name="log.example.org/decisions/prod")

    assert verify(having(*LOG.headers, signer=elsewhere).files(), elsewhere).named == (3, 0, BUNDLE)
    assert verify(having(*LOG.headers, signer=OTHER_KEY).files(), OTHER_KEY).named == (3, 0, BUNDLE)
    genesis = Log(elsewhere)
    genesis.add(1, frame(LOG.signer.name.encode(), LOG.signer.vkey.encode(), b""))
    assert verify(genesis.files(), elsewhere).named[:2] == (3, 0)


def test_c67_c68_kind_format_or_seal_changed(verify: Verify) -> None:
    for index, offset, value in ((8, 10, 4), (6, 10, 5), (6, 9, 0), (6, 9, 2), (6, 256, 0), (6, 256, 2), (9, 10, 14)):
        headers = [*LOG.headers]
        headers[index] = headers[index][:offset] + bytes([value]) + headers[index][offset + 1 :]
        assert verify(FILES | {BUNDLE: bundle(headers)}).named == (3, index, BUNDLE)


# Bodies, blobs, tombstones


def test_c59_a_blob_altered_lacking_or_under_another_name(verify: Verify) -> None:
    one, two = (f"blob/{DIGESTS[at].hex()}" for at in (0, 2))

    assert verify(FILES | {one: FILES[one] + b" "}).named == (3, 1, one)
    assert verify(FILES | {one: FILES[two], two: FILES[one]}).named == (3, 1, one)
    assert verify({name: body for name, body in FILES.items() if name != two}).named == (1, 3, two)


def test_a_patients_body_may_lack_if_a_tombstone_names_its_key_and_no_other_may(verify: Verify) -> None:
    sealed = [name for name in FILES if LOG.names(name) in {6, 7} and name.startswith("sealed")]
    assert len(sealed) == 4
    for name in sealed:
        verdict = verify({other: body for other, body in FILES.items() if other != name})

        assert verdict.named == ((0, None, "checkpoint") if name == ERASED else (1, LOG.names(name), name))


def test_c62_bodies_that_lack_without_tombstone_are_named_by_the_first(verify: Verify) -> None:
    files = {name: body for name, body in FILES.items() if not name.startswith("sealed")}

    verdict = verify(files)

    assert verdict.code == 1
    assert verdict.named[1] == 6
    for tombstoned in (PATIENT, CALLER):
        log = short_log()
        log.add(7, frame(tombstoned, b"retention", b"law"))
        log.sealed.clear()
        assert verify(log.files()).named[:2] == (1, 6)
    log.add(7, frame(PATIENT + b"k" * 16, b"retention", b"law"))
    assert verify(log.files()).code == 0  # two tombstones, for the caller's key and the patient's


def test_c62_a_tombstone_forged_without_the_key(verify: Verify) -> None:
    log = having(*LOG.headers)
    log.add(7, frame(PATIENT, b"subject-request", b"case 18"))
    forged = log.files() | {"checkpoint": FILES["checkpoint"], "checkpoints/20": FILES["checkpoint"]}

    assert verify(forged).named == (1, 0, TILE)
    assert verify(forged | {"checkpoint": OTHER_KEY.note(20, log.root)}).code == 3


@pytest.mark.parametrize("lacking", sorted(FILES.keys() - MAY_LACK))
def test_c83_any_file_that_lacks_is_named(verify: Verify, lacking: str) -> None:
    verdict = verify({name: body for name, body in FILES.items() if name != lacking})

    assert (verdict.code, verdict.lines[-1]["file"]) == (1, lacking)


def test_c58_a_released_checkpoint_left_out_is_missed_by_nobody_but_who_kept_it(verify: Verify) -> None:
    files = {name: body for name, body in FILES.items() if name != "checkpoints/12"}

    assert verify(files).code == 0
    assert verify(files, since=FILES["checkpoints/12"]).code == 0
    assert verify(files, since=LOG.signer.note(12, LOG.root)).code == 3


@pytest.mark.parametrize("lacking", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/001"])
def test_c83_a_tile_or_bundle_of_a_larger_log_that_lacks_is_named(verify: Verify, lacking: str) -> None:
    index = {"tile/0/002.p/188": 512, "tile/entries/001": 256}.get(lacking, 0)

    verdict = verify({name: body for name, body in many(700).files().items() if name != lacking})

    assert verdict.named == (1, index, lacking)
