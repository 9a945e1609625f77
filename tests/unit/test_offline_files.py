"""The offline verifier as a program: alone, on folders made to hurt it, with receipts, and what it says."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from engine.ledger import offline
from tests.unit.offline_export import (
    Log,
    Signer,
    every_kind,
    file_name,
    frame,
    many,
    mth,
    path,
    run,
    u64,
    write,
)

MODULE = Path(offline.__file__)
LOG = every_kind()
FILES = LOG.files()
KEY = ("--vkey", LOG.signer.vkey)
SEALED = next(name for name in FILES if name.startswith("sealed"))
BLOB = next(name for name in FILES if name.startswith("blob"))
HURTFUL = ["checkpoint", "checkpoints/19", "tile/0/000.p/19", "tile/entries/000.p/19", SEALED, BLOB]
RECEIPT = LOG.receipt(6)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write(FILES, tmp_path / "export")


# One file that stands alone


def test_the_verifier_is_one_short_file_that_imports_nothing_of_ours() -> None:
    text = MODULE.read_text()
    imported = {
        name.partition(".")[0]
        for part in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in part.names]
            if isinstance(part, ast.Import)
            else [part.module or "." * part.level]
            if isinstance(part, ast.ImportFrom)
            else []
        )
    }

    assert len(text.splitlines()) < 400
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    assert not any(isinstance(part, ast.ImportFrom) and part.level for part in ast.walk(ast.parse(text)))


def test_the_verifier_runs_alone_from_another_folder(export: Path, tmp_path: Path) -> None:
    alone = tmp_path / "stick" / "check.py"
    alone.parent.mkdir()
    shutil.copy(MODULE, alone)
    command = [sys.executable, "-I", str(alone), str(export), *KEY]

    good = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    (export / BLOB).write_bytes(b"other")
    bad = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert (good.returncode, good.stderr) == (0, "")
    assert (
        good.stdout == f"good: file checkpoint: tree_size 19: root_hash {LOG.root.hex()}: signed by {LOG.signer.name}\n"
    )
    assert (bad.returncode, bad.stderr) == (3, "")
    assert bad.stdout == f"tampered: index 1: file {BLOB}: not the bytes that the entry names\n"


def test_memory_grows_by_few_bytes_an_entry(tmp_path: Path) -> None:
    peaks = []
    for size in (2_000, 12_000):
        log = many(size)
        folder = write(log.files(), tmp_path / str(size))
        code = (
            "import sys, tracemalloc; from engine.ledger import offline; tracemalloc.start()\n"
            f"assert offline.main([{str(folder)!r}, '--vkey', {log.signer.vkey!r}]) == 0\n"
            "print(tracemalloc.get_traced_memory()[1])"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=MODULE.parents[2]
        )
        peaks.append(int(out.stdout.splitlines()[-1]))

    assert peaks[1] - peaks[0] < 20 * 10_000  # bytes an entry, times the entries that are more


# C82: folders made to hurt


@pytest.mark.parametrize("name", HURTFUL)
def test_c82_a_link_in_the_place_of_a_file_is_not_followed(export: Path, name: str) -> None:
    file = export / name
    file.rename(export / "manifest")
    file.symlink_to(export / "manifest")

    verdict = run(export, *KEY)

    assert (verdict.code, verdict.lines[-1]["file"]) == (1, name)
    assert "symbolic link" in verdict.lines[-1]["message"]


@pytest.mark.parametrize("name", ["checkpoints", "tile", "tile/0", "tile/0/000.p", "tile/entries", "sealed", "blob"])
def test_c82_a_link_in_the_place_of_a_folder_is_not_followed(export: Path, tmp_path: Path, name: str) -> None:
    (export / name).rename(tmp_path / "elsewhere")
    (export / name).symlink_to(tmp_path / "elsewhere")

    verdict = run(export, *KEY)

    assert verdict.code == 3
    assert verdict.lines[-1]["message"] == f"{name}/ is a link, or no folder"


@pytest.mark.parametrize("name", HURTFUL)
def test_c82_a_huge_file_is_not_read(export: Path, name: str) -> None:
    limits = {"checkpoint": 2**20, "checkpoints": 2**20, "tile/0": 8192, "tile/entries": 256 * 65_537, "blob": 2**28}
    limit = next((limits[start] for start in limits if name.startswith(start)), len(FILES[name]))
    os.truncate(export / name, limit + 1)  # not a byte more: to read it must cost a faulty verifier no machine

    verdict = run(export, *KEY)

    assert (verdict.code, verdict.lines[-1]["file"]) == (3, name)
    assert verdict.lines[-1]["message"] == f"a file of more than {limit} bytes"


@pytest.mark.parametrize("name", HURTFUL)
def test_c82_a_pipe_or_folder_in_the_place_of_a_file_does_not_block(export: Path, name: str) -> None:
    (export / name).unlink()
    os.mkfifo(export / name)
    assert run(export, *KEY).code == 3
    (export / name).unlink()
    (export / name).mkdir()
    assert run(export, *KEY).code in {1, 3}


def test_c82_what_nothing_names_is_told_and_not_followed(export: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "more").write_bytes(b"")
    (export / "tile" / "more").symlink_to(secret)
    (export / "loop").symlink_to(export)
    (export / "sealed" / "..%2f\x1b[31m\n..").write_bytes(b"")
    (export / "checkpoints" / "007").symlink_to(secret / "more")
    (export / "checkpoints" / "-1").mkdir()

    verdict = run(export, *KEY)

    assert verdict.code == 0
    assert {line["message"] for line in verdict.lines if line["verdict"] == "warning"} == {
        "1 files or folders in `` that nothing names",
        "1 files or folders in `tile/` that nothing names",
        "1 files or folders in `sealed/` that nothing names",
        "2 files or folders in `checkpoints/` that nothing names",
    }


def test_c82_paths_are_computed_never_taken_from_the_export() -> None:
    for number in (0, 67, 999, 1000, 1_234_067, 999_999_999_999):
        for width in (256, 3):
            made = offline._tile_path("0", number, width)  # noqa: SLF001 - a log of a million tiles takes hours
            assert made == file_name("0", number, width)


def test_a_terminal_gets_color(export: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-I", str(MODULE), str(export), *KEY]

    subprocess.run(command, stdout=theirs, check=True)

    os.close(theirs)
    assert os.read(ours, 1000).startswith(b"\x1b[32mgood: ")
    os.close(ours)


def test_what_is_written_cannot_steer_a_terminal(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = export / "a\x1b[2Jb\u202e\udcff"
    hostile.write_bytes(RECEIPT.replace(b"index 6", b"index 7"))

    assert offline.main([str(export), *KEY, "--receipt", str(hostile)]) == 3
    out = capsys.readouterr().out
    assert out.removesuffix("\n").isprintable()
    assert out.isascii()


# Receipts


def test_a_receipt_alone(tmp_path: Path) -> None:
    for index, size in ((0, 1), (6, 7), (6, 19), (18, 19), (0, 19)):
        (tmp_path / "receipt").write_bytes(LOG.receipt(index, size))

        verdict = run("--receipt", tmp_path / "receipt", *KEY)

        assert (verdict.code, verdict.lines[-1]["index"], verdict.lines[-1]["tree_size"]) == (0, index, size)


def test_every_receipt_given_is_verified(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(LOG.receipt(6))
    (tmp_path / "two").write_bytes(LOG.receipt(9))
    both = ("--receipt", tmp_path / "one", "--receipt", tmp_path / "two", *KEY)

    assert [line["index"] for line in run(*both).lines] == [6, 9]
    (tmp_path / "one").write_bytes(LOG.receipt(6).replace(b"tlog-proof@v1", b"tlog-proof@v2"))
    assert run(*both).named == (3, None, str(tmp_path / "one"))


def test_a_bit_of_any_byte_of_a_receipt_is_found(tmp_path: Path) -> None:
    for offset in range(len(RECEIPT)):
        (tmp_path / "receipt").write_bytes(
            RECEIPT[:offset] + bytes([RECEIPT[offset] ^ 1 << offset % 7]) + RECEIPT[offset + 1 :]
        )
        assert run("--receipt", tmp_path / "receipt", *KEY).code == 3, offset


@pytest.mark.parametrize(
    "forged",
    {
        "another entry's header": RECEIPT.replace(b64encode(LOG.headers[6]), b64encode(LOG.headers[7])),
        "no header": b"".join(line for line in RECEIPT.splitlines(keepends=True) if not line.startswith(b"extra")),
        "another index": RECEIPT.replace(b"index 6\n", b"index 7\n"),
        "an index outside the tree": RECEIPT.replace(b"index 6\n", b"index 19\n"),
        "a signed index": RECEIPT.replace(b"index 6\n", b"index +6\n"),
        "an index with zeros": RECEIPT.replace(b"index 6\n", b"index 06\n"),
        "a hash too few": RECEIPT.replace(b64encode(path(6, LOG.leaves)[0]) + b"\n", b""),
        "a hash too many": RECEIPT.replace(b"index 6\n", b"index 6\n" + b64encode(bytes(32)) + b"\n"),
        "64 hashes and more": RECEIPT.replace(b"index 6\n", b"index 6\n" + (b64encode(bytes(32)) + b"\n") * 60),
        "a hash of 31 bytes": RECEIPT.replace(b64encode(path(6, LOG.leaves)[0]), b64encode(bytes(31))),
        "a proof of another size": LOG.receipt(6, 12).partition(b"\n\n")[0] + b"\n\n" + LOG.note(),
        "a checkpoint without signature": RECEIPT.rpartition(b"\n\n")[0] + b"\n\n",
        "lines that end in CR LF": RECEIPT.replace(b"\n", b"\r\n"),
        "nothing": b"",
        "too much": RECEIPT + b"\n" * 2_000_000,
    }.values(),
)
def test_c73_c79_a_receipt_that_proves_nothing_is_refused(tmp_path: Path, forged: bytes) -> None:
    assert forged != RECEIPT
    (tmp_path / "receipt").write_bytes(forged)

    assert run("--receipt", tmp_path / "receipt", *KEY).code == 3


def test_c66_a_receipt_of_another_log_is_refused(tmp_path: Path) -> None:
    other = Log(Signer(name="log.example.org/decisions/prod"), list(LOG.headers))
    (tmp_path / "receipt").write_bytes(other.receipt(6))

    assert run("--receipt", tmp_path / "receipt", "--vkey", other.signer.vkey).code == 3


# Notes and witnesses


@pytest.mark.parametrize(
    "signature", ["", "AAAA", "AAAAAA==", "AAAAAAB=", "AAAAAAA", "A===", "AAAAAAAA====", "AAAA AAAA"]
)
def test_c75_a_malformed_line_of_an_unknown_key_is_refused(export: Path, signature: str) -> None:
    line = f"\u2014 unknown.example.org {signature}\n".encode()
    write({"checkpoint": LOG.note() + line}, export)

    assert run(export, *KEY).named == (3, None, "checkpoint")
    write({"checkpoint": LOG.note() + line.replace(signature.encode() + b"\n", b"AAAAAAA=\n")}, export)
    assert run(export, *KEY).code == 0


def test_cosignatures_of_given_witnesses_are_verified_and_told(tmp_path: Path) -> None:
    witnesses = [Signer(name=f"witness.example.org/{n}", seed=bytes([n]) * 32, kind=4) for n in (1, 2)]
    given = [word for witness in witnesses for word in ("--witness-vkey", witness.vkey)]
    note = LOG.signer.note(19, LOG.root, *witnesses)
    export = write(FILES | {"checkpoint": note}, tmp_path)

    names = [LOG.signer.name, *(witness.name for witness in witnesses)]
    assert run(export, *KEY, *given).lines[-1]["message"] == f"signed by {', '.join(names)}"
    assert run(export, *KEY).lines[-1]["message"] == f"signed by {LOG.signer.name}"
    forged = LOG.signer.note(18, mth(LOG.leaves[:18]), *witnesses).split(b"\n\n")[1].splitlines(keepends=True)[1]
    write({"checkpoint": LOG.note() + forged}, export)
    assert run(export, *KEY, *given).named == (3, None, "checkpoint")
    assert run(export, *KEY).code == 0


# Usage


def test_wrong_usage_is_told_apart(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vkey").write_text(LOG.signer.vkey + "\n")
    (tmp_path / "weak").write_text("nonsense\n")
    witness = Signer(name="witness.example.org/1", kind=4).vkey

    assert offline.main([str(export), "--vkey-file", str(tmp_path / "vkey")]) == 0
    assert offline.main(["--help"]) == 0
    for wrong in (
        [],
        [str(export)],
        list(KEY),
        [*KEY, "--since", str(export / "checkpoint")],
        [str(export), *KEY, "--vkey-file", str(tmp_path / "vkey")],
        [str(export), "--vkey", "nonsense"],
        [str(export), "--vkey-file", str(tmp_path / "weak")],
        [str(export), "--vkey", witness],
        [str(export), *KEY, "--witness-vkey", LOG.signer.vkey],
        [str(export), *KEY, "--format", "xml"],
        [str(export), *KEY, "more"],
    ):
        assert offline.main(wrong) == 2, wrong
    assert "not in the form of a verifier key" in capsys.readouterr().err


def test_what_cannot_be_read_is_incomplete(export: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    assert run(nowhere, *KEY).named == (1, None, "checkpoint")
    assert run(export, *KEY, "--receipt", nowhere).named == (1, None, str(nowhere))
    assert run(export, *KEY, "--since", nowhere).named == (1, None, str(nowhere))
    assert offline.main([str(export), "--vkey-file", str(nowhere)]) == 1
    shutil.rmtree(export / "checkpoints")
    assert run(export, *KEY).named == (1, None, "checkpoints")


def test_an_erased_log_without_any_sealed_body_is_good(tmp_path: Path) -> None:
    log = Log().begin()
    log.call()
    log.call(14, frame(u64(6)))
    ids = {header[224:256] for header in log.headers[6:]}
    log.add(7, frame(b"".join(ids), b"retention", b"law"))
    log.sealed.clear()

    verdict = run(write(log.files(), tmp_path), "--vkey", log.signer.vkey)

    assert verdict.code == 0
    assert not (tmp_path / "sealed").exists()
