"""The JSON of `eligibility rules ...`: one value on standard output, with keys that stay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.root import root

GOOD = Path(__file__).parents[1] / "packs" / "good"
DAY = ("--today", "2026-02-01")
KEYS = {"file", "line", "column", "code", "message", "hint"}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "rules")
    return tmp_path / "rules"


def _run(*words: str) -> tuple[int, Any]:
    result = CliRunner().invoke(root, ["rules", *words, "--format", "json"])
    return result.exit_code, json.loads(result.stdout)


def _swap(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_a_check_finds(rules: Path) -> None:
    exit_code, told = _run("check", "--rules", str(rules), *DAY)
    assert exit_code == 0, told["faults"]
    assert list(told) == ["packs", "criteria", "cases", "faults", "warnings", "assumptions", "blocking", "plans"]
    assert (told["packs"], told["criteria"], told["faults"], told["warnings"]) == (2, 11, [], [])
    assert {
        "jurisdiction": "US",
        "option": "spray",
        "criterion": "TINY-CI-01",
        "covered_by": ["TINY-CI-02"],
        "unasked": [],
    } in told["blocking"]
    assert [(p["jurisdiction"], p["payer_id"]) for p in told["plans"]] == [("US", None), ("US", "ACME")]


def test_the_faults_of_a_check_with_their_places(rules: Path) -> None:
    _swap(rules / "tiny/spray/rules.yaml", "when: allergy is yes", "when: alergy is yes")
    exit_code, told = _run("check", "--rules", str(rules), "--unlocked", *DAY)
    assert exit_code == 1
    (fault,) = told["faults"]
    assert fault.keys() == KEYS
    assert fault["file"] == (rules / "tiny/spray/rules.yaml").as_posix()
    assert (fault["line"], fault["column"], fault["code"]) == (34, 3, "pack/unknown-name")
    assert "did you mean `allergy`" in fault["message"]


def test_the_result_of_each_case(rules: Path) -> None:
    _swap(rules / "tiny/spray/rules.cases.yaml", "met: [{pressure: 141}]", "met: [{pressure: 140}]")
    exit_code, told = _run("test", "--rules", str(rules), "--engines", "interpret")
    assert exit_code == 1
    assert (told["passed"], told["failed"], len(told["results"])) == (40, 1, 41)
    (failed,) = (result for result in told["results"] if not result["passed"])
    assert failed == {
        "kind": "criterion",
        "subject": "TINY-WP-01",
        "as_of": "2026-02-01",
        "file": (rules / "tiny/spray/rules.cases.yaml").as_posix(),
        "line": 21,
        "expected": "met",
        "found": "not_met",
        "passed": False,
        "problem": "expected met, found not_met",
    }


def test_a_criterion_with_its_condition_numbers_and_sources() -> None:
    exit_code, told = _run("show", "TINY-WP-01", "--rules", str(GOOD), *DAY)
    assert exit_code == 0
    assert (told["kind"], told["pack"], told["line"]) == ("criterion", "tiny", 50)
    assert told["written"]["when"] == "pressure > $pressure_limit"
    assert told["condition"] == ["pressure above 140 mmHg"]
    assert [(n["name"], n["value"], n["unit"], n["since"]) for n in told["numbers"]] == [
        ("pressure_limit", "140", "mm[Hg]", "2020-01-01")
    ]
    assert [(r["source"], r["title"]) for r in told["references"]] == [("book", "A book")]
    assert told["cases"] == {"met": 1, "not_met": 1, "unknown": 1}


def test_a_concept_with_what_reads_it_and_what_it_reads() -> None:
    _, told = _run("show", "one_failed", "--rules", str(GOOD), *DAY)
    assert (told["kind"], told["title"], told["read_by"]) == ("derived", "at least one long trial", ["TINY-IND-01"])
    assert [c["id"] for c in told["concepts"]] == ["failed", "trial_was_long"]


def test_what_differs_between_two_folders(rules: Path) -> None:
    _swap(rules / "tiny/parameters.yaml", "{2020-01-01: 140}", "{2020-01-01: 135}")
    _swap(rules / "tiny/pack.yaml", "version: 1.0.0", "version: 1.1.0")
    exit_code, told = _run("diff", str(GOOD), str(rules))
    assert exit_code == 0
    assert (told["items"], told["packs"]) == (2, [{"id": "tiny", "before": "1.0.0", "after": "1.1.0"}])
    by_name = {change["name"]: change for change in told["changes"]}
    assert (by_name["TINY-WP-01"]["under"], by_name["TINY-WP-01"]["kind"]) == ("spray", "affected")
    assert [text["part"] for text in by_name["$pressure_limit"]["texts"]] == ["numbers"]


def test_what_was_pinned(rules: Path) -> None:
    exit_code, told = _run("lock", "--rules", str(rules))
    assert (exit_code, told["file"]) == (0, f"{rules.as_posix()}/packs.lock")
    assert [p["pack"] for p in told["pinned"]] == ["payer-acme", "tiny"]
    assert all(len(p["digest"]) == 64 for p in told["pinned"])


def test_what_was_written(tmp_path: Path) -> None:
    words = ("docs", "--rules", str(GOOD), "--output", str(tmp_path / "docs"), "--site", str(tmp_path / "site"))
    exit_code, told = _run(*words, "--check")
    assert (exit_code, len(told["stale"])) == (1, told["pages"])
    exit_code, told = _run(*words)
    assert (exit_code, told["folder"], told["written"]) == (0, (tmp_path / "site").as_posix(), told["pages"])
    assert told["files"] == sum(path.is_file() for path in (tmp_path / "site").rglob("*"))
    assert _run(*words, "--check")[1]["stale"] == []


@pytest.mark.parametrize("words", [["test"], ["show", "TINY-WP-01"], ["lock"], ["docs"], ["list"]])
def test_rules_that_cannot_be_read_are_told_on_standard_error(rules: Path, words: list[str]) -> None:
    _swap(rules / "tiny/spray/rules.yaml", "effect: cautions", "effect: warns")
    result = CliRunner().invoke(root, ["rules", *words, "--rules", str(rules), "--format", "json"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[pack/shape]" in result.stderr
