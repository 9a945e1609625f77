"""`eligibility log` over a log that lies here: what it prints, what it writes, and with which exit code."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from engine.errors import RulePackError
from engine.ledger.checkpoint import SigningKey, parse_receipt, parse_vkey, verify_receipt
from engine.ledger.sqlite.log import SqliteLog
from server.command import command
from server.command.log import log
from server.rpc.replays import read_rule_files
from tests.unit.log_folder import FAULT, GOOD, INTEGRITY, ORIGIN, PATIENTS, ROOT, USAGE, Logged

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", sorted(log.places))
def test_every_command_has_an_example_and_its_exit_codes(name: str) -> None:
    done = CliRunner().invoke(command(), ["log", name, "--help"])
    assert done.exit_code == GOOD, done.output
    assert f"Example: eligibility log {name}" in " ".join(done.stdout.split())
    assert "Exit codes: 0" in " ".join(done.stdout.split())


def test_the_verifier_key_is_printed(logged: Logged) -> None:
    assert logged.run("vkey").stdout.strip() == logged.vkey


@pytest.mark.parametrize("words", [("verify",), ("list",), ("prove", "--index", "0")])
def test_a_mistyped_verifier_key_is_wrong_usage_and_no_tampering(logged: Logged, words: tuple[str, ...]) -> None:
    done = logged.run(*words, "--vkey", f"{logged.vkey[:-6]}AAAAAA")
    assert done.exit_code == USAGE
    assert "copy the whole line" in " ".join(done.stderr.split())


def test_the_log_stands_beside_the_engines_commands() -> None:
    done = CliRunner().invoke(command(), ["--help"])
    assert {"evaluate", "rules", "log"} <= set(done.stdout.split())


# verify


def test_a_whole_log_is_verified(logged: Logged) -> None:
    done = logged.run("verify", "--vkey", logged.vkey)
    assert (done.exit_code, done.stderr) == (GOOD, "")
    assert done.stdout.startswith("good: ")
    (verdict,) = logged.data("verify")
    assert (verdict["verdict"], verdict["faults"]) == ("good", 0)
    assert verdict["tree_size"] == logged.decisions[-1][0] + 1


def test_c64_an_entry_whose_sealed_part_was_changed_is_named(logged: Logged) -> None:
    index = logged.decisions[0][0]
    logged.damage(f"UPDATE sealed SET body = zeroblob(400) WHERE entry_index = {index}")  # noqa: S608 - a number
    done = logged.run("verify", "--format", "json")
    assert done.exit_code == INTEGRITY
    faults = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fault["place"] for fault in faults[:-1]} == {f"entry {index}"}
    assert faults[-1]["verdict"] == "tampered"


def test_c56_a_damaged_tile_is_reported_and_made_again(logged: Logged) -> None:
    logged.damage("UPDATE tile SET hashes = zeroblob(length(hashes))")

    found = logged.run("verify")
    assert (found.exit_code, "tile 0/0" in found.stdout) == (INTEGRITY, True)
    assert "--rebuild" in found.stderr
    mended = logged.run("verify", "--rebuild")
    assert (mended.exit_code, "mended" in mended.stdout) == (FAULT, True)
    assert logged.run("verify").exit_code == GOOD


def test_c100_without_keys_a_log_is_verified_and_said_to_be_incomplete(logged: Logged) -> None:
    (logged.folder / "wrapping.key").unlink()
    done = logged.run("verify")
    assert done.exit_code == FAULT
    assert "incomplete" in done.stdout
    assert "nothing sealed was opened (--wrapping-key: there is no file" in done.stdout
    assert logged.run("verify", "--without-keys").exit_code == GOOD


def test_another_key_than_the_logs_is_not_taken(logged: Logged) -> None:
    other = SigningKey(ORIGIN, b"\x07" * 32).vkey
    assert logged.run("verify", "--vkey", other).exit_code == INTEGRITY
    assert logged.run("list", "--vkey", other).exit_code == INTEGRITY
    assert logged.run("prove", "--index", "0", "--vkey", other).exit_code == INTEGRITY


def test_an_export_needs_a_key_that_comes_from_elsewhere(logged: Logged, tmp_path: Path) -> None:
    done = logged.run("verify", "--export", str(tmp_path))
    assert (done.exit_code, "--vkey" in done.stderr) == (USAGE, True)


def test_an_export_is_written_once_and_verifies_alone(logged: Logged, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (told,) = logged.data("export", str(folder))
    assert told["tree_size"] == logged.decisions[-1][0] + 1

    assert logged.run("export", str(folder)).exit_code == FAULT
    assert logged.run("verify", "--export", str(folder), "--vkey", logged.vkey).exit_code == GOOD
    bundle = next((folder / "tile" / "entries").rglob("*.p")) / str(told["tree_size"])
    data = bytearray(bundle.read_bytes())
    data[1000] ^= 1
    bundle.write_bytes(data)
    assert logged.run("verify", "--export", str(folder), "--vkey", logged.vkey).exit_code == INTEGRITY
    bundle.unlink()
    assert logged.run("verify", "--export", str(folder), "--vkey", logged.vkey).exit_code == FAULT


def test_c92_no_patient_is_in_an_export(logged: Logged, tmp_path: Path) -> None:
    logged.data("export", str(tmp_path / "export"))
    files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    assert files
    assert not any(b"CANARY" in path.read_bytes() for path in files)


# list


def test_a_list_is_complete_and_signed(logged: Logged) -> None:
    done = logged.run("list", "--vkey", logged.vkey, "--format", "json")
    items = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == GOOD
    assert [item.get("index", 0) for item in items] == list(range(logged.decisions[-1][0] + 1))
    assert items[0]["kind"] == "ENTRY_KIND_GENESIS"
    assert "complete, under the checkpoint" in done.stderr
    assert "signed" in done.stderr


def test_a_filtered_list_is_said_to_be_perhaps_not_complete(logged: Logged) -> None:
    done = logged.run("list", "--kind", "decision")
    assert done.exit_code == GOOD
    assert "perhaps not complete" in done.stderr
    assert all(decision_id in done.stdout for _, decision_id in logged.decisions)
    assert "genesis" not in done.stdout
    assert "CANARY" not in done.stdout


def test_pages_follow_each_other_under_one_checkpoint(logged: Logged) -> None:
    size = logged.decisions[-1][0] + 1
    with_first = logged.data("list", "--first", str(size - 3), "--count", "2")
    assert [item["index"] for item in with_first] == [size - 3, size - 2]
    behind = logged.run("list", "--first", str(size + 1))
    assert (behind.exit_code, "first_index" in behind.stderr) == (USAGE, True)


# show and report


def test_a_header_shows_nothing_of_the_patient(logged: Logged) -> None:
    index, decision_id = logged.decisions[0]
    by_index, by_id = logged.data("show", str(index)), logged.data("show", decision_id)
    assert by_index == by_id
    assert "opened" not in by_index[0]
    assert "CANARY" not in logged.run("show", str(index)).stdout


def test_c96_opening_needs_a_purpose_and_a_ticket_and_leaves_an_entry_either_way(logged: Logged) -> None:
    index = logged.decisions[0][0]
    before = len(logged.data("list"))

    refused = logged.run("show", str(index), "--open", "--purpose", "audit")
    assert (refused.exit_code, "`ticket`" in refused.stderr) == (USAGE, True)
    assert "CANARY" not in refused.output
    (shown,) = logged.data("show", str(index), "--open", "--purpose", "audit", "--ticket", "QA-7")

    accesses = logged.data("list", "--first", str(before))
    assert [item["body"]["action"] for item in accesses] == ["open", "open"]
    assert accesses[1]["body"]["first"] == str(index)
    assert shown["opened"]["state"] == "PATIENT_PART_STATE_OPENED"
    (access,) = logged.data("show", str(before + 1), "--open", "--purpose", "audit", "--ticket", "QA-8")
    caller = access["opened"]["caller"]
    assert (caller["purpose"], caller["request_id"], caller["roles"]) == ("audit", "QA-7", ["local"])


@pytest.mark.parametrize("name", ["x", "-1", "18446744073709551616", "0B3C"])
def test_what_names_no_entry_is_wrong_usage(logged: Logged, name: str) -> None:
    assert logged.run("show", "--", name).exit_code == USAGE or logged.run("show", name).exit_code == USAGE


def test_an_entry_that_is_not_there_is_a_fault(logged: Logged) -> None:
    assert logged.run("show", "9999").exit_code == FAULT
    assert logged.run("show", "00000000-0000-0000-0000-000000000000").exit_code == FAULT


def test_a_report_holds_everything_and_what_came_later(logged: Logged) -> None:
    index, decision_id = logged.decisions[0]
    logged.run("show", str(index), "--open", "--purpose", "audit", "--ticket", "QA-6")
    feedback = logged.data("feedback", decision_id, "--outcome", "accepted")[0]
    (report,) = logged.data("report", str(index), "--purpose", "audit", "--ticket", "QA-7", "--vkey", logged.vkey)

    assert report["proof"]["is_verified"] is True
    assert report["request"]["patient_reference"] == PATIENTS[0]
    assert report["response"]["decision"]["decision_id"] == decision_id
    assert report["decision"]["jurisdiction"] == "US"
    later = {item["index"]: item["kind"] for item in report["later"]}
    assert later[feedback["receipt"]["index"]] == "feedback"
    assert "access" in later.values()


def test_a_report_is_written_for_people(logged: Logged, tmp_path: Path) -> None:
    index, decision_id = logged.decisions[0]
    asked = ("report", str(index), "--purpose", "audit", "--ticket", "QA-7", "--replay")
    text = logged.run(*asked)
    assert (text.exit_code, decision_id in text.stdout, "REPLAY_OUTCOME_MATCH" in text.stdout) == (GOOD, True, True)

    file = tmp_path / "page.html"
    done = logged.run(*asked, "--format", "html", "--output", str(file))
    assert done.exit_code == GOOD, done.output
    page = file.read_text()
    assert decision_id in page
    assert "came out again, byte for byte" in page
    assert ORIGIN in page


def test_only_a_decision_has_a_page(logged: Logged) -> None:
    asked = ("report", "0", "--purpose", "audit", "--ticket", "QA-7")
    assert logged.run(*asked, "--format", "html").exit_code == FAULT
    assert "genesis" in logged.run(*asked).stdout


# replay and prove


def test_logged_decisions_replay_to_the_byte(logged: Logged) -> None:
    first, last = logged.decisions[0][0], logged.decisions[-1][0]
    *results, summary = logged.data("replay", f"{first}..{last}")
    assert [result["outcome"] for result in results] == ["REPLAY_OUTCOME_MATCH"] * 2
    assert summary == {"entries": 2, "outcomes": {"MATCH": 2}}
    assert "2 MATCH" in logged.run("replay", f"{first}..{last}", "--parallel", "1").stdout
    assert "2 MATCH" in logged.run("replay").stdout
    assert "2 MATCH" in logged.run("replay", f"{first}..").stdout


def test_what_was_not_run_is_no_match(logged: Logged) -> None:
    done = logged.run("replay", "0", "--all")
    assert (done.exit_code, "NOT_A_DECISION" in done.stdout, "MATCH" in done.stdout) == (GOOD, True, False)


def test_the_first_entry_has_its_index_too(logged: Logged) -> None:
    (result, _) = logged.data("replay", "0")
    assert next(iter(result.items())) == ("index", 0)
    assert logged.data("list", "--count", "1")[0]["index"] == 0


@pytest.mark.parametrize("form", ["html", "json", "text"])
def test_a_file_that_cannot_be_written_is_named(logged: Logged, form: str) -> None:
    index = str(logged.decisions[0][0])
    asked = ("report", index, "--purpose", "a", "--ticket", "b", "--format", form, "--output", "/dev/full")
    done = logged.run(*asked)
    assert (done.exit_code, "`/dev/full` cannot be written" in done.stderr) == (FAULT, True)


def test_a_missing_pack_is_a_fault_that_names_it(logged: Logged) -> None:
    logged.damage("DELETE FROM blob WHERE kind = 1")
    done = logged.run("replay", str(logged.decisions[0][0]))
    assert done.exit_code == FAULT
    assert "MISSING_BLOB" in done.stdout


@pytest.mark.parametrize("entries", ["b", "5..2", "..3", "0..99999", "99999.."])
def test_a_range_that_is_none_is_wrong_usage(logged: Logged, entries: str) -> None:
    assert logged.run("replay", entries).exit_code == USAGE


def test_the_rules_in_force_would_change_nothing_and_that_is_a_report_in_the_log(logged: Logged) -> None:
    (answer,) = logged.data("impact", "--pack", str(ROOT / "rules"))
    size = answer["tree_size"]
    assert answer["counts"] == answer["counts_anew"] == {"unchanged": 2, "not_a_decision": size - 2}

    (report,) = logged.data("show", str(answer["report_index"]))
    assert report["entry"]["kind"] == "ENTRY_KIND_REPORT"
    assert report["entry"]["body"] == {
        "kind_code": "impact",
        "tree_size": str(size),
        "candidate_digest": answer["candidate_digest"],
        "report_digest": answer["report_digest"],
    }
    assert logged.run("verify").exit_code == GOOD


def test_rules_that_would_decide_otherwise_are_a_difference(logged: Logged, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    header = tmp_path / "rules" / "us" / "pack.yaml"
    header.write_text(header.read_text().replace("serves: US", "serves: EU"))
    size = logged.decisions[-1][0] + 1

    done = logged.run("impact", "--pack", str(tmp_path / "rules"), "--tree-size", str(size))
    assert done.exit_code == FAULT, done.output
    assert [line for line in done.stdout.splitlines() if "error" in line and "2" in line]
    assert f"{size} entries" in done.stdout


def test_a_local_pack_can_be_tried_too(logged: Logged, tmp_path: Path) -> None:
    hospital = tmp_path / "hospital"
    shutil.copytree(ROOT / "examples" / "local-pack", hospital)
    for file in hospital.rglob("*.yaml"):
        file.write_text(file.read_text().replace("2026-01-01", "2019-03-05"))
    rule = hospital / "esketamine" / "dialysis.yaml"
    rule.write_text(rule.read_text().replace("advises_against", "contraindicates").replace(": dialysis", ": always"))

    done = logged.run("impact", "--pack", str(ROOT / "rules"), "--overlay", str(hospital), "--format", "json")

    assert done.exit_code == FAULT, done.output
    assert json.loads(done.stdout)["counts"]["changed"] == 2


def test_an_impact_is_written_for_people(logged: Logged, tmp_path: Path) -> None:
    page = tmp_path / "impact.html"
    done = logged.run("impact", "--pack", str(ROOT / "rules"), "--format", "html", "--output", str(page))
    assert (done.exit_code, done.stdout) == (GOOD, ""), done.output
    assert "<html" in page.read_text()
    assert "CANARY" not in page.read_text()


def test_rules_with_faults_are_not_tried(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "us").mkdir()
    nothing = logged.run("impact", "--pack", str(tmp_path))
    assert (nothing.exit_code, "give a whole folder of rules" in nothing.stderr) == (USAGE, True)
    (tmp_path / "facts.yaml").write_text("areas: no\n")
    assert logged.run("impact", "--pack", str(tmp_path)).exit_code == FAULT


@pytest.mark.parametrize("path", ["../facts.yaml", "/etc/facts.yaml", "us/../../x.yaml"])
def test_c82_rule_files_stay_in_their_folder(path: str) -> None:
    with pytest.raises(RulePackError, match="leaves the pack"):
        read_rule_files({"facts.yaml": b"", path: b""})


def test_a_receipt_is_proven_to_the_holder_of_the_key(logged: Logged, tmp_path: Path) -> None:
    index = logged.decisions[0][0]
    file = tmp_path / "receipt"
    assert logged.run("prove", "--index", str(index), "--vkey", logged.vkey, "--output", str(file)).exit_code == GOOD
    receipt = parse_receipt(file.read_bytes())
    assert receipt.index == index
    assert verify_receipt(receipt, parse_vkey(logged.vkey)).tree_size == index + 2
    assert logged.run("verify", "--receipt", str(file), "--vkey", logged.vkey).exit_code == GOOD


def test_growth_is_proven_between_two_checkpoints(logged: Logged) -> None:
    size = logged.decisions[-1][0] + 1
    (proof,) = logged.data("prove", "--from", "1", "--vkey", logged.vkey)
    assert (proof["old_size"], proof["new_size"]) == (1, size)
    assert logged.run("prove", "--from", str(size + 1)).exit_code == FAULT
    assert logged.run("prove").exit_code == USAGE


def test_c53_a_fork_of_the_log_does_not_prove_its_growth(logged: Logged) -> None:
    logged.damage("UPDATE tile SET hashes = zeroblob(length(hashes))")
    assert logged.run("prove", "--from", "1").exit_code == INTEGRITY
    assert logged.run("list").exit_code == INTEGRITY


# where the log is


def test_a_log_that_is_not_there_is_not_made(logged: Logged, tmp_path: Path) -> None:
    done = logged.run("list", log=f"sqlite:{tmp_path}/none/log.db")
    assert done.exit_code == USAGE
    assert not (tmp_path / "none" / "log.db").exists()


def test_no_key_is_made_beside_a_log_that_has_others(logged: Logged, subject: str, tmp_path: Path) -> None:
    asked = ("shred", "--subject-file", subject, "--reason", "x", "--authority", "y")
    done = logged.run(*asked, wrapping_key=f"{tmp_path}/other.key")
    assert (done.exit_code, "--wrapping-key" in done.stderr) == (USAGE, True)
    assert not (tmp_path / "other.key").exists()


def test_c21_beside_a_writer_only_what_reads_is_done(logged: Logged) -> None:
    writer = SqliteLog(logged.folder / "log.db")
    try:
        assert logged.run("list").exit_code == GOOD
        assert logged.run("verify").exit_code == GOOD
        done = logged.run("replay", "0")
    finally:
        writer.close()
    assert (done.exit_code, "--server" in done.stderr) == (FAULT, True)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--server", "nowhere"), "HOST:PORT"),
        (("--server", "cds.example.org:443"), "--ca"),
    ],
)
def test_a_server_is_spoken_to_in_the_clear_on_this_machine_alone(flags: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(command(), ["log", "list", *flags])
    assert (done.exit_code, said in done.stderr) == (USAGE, True)


def test_server_and_log_exclude_each_other(logged: Logged) -> None:
    assert logged.run("list", "--server", "127.0.0.1:1").exit_code == USAGE


def test_a_server_that_is_not_there_is_a_fault() -> None:
    assert CliRunner().invoke(command(), ["log", "list", "--server", "127.0.0.1:1"]).exit_code == FAULT
    assert CliRunner().invoke(command(), ["log", "export", "x", "--server", "127.0.0.1:1"]).exit_code == USAGE
