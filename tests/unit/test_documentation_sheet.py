"""The payer's side at a terminal and as JSON: its standing first, then a checklist, a mark and a word for each line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine.cli.documentation_sheet import checklist, standing_lines
from engine.cli.invocation import PROVISIONAL
from engine.cli.root import root
from engine.evaluator.decision import CoverageAnswer, CriterionDates, DocumentationItem
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from engine.pack.book import RuleBook

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "case-output.schema.json").read_text())
OPTIONS = ("--rules", str(ROOT / "rules"), "--unlocked", "--engines", "interpret")
CASE = {
    "id": "one",
    "jurisdiction": "US",
    "as_of": "2025-06-02",
    "payer_id": "CIGNA",
    "facts": {
        "prescriber_specialty": {"value": "psychiatrist", "source": "PractitionerRole/7", "date": "2025-05-30"},
        "age_years": 44,
        "trials": [
            {"drug": "sertraline", "documentation": "self_report"},
            {"value": {"drug": "venlafaxine", "max_dose_mg": 225}, "source": "MedicationRequest/\x1b[31m3"},
        ],
        "psychotic_disorder_history": "none",
    },
}
ITEMS = (
    DocumentationItem("age_years", "age", ("PAY-1", "PAY-2"), "documented", "44 years", source="Patient/1"),
    DocumentationItem("trials", "trials, 1 of 1", ("PAY-1",), "self_reported", "sertraline", lacking=("outcome",)),
    DocumentationItem("oral", "oral drug", ("PAY-1",), "stated", "yes", date="2025-05-30"),
    DocumentationItem("asked", "first fact", ("PAY-1",), "missing", None, "Is it so?"),
    DocumentationItem("spared", "second fact", ("PAY-1",), "missing", None, "And this?", "it is outside 0 to 27"),
)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture
def evaluate(book: RuleBook, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Give a function that evaluates the case and gives what is printed; the rules are loaded once."""
    monkeypatch.setattr("engine.pack.load.load_rules", lambda *_folders, **_options: book)

    def call(*options: str, command: str = "evaluate") -> str:
        result = CliRunner().invoke(root, [command, "-", *OPTIONS, *options], input=json.dumps(CASE))
        assert result.exit_code == PROVISIONAL
        return result.stdout

    return call


def printed(parts: Iterable[RenderableType], width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_each_state_has_a_mark_and_a_word_and_each_line_what_it_is_for() -> None:
    text = printed(checklist(ITEMS, {"asked"}))
    marked = [line for line in text if line[2:3] in {"✓", "~", "✗"}]

    assert [" ".join(line.split()) for line in marked] == [
        "✓ documented age 44 years PAY-1",
        "~ self-reported trials, 1 of 1 sertraline PAY-1",
        "~ stated oral drug yes PAY-1",
        "✗ missing first fact Is it so? PAY-1",
        "✗ missing second fact Cannot be used: it is outside 0 to 27. PAY-1",
    ]
    rest = {" ".join(line.split()) for line in text} - {" ".join(line.split()) for line in marked}
    assert {"Patient/1 PAY-2", "Not recorded: outcome.", "2025-05-30", "And this?"} <= rest
    assert [line.strip() for line in text].count("The payer's answer waits for it.") == 1


def test_an_output_without_such_letters_has_plain_marks() -> None:
    text = "\n".join(printed(checklist(ITEMS, set(), is_ascii=True)))

    assert text.isascii()
    assert "+ documented" in text
    assert "- missing" in text


def test_without_lines_there_is_no_checklist() -> None:
    assert printed(checklist((), set())) == []


def test_the_standing_comes_with_the_days_on_which_each_row_is_in_force() -> None:
    days = (("PAY-1", "", ""), ("PAY-2", "2020-01-01", "2025-05-01"), ("PAY-3", "2025-01-21", ""))
    dates = tuple(CriterionDates(*each) for each in days)

    assert printed(standing_lines(CoverageAnswer("ACME", "covered", (), (), "A copy of 2020.", dates))) == [
        "  A copy of 2020.",
        "  In force: PAY-1 undated; PAY-2 from 2020-01-01 until 2025-05-01; PAY-3 from 2025-01-21.",
    ]
    assert printed(standing_lines(CoverageAnswer("ACME", "covered", (), (), "A copy."))) == ["  A copy."]


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_the_sheet_shows_the_payers_side_after_the_options(evaluate: Callable[..., str], command: str) -> None:
    text = evaluate(command=command)
    marks = [
        "3. ",
        "Coverage by CIGNA: insufficient data",
        "Third-party copy of 2025",
        "Documentation",
        "Questions, the",
    ]

    assert [text.index(mark) for mark in marks] == sorted(text.index(mark) for mark in marks)
    assert "[PAY-CIGNA-02]" in text
    assert "✓ documented" in text
    assert "~ self-reported" in text
    assert "MedicationRequest/\N{REPLACEMENT CHARACTER}[31m3" in text
    assert "\x1b" not in text


def test_json_has_the_checklist_in_the_shape_of_the_schema(evaluate: Callable[..., str]) -> None:
    output: dict[str, Any] = json.loads(evaluate("--format", "json"))
    coverage = output["coverage"]
    found: dict[str, list[dict[str, Any]]] = {}
    for item in coverage["documentation"]:
        found.setdefault(item["fact"], []).append(item)

    jsonschema.Draft202012Validator(SCHEMA).validate(output)
    assert list(coverage) == list(SCHEMA["properties"]["coverage"]["oneOf"][1]["properties"])
    assert coverage["standing"] == "Third-party copy of 2025, not the payer's present policy."
    assert {"criterion": "PAY-CIGNA-02", "from": "2025-01-21", "until": None} in coverage["dates"]
    assert [note["id"] for note in coverage["notes"]] == ["PAY-CIGNA-02"]
    assert found["prescriber_specialty"] == [
        {
            "fact": "prescriber_specialty",
            "label": "prescriber's specialty",
            "criteria": ["PAY-CIGNA-01"],
            "state": "documented",
            "value": "psychiatrist",
            "path": "facts.prescriber_specialty",
            "date": "2025-05-30",
            "source": "PractitionerRole/7",
        }
    ]
    assert [item["state"] for item in found["trials"]] == ["self_reported", "documented"]
    assert found["trials"][1]["lacking"][:2] == ["weeks at an adequate dose", "end of the trial"]
    assert found["pdmp_checked"] == [
        {
            "fact": "pdmp_checked",
            "label": "review of the prescription monitoring program",
            "criteria": ["PAY-CIGNA-01"],
            "state": "missing",
            "value": None,
            "question": "Has the prescription drug monitoring program been reviewed?",
        }
    ]
    definition = list(SCHEMA["$defs"]["documentation"]["properties"])
    for item in coverage["documentation"]:
        assert list(item) == [key for key in definition if key in item]


def test_the_schema_refuses_a_state_that_does_not_exist(evaluate: Callable[..., str]) -> None:
    output: dict[str, Any] = json.loads(evaluate("--format", "json"))
    output["coverage"]["documentation"][0]["state"] = "probably"

    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(output)
