"""A hospital's own pack: what it adds and tightens is said in the answer, from its day on, and logged like others."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.errors import RulePackError
from engine.evaluator.agree import Evaluator
from engine.evaluator.inspection import inspect_rules
from engine.facts import read_facts
from engine.ledger.rulebook import blobs_of
from engine.pack import digest as canonical
from engine.pack.load import book_from_bytes, load_rules
from engine.pack.overlay import read_overlay
from tests.property.patients import BENIGN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.evaluator.decision import Decision
    from engine.pack.book import RuleBook

pytestmark = pytest.mark.long

HERE = Path(__file__).parents[2]
RULES, HOSPITAL = HERE / "rules", HERE / "examples" / "local-pack"
DURING, BEFORE = date(2026, 6, 1), date(2025, 12, 31)
FAILED = {"max_dose_mg": 150, "weeks_at_adequate_dose": 8, "adherence": "adherent", "outcome": "nonresponse"}
PATIENT: dict[str, object] = {
    **BENIGN,
    "sbp_mmHg": 165,
    "dbp_mmHg": 80,
    "dialysis": True,
    "age_years": 66,
    "cv_event_history": "no",
    "episode_start_date": "2024-06-01",
    "trials": [{"drug": drug, "end_date": "2025-03-01", **FAILED} for drug in ("sertraline", "venlafaxine")],
}


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return load_rules(RULES, [HOSPITAL], is_locked=False)


@pytest.fixture(scope="module")
def evaluator(book: RuleBook) -> Iterator[Evaluator]:
    with closing(Evaluator(book, sessions=1)) as made:
        yield made


def decide(evaluator: Evaluator, jurisdiction: str, day: date, change: dict[str, object] | None = None) -> Decision:
    rules = evaluator.rules
    facts = read_facts(rules.facts, rules.dictionary.constraints, {**PATIENT, **(change or {})}, day)
    return evaluator.evaluate(facts, jurisdiction, None, day).decision


def met(decision: Decision, option: str) -> dict[str, str]:
    found = next(o for o in decision.options if o.option == option)
    return {c.id: c.because for c in found.criteria if c.truth == "met" and c.effect != "indicates"}


def test_a_local_criterion_speaks_in_its_jurisdictions_from_its_day_on(evaluator: Evaluator) -> None:
    assert "EXH-ESK-01" in met(decide(evaluator, "US", DURING), "esketamine")
    assert "EXH-ESK-01" in met(decide(evaluator, "VA", DURING), "ketamine_iv")
    assert "EXH-ESK-01" not in met(decide(evaluator, "US", BEFORE), "esketamine")
    assert "EXH-ESK-01" not in met(decide(evaluator, "EU", DURING), "esketamine")


def test_a_local_number_holds_from_its_day_on_and_is_the_one_in_the_sentence(evaluator: Evaluator) -> None:
    change: dict[str, object] = {"dialysis": False}
    during, before = (met(decide(evaluator, "US", day, change), "esketamine") for day in (DURING, BEFORE))
    assert "from 160 systolic" in during["US-ESK-WP-20"]
    assert "US-ESK-WP-20" not in before
    assert "US-ESK-WP-20" not in met(decide(evaluator, "EU", DURING, change), "esketamine")
    first_day = decide(evaluator, "US", BEFORE, change).changes_on
    assert first_day is not None
    assert (first_day.date, first_day.to) == ("2026-01-01", "deferred")


def test_a_local_referral_is_added(evaluator: Evaluator) -> None:
    during, before = (decide(evaluator, "US", day) for day in (DURING, BEFORE))
    reviews = [[r for r in d.referrals if "EXH-ESK-01" in r.criteria] for d in (during, before)]
    assert [len(found) for found in reviews] == [1, 0]
    assert "66 years old and on dialysis" in reviews[0][0].because


def test_the_answer_names_the_local_pack_by_its_digest(evaluator: Evaluator, book: RuleBook) -> None:
    named = {p.id: p.digest for p in decide(evaluator, "US", DURING).packs}
    assert named["example-hospital"] == book.packs["example-hospital"].digest
    assert "example-hospital" not in {p.id for p in decide(evaluator, "EU", DURING).packs}


def test_a_log_that_holds_the_local_pack_decides_alike(evaluator: Evaluator, book: RuleBook) -> None:
    blobs = blobs_of(book)
    again = book_from_bytes(blobs.facts.body, blobs.reference.body, [blob.body for blob in blobs.packs])
    assert again.packs["example-hospital"].digest == canonical.digest(read_overlay(HOSPITAL, []))
    with closing(Evaluator(again, sessions=1)) as other:
        assert decide(other, "US", DURING) == decide(evaluator, "US", DURING)


def test_the_check_and_the_cases_take_the_local_pack_along() -> None:
    found = inspect_rules(RULES, date(2026, 11, 27), [HOSPITAL], is_locked=False)
    assert list(map(str, found.faults)) == []
    ran = CliRunner().invoke(root, ["rules", "test", "--rules", str(RULES), "--overlay", str(HOSPITAL)])
    assert ran.exit_code == 0, ran.output


def test_a_command_takes_the_local_pack_by_option_or_environment(tmp_path: Path) -> None:
    case = {"id": "a", "jurisdiction": "US", "as_of": DURING.isoformat(), "facts": PATIENT}
    file = tmp_path / "case.json"
    file.write_text(json.dumps(case), encoding="utf-8")
    command = ["evaluate", str(file), "--format", "json", "--unlocked", "--rules", str(RULES)]
    plain = json.loads(CliRunner().invoke(root, command).output)
    asked = json.loads(CliRunner().invoke(root, [*command, "--overlay", str(HOSPITAL)]).output)
    set_once = json.loads(CliRunner().invoke(root, command, env={"ELIGIBILITY_OVERLAY": str(HOSPITAL)}).output)
    assert asked == set_once
    assert {p["id"] for p in asked["packs"]} - {p["id"] for p in plain["packs"]} == {"example-hospital"}


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("pack.yaml", "tightens: [US, VA]\n", "", "tightens nothing"),
        ("parameters.yaml", "2026-01-01: 160", "2026-01-01: 181", "`US-ESK-WP-20` would loosen"),
        ("parameters.yaml", "2026-01-01: 160", "2026-01-01: 170, 2027-01-01: 190", "would loosen"),
        ("esketamine/dialysis.yaml", "effect: advises_against", "effect: indicates", "could loosen"),
    ],
)
def test_a_local_pack_that_could_loosen_is_refused(file: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    hospital = tmp_path / "hospital"
    shutil.copytree(HOSPITAL, hospital)
    text = (hospital / file).read_text(encoding="utf-8")
    assert old in text
    (hospital / file).write_text(text.replace(old, new), encoding="utf-8")
    found = inspect_rules(RULES, date(2026, 11, 27), [hospital], is_locked=False)
    refusals = [f for f in found.faults if f.code.startswith("local/")]
    assert any(words in f.message for f in refusals), list(map(str, found.faults))
    assert all(f.file.startswith(str(hospital)) for f in refusals)


def house(folder: Path, name: str, **files: str) -> Path:
    """Write a local pack with one source; `files` are its other files, by their names without the ending."""
    folder.mkdir()
    header = f"""id: {name}
