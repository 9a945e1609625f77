"""The packs that this repository releases: checked, rehearsed, pinned, in step with the documents made from them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.cli.rules.docs import documents
from engine.evaluator.inspection import Inspection, inspect_rules
from engine.pack.load import load_rules
from engine.pack.schemas import schemas
from engine.pack.source import read_source

pytestmark = pytest.mark.long

HERE = Path(__file__).parents[2]
RULES = HERE / "rules"
CRITERIA = HERE.parent / "shared" / "clinical" / "criteria.md"


@pytest.fixture(scope="module")
def found() -> Inspection:
    reviewed = max(p.header.last_review_date for p in load_rules(RULES, is_locked=False).packs.values())
    return inspect_rules(RULES, reviewed, is_locked=False)


def test_the_packs_pass_the_check(found: Inspection) -> None:
    assert list(map(str, found.faults)) == []
    assert list(map(str, found.warnings)) == []
    assert found.cases > 1000


def test_hazards_that_no_requires_covers_are_listed_with_the_facts(found: Inspection) -> None:
    uncovered = {(b.option, b.criterion): b.unasked for b in found.blocking["US"] if not b.covered_by}
    assert "depression_severity" in uncovered["ketamine_iv", "US-KET-37"]
    assert uncovered["ketamine_iv", "US-KET-31"] == ("raised_icp",)
    assert ("esketamine", "US-ESK-CI-01") not in uncovered
    assert len(uncovered) < 10


def test_every_pack_set_fits_into_the_forward_chaining_engine(found: Inspection) -> None:
    book = load_rules(RULES, is_locked=False)
    assert found.plans.keys() == {(jurisdiction, payer or "") for jurisdiction, payer in book.pack_sets}
    assert {jurisdiction for jurisdiction, _ in found.plans} == {"US", "VA", "EU", "UK", "CA"}


def test_every_case_passes_in_both_engines() -> None:
    result = CliRunner().invoke(root, ["rules", "test", "--rules", str(RULES)])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"\d+ passed, 0 failed", result.output.splitlines()[-1])


def test_the_packs_are_those_of_the_lock() -> None:
    assert load_rules(RULES, is_locked=True).packs


def test_the_documents_made_from_the_rules_are_up_to_date() -> None:
    stale = [n for n, text in documents(RULES).items() if (HERE / "docs" / n).read_text(encoding="utf-8") != text]
    assert not stale, "run `eligibility rules docs`"


def test_the_table_of_criteria_lists_every_id_of_the_clinical_tables_and_no_other() -> None:
    if not CRITERIA.is_file():
        pytest.skip("the clinical tables are not there: ../shared/clinical/criteria.md")
    row = re.compile(r"^\| ((?:US|EU|UK|CA|VA|PAY)-[A-Z0-9-]+) \|", re.MULTILINE)
    assert set(row.findall(documents(RULES)["criteria.md"])) == set(row.findall(CRITERIA.read_text(encoding="utf-8")))


NO_RULES = {"cds-hooks.yaml"}
"""Files beside the packs that have readers of their own, as have those of rules/reference."""

RULE_FILES = sorted(
    path
    for path in RULES.rglob("*.yaml")
    if "reference" not in path.relative_to(RULES).parts and path.name not in NO_RULES
)


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda p: p.relative_to(RULES).as_posix())
def test_the_schema_for_editors_accepts_every_rule_file(path: Path) -> None:
    made = schemas()
    stem = path.name.split(".")[0]
    kind = "cases" if path.name.endswith(".cases.yaml") else stem.split("_")[0]
    data = _plain(read_source(path.name, path.read_text(encoding="utf-8")).data)
    jsonschema.Draft202012Validator(made.get(kind, made["criteria"])).validate(data)


def _plain(value: object) -> object:
    """Give data as an editor sees it: without decimals and days."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case date():
            return value.isoformat()
        case None | bool() | int() | str():
            return value
        case _:
            return float(str(value))
