"""A key store that somebody edited, or that was lost: verification tells, and nobody else is erased."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from tests.unit.log_folder import FAULT, GOOD, INTEGRITY, USAGE, Logged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER_USER = 1
ORDER = ("--reason", "gdpr-art-17", "--authority", "DPO-7")


@pytest.fixture
def second_person(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give a function after which another user of this machine gives the commands."""
    return lambda: monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)


def edit(logged: Logged, *statements: str) -> None:
    """Change the key store behind the log's back."""
    with closing(apsw.Connection(str(logged.folder / "keys.db"))) as keys:
        for statement in statements:
            keys.execute(statement)


def key_of(logged: Logged, patient: int) -> str:
    """Give the id of a patient's key as SQL."""
    index, _ = logged.decisions[patient]
    with closing(apsw.Connection(str(logged.folder / "log.db"))) as log:
        key_id = log.execute("SELECT key_id FROM search WHERE entry_index=?", (index,)).get
    return f"x'{key_id.hex()}'"


def swap(logged: Logged) -> None:
    """Exchange the keys of both patients."""
    one, other = key_of(logged, 0), key_of(logged, 1)
    edit(logged, f"UPDATE subject SET key_id = CASE key_id WHEN {one} THEN {other} ELSE {one} END")  # noqa: S608 - ids


def test_c48_keys_given_to_other_patients_are_found_and_nobody_is_erased(logged: Logged, subject: str) -> None:
    swap(logged)
    done = logged.run("verify")
    assert done.exit_code == INTEGRITY
    for patient in (0, 1):
        assert f"key {key_of(logged, patient)[2:-1]}: the key store does not give it" in done.stdout
    assert "CANARY" not in done.output

    for command in ("shred", "hold"):
        refused = logged.run(command, "--subject-file", subject, *ORDER)
        assert refused.exit_code == INTEGRITY
        assert "the key of somebody else" in refused.stderr
    assert "2 MATCH" in logged.run("replay").stdout


def test_c48_keys_that_change_hands_between_two_people_erase_nobody(
    logged: Logged, subject: str, second_person: Callable[[], None]
) -> None:
    (asked,) = logged.data("shred", "--subject-file", subject, *ORDER)
    swap(logged)
    second_person()
    refused = logged.run("shred", "--subject-file", subject, *ORDER, "--approves", str(asked["index"]))
    assert refused.exit_code == INTEGRITY
    assert "2 MATCH" in logged.run("replay").stdout


@pytest.mark.parametrize(
    "edited",
    ["DELETE FROM subject WHERE key_id = {}", "UPDATE subject SET pseudonym = randomblob(32) WHERE key_id = {}"],
)
def test_c62_a_patient_whom_the_key_store_forgot_is_found_and_erased(
    logged: Logged, subject: str, second_person: Callable[[], None], edited: str
) -> None:
    edit(logged, edited.format(key_of(logged, 0)))
    done = logged.run("verify")
    assert done.exit_code == INTEGRITY
    assert f"key {key_of(logged, 0)[2:-1]}: the key store does not give it" in done.stdout

    (asked,) = logged.data("shred", "--subject-file", subject, *ORDER)
    second_person()
    (erased,) = logged.data("shred", "--subject-file", subject, *ORDER, "--approves", str(asked["index"]))
    assert (erased["state"], erased["key_count"]) == ("erased", 1)
    assert "1 MATCH, 1 NOT" not in logged.run("replay").stdout
    assert "1 MATCH" in (told := logged.run("replay").stdout)
    assert "1 SHREDDED" in told
    assert logged.run("verify").exit_code == GOOD


def test_c98_two_patients_under_one_key_are_found_and_neither_is_erased(logged: Logged, subject: str) -> None:
    edit(logged, f"UPDATE subject SET key_id = {key_of(logged, 1)}")  # noqa: S608 - an id
    assert logged.run("verify").exit_code == INTEGRITY
    assert logged.run("shred", "--subject-file", subject, *ORDER).exit_code == INTEGRITY


LOST = {
    "gone": lambda folder: (folder / "keys.db").unlink(),
    "cut": lambda folder: (folder / "keys.db").write_bytes((folder / "keys.db").read_bytes()[:20_000]),
    "empty": lambda folder: (folder / "keys.db").write_bytes(b""),
    "no wrapping key": lambda folder: (folder / "wrapping.key").unlink(),
    "another file": lambda folder: (folder / "wrapping.key").write_bytes(b"x"),
}


@pytest.mark.parametrize("how", LOST)
def test_c100_a_key_store_that_was_lost_is_no_good_verdict(logged: Logged, how: str) -> None:
    LOST[how](logged.folder)
    done = logged.run("verify", "--format", "json")
    assert done.exit_code == FAULT, done.output
    assert '"code":"keys"' in done.stdout
    assert '"verdict":"incomplete"' in done.stdout
    assert (logged.folder / "keys.db").exists() is (how != "gone"), "verifying makes no key store"


def test_c100_a_key_store_elsewhere_is_not_made_by_verifying(logged: Logged, tmp_path: Path) -> None:
    done = logged.run("verify", keys=f"sqlite:{tmp_path}/none/keys.db")
    assert (done.exit_code, "there is no file" in done.stdout) == (FAULT, True)
    assert not (tmp_path / "none").exists()
    assert logged.run("verify", keys="keys.db").exit_code in {FAULT, USAGE}


def test_c62_one_key_that_is_gone_is_tampering(logged: Logged) -> None:
    key_id = key_of(logged, 0)
    edit(logged, f"DELETE FROM subject WHERE key_id = {key_id}", f"DELETE FROM data_key WHERE key_id = {key_id}")  # noqa: S608 - an id
    done = logged.run("verify")
    assert (done.exit_code, "is gone without a tombstone" in done.stdout) == (INTEGRITY, True)
