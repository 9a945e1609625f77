"""The tables under rules/reference/fhir: whole, known to the data dictionary, and refused at their line if broken."""

from __future__ import annotations

import csv
import io
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from engine.cli.rules import rules as rules_command
from engine.errors import RulePackError
from engine.fhir.terminology import ISSUES, POLICIES, REASONS, Terminology, faults_of
from engine.pack import digest
from engine.pack.load import book_from_bytes
from tests.unit.fhir_record import BOOK, ROOT, TERMINOLOGY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = dict(BOOK.reference_files)
SOURCES = sorted((ROOT / "engine" / "fhir").glob("*.py"))
BINDING = re.compile(r"(ICD-10-CM|SNOMED|LOINC|RxNorm|CPT) ([A-Z0-9.\-]+)$")


def changed(name: str, old: str, new: str) -> dict[str, bytes]:
    text = FILES[f"fhir/{name}"].decode()
    assert old in text
    return {**FILES, f"fhir/{name}": text.replace(old, new, 1).encode()}


def test_every_fact_and_value_is_in_the_data_dictionary() -> None:
    assert not TERMINOLOGY.check(BOOK.facts)


MDD = ",dx_primary,mdd_single"
BROKEN = [
    ("conditions.csv", MDD, ",dx_primari,mdd_single", "reference/unknown-fact", "did you mean `dx_primary`"),
    ("conditions.csv", MDD, ",dx_primary,mdd_singel", "reference/unknown-value", "`mdd_singel`"),
    ("conditions.csv", "ICD-10-CM,F32.0", "ICD10,F32.0", "reference/unknown-system", "`ICD10`"),
    ("conditions.csv", ",present,sets", ",always,sets", "pack/shape", "`when`"),
    ("conditions.csv", "ICD-10-CM,F32.0,", "ICD-10-CM,F32.0,,", "reference/row", "more or fewer cells"),
    ("conditions.csv", "refuted,onset", "refuted,onset_of", "pack/unknown-key", "`onset_of`"),
    ("systems.csv", "read", '"read', "reference/csv", "not CSV"),
    ("issues.csv", "fhir/unit,", "fhir/units,", "reference/missing-row", "`fhir/unit`"),
    ("reasons.csv", "old,", "older,", "reference/missing-row", "`old`"),
    ("policy.csv", "ongoing,12", "ongoing,twelve", "pack/shape", "`value`"),
    ("procedures.csv", "sets,dialysis", "sets,dialisys", "reference/unknown-policy", "did you mean `dialysis`"),
    (
        "conditions.csv",
        ",active,sets,ongoing",
        ",active,sets,ongoin",
        "reference/unknown-policy",
        "did you mean `ongoing`",
    ),
    ("conditions.csv", ",ideation,", ",ideatoin,", "reference/unknown-policy", "did you mean `ideation`"),
    ("phrases.csv", "catatonia,catatonia,yes,current", "catatonia,catatonia,yes,now", "pack/shape", "`when`"),
    ("products.csv", "312938,sertraline", "312938,sertralin", "reference/unknown-ingredient", "`sertralin`"),
    ("drugs.csv", "paroxetine_cr,never", "paroxetine_xr,never", "reference/unknown-drug", "`paroxetine_xr`"),
    ("forms.yaml", "total_fact: phq9_total", "total_facts: phq9_total", "pack/unknown-key", "`total_facts`"),
    ("forms.yaml", "items: [", "items: [[", "pack/yaml", "not YAML"),
]


@pytest.mark.parametrize(("name", "old", "new", "code", "words"), BROKEN)
def test_a_broken_table_is_refused_at_its_place(name: str, old: str, new: str, code: str, words: str) -> None:
    mine = [
        f
        for f in faults_of(changed(name, old, new), BOOK.facts)
        if f.code == code and words in f"{f.message}; {f.hint}"
    ]

    assert mine
    assert {f.file for f in mine} == {f"reference/fhir/{name}"}
    text = FILES[f"fhir/{name}"].decode()
    if code in {"reference/unknown-fact", "reference/unknown-system", "reference/row", "reference/unknown-drug"}:
        assert mine[0].line == text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", sorted(path.removeprefix("fhir/") for path in FILES if path.startswith("fhir/")))
def test_no_table_may_be_missing_or_unreadable(name: str) -> None:
    path = f"fhir/{name}"
    for files, code in (
        ({k: v for k, v in FILES.items() if k != path}, "reference/missing-file"),
        ({**FILES, path: b"\xff"}, "reference/encoding"),
    ):
        with pytest.raises(RulePackError) as caught:
            Terminology.of(files)
        assert code in {d.code for d in caught.value.diagnostics}


def test_rules_without_tables_for_fhir_are_whole() -> None:
    assert not faults_of({k: v for k, v in FILES.items() if not k.startswith("fhir/")}, BOOK.facts)


def test_the_tables_belong_to_the_reference_data_that_a_decision_is_pinned_to() -> None:
    packs = [digest.encode(pack.files) for pack in BOOK.packs.values()]
    again = book_from_bytes(digest.encode(BOOK.facts_files), digest.encode(FILES), packs)
    other = book_from_bytes(
        digest.encode(BOOK.facts_files), digest.encode(changed("timing.csv", "QD,1", "QD,2")), packs
    )

    assert again.reference_digest == BOOK.reference_digest
    assert Terminology.of(again.reference_files).timing == TERMINOLOGY.timing
    assert other.reference_digest != BOOK.reference_digest


