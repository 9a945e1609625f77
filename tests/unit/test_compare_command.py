"""`eligibility compare`: what it takes, what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from engine.cli.invocation import FAULT, GOOD, INTEGRITY, PROVISIONAL, USAGE
from engine.cli.root import root
from engine.errors import EnginesDisagree
from engine.evaluator.agree import SEMANTICS_VERSION, Evaluator
from tests.unit.clinician_pages import Structure
from tests.unit.compare_book import OWN_DAY, PATIENT, load_book, write_rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.pack.book import RuleBook

    Run = Callable[..., Result]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> RuleBook:
    return load_book(tmp_path_factory.mktemp("book"))


@pytest.fixture
def run(book: RuleBook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Give a function that compares a case, by default the patient of the small book."""
    monkeypatch.setattr("engine.pack.load.load_rules", lambda *_places, **_options: book)

    def call(*arguments: str, text: str | None = None, engines: str = "interpret") -> Result:
        options = ("--rules", str(tmp_path), "--engines", engines)
        return CliRunner().invoke(root, ["compare", "-", *arguments, *options], input=case() if text is None else text)

    return call


def case(**changes: object) -> str:
    written = {"id": "one", "jurisdiction": "US", "as_of": OWN_DAY.isoformat(), "facts": PATIENT, **changes}
    return json.dumps(written)


def read(result: Result) -> dict[str, Any]:
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def spans(result: Result) -> list[tuple[str, str]]:
    return [(span["from"], span["to"]) for span in read(result)["rules_of"]]


# What is asked


@pytest.mark.parametrize(
    ("days", "asked"),
    [
        ("2019..2026", [("2019-01-01", "2026-12-31")]),
        ("2020", [("2020-01-01", "2020-12-31")]),
        ("2019-03-05..2025-06-02", [("2019-03-05", "2025-06-02")]),
        ("2020-02-29", [("2020-02-29", "2020-02-29")]),
        ("2025-06-02, 2020-01-01", [("2020-01-01", "2020-01-01"), ("2025-06-02", "2025-06-02")]),
        ("2020-01-01,2020-01-01", [("2020-01-01", "2020-01-01")]),
        ("2019 .. 2020-06-30", [("2019-01-01", "2020-06-30")]),
    ],
)
def test_days_are_days_years_and_ranges(run: Run, days: str, asked: list[tuple[str, str]]) -> None:
    result = run("--as-of", days, "--format", "json")

    assert (result.exit_code, result.stderr) == (GOOD, "")
    assert spans(result) == asked


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ("2026..2019", "`2026..2019` ends before it begins"),
        ("2020-02-30", "`2020-02-30` names no days"),
        ("soon", "`soon` names no days"),
        ("2019..", "`2019..` names no days"),
        ("..2019", "names no days"),
        ("", "`` names no days"),
        ("2020,,2021", "`` names no days"),
        ("2020-06", "`2020-06` names no days"),
        ("0000", "`0000` names no days"),
        ("2020..2021..2022", "names no days"),
        ("2020\x1b[2J", "names no days"),
    ],
)
def test_days_that_are_none_are_wrong_usage(run: Run, days: str, told: str) -> None:
    result = run("--as-of", days)

    assert result.exit_code == USAGE
    assert told in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("US,CA", "no pack for `CA`; there are packs for US, EU"),
        ("us", "no pack for `us`; there are packs for US, EU; did you mean `US`?"),
        ("", "name at least one jurisdiction"),
        (" , ", "name at least one jurisdiction"),
    ],
)
def test_a_jurisdiction_without_a_pack_is_wrong_usage(run: Run, names: str, told: str) -> None:
    result = run("--jurisdictions", names)

    assert result.exit_code == USAGE
    assert told in " ".join(result.stderr.split())


def test_jurisdictions_keep_their_order_and_the_first_is_the_base(run: Run) -> None:
    found = read(run("--jurisdictions", "EU, US,EU", "--format", "json"))

    assert found["base"] == "EU"
    assert [lane["jurisdiction"] for lane in found["jurisdictions"]] == ["EU", "US"]


def test_by_default_the_cases_own_jurisdiction_is_compared_with_all_others_on_its_own_day(run: Run) -> None:
    found = read(run("--format", "json", text=case(jurisdiction="EU")))

    assert [lane["jurisdiction"] for lane in found["jurisdictions"]] == ["EU", "US"]
    assert found["rules_of"] == [{"from": "2026-02-01", "to": "2026-02-01"}]


# What is printed


def test_text_shows_the_answers_side_by_side_by_day_and_what_makes_the_difference(run: Run) -> None:
    result = run("--as-of", "2019..2026")
    text = " ".join(result.stdout.split())

    assert (result.exit_code, result.stderr) == (GOOD, "")
    assert "By the rules of 2026-02-01, the patient's own day US EU" in text
    assert "* eligible with precautions" in text
    assert "US 2019-01-01 to 2019-12-31 not indicated TINY-WP-01 TINY-IND-02" in text
    assert "US, 2020-01-01, Spray: not indicated → eligible with precautions" in text
    assert "Not in force until 2019-12-31: it is in force from 2020-01-01 on." in text
    assert "Spray, 2024-06-01 to 2026-12-31: eligible in US, eligible with precautions in EU" in text
    assert "There is no such rule in US, where TINY-WP-01 stands in its place. The source is unconfirmed." in text
    assert "Rules were last reviewed on: US 2026-01-01, EU 2025-12-31. What changes later is not known." in text
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_text_about_one_jurisdiction_and_day_names_no_difference(run: Run) -> None:
    result = run("--jurisdictions", "US")

    assert "What differs" not in result.stdout
    assert "What changes with the day" not in result.stdout
    assert "Rules of US." in result.stdout


