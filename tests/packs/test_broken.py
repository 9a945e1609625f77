"""One broken pack per way to be wrong: the check names the fault, at its place, and nothing else."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.inspection import inspect_rules

sys.path.insert(0, str(Path(__file__).parent))
from overlay import GOOD, Broken  # noqa: E402 - tests are no package

if TYPE_CHECKING:
    from collections.abc import Iterable

TODAY = date(2026, 2, 1)

RULES, CASES = "tiny/spray/rules.yaml", "tiny/spray/rules.cases.yaml"
DERIVED, PARAMETERS, OPTIONS = "tiny/derived.yaml", "tiny/parameters.yaml", "tiny/options.yaml"
TRIAGE, REFERRALS, PACK, ACME = "tiny/triage.yaml", "tiny/referrals.yaml", "tiny/pack.yaml", "payers/acme/pack.yaml"

_ALLERGY = "  when: allergy is yes"
_REFERENCE = "supports: adults with a failed trial"


def _more(id_: str, rest: str) -> str:
    """Write a file with one more criterion."""
    return f"- id: {id_}\n  title: More\n{rest}  references: [{{source: book}}]\n  strength: test\n  confirmed: read\n"


def _deep(depth: int) -> str:
    return "{not: " * depth + "danger" + "}" * depth


_WIDE = "{at_least: {n: 9, of: [" + ", ".join(f'"score > {n}"' for n in range(1, 19)) + "]}}"

SHAPES = [
    Broken("no data dictionary", "pack/missing-file", "facts.yaml", "facts.yaml", {"facts.yaml": None}),
    Broken("no options", "pack/missing-file", "options.yaml", PACK, {OPTIONS: None}, frozenset({"lint/unknown-id"})),
    Broken("not UTF-8", "pack/encoding", "UTF-8", RULES, {RULES: b"\xff\xfe"}),
    Broken("not YAML", "pack/yaml", "not YAML", RULES, {RULES: "- id: [\n"}),
    Broken("a key twice", "pack/duplicate-key", "`when`", RULES, {RULES: (_ALLERGY, f"{_ALLERGY}\n{_ALLERGY}")}),
    Broken("a list as a key", "pack/key", "one word", RULES, {RULES: (_ALLERGY, f"{_ALLERGY}\n  ? [a]\n  : b")}),
    Broken("a day that does not exist", "pack/date", "2020-02-30", RULES, {RULES: ("{from: 2020-01-01}", "{from: 2020-02-30}")}),
    Broken("an anchor in itself", "pack/too-deep", "nested", RULES, {RULES: (_ALLERGY, "  when: &a {not: *a}")}),
    Broken("no drug tables", "pack/table", "KeyError", "reference/antidepressants.csv", {"reference/antidepressants.csv": None}),
    Broken("an id twice in a pack", "pack/duplicate-id", "TINY-CI-01", RULES, {RULES: ("- id: TINY-CI-02", "- id: TINY-CI-01")}),
    Broken("a pack twice", "pack/duplicate-id", "`tiny` exists twice", "zwei/pack.yaml", {"zwei/pack.yaml": (GOOD / PACK).read_text()}),
    Broken("an id in two packs", "pack/duplicate-id", "in pack `tiny` too", "payers/acme/coverage.yaml", {"payers/acme/coverage.yaml": ("PAY-ACME-01", "TINY-CI-01")}),
    Broken("an unknown base", "pack/unknown-pack", "did you mean `tiny`", ACME, {ACME: ("extends: [tiny]", "extends: [tinny]")}),
    Broken("a pack that extends itself", "pack/cycle", "extends itself", PACK, {PACK: ("authors: [nobody]", "authors: [nobody]\nextends: [tiny]")}),
    Broken("an unknown source", "pack/unknown-source", "did you mean `book`", RULES, {RULES: ('{source: book, section: "2"', '{source: bok, section: "2"')}),
    Broken("a list where a mapping belongs", "pack/shape", "mapping", PARAMETERS, {PARAMETERS: "- a\n"}),
    Broken("a mapping where a list belongs", "pack/shape", "begins with `- `", RULES, {RULES: "a: b\n"}),
    Broken("an unknown effect", "pack/shape", "`effect`", RULES, {RULES: ("effect: cautions", "effect: warns")}),
    Broken("an unknown key", "pack/unknown-key", "did you mean `unless`", RULES, {RULES: (_ALLERGY, f"{_ALLERGY}\n  unles: danger")}),
    Broken("no title", "pack/missing-key", "`title`", RULES, {RULES: ("  title: Pressure\n", "")}),
    Broken("no reference", "pack/shape", "`references`", RULES, {RULES: (f'[{{source: book, section: "2", {_REFERENCE}}}]', "[]")}),
    Broken("no sentence", "pack/shape", "the sentence that a clinician reads", RULES, {RULES: ("  explain: An allergy is on record.\n", "")}),
    Broken("no condition", "pack/shape", "`when`", RULES, {RULES: (f"{_ALLERGY}\n", "")}),
    Broken("a quotation in `supports`", "pack/shape", "own words", RULES, {RULES: (_REFERENCE, 'supports: says “adults”')}),
    Broken("a long `supports`", "pack/shape", "200", RULES, {RULES: (_REFERENCE, f"supports: {'long ' * 41}")}),
    Broken("`otherwise` without sources", "pack/shape", "`first_known`", DERIVED, {DERIVED: ("  when: failed >= 1", "  when: failed >= 1\n  otherwise: true")}),
]  # fmt: skip

CONDITIONS = [
    Broken("an unknown name", "pack/unknown-name", "did you mean `allergy`", RULES, {RULES: (_ALLERGY, "  when: alergy is yes")}),
    Broken("an unknown parameter", "pack/unknown-name", "did you mean `pressure_limit`", RULES, {RULES: ("$pressure_limit", "$presure_limit")}, frozenset({"lint/unused-parameter"})),
    Broken("an unknown list", "pack/unknown-name", "not a list fact", DERIVED, {DERIVED: ("  count: trials", "  count: trails")}),
    Broken("no unit", "pack/type", "not in no unit", RULES, {RULES: ("age_years >= 18 a", "age_years >= 18")}),
    Broken("another unit", "pack/type", "not in `wk`", RULES, {RULES: ("age_years >= 18 a", "age_years >= 18 wk")}),
    Broken("a number out of range", "pack/type", "0 to 130", RULES, {RULES: ("age_years >= 18 a", "age_years >= 180 a")}),
    Broken("an unknown value", "pack/type", "`maybe` is not a value", RULES, {RULES: (_ALLERGY, "  when: allergy is maybe")}),
    Broken("a number taken for true", "pack/type", "compare it", RULES, {RULES: (_ALLERGY, "  when: pressure")}),
    Broken("an enum taken for true", "pack/type", "NAME is VALUE", RULES, {RULES: (_ALLERGY, "  when: allergy")}),
    Broken("a date taken for true", "pack/type", "within 28 d", RULES, {RULES: (_ALLERGY, "  when: scored_on")}),
    Broken("a list taken for true", "pack/type", "{any: NAME}", RULES, {RULES: (_ALLERGY, "  when: drugs")}),
    Broken("a window in kilograms", "pack/type", "length of time", RULES, {RULES: (_ALLERGY, "  when: scored_on within 3 kg")}),
    Broken("a fixed day that does not exist", "pack/date", "2020-02-30", RULES, {RULES: (_ALLERGY, "  when: scored_on before 2020-02-30")}),
    Broken("overlapping bands", "pack/type", "`9-20` overlaps `0-9`", DERIVED, {DERIVED: ("10-20: high", "9-20: high")}),
    Broken("a band out of range", "pack/type", "`10-21` is not a range", DERIVED, {DERIVED: ("10-20: high", "10-21: high")}),
    Broken("a band of words", "pack/type", "`ten` is not a range", DERIVED, {DERIVED: ("10-20: high", "ten: high")}),
    Broken("a band that says something else", "pack/type", "`higher` is not a value", DERIVED, {DERIVED: ("10-20: high", "10-20: higher")}),
    Broken("a default of another kind", "pack/type", "`true` is not a value".replace("true", "True"), DERIVED, {DERIVED: ("10-20: high}}", "10-20: high}}\n  otherwise: true")}),
    Broken("a source of another kind", "pack/type", "map it", DERIVED, {DERIVED: ("    - {score: {0-9: low, 10-20: high}}", "    - danger\n    - {score: {0-9: low, 10-20: high}}")}),
    Broken("a shadowed fact", "pack/duplicate-id", "already names a fact", DERIVED, {DERIVED: ("- id: one_failed", "- id: danger")}, frozenset({"lint/unknown-id"})),
    Broken("no condition at all", "pack/condition", "is not a condition", RULES, {RULES: (_ALLERGY, "  when: allergy equals yes")}),
    Broken("an unknown operator", "pack/condition", "`none`", RULES, {RULES: (_ALLERGY, "  when: {none: [danger]}")}),
    Broken("a condition nested too deeply", "pack/condition-too-deep", "too deeply", RULES, {RULES: (_ALLERGY, f"  when: {_deep(20)}")}),
    Broken("a concept defined by itself", "pack/cycle", "defined by itself", DERIVED, {DERIVED: ("  when: failed >= 1", "  when: {any: [failed >= 1, one_failed]}")}),
    Broken("no parameter to read trials with", "pack/missing-parameter", "trial_exposure_tolerance", PACK, {PARAMETERS: ("trial_exposure_tolerance:", "trial_tolerance:")}, frozenset({"lint/unused-parameter"})),
    Broken("a condition too wide for the chain", "chain/too-wide", "split its condition", RULES, {RULES: ("  when: pressure > $pressure_limit", f"  when: {_WIDE}")}, frozenset({"lint/unused-parameter", "cases/side", "cases/none"})),
]  # fmt: skip

LINT = [
    Broken("a review overdue", "lint/review-overdue", "2025-01-01", PACK, {PACK: ("last_review_date: 2026-01-01", "last_review_date: 2024-01-01")}),
    Broken("an unknown jurisdiction", "lint/unknown-id", "no jurisdiction `UX`", ACME, {ACME: ("jurisdictions: [US]", "jurisdictions: [US, UX]")}),
    Broken("an unknown payer", "lint/unknown-id", "did you mean `ACME`", ACME, {ACME: ("payer: ACME", "payer: ACMEE")}),
    Broken("no active pack", "lint/no-pack", "no active pack", ".", {PACK: ("status: active", "status: draft")}),
    Broken("an unknown option", "lint/unknown-id", "did you mean `spray`", RULES, {RULES: ("  options: [spray]\n  effect: cautions", "  options: [spry]\n  effect: cautions")}),
    Broken("no option", "lint/no-option", "without `options`", RULES, {RULES: ("  options: [spray]\n  effect: cautions", "  effect: cautions")}),
    Broken("a withheld cover without statuses", "lint/no-option", "`statuses`", RULES, {"payers/acme/more.yaml": _more("PAY-ACME-02", "  effect: withholds\n  option: spray\n  explain: No.\n")}, frozenset()),
    Broken("a stray key", "lint/stray-key", "`plan` means nothing", RULES, {RULES: ("effect: cautions", "effect: cautions\n  plan: x")}),
    Broken("a level that does not exist", "lint/unknown-id", "no level `populace`", RULES, {RULES: ("effect: excludes", "effect: excludes\n  level: populace")}),
    Broken("a triage level that does not exist", "lint/unknown-id", "did you mean `high`", TRIAGE, {TRIAGE: ("level: high", "level: highest")}),
    Broken("an indication that gives unknown", "lint/stray-key", "`gives: deferred`", RULES, {RULES: ("effect: indicates\n  when: {all", "effect: indicates\n  gives: unknown\n  when: {all")}),
    Broken("triage outside its file", "lint/misplaced", "triage.yaml", RULES, {RULES: ("effect: cautions", "effect: triages\n  level: high")}),
    Broken("beside a criterion that does not exist", "lint/unknown-id", "TINY-XX-01", RULES, {RULES: ("effect: cautions", "effect: reports\n  beside: [TINY-XX-01]")}),
    Broken("replaces what does not exist", "lint/unknown-id", "TINY-XX-01", RULES, {RULES: (_ALLERGY, f"{_ALLERGY}\n  replaces: TINY-XX-01")}),
    Broken("defined by what does not exist", "lint/unknown-id", "no name `nowhere`", "tiny/spray/more.yaml", {"tiny/spray/more.yaml": _more("TINY-DEF-01", "  effect: defines\n  defined_by: [nowhere]\n")}),
    Broken("an indication group without its criterion", "lint/unknown-id", "TINY-IND-09", OPTIONS, {OPTIONS: ("TINY-IND-02", "TINY-IND-09")}),
    Broken("an indication group without its trials", "lint/unknown-id", "no derived fact `two_failed`", OPTIONS, {OPTIONS: ("trials: one_failed", "trials: two_failed")}),
    Broken("an option without a place in the order", "lint/unknown-id", "no place in the order", OPTIONS, {OPTIONS: ("within_group: [spray, care]", "within_group: [spray]")}),
    Broken("an unknown option in the order", "lint/unknown-id", "no option `cure`", OPTIONS, {OPTIONS: ("within_group: [spray, care]", "within_group: [spray, care, cure]")}),
    Broken("triage asks for no fact", "lint/unknown-id", "no fact `dangr`", TRIAGE, {TRIAGE: ("asks: [danger]", "asks: [dangr]")}),
    Broken("a contradiction without its criterion", "lint/unknown-id", "TINY-XX-01", DERIVED, {DERIVED: ("  when: failed >= 1", "  when: failed >= 1\n  unknown_if: {when: danger, report: TINY-XX-01, says: No.}")}),
    Broken("a referral kind without words", "lint/referral-words", "did you mean `helper`", REFERRALS, {REFERRALS: ("  - kind: helper", "  - kind: helpr")}, frozenset({"cases/subject", "cases/none"})),
    Broken("a referral of no criterion", "lint/unknown-id", "TINY-SUI-02", REFERRALS, {REFERRALS: ("criteria: [TINY-SUI-01]", "criteria: [TINY-SUI-02]")}),
    Broken("a placeholder that names nothing", "lint/placeholder", "did you mean `pressure`", RULES, {RULES: ("is {pressure}", "is {presure}")}),
    Broken("a placeholder about another trial field", "lint/placeholder", "`{pressure}` names nothing", RULES, {RULES: ("trial of {drug}", "trial of {pressure}")}),
    Broken("a period that ends before it begins", "lint/period", "exclusive", RULES, {RULES: ("{from: 2020-01-01}", "{from: 2020-01-01, until: 2020-01-01}")}),
]  # fmt: skip

CASE_FILES = [
    Broken("cases without a pack", "cases/no-pack", "pack.yaml", "stray.cases.yaml", {"stray.cases.yaml": "[]\n"}),
    Broken("cases that are no list", "pack/shape", "begins with `- criterion: `", CASES, {CASES: ("cases:\n", "cases: x\nother:\n")}),
    Broken("cases of nothing", "cases/subject", "name one subject", CASES, {CASES: ("  - criterion: TINY-CON-01\n", "  - as_of: 2026-02-02\n")}, frozenset({"cases/none"})),
    Broken("cases of an unknown criterion", "cases/subject", "did you mean `TINY-CON-01`", CASES, {CASES: ("TINY-CON-01", "TINY-CON-02")}, frozenset({"cases/none"})),
    Broken("cases without a day", "cases/no-date", "as_of", CASES, {CASES: ("as_of: 2026-02-01\n", "")}, frozenset({"cases/none"})),
    Broken("met, of a concept with values", "cases/value", "it has values", "tiny/derived.cases.yaml", {"tiny/derived.cases.yaml": ("value: {low: [{score: 9}], ", "met: [{}]\n    value: {low: [{score: 9}], ")}),
    Broken("a value, of a concept without", "cases/value", "has no values", CASES, {CASES: ("    met: [{allergy: yes}]", "    met: [{allergy: yes}]\n    value: {high: [{}]}")}),
    Broken("a value that does not exist", "cases/value", "`higher` is not a value", "tiny/derived.cases.yaml", {"tiny/derived.cases.yaml": ("high: [{score: 10}]", "higher: [{score: 10}]")}),
    Broken("no met case", "cases/none", "can be met", RULES, {CASES: ("    met: [{allergy: yes}]\n", "")}),
    Broken("no not-met case", "cases/none", "can be not met", RULES, {CASES: ("    not_met: [{allergy: no}]\n", "")}),
    Broken("no unknown case", "cases/none", "can be unknown", RULES, {CASES: ("    not_met: [{allergy: no}]\n    unknown: [{}]\n", "    not_met: [{allergy: no}]\n")}),
    Broken("no unknown case of what must be known", "cases/none", "`TINY-CI-02` can be unknown", RULES, {CASES: ("    met: [{allergy: no}]\n    unknown: [{}]\n", "    met: [{allergy: no}]\n")}),
    Broken("no unknown case of a trial", "cases/none", "`TINY-TRX-01` can be unknown", RULES, {CASES: ("    not_met: [{weeks_at_adequate_dose: 6}]\n    unknown: [{}]\n", "    not_met: [{weeks_at_adequate_dose: 6}]\n")}),
    Broken("no case of a derived fact", "cases/none", "`one_failed` has no case", DERIVED, {"tiny/derived.cases.yaml": ("  - derived: one_failed\n", "  - derived: failed\n")}, frozenset({"cases/value"})),
    Broken("no case of a referral", "cases/none", "helper/emergency", REFERRALS, {"tiny/referrals.cases.yaml": None}),
    Broken("one side of a number", "cases/side", "140 mmHg", RULES, {CASES: ("not_met: [{pressure: 140}]", "not_met: [{pressure: 120}]")}),
    Broken("one side of a band", "cases/side", "`score` 9", DERIVED, {"tiny/derived.cases.yaml": ("low: [{score: 9}]", "low: [{score: 8}]")}),
]  # fmt: skip


def _named(broken: Iterable[Broken]) -> list[object]:
    return [pytest.param(each, id=each.name) for each in broken]


@pytest.mark.parametrize("broken", _named([*SHAPES, *CONDITIONS, *LINT, *CASE_FILES]))
def test_a_broken_pack_is_refused_with_its_fault_at_its_place(broken: Broken, tmp_path: Path) -> None:
    found = inspect_rules(broken.write(tmp_path), TODAY, is_locked=False)
    mine = [f for f in found.faults if f.code == broken.code]
    assert any(broken.words in f"{f.message}; {f.hint}" for f in mine), list(map(str, found.faults))
    assert any(f.file == broken.file for f in mine), list(map(str, mine))
    assert {f.code for f in found.faults} <= {broken.code, *broken.also}, list(map(str, found.faults))
    assert all(f.line >= 1 and f.column >= 1 for f in found.faults)


def test_all_faults_come_at_once_and_sorted(tmp_path: Path) -> None:
    rules = Broken(
        "several",
        "",
        "",
        "",
        {
            RULES: ("age_years >= 18 a", "age_years >= 18"),
            DERIVED: ("10-20: high", "9-20: high"),
            PACK: ("last_review_date: 2026-01-01", "last_review_date: 2024-01-01"),
            OPTIONS: ("within_group: [spray, care]", "within_group: [spray]"),
        },
    ).write(tmp_path)
    found = inspect_rules(rules, TODAY, is_locked=False)
    assert [f.code for f in found.faults] == ["pack/type", "lint/unknown-id", "lint/review-overdue", "pack/type"]
    assert found.faults == sorted(found.faults)


def test_a_fault_of_shape_does_not_hide_a_fault_of_type(tmp_path: Path) -> None:
    changes: dict[str, tuple[str, str] | str | bytes | None] = {
        RULES: ("age_years >= 18 a", "age_years >= 18"),
        TRIAGE: ("  strength: test", "  strenght: test"),
    }
    found = inspect_rules(Broken("two", "", "", "", changes).write(tmp_path), TODAY, is_locked=False)
    assert {"pack/type", "pack/unknown-key", "pack/missing-key"} <= {f.code for f in found.faults}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ((PARAMETERS, ("  label: tolerance", "  label: tolerance\n  note: none")), ""),
        ((PARAMETERS, ("pressure_limit:", "other_limit:\n  label: other\n  values: {2020-01-01: 1}\n"
                       "  still_valid_on: 2026-01-01\n  references: [{source: book}]\n\npressure_limit:")),
         "lint/unused-parameter"),
        ((PARAMETERS, ("  still_valid_on: 2026-01-01\n  references: [{source: book, section: \"1\"}]",
                       "  still_valid_on: 2024-01-01\n  references: [{source: book, section: \"1\"}]")),
         "lint/stale-parameter"),
    ],
)  # fmt: skip
def test_a_warning_does_not_refuse(change: tuple[str, tuple[str, str]], code: str, tmp_path: Path) -> None:
    found = inspect_rules(Broken("warned", "", "", "", dict([change])).write(tmp_path), TODAY, is_locked=False)
    assert not found.faults
    assert {w.code for w in found.warnings} == ({code} if code else set())