SPELLINGS = (
    ("dextroamphet", "dexamfet"), ("amphet", "amfet"), ("hemorrh", "haemorrh"), ("ischemi", "ischaemi"),
    ("anemi", "anaemi"), ("hemato", "haemato"), ("uremi", "uraemi"), ("glycemi", "glycaemi"), ("leukemi", "leukaemi"),
    ("edema", "oedema"), ("esophag", "oesophag"), ("anesthe", "anaesthe"), ("pediatr", "paediatr"),
    ("orthoped", "orthopaed"), ("diarrhea", "diarrhoea"), ("estrogen", "oestrogen"), ("gynec", "gynaec"),
    ("cesarean", "caesarean"), ("dyspnea", "dyspnoea"), ("apnea", "apnoea"), ("tumor", "tumour"),
    ("behavior", "behaviour"),
)  # fmt: skip
"""What American and British English write differently, as parts of words."""


def british(name: str) -> str:
    for american, twin in SPELLINGS:
        name = name.replace(american, twin)
    return name


def test_every_american_phrase_has_its_british_twin() -> None:
    phrases = {(row.phrase, row.fact, row.value) for _, row in TERMINOLOGY.phrases}
    twins = {(british(phrase), fact, value) for phrase, fact, value in phrases if british(phrase) != phrase}

    assert ("cerebral haemorrhage", "intracerebral_hemorrhage_history", "yes") in twins
    assert twins <= phrases


def test_every_drug_has_its_british_name() -> None:
    drugs = TERMINOLOGY.drugs
    named = {name: british(name) for name in drugs.by_name if british(name) != name}

    assert set(named) >= {"amphetamine", "dextroamphetamine"}
    for american, twin in named.items():
        said = [
            {(row.fact, row.value) for row in drugs.effects.get(drugs.by_name.get(name, ""), ())}
            for name in (american, twin)
        ]
        assert twin in drugs.by_name
        assert said[0] == said[1]


def codes_in(pattern: str) -> Iterator[str]:
    for path in SOURCES:
        if path.name != "terminology.py":
            yield from re.findall(pattern, path.read_text(encoding="utf-8"))


def test_the_issue_codes_are_a_closed_list() -> None:
    given = set(codes_in(r'"(fhir/[a-z-]+)"')) - {"fhir/not-json"}

    assert given == set(ISSUES) == set(TERMINOLOGY.issues)
    documented = (ROOT / "docs" / "fhir.md").read_text(encoding="utf-8")
    assert all(f"`{code}`" in documented for code in ISSUES)


def test_reasons_and_policies_are_all_there() -> None:
    assert set(REASONS) == set(TERMINOLOGY.reasons)
    assert set(POLICIES) <= set(TERMINOLOGY.policy)


def test_every_number_of_this_engine_is_documented() -> None:
    documented = (ROOT / "docs" / "fhir.md").read_text(encoding="utf-8")
    units = {"d": "days", "mo": "months"}

    for name, policy in TERMINOLOGY.policy.items():
        assert f"| `{name}` | {policy.value} {units[policy.unit]} |" in documented


def test_nothing_coded_stands_in_python() -> None:
    """A LOINC, SNOMED, RxNorm or ICD-10-CM code in the source would not be covered by the digest."""
    code = re.compile(r'"(?:[0-9]{1,5}-[0-9]|[0-9]{5,18}|[A-TV-Z][0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?)"')

    assert not [found for path in SOURCES for found in code.findall(path.read_text(encoding="utf-8"))]


def test_codes_of_the_data_dictionary_are_read_or_left_out_for_a_reason() -> None:
    known = {
        "LOINC 93373-9", "LOINC 93245-9",  # panels: read by their items
        "LOINC 85354-9",  # as above
    }  # fmt: skip
    unread = set()
    for name, definition in BOOK.facts.items():
        for written in (*definition.fhir.codes, *definition.fhir.unconfirmed) if definition.fhir else ():
            match = BINDING.fullmatch(written)
            if match and written not in known and not leads(name, (match[1], match[2])):
                unread.add(f"{name}: {written}")

    assert not unread


def leads(fact: str, coding: tuple[str, str]) -> bool:
    tables = (
        TERMINOLOGY.conditions,
        TERMINOLOGY.observations,
        TERMINOLOGY.answers,
        TERMINOLOGY.allergies,
        TERMINOLOGY.procedures,
    )
    if any(fact in {row.fact, getattr(row, "onset", "")} for table in tables for row in table.find(coding)):
        return True
    ingredients, _ = TERMINOLOGY.drugs.by_code.get(coding, ((), ""))
    return any(row.fact == fact for name in ingredients for row in TERMINOLOGY.drugs.effects.get(name, ()))


def test_rules_check_refuses_a_broken_table(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(ROOT / "tests" / "packs" / "good", folder)
    shutil.copytree(ROOT / "rules" / "reference" / "fhir", folder / "reference" / "fhir")
    run = CliRunner().invoke(rules_command, ["check", "--unlocked", "--today", "2026-02-01", "--rules", str(folder)])

    assert run.exit_code == 1
    assert "reference/fhir/conditions.csv:2:1: [reference/unknown-fact]" in run.output


def test_every_source_is_explained() -> None:
    explained = (ROOT / "rules" / "reference" / "README.md").read_text(encoding="utf-8")
    tables = ("antidepressants.csv", "augmentation_agents.csv")
    named = set()
    for path, content in FILES.items():
        if path.startswith("fhir/") and path.endswith(".csv"):
            named |= {row["source"] for row in csv.DictReader(io.StringIO(content.decode())) if "source" in row}

    assert not [each for each in named if each not in tables and f"| {each} |" not in explained]


@pytest.mark.parametrize(
    "uri", ["http://loinc.org", " http://loinc.org ", "http://loinc.org/", "http://loinc.org|2.77"]
)
def test_a_code_system_is_known_however_its_address_ends(uri: str) -> None:
    assert TERMINOLOGY.system(uri) == "LOINC"