def test_text_says_where_nothing_differs(run: Run) -> None:
    facts = {**PATIENT, "pressure": 100}
    result = run("--as-of", "2023..2026", text=case(facts=facts))

    assert "Nothing changes with the day." in result.stdout
    assert "Nothing: the same answers by the same criteria." in result.stdout


def test_an_emergency_stands_above_the_patients_own_line(run: Run) -> None:
    text = run(text=case(facts={**PATIENT, "danger": True})).stdout

    assert text.index("FIRST, FOR one") < text.index("Suicide risk: HIGH") < text.index("The patient as of")
    assert "someone who helps: There is danger. [TINY-SUI-01]" in text


def test_json_has_a_line_for_each_case_with_all_that_help_names(run: Run) -> None:
    result = run("--as-of", "2019..2026", "--format", "json", text=f"{case()}\n{case(id='two')}\n")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    described = " ".join(CliRunner().invoke(root, ["compare", "--help"]).stdout.split())

    assert [each["id"] for each in found] == ["one", "two"]
    lane, change, difference = (found[0][part][0] for part in ("jurisdictions", "changes", "differences"))
    stretch = lane["stretches"][0]
    parts = (found[0], lane, stretch, stretch["answers"][0], change, difference, change["criteria"][0])
    assert not [key for part in parts for key in part if not re.search(rf"\b{key}\b", described)]


def test_json_says_why_a_criterion_does_not_decide_in_the_other_place(run: Run) -> None:
    found = read(run("--as-of", "2019..2026", "--format", "json"))
    last = found["differences"][2]
    (criterion,) = last["criteria"]

    assert (last["base"], last["jurisdiction"], last["from"], last["in_base"], last["there"]) == (
        "US",
        "EU",
        "2024-06-01",
        "eligible",
        "eligible_with_precautions",
    )
    assert criterion["decides"] == ["EU"]
    assert criterion["reason"] == "no_such_rule"
    assert criterion["references"] == [
        {"source": "book", "title": "A book", "section": "7", "supports": "the lower limit"}
    ]
    assert [c["criteria"][0]["decides"] for c in found["changes"] if c["jurisdiction"] == "US"] == [["before"]] * 2


def test_html_is_written_to_a_file(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "compared.html"
    result = run("--as-of", "2019..2026", "--format", "html", "--output", str(target))

    assert (result.exit_code, result.stdout) == (GOOD, "")
    assert "One patient, several rules" in Structure(target.read_text(encoding="utf-8")).text


# How it ends


def test_a_missing_fact_that_decides_ends_with_exit_code_4(run: Run) -> None:
    facts = {name: value for name, value in PATIENT.items() if name != "allergy"}

    assert run(text=case(facts=facts)).exit_code == PROVISIONAL


def test_a_bad_case_is_told_on_standard_error_and_stops_nobody(run: Run) -> None:
    result = run("--format", "json", text=f"{case(as_of='soon')}\n{case(id='two')}\n")

    assert result.exit_code == FAULT
    assert result.stderr.startswith("eligibility: -: case `one`: as_of: must be a day that exists")
    assert read(result)["id"] == "two"


def test_engines_that_disagree_end_with_exit_code_3_and_show_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def disagree(*_arguments: object, **_options: object) -> None:
        raise EnginesDisagree(["TINY-CI-01"])

    monkeypatch.setattr(Evaluator, "evaluate", disagree)
    result = run("--format", "json")

    assert (result.exit_code, result.stdout) == (INTEGRITY, "")
    assert "the engines disagree on 1 propositions" in result.stderr


def test_both_engines_run_unless_told_otherwise(run: Run) -> None:
    assert read(run("--format", "json", engines="both"))["engines"] == {
        "mode": "both",
        "agree": True,
        "version": SEMANTICS_VERSION,
    }


def test_what_a_terminal_would_obey_is_never_printed(tmp_path: Path) -> None:
    rules = write_rules(tmp_path)
    criteria = rules / "tiny/spray/rules.yaml"
    said = "explain: An adult of {age_years} years"
    text = criteria.read_text(encoding="utf-8")
    assert said in text
    criteria.write_text(text.replace(said, 'explain: "\\e[2JAn adult"  #'), encoding="utf-8")
    options = ("--rules", str(rules), "--unlocked", "--engines", "interpret", "--as-of", "2019..2026")
    result = CliRunner().invoke(root, ["compare", "-", *options], input=case(title="\x1b[2Jtitle\r"))

    assert "An adult" in result.stdout
    assert not any(character in result.stdout for character in "\x1b\r")


def test_an_empty_file_is_told(run: Run) -> None:
    result = run(text="")

    assert result.exit_code == FAULT
    assert "the file holds no case" in result.stderr


def test_the_days_between_two_days_are_not_spoken_of(run: Run) -> None:
    result = run("--as-of", "2019-06-01,2021-06-01", "--jurisdictions", "US")

    assert "holds the status on 2019-06-01" in " ".join(result.stdout.split())
    assert "by the day of the rules" not in result.stdout
    assert [f"By the rules of {day}" in result.stdout for day in ("2026-02-01", "2019-06-01", "2021-06-01")] == [
        True
    ] * 3


def test_the_order_of_keys_is_always_the_same(run: Run) -> None:
    one, two = (run("--as-of", "2019..2026", "--format", "json").stdout for _ in range(2))

    assert one == two
