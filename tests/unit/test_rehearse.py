"""`engine.evaluator.rehearse` and the commands over rules: cases are run, failures are told at their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.evaluator.rehearse import Outcome, Rehearsal, jurisdictions_of
from engine.pack.cases import read_cases
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from engine.evaluator.agree import Mode

GOOD = Path(__file__).parents[1] / "packs" / "good"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "rules")
    return tmp_path / "rules"


def _outcomes(rules: Path, text: str, mode: Mode = "interpret") -> list[Outcome]:
    (rules / "tiny/more.cases.yaml").write_text(f"as_of: 2026-02-01\ncases:\n{text}", encoding="utf-8")
    book = load_rules(rules, is_locked=False)
    cases, faults = read_cases(rules, book)
    assert not faults
    mine = [c for c in cases if c.located.source.file == "tiny/more.cases.yaml"]
    with Rehearsal(book, mode) as rehearsal:
        return [outcome for case in mine for outcome in rehearsal.run(case)]


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(root, ["rules", *words])
    return result.exit_code, result.output


@pytest.mark.parametrize("mode", ["both", "interpret"])
def test_the_cases_of_the_good_pack_pass(mode: Mode) -> None:
    book = load_rules(GOOD)
    cases, _ = read_cases(GOOD, book)
    with Rehearsal(book, mode) as rehearsal:
        outcomes = [o for case in cases for o in rehearsal.run(case)]
    assert len(outcomes) == len(cases)
    assert [o.problem for o in outcomes if o.problem] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  - criterion: TINY-CI-01\n    met: [{allergy: no}]\n", "expected met, found not_met"),
        ("  - criterion: TINY-CI-01\n    not_met: [{}]\n", "expected not_met, found unknown"),
        ("  - criterion: TINY-CI-02\n    met: [{}]\n", "expected met, found unknown"),
        ("  - criterion: TINY-IND-02\n    met: [{}]\n", "expected met, found without a condition"),
        ("  - criterion: TINY-TRX-01\n    met: [{weeks_at_adequate_dose: 6}]\n", "expected met, found not_met"),
        ("  - derived: grade\n    value: {low: [{score: 10}]}\n", "expected low, found high"),
        ("  - derived: failed\n    value: {'1': [{}]}\n", "expected 1, found at least 0"),
        ("  - referral: helper/emergency\n    met: [{}]\n", "expected met, found unknown"),
        ("  - criterion: TINY-CI-01\n    met: [{alergy: yes}]\n", "did you mean `allergy`"),
        ("  - criterion: TINY-CI-01\n    met: [{allergy: maybe}]\n", "must be one of yes, no, unknown"),
    ],
)
def test_a_case_that_fails_says_what_was_found(rules: Path, text: str, problem: str) -> None:
    (outcome,) = _outcomes(rules, text)
    assert problem in outcome.problem


def test_a_day_of_its_own_and_facts_of_the_whole_patient_hold_for_a_group(rules: Path) -> None:
    text = """  - criterion: TINY-IND-01
    as_of: 2019-12-31
    not_met: [{age_years: 40, trials: [{drug: alpha, weeks_at_adequate_dose: 6}]}]

  - derived: trial_was_long
    with: {age_years: 40, trials: [{drug: beta, weeks_at_adequate_dose: 1}]}
    met: [{drug: alpha, weeks_at_adequate_dose: 6}]
