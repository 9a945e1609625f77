"""The checklist of every payer for a worked case, against the facts that its rows name in the clinical tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.evaluator.decision import CoverageAnswer
    from engine.facts import PatientFacts

ROOT = Path(__file__).parents[2]
VIGNETTES = ROOT.parent / "shared" / "clinical" / "vignettes.jsonl"
BOOK = repository_rules()
needs_vignettes = pytest.mark.skipif(
    not VIGNETTES.exists(), reason="the vignettes in ../shared are not beside this repository"
)

TRIALS = {"trials", "trial_history_complete", "episode_start_date"}
ORAL_AD = {"concomitant_oral_ad", "oral_ad_class"}
PSYCHOSIS = {"mdd_psychotic_features_current", "psychotic_disorder_history"}
SCALES = {"phq9_total", "madrs_total", "hamd17_total", "qids_total"}
ACUTE = ORAL_AD | {
    "age_years", "dx_primary", "bipolar_history", "episode_current", "episode_in_remission", "treatment_phase",
    "prior_esketamine", "si_level", "suicidal_behavior_recency",
}  # fmt: skip
"""What the labeled indication with acute suicidality rests on (US-ESK-IND-03)."""


@dataclass(frozen=True)
class Asked:
    """A payer, the vignette whose patient is asked about, the answer, and the facts that the payer's rows name."""

    payer: str
    vignette: str
    status: str
    facts: set[str]
    as_of: str = ""


ASKED = [
    Asked(
        "CIGNA", "V68", "not_met",
        ACUTE | TRIALS | PSYCHOSIS | {"prescriber_specialty", "pdmp_checked"},
    ),
    Asked("EVICORE", "V68", "not_met", ACUTE | TRIALS | {"prescriber_specialty", "pdmp_checked"}),
    Asked("UHC", "V68", "not_met", ACUTE | {"rems_setting_certified"}),
    Asked(
        "UHC", "V94", "not_met",
        ACUTE | TRIALS | (SCALES - {"phq9_total"}) | {"rems_setting_certified", "prescriber_specialty"},
        "2025-04-30",
    ),
    Asked(
        "CAREFIRST", "V55", "not_covered",
        ACUTE | TRIALS | SCALES | {"psychotherapy_trial_adequate", "sud_status", "aud_status", "sud_in_treatment"},
    ),
    Asked("BCBSND", "V68", "covered", ACUTE | TRIALS | {"prescriber_specialty"}),
    Asked(
        "MEDMUTUAL", "V68", "not_met",
        ACUTE | TRIALS | {"psychotherapy_trial_adequate", "ketamine_concurrent", "madrs_total"},
    ),
    Asked("TXMCD", "V94", "covered", ACUTE | TRIALS),
    Asked("WYMCD", "V68", "covered", TRIALS | ORAL_AD | {"prescriber_specialty", "rems_setting_certified"}),
    Asked("QUALCHOICE", "V68", "not_met", TRIALS | ORAL_AD | {"age_years", "phq9_total", "severity_date"}),
    Asked("HCSC", "V75", "insufficient_data", TRIALS | ORAL_AD | SCALES | {"sud_status", "aud_status"}),
    Asked("NHS", "V87", "not_covered", {"treatment_phase", "prior_esketamine", "esketamine_start_date"}),
    Asked("CA_PUBLIC", "V89", "not_covered", set()),
    Asked("VA", "V91", "prior_approval", set()),
]  # fmt: skip


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    both = Evaluator(BOOK, "both", sessions=1)
    yield both
    both.close()


def vignette(name: str) -> dict[str, Any]:
    cases = (json.loads(line) for line in VIGNETTES.read_text().splitlines() if line.strip())
    return next(case for case in cases if case["id"] == name)


def decide(evaluator: Evaluator, asked: Asked) -> tuple[PatientFacts, CoverageAnswer]:
    case = vignette(asked.vignette)
    as_of = date.fromisoformat(asked.as_of or case["as_of"])
    read = read_facts(BOOK.facts, BOOK.dictionary.constraints, case["facts"], as_of)
    answer = evaluator.evaluate(read, case["jurisdiction"], asked.payer, as_of).decision.coverage
    assert answer is not None
    return read, answer


@needs_vignettes
@pytest.mark.parametrize("asked", ASKED, ids=[f"{a.payer} {a.as_of}".strip() for a in ASKED])
def test_the_checklist_holds_what_the_payers_rows_rest_on(asked: Asked, evaluator: Evaluator) -> None:
    read, answer = decide(evaluator, asked)

    assert (answer.payer_id, answer.status) == (asked.payer, asked.status)
    assert {item.fact for item in answer.documentation} == asked.facts
    for item in answer.documentation:
        if item.fact == "trials":
            continue
        assert item.state == ("stated" if item.fact in read.known else "missing"), item
        assert bool(item.question) is (item.value is None) is (item.state == "missing"), item
    if "trials" in asked.facts:
        found = [item for item in answer.documentation if item.fact == "trials"]
        assert len(found) == len(read.records["trials"]) > 0
        assert all(item.state == "documented" and item.lacking == () for item in found)


def test_every_payer_of_the_data_dictionary_is_asked() -> None:
    assert {asked.payer for asked in ASKED} == set(BOOK.dictionary.allowed("payer_id"))
