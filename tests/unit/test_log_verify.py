"""`eligibility log verify` of a log that was rolled back or is not signed, and what it refuses to be given."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from engine.errors import IntegrityError
from engine.ledger.signer import RECORD_SIZE
from server.command.log.memory import recall
from server.config import LogSettings
from server.opening import open_ledger
from tests.unit.log_folder import FAULT, GOOD, INTEGRITY, USAGE, Logged

if TYPE_CHECKING:
    from pathlib import Path

    from server.command.log.memory import Memory

pytestmark = pytest.mark.long


@pytest.fixture
def logged(original: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    """Give a copy of the log that the test may change; nobody waits for a server that is not there."""
    shutil.copytree(original.folder, tmp_path / "log")
    monkeypatch.setattr("server.command.log.verify.SETTLE_SECONDS", 0.02)
    return replace(original, folder=tmp_path / "log")


def start(logged: Logged) -> None:
    """Start and stop a server on it."""
    flags: dict[str, Any] = {name[2:].replace("-", "_"): value for name, value in logged.flags().items()}
    open_ledger(LogSettings(**flags)).close()


@pytest.mark.parametrize("which", ["", " WHERE size > 5"])
def test_c58_entries_under_no_checkpoint_are_incomplete_until_a_server_signs_them(logged: Logged, which: str) -> None:
    logged.damage(f"DELETE FROM checkpoint{which}")  # noqa: S608 - fixed text
    size = logged.decisions[-1][0] + 1
    done = logged.run("verify", "--vkey", logged.vkey)
    assert (done.exit_code, done.stdout.splitlines()[-1].split(":")[0]) == (FAULT, "incomplete")
    assert "entries from here to the end are under no checkpoint" in done.stdout
    told = json.loads(logged.run("verify", "--format", "json").stdout.splitlines()[-1])
    assert (told["verdict"], told["tree_size"], told["gaps"], told["faults"]) == ("incomplete", size, 1, 0)
    assert told["signed_size"] < size

    start(logged)
    assert logged.run("verify").exit_code == GOOD


def test_what_a_server_at_work_signs_meanwhile_is_good(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(apsw.Connection(str(logged.folder / "log.db"))) as connection:
        row = connection.execute("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    logged.damage("DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)")

    def wait(_seconds: float) -> None:
        with closing(apsw.Connection(str(logged.folder / "log.db"))) as server:
            server.execute("INSERT OR IGNORE INTO checkpoint VALUES(?,?)", row)

    monkeypatch.setattr("server.command.log.verify.SETTLE_SECONDS", 60.0)
    monkeypatch.setattr("server.command.log.verify.time.sleep", wait)
    assert logged.run("verify").exit_code == GOOD


def test_c27_a_log_behind_its_signer_is_tampered_with(logged: Logged, tmp_path: Path) -> None:
    older = logged.folder / "log.db"
    shutil.copy(older, tmp_path / "older.db")
    index = str(logged.decisions[0][0])
    logged.run("show", index, "--open", "--purpose", "audit", "--ticket", "QA-1")
    shutil.copy(tmp_path / "older.db", older)

    done = logged.run("verify", "--vkey", logged.vkey)
    assert (done.exit_code, "it was rolled back" in done.stdout) == (INTEGRITY, True)
    copy = logged.run("verify", "--vkey", logged.vkey, signer="none")
    assert (copy.exit_code, "was not held against what was signed last" in copy.stderr) == (GOOD, True)


def test_a_signer_that_went_on_meanwhile_is_asked_again(
    logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server at work signs between the question to its signer and the reading of the log."""
    earlier = tmp_path / "earlier"
    earlier.write_bytes((logged.folder / "signer.state").read_bytes()[:-RECORD_SIZE])
    asked: list[str] = []

    def ask(settings: LogSettings, vkey: str) -> Memory:
        asked.append(settings.signer)
        return recall(replace(settings, signer=str(earlier)) if len(asked) == 1 else settings, vkey)

    monkeypatch.setattr("server.command.log.verify.recall", ask)
    assert logged.run("verify").exit_code == GOOD
    assert len(asked) == 2


def test_c27_a_signer_without_memory_is_incomplete_and_no_server_starts(logged: Logged, tmp_path: Path) -> None:
    (logged.folder / "signer.state").unlink()
    done = logged.run("verify", "--vkey", logged.vkey)
    assert (done.exit_code, "whether the log was rolled back" in done.stdout) == (FAULT, True)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"its signer remembers only 0.*--replaces"):
            start(logged)
    assert "remembers nothing of the log" in logged.run("verify").stdout

    auditor = logged.run("verify", "--vkey", logged.vkey, signing_key=f"{tmp_path}/none")
    assert auditor.exit_code == FAULT, "the state is there, and empty"
    (logged.folder / "signer.state").unlink()
    auditor = logged.run("verify", "--vkey", logged.vkey, signing_key=f"{tmp_path}/none")
    assert (auditor.exit_code, "there is no signer's state" in auditor.stderr) == (GOOD, True)


def test_c27_a_state_that_was_edited_is_told(logged: Logged) -> None:
    state = logged.folder / "signer.state"
    data = bytearray(state.read_bytes())
    data[0] ^= 1
    state.write_bytes(data)
    done = logged.run("verify")
    assert (done.exit_code, "is not what the signer wrote" in done.stdout) == (INTEGRITY, True)


def test_c27_a_signer_with_an_older_memory_is_told_and_no_server_starts(logged: Logged) -> None:
    state = logged.folder / "signer.state"
    state.write_bytes(state.read_bytes()[: 3 * RECORD_SIZE])
    done = logged.run("verify")
    assert (done.exit_code, "its state is an older one" in done.stdout) == (INTEGRITY, True)
    with pytest.raises(IntegrityError, match="fewer than it signed"):
        start(logged)


def test_the_signer_of_another_log_is_not_asked(logged: Logged, original: Logged, tmp_path: Path) -> None:
    del original
    other = replace(logged, folder=tmp_path / "other")
    other.folder.mkdir()
    start(other)
    done = logged.run(
        "verify",
        "--vkey",
        logged.vkey,
        signer=f"{other.folder}/signer.state",
        signing_key=f"{other.folder}/signing.key",
    )
    assert (done.exit_code, "that of another log" in done.stderr) == (GOOD, True)


def test_c78_an_older_checkpoint_that_is_empty_is_wrong_usage(logged: Logged, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for file in (str(empty), "/dev/null"):
        done = logged.run("verify", "--since", file)
        assert (done.exit_code, "holds no signed checkpoint" in " ".join(done.stderr.split())) == (USAGE, True)
    assert logged.run("export", str(tmp_path / "export")).exit_code == GOOD
    done = logged.run("verify", "--export", str(tmp_path / "export"), "--vkey", logged.vkey, "--since", str(empty))
    assert done.exit_code == USAGE
    (tmp_path / "note").write_text("no checkpoint\n")
    assert logged.run("verify", "--since", str(tmp_path / "note")).exit_code == INTEGRITY


@pytest.mark.parametrize("name", ["verify", "vkey"])
def test_a_signing_key_that_others_may_read_is_wrong_usage(logged: Logged, name: str) -> None:
    (logged.folder / "signing.key").chmod(0o644)
    done = logged.run(name)
    assert (done.exit_code, "chmod 600" in " ".join(done.stderr.split())) == (USAGE, True)
    assert isinstance(done.exception, SystemExit)
