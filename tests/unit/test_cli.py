"""The commands that need no wire: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from engine.cli import panel
from engine.cli.cases import Expected, disagreements
from engine.cli.invocation import FAULT, GOOD, INTEGRITY, PROVISIONAL, USAGE, worst
from engine.cli.root import root
from engine.errors import ChainFault, EnginesDisagree
from engine.evaluator.agree import SEMANTICS_VERSION, Evaluator
from engine.pack.load import load_rules
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from engine.evaluator.agree import Evaluation
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook

    Run = Callable[..., Result]

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules"
PATIENTS = ROOT / "examples" / "patients"
CLEAR, EMERGENCY, UNKNOWN, SPARSE = (
    str(PATIENTS / name)
    for name in ("01-clear-yes.json", "02-emergency.json", "03-unknown.json", "09-sparse-record.json")
)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture
def run(book: RuleBook, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs the command; the rules are loaded once for all of them."""
    monkeypatch.setattr("engine.pack.load.load_rules", lambda *_folders, **_options: book)

    def call(*arguments: str, text: str | bytes = "", options: tuple[str, ...] = OPTIONS) -> Result:
        return CliRunner().invoke(root, [*arguments, *options], input=text)

    return call


@pytest.fixture
def run_without_eu(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs the command where no pack speaks for the European Union."""
    shutil.copytree(RULES, tmp_path / "rules", ignore=shutil.ignore_patterns("eu", "uk", "ca"))
    american = load_rules(tmp_path / "rules", is_locked=False)
    monkeypatch.setattr("engine.pack.load.load_rules", lambda *_folders, **_options: american)
    return run


OPTIONS = ("--rules", str(RULES), "--unlocked", "--engines", "interpret")


def case(**changes: object) -> str:
    return json.dumps({"id": "one", "jurisdiction": "US", "as_of": "2025-06-02", "facts": {}, **changes})


# evaluate


def test_a_final_answer_ends_with_exit_code_0(run: Run) -> None:
    result = run("evaluate", CLEAR)

    assert (result.exit_code, result.stderr) == (GOOD, "")
    assert "Esketamine nasal spray: eligible" in result.stdout
    assert "\x1b" not in result.stdout


def test_an_answer_that_lacks_what_decides_ends_with_exit_code_4(run: Run) -> None:
    result = run("evaluate", UNKNOWN, "--format", "json")

    assert result.exit_code == PROVISIONAL
    assert json.loads(result.stdout)["options"][0]["status"] == "insufficient_data"


def test_what_an_option_waits_for_stands_apart_from_what_is_to_be_weighed(run: Run) -> None:
    shown = " ".join(run("evaluate", str(PATIENTS / "10-blood-pressure-today.json")).stdout.split())
    esketamine = shown[shown.index("2. Esketamine") :]
    waits, weighed = esketamine.index("What it waits for"), esketamine.index("To weigh")

    assert waits < esketamine.index("treatment waits until it has come down") < weighed
    assert weighed < esketamine.index("[US-ESK-WP-09]")


def test_json_has_one_line_for_each_case_in_order(run: Run) -> None:
    result = run("evaluate", str(PATIENTS), "--format", "json")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines][:3] == ["clear-yes", "emergency", "unknown"]
    assert len(lines) == 11


def test_standard_input_is_a_file_too(run: Run) -> None:
    result = run("evaluate", "-", "--format", "json", text=f"{case(id='a')}\n{case(id='b')}\n")

    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "b"]


def test_a_bad_case_is_told_on_standard_error_and_stops_nobody(run_without_eu: Run) -> None:
    text = "\n".join(
        [case(id="a"), case(id="b", as_of="soon", facts={"age_year": 1}), case(id="c", jurisdiction="EU"), case(id="d")]
    )

    result = run_without_eu("evaluate", "-", "--format", "json", text=text)

    assert result.exit_code == FAULT
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", "d"]
    assert result.stderr.splitlines() == [
        "eligibility: -: case `b`: as_of: must be a day that exists, written as YYYY-MM-DD",
        "eligibility: -: case `b`: facts.age_year: is not a fact of the data dictionary; did you mean `age_years`?",
        "eligibility: -: case `c`: no pack for jurisdiction `EU`; packs are loaded for US, VA",
    ]


def test_what_a_terminal_would_obey_is_never_printed(run: Run) -> None:
    text = case(title="\x1b[2Jtitle\r", facts={"\x1b[31m": 1, "sbp_mmHg": {"value": 120, "source": "\x1b]0;x\x07"}})

    refused = run("evaluate", "-", text=text)
    shown = run(
        "explain", "-", text=case(title="\x1b[2Jtitle\r", facts={"madrs_total": {"value": 30, "source": "\x1b]0;"}})
    )

    assert "facts.\N{REPLACEMENT CHARACTER}[31m" in refused.stderr
    assert "title" in shown.stdout
    assert not any(character in refused.stderr + shown.stdout for character in "\x1b\r\x07")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("evaluate",), "FILE"),
        (("evaluate", ""), "a FILE is empty"),
        (("evaluate", "", "--fhir", "--jurisdiction", "US", "--as-of", "2025-06-02"), "a FILE is empty"),
        (("cases", CLEAR, ""), "a FILE is empty"),
        (("evaluate", "no-such-file.json"), "`no-such-file.json` does not exist"),
        (("evaluate", str(ROOT / "proto")), "holds no .json or .jsonl file"),
        (("evaluate", CLEAR, "--engines", "none"), "--engines"),
        (("evaluate", CLEAR, "--rules", "no-such-folder"), "--rules"),
        (("evaluat", CLEAR), "evaluat"),
    ],
    ids=[
        "no file",
        "an empty path",
        "an empty path of a record",
        "an empty path among others",
        "a file that is not there",
        "an empty folder",
        "an unknown engine",
        "no rules",
        "a misspelt command",
    ],
)
def test_wrong_usage_ends_with_exit_code_2(arguments: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(root, arguments)

    assert result.exit_code == USAGE
    assert told in result.stderr


def test_rules_that_cannot_be_used_end_with_exit_code_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(root, ["evaluate", CLEAR, "--rules", str(tmp_path)])

    assert result.exit_code == FAULT
    assert "there is no data dictionary here" in result.stderr


def test_without_rules_the_command_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("engine.cli.invocation._RULES_FOLDERS", (Path("rules"),))

    result = CliRunner(env={"ELIGIBILITY_RULES": None}).invoke(root, ["evaluate", CLEAR])

    assert result.exit_code == USAGE
    assert "ELIGIBILITY_RULES" in result.stderr


def test_both_engines_run_unless_told_otherwise(run: Run) -> None:
    result = run("evaluate", CLEAR, "--format", "json", options=OPTIONS[:3])

    assert json.loads(result.stdout)["engines"] == {"mode": "both", "agree": True, "version": SEMANTICS_VERSION}


@pytest.mark.parametrize("arguments", [(), ("evaluate",), ("explain",), ("cases",)])
def test_help_shows_an_example(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(root, [*arguments, "--help"])

    assert result.exit_code == GOOD
    assert "Example: eligibility" in result.stdout
    assert "Exit codes:" in result.stdout


def test_every_mounted_command_exists() -> None:
    listed = CliRunner().invoke(root, ["--help"]).stdout

    assert all(f"\n  {name} " in listed for name in ("evaluate", "explain", "cases"))


# The sheet for a person


def test_an_emergency_stands_above_the_patients_own_line(run: Run) -> None:
    lines = run("evaluate", EMERGENCY).stdout.splitlines()

    first = next(number for number, line in enumerate(lines) if "Suicide risk: EMERGENCY" in line)
    patient = next(number for number, line in enumerate(lines) if line.startswith("emergency  "))
    assert first < patient
    assert any("emergency psychiatric assessment, emergency" in line for line in lines[first:patient])


def test_an_unresolved_emergency_is_something_to_rule_out_now(run: Run) -> None:
    sheet = run("evaluate", SPARSE).stdout

    assert "Suicide risk: LOW (provisional" in sheet
    assert sheet.index("Rule out now") < sheet.index("1. Conventional care")


def test_a_long_list_of_questions_is_cut_in_the_sheet_and_whole_in_the_explanation(run: Run) -> None:
    short, whole = run("evaluate", SPARSE).stdout, run("explain", SPARSE).stdout

    assert "more; `eligibility explain` lists everything" in short
    assert "lists everything" not in whole
    assert "Source:" not in short
    assert "Source:" in whole


def test_options_stand_in_the_order_of_the_decision(run: Run) -> None:
    order = json.loads(run("evaluate", UNKNOWN, "--format", "json").stdout)["option_order"]
    headings = [line for line in run("evaluate", UNKNOWN).stdout.splitlines() if line[:2] in {"1.", "2.", "3."}]

    assert order == ["conventional", "esketamine", "ketamine_iv"]
    assert [heading.split()[1] for heading in headings] == ["Conventional", "Esketamine", "Intravenous"]


def test_what_came_and_cannot_be_used_is_told(run: Run) -> None:
    sheet = run("evaluate", str(PATIENTS / "10-blood-pressure-today.json")).stdout

    assert "PHQ-9 total: it was observed more than 28 days before `as_of` (facts.phq9_total)" in sheet
    assert "This concerns today's visit only." in sheet
    assert "By time alone: from 2025-06-17 on" in sheet


def changed(file: str, jurisdiction: str, **facts: object) -> str:
    """A case of another jurisdiction: the facts of an example patient, some of them changed."""
    example = json.loads(Path(file).read_text(encoding="utf-8"))
    return case(jurisdiction=jurisdiction, facts={**example["facts"], **facts})


def test_what_is_only_reported_and_every_note_are_told_once(run: Run) -> None:
    sheet = run("evaluate", "-", text=changed(CLEAR, "CA", contraception_effective=True)).stdout

    _, esketamine, _, ketamine = re.split(r"^[123]\. ", sheet.partition("Notes on every option")[0], flags=re.MULTILINE)
    assert "[CA-11]" in esketamine.partition("  Notes\n")[2]
    assert {"US-KET-01", "CA-06"} <= set(re.findall(r"\[([A-Z0-9-]+)\]", ketamine.partition("  Notes\n")[2]))
    assert sheet.count("[US-SUB-03]") == 1


def test_another_indication_that_is_not_met_is_no_argument_against(run: Run) -> None:
    sheet = run("evaluate", "-", text=changed(CLEAR, "EU", contraception_effective=True)).stdout

    assert "  Against\n" not in sheet
    assert "[EU-05]" in sheet.partition("  Looked at and not met\n")[2].partition("  Dosing\n")[0]


def test_what_weakens_a_statement_stands_beside_it(run: Run) -> None:
    facts = {"contraception_effective": True, "aneurysmal_vascular_disease": "repaired"}

    sheet = " ".join(run("evaluate", "-", text=changed(CLEAR, "EU", **facts)).stdout.split())

    assert (
        "and a repair as still present. (source partly read) Contested: The texts read are silent on repaired lesions; "
        "experts may differ on whether they still count. [EU-10]"
    ) in sheet
    assert "(source read)" not in sheet


def test_coverage_stands_apart(run: Run) -> None:
    assert "Coverage by CAREFIRST: not covered" in run("evaluate", str(PATIENTS / "05-misuse.json")).stdout


# explain


def test_the_page_goes_where_it_is_told(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"

    result = run("explain", CLEAR, "--format", "html", "--output", str(page))

    assert (result.exit_code, result.stdout) == (GOOD, "")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_an_explanation_of_everything_lists_what_does_not_apply(run: Run) -> None:
    short = json.loads(run("explain", CLEAR, "--format", "json").stdout)
    whole = json.loads(run("explain", CLEAR, "--format", "json", "--all").stdout)

    truths = {criterion["truth"] for criterion in whole["options"][0]["criteria"]}
    assert "not_met" in truths
    assert len(whole["options"][0]["criteria"]) > len(short["options"][0]["criteria"])


def test_a_page_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    result = run("explain", CLEAR, "--output", str(tmp_path / "no" / "page.html"))

    assert result.exit_code == FAULT
    assert "page.html` cannot be read or written: no such file or directory" in result.stderr


@pytest.mark.parametrize("command", ["explain", "compare"])
@pytest.mark.parametrize("form", ["text", "html", "json"])
def test_a_page_that_does_not_fit_is_told_with_its_name(run: Run, command: str, form: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    result = run(command, CLEAR, "--format", form, "--output", "/dev/full")

    assert result.exit_code == FAULT
    assert "`/dev/full` cannot be read or written: no space left on device" in result.stderr


# cases


@pytest.mark.parametrize("command", ["cases", "evaluate"])
def test_a_list_without_a_case_is_a_fault(run: Run, command: str) -> None:
    result = run(command, "-", text="[]")

    assert result.exit_code == FAULT
    assert "the file holds no case" in result.stderr


def test_the_examples_answer_as_they_expect(run: Run) -> None:
    result = run("cases", str(PATIENTS))

    assert (result.exit_code, result.stdout) == (GOOD, "11 passed, 0 failed\n")


def test_disagreements_are_a_table_and_the_last_line_counts(run_without_eu: Run) -> None:
    expected = {"esketamine": {"status": "eligible"}, "triage": "low"}
    text = "\n".join(
        [
            case(id="a", expected=expected),
            case(id="b", expected={"triage": "low"}),
            case(id="c", jurisdiction="EU", expected=expected),
        ]
    )

    result = run_without_eu("cases", "-", text=text)

    assert result.exit_code == FAULT
    assert result.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 without a pack"
    assert "insufficient_data" in result.stdout


def test_disagreements_come_as_json_too(run: Run) -> None:
    result = run("cases", "-", "--format", "json", text=case(expected={"triage": "high"}))

    assert json.loads(result.stdout) == {
        "passed": 0,
        "failed": 1,
        "without_pack": 0,
        "disagreements": [{"id": "one", "about": "triage", "expected": "high", "answered": "low"}],
    }


@pytest.mark.parametrize(
    "line",
    [
        case(),
        case(expected={}),
        case(expected={"esketamin": {"status": "eligible"}}),
        case(expected={"esketamine": "eligible"}),
        case(expected={"esketamine": {"status": "insufficient_data", "criterion": []}}),
        case(as_of="soon", expected={"triage": "low"}),
    ],
    ids=["nothing expected", "an empty expectation", "no such option", "no status", "an unknown key", "unreadable"],
)
def test_a_case_that_cannot_be_compared_fails(run: Run, line: str) -> None:
    result = run("cases", "-", text=line)

    assert result.exit_code == FAULT
    assert result.stdout.splitlines()[-1] == "0 passed, 1 failed"


def test_every_part_of_an_expectation_is_compared(book: RuleBook) -> None:
    evaluator = Evaluator(book, "interpret")
    (outcome,) = panel.decide([str(PATIENTS / "05-misuse.json")], evaluator)
    assert isinstance(outcome, panel.Decided)
    expected = Expected.model_validate(outcome.case.written["expected"])
    assert expected.coverage
    changed = expected.model_copy(
        update={
            "triage": "high",
            "referrals": (),
            "missing_includes": ("age_years",),
            "coverage": expected.coverage.model_copy(update={"criteria": ("PAY-NONE",)}),
        }
    )

    assert not list(disagreements(expected, outcome.decision))
    abouts = [about for about, _, _ in disagreements(changed, outcome.decision)]
    assert abouts == ["triage", "referrals", "missing", "coverage criteria"]
    without_payer = replace(outcome.decision, coverage=None)
    assert [about for about, _, _ in disagreements(expected, without_payer)] == ["coverage"]


# Engines that fail


class Failing:
    """Engines that fail on every patient."""

    def __init__(self, rules: RuleBook, error: Exception) -> None:
        self.rules = rules
        self.error = error

    def evaluate(
        self, facts: PatientFacts, jurisdiction: str, payer_id: str | None, as_of: date, *, is_full: bool = False
    ) -> Evaluation:
        """Fail."""
        del facts, jurisdiction, payer_id, as_of, is_full
        raise self.error


@pytest.mark.parametrize(
    ("error", "exit_code"), [(EnginesDisagree(["triage"]), INTEGRITY), (ChainFault("the session failed"), FAULT)]
)
def test_an_engine_that_fails_gives_no_decision(book: RuleBook, error: Exception, exit_code: int) -> None:
    outcomes = list(panel.decide([str(PATIENTS / "07-one-day-apart.jsonl")], Failing(book, error)))  # type: ignore[arg-type]

    assert [type(outcome) for outcome in outcomes] == [panel.Undecided] * 2
    assert {outcome.exit_code for outcome in outcomes} == {exit_code}


def test_the_exit_code_that_weighs_more_wins() -> None:
    assert worst(GOOD, PROVISIONAL) == PROVISIONAL
    assert worst(PROVISIONAL, FAULT) == FAULT
    assert worst(INTEGRITY, FAULT) == INTEGRITY
