"""`eligibility log shred`, `hold` and `feedback` over a log that lies here."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import apsw
import pytest

from tests.unit.log_folder import FAULT, GOOD, PATIENTS, USAGE, Logged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER_USER = 1


@pytest.fixture
def second_person(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give a function after which another user of this machine gives the commands."""
    return lambda: monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)


def test_two_people_erase_and_everything_else_stays(
    logged: Logged, subject: str, second_person: Callable[[], None]
) -> None:
    index = logged.decisions[0][0]
    wanted = ("shred", "--subject-file", subject, "--reason", "gdpr-art-17", "--authority", "DPO-7")
    (asked,) = logged.data(*wanted)
    approval = (*wanted, "--approves", str(asked["index"]))
    assert asked["state"] == "requested"

    alone = logged.run(*approval)
    assert (alone.exit_code, "second person" in alone.stderr) == (FAULT, True)
    second_person()
    (erased,) = logged.data(*approval)

    assert (erased["state"], erased["key_count"]) == ("erased", 1)
    assert logged.run("verify").exit_code == GOOD
    assert "1 MATCH, 1 SHREDDED" in logged.run("replay", f"{index}..{index + 1}").stdout
    (shown,) = logged.data("show", str(index), "--open", "--purpose", "audit", "--ticket", "QA-7")
    assert shown["opened"]["state"] == "PATIENT_PART_STATE_ERASED"
    report = logged.run("report", str(index), "--purpose", "a", "--ticket", "b", "--replay", "--format", "html")
    assert (report.exit_code, "erased" in report.stdout) == (GOOD, True)
    again = logged.run("feedback", logged.decisions[0][1], "--outcome", "accepted")
    assert (again.exit_code, "erased" in again.stderr) == (FAULT, True)
    assert not any(b"CANARY-ONE" in path.read_bytes() for path in logged.folder.rglob("*") if path.is_file())


def test_c95_a_legal_hold_keeps_from_erasure_until_it_is_lifted(logged: Logged, subject: str) -> None:
    hold = ("hold", "--subject-file", subject, "--reason", "litigation", "--authority", "COURT-12")
    shred = ("shred", "--subject-file", subject, "--reason", "gdpr-art-17", "--authority", "DPO-7")
    before = len(logged.data("list"))
    logged.data(*hold)

    refused = logged.run(*shred)
    assert (refused.exit_code, "hold" in refused.stderr) == (FAULT, True)
    logged.data(*hold, "--release")
    assert logged.run(*shred).exit_code == GOOD

    said = [item["body"] for item in logged.data("list", "--first", str(before))]
    assert [body.get("is_on") or body["action"] for body in said] == [
        "true",
        "shred-refused",
        "false",
        "shred-requested",
    ]


def test_the_patient_is_never_named_where_it_is_logged_in_the_open(logged: Logged, subject: str) -> None:
    done = logged.run("shred", "--subject-file", subject, "--reason", "x", "--authority", f"for {PATIENTS[0]}")
    assert (done.exit_code, "`authority`" in done.stderr) == (USAGE, True)
    done = logged.run("hold", "--subject-file", subject, "--reason", "no code", "--authority", "COURT")
    assert (done.exit_code, "`reason_code`" in done.stderr) == (USAGE, True)


def test_a_patient_of_whom_nothing_is_logged_cannot_be_erased(logged: Logged, tmp_path: Path) -> None:
    file = tmp_path / "nobody"
    file.write_text("Patient/NOBODY")
    asked = ("--subject-file", str(file), "--reason", "x", "--authority", "y")
    assert logged.run("shred", *asked).exit_code == FAULT
    file.write_text("two\nlines\n")
    assert logged.run("hold", *asked).exit_code == USAGE


def test_the_same_feedback_is_one_entry(logged: Logged, tmp_path: Path) -> None:
    index, decision_id = logged.decisions[1]
    card = f"{decision_id[:-1]}3"
    reason = tmp_path / "reason"
    reason.write_text("the patient prefers CANARY-TEA")
    given = (
        "feedback",
        card,
        "--outcome",
        "overridden",
        "--reason-code",
        "preference",
        "--time",
        "2026-02-03T10:00:00",
    )

    (first,) = logged.data(*given, "--reason-file", str(reason))
    (again,) = logged.data(*given, "--reason-file", str(reason))
    assert (first["decision_index"], first["receipt"]["index"]) == (index, again["receipt"]["index"])
    other_words = logged.run(*given)
    assert (other_words.exit_code, "`outcome_time`" in other_words.stderr) == (USAGE, True)
    assert not any(b"CANARY-TEA" in path.read_bytes() for path in logged.folder.rglob("*") if path.is_file())


def test_feedback_of_what_is_no_decision_is_refused_here(logged: Logged) -> None:
    unknown = logged.run("feedback", "00000000-0000-0000-0000-000000000000", "--outcome", "accepted")
    assert (unknown.exit_code, "only a server" in unknown.stderr) == (FAULT, True)
    assert logged.run("feedback", "card-1", "--outcome", "accepted").exit_code == USAGE


def test_two_people_end_the_retention_of_what_is_old(logged: Logged, second_person: Callable[[], None]) -> None:
    with closing(apsw.Connection(str(logged.folder / "keys.db"))) as keys:
        keys.execute("UPDATE data_key SET created_at = 0")
    wanted = ("shred", "--before", "2020-01-01", "--reason", "retention", "--authority", "policy 3")
    (asked,) = logged.data(*wanted)
    assert asked["state"] == "requested"
    second_person()
    (erased,) = logged.data(*wanted, "--approves", str(asked["index"]))
    assert (erased["state"], erased["key_count"]) == ("erased", len(PATIENTS))

    assert logged.run("verify").exit_code == GOOD
    assert logged.run("shred", "--before", "2020-01-01", "--reason", "r", "--authority", "a").exit_code == FAULT


def test_what_is_to_come_cannot_be_old(logged: Logged) -> None:
    before = len(logged.data("list"))
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    done = logged.run("shred", "--before", tomorrow, "--reason", "r", "--authority", "a")
    assert (done.exit_code, "in the future" in " ".join(done.stderr.split())) == (USAGE, True)
    assert len(logged.data("list")) == before


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "Ren\u00e9".encode("latin-1")])
def test_a_reference_that_is_no_text_is_wrong_usage(logged: Logged, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "subject"
    file.write_bytes(content)
    for name in ("shred", "hold"):
        done = logged.run(name, "--subject-file", str(file), "--reason", "r", "--authority", "a")
        assert (done.exit_code, "UTF-8" in done.stderr) == (USAGE, True)


def test_an_erasure_is_of_a_patient_or_by_age(logged: Logged, subject: str) -> None:
    order = ("--reason", "r", "--authority", "a")
    assert logged.run("shred", *order).exit_code == USAGE
    assert logged.run("shred", "--subject-file", subject, "--before", "2020-01-01", *order).exit_code == USAGE