title: A hospital
version: 1.0.0
status: active
effective_period: {{start: 2024-01-01}}
last_review_date: 2026-11-01
authors: [somebody]
reviewers: []
extends: [us]
tightens: [US]
funding: none
limitations: []
"""
    source = "committee: {title: Minutes, publisher: A hospital, date: 2024, identifier: made up, status: made up}\n"
    for file, text in {"pack": header, "references": source, **files}.items():
        (folder / f"{file}.yaml").write_text(text, encoding="utf-8")
    return folder


def number(name: str, value: int) -> str:
    return f"""{name}:
  label: a local limit
  unit: mm[Hg]
  values: {{2024-01-01: {value}}}
  still_valid_on: 2026-11-01
  references:
    - {{source: committee, section: "1", supports: a limit}}
"""


LOW = """- id: {}-ESK-01
  title: Low pressure
  options: [esketamine]
  effect: advises_against
  when: sbp_mmHg < $bp_barrier_systolic
  explain: Blood pressure is low.
  references:
    - {{source: committee, section: "1", supports: a rule}}
  strength: local
  confirmed: engine
"""


def refused(*folders: Path) -> str:
    with pytest.raises(RulePackError) as caught:
        decide(Evaluator(load_rules(RULES, folders, is_locked=False), "interpret"), "US", DURING)
    return str([str(fault) for fault in caught.value.diagnostics])


def test_no_local_pack_takes_back_what_another_one_made_stricter(tmp_path: Path) -> None:
    one = house(tmp_path / "one", "one", parameters=number("bp_barrier_systolic", 150))
    other = house(tmp_path / "other", "other", parameters=number("bp_barrier_systolic", 170))
    assert "local pack `other` sets `bp_barrier_systolic` too" in refused(one, other)

    reading = house(tmp_path / "reading", "reading", low=LOW.format("RD"))
    assert "`RD-ESK-01` would loosen" in refused(one, reading)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("pack.yaml", "[US]", "[us]", "there is no jurisdiction `us`"),
        ("pack.yaml", "status: active", "status: draft", "it would do nothing"),
        ("low.yaml", "[esketamine]", "[esketamin]", "did you mean `esketamine`"),
        ("low.yaml", "is low", "is below {$no_such_limit}", "names nothing"),
        ("parameters.yaml", "bp_barrier_systolic", "bp_barrier_systolik", "no condition reads `$bp_barrier_systolik`"),
    ],
)
def test_a_local_pack_that_would_do_nothing_decides_nothing(
    file: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    low = LOW.format("HS").replace("$bp_barrier_systolic", "90")
    hospital = house(tmp_path / "hospital", "hospital", low=low, parameters=number("bp_barrier_systolic", 150))
    text = (hospital / file).read_text(encoding="utf-8")
    (hospital / file).write_text(text.replace(old, new), encoding="utf-8")

    assert words in refused(hospital)


def test_no_decision_is_made_with_a_number_that_will_be_looser(tmp_path: Path) -> None:
    hospital = tmp_path / "hospital"
    shutil.copytree(HOSPITAL, hospital)
    numbers = hospital / "parameters.yaml"
    numbers.write_text(numbers.read_text().replace("2026-01-01: 160", "2026-01-01: 170, 2027-01-01: 190"))
    with (
        closing(Evaluator(load_rules(RULES, [hospital], is_locked=False), sessions=1)) as evaluator,
        pytest.raises(RulePackError, match="with 190 for `bp_barrier_systolic`"),
    ):
        decide(evaluator, "US", DURING)