"""
    outcomes = _outcomes(rules, text)
    assert [o.problem for o in outcomes] == ["", ""]
    assert outcomes[1].inputs is not None
    assert len(outcomes[1].inputs.records["trials"] or ()) == 2


def test_cases_of_a_draft_are_left_out(rules: Path) -> None:
    path = rules / "payers/acme/pack.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("active", "draft"), encoding="utf-8")
    exit_code, said = _run("test", "--rules", str(rules))
    assert (exit_code, said.splitlines()[-1]) == (0, "38 passed, 0 failed")


def test_a_pack_speaks_for_its_jurisdiction_or_those_that_extend_it() -> None:
    book = load_rules(GOOD)
    assert jurisdictions_of(book, "tiny") == ["US"]
    assert jurisdictions_of(book, "payer-acme") == ["US"]


def test_failures_are_listed_with_file_and_line(rules: Path) -> None:
    path = rules / "tiny/spray/rules.cases.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("met: [{pressure: 141}]", "met: [{pressure: 140}]"))
    exit_code, said = _run("test", "--rules", str(rules))
    assert exit_code == 1
    assert "rules.cases.yaml:21" in said
    assert "TINY-WP-01" in said
    assert said.splitlines()[-1] == "40 passed, 1 failed"


def test_criteria_are_listed_by_option_effect_and_jurisdiction() -> None:
    exit_code, said = _run(
        "list", "--rules", str(GOOD), "--option", "spray", "--effect", "cautions", "--format", "json"
    )
    assert exit_code == 0
    assert [row["id"] for row in json.loads(said)] == ["TINY-WP-01"]
    _, said = _run("list", "--rules", str(GOOD), "--jurisdiction", "US")
    assert said.splitlines()[-1] == "11 criteria"


def test_a_criterion_is_shown_in_plain_english_with_its_numbers_and_sources() -> None:
    _, said = _run("show", "TINY-WP-01", "--rules", str(GOOD), "--today", "2026-02-01")
    for words in (
        "pressure above 140 mmHg",
        "pressure_limit: 140 mm[Hg] since 2020-01-01",
        "A book",
        "1 met, 1 not met",
    ):
        assert words in said
    _, said = _run("show", "TINY-IND-01", "--rules", str(GOOD), "--today", "2026-02-01")
    for words in (
        "age at least 18 years",
        "at least 1 trials that were long",
        "weeks at least 6 weeks",
        "from 2020-01-01",
    ):
        assert words in said
    _, said = _run("show", "grade", "--rules", str(GOOD), "--today", "2026-02-01")
    assert "score: 0 to 9 says low; 10 to 20 says high" in said
    exit_code, said = _run("show", "TINY-WP-1", "--rules", str(GOOD))
    assert exit_code == 2
    assert "did you mean `TINY-WP-01`" in said


def test_two_folders_are_compared_option_by_option(rules: Path) -> None:
    for file, old, new in (
        ("tiny/parameters.yaml", "{2020-01-01: 140}", "{2020-01-01: 135}"),
        ("tiny/spray/rules.yaml", "when: allergy is yes", "when: {any: [allergy is yes, danger]}"),
        ("tiny/spray/rules.yaml", "- id: TINY-EX-01", "- id: TINY-EX-02"),
    ):
        path = rules / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    (rules / "tiny/spray/rules.cases.yaml").unlink()
    exit_code, said = _run("diff", str(GOOD), str(rules))
    assert exit_code == 0
    for line in (
        "  ~ TINY-CI-01  Allergy (condition)",
        "      condition before: allergy is yes",
        "      condition after:  any of (allergy is yes; danger)",
        "  - TINY-EX-01  High grade",
        "  + TINY-EX-02  High grade",
        "  * TINY-WP-01  Pressure (through $pressure_limit)",
        "  ~ $pressure_limit  pressure above which care is needed (numbers)",
    ):
        assert line in said.splitlines()
    assert _run("diff", str(GOOD), str(GOOD)) == (0, "0 items differ\n")


def test_a_misspelled_filter_is_refused_and_not_answered_with_nothing() -> None:
    rules = str(Path(__file__).parents[2] / "rules")
    code, told = _run("list", "--rules", rules, "--option", "ketamine")
    assert (code, "there are conventional, esketamine, ketamine_iv" in told) == (2, True)
    assert _run("list", "--rules", rules, "--effect", "contraindicate")[0] == 2


def test_criteria_of_a_local_pack_can_be_looked_up() -> None:
    root_folder = Path(__file__).parents[2]
    words = ("--rules", str(root_folder / "rules"), "--overlay", str(root_folder / "examples" / "local-pack"))
    assert "EXH-ESK-01" in _run("list", *words, "--option", "esketamine")[1]
    assert "committee" in _run("show", "EXH-ESK-01", *words)[1]
    code, told = _run("show", "sbp_mmHg", *words)
    assert (code, "is a fact" in told) == (2, True)


def test_documents_are_written_and_found_stale(tmp_path: Path) -> None:
    out = str(tmp_path / "docs")
    assert _run("docs", "--rules", str(GOOD), "--output", out, "--check")[0] == 1
    assert _run("docs", "--rules", str(GOOD), "--output", out, "--site", str(tmp_path / "site"))[0] == 0
    assert _run("docs", "--rules", str(GOOD), "--output", out, "--check")[0] == 0
    assert "| TINY-WP-01 | Pressure | cautions | spray | always |" in (tmp_path / "docs/criteria.md").read_text()
