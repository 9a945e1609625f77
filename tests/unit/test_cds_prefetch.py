"""Prefetch templates come from the data dictionary and use only what clients are asked to support."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from engine.dictionary import Dictionary
from engine.errors import RulePackError
from engine.pack.model import Options
from engine.pack.source import read_source
from server.cds_hooks.prefetch import filled, templates
from server.cds_hooks.words import load_words

RULES = Path(__file__).parents[2] / "rules"
WORDS = load_words(RULES)
DICTIONARY = Dictionary.model_validate(read_source("facts.yaml", (RULES / "facts.yaml").read_text()).data)
TEMPLATES = templates(WORDS, DICTIONARY)


def test_each_type_that_holds_facts_of_the_patient_is_asked_for() -> None:
    asked = {re.split(r"[/?]", template)[0] for template in TEMPLATES.values()}

    assert asked == {
        "Patient",
        "Condition",
        "Flag",
        "MedicationRequest",
        "MedicationStatement",
        "MedicationAdministration",
        "MedicationDispense",
        "Procedure",
        "AllergyIntolerance",
        "Observation",
        "QuestionnaireResponse",
    }


def test_every_loinc_code_of_an_observation_fact_is_asked_for_once() -> None:
    bound = {
        code.removeprefix("LOINC ")
        for fact in DICTIONARY.facts
        if fact.fhir and "Observation" in fact.fhir.resource
        for code in (*fact.fhir.codes, *fact.fhir.unconfirmed)
        if code.startswith("LOINC ")
    }
    asked = re.findall(r"http://loinc\.org\|([0-9-]+)", TEMPLATES["vitals"] + TEMPLATES["scores"])

    assert bound <= set(asked)
    assert {"85354-9", "55284-4", "8480-6", "8462-4", "44261-6", "44260-8", "93373-9"} <= set(asked)
    assert len(asked) == len(set(asked))


def test_every_loinc_code_that_is_read_in_an_observation_is_asked_for() -> None:
    """A server may send a panel without its members, so those are asked for by their own codes."""
    tables = RULES / "reference" / "fhir"
    texts = [(tables / f"{name}.csv").read_text() for name in ("observations", "panels")]
    rows = [row for text in texts for row in csv.DictReader(text.splitlines())]
    forms: Any = read_source("forms.yaml", (tables / "forms.yaml").read_text()).data
    phq9, c_ssrs = forms["phq9"], forms["c_ssrs"]
    read = {row["code"] for row in rows if row["system"] == "LOINC"}
    read |= {*phq9["items"], phq9["total"], *c_ssrs["levels"], c_ssrs["behavior"]["ever"], c_ssrs["behavior"]["recent"]}

    assert read <= set(re.findall(r"http://loinc\.org\|([0-9-]+)", TEMPLATES["vitals"] + TEMPLATES["scores"]))


def test_the_newest_readings_come_first() -> None:
    assert TEMPLATES["vitals"].endswith("&_sort=-date&_count=20")


def test_a_fact_without_binding_asks_for_nothing() -> None:
    bare = DICTIONARY.model_copy(
        update={"facts": tuple(f.model_copy(update={"fhir": None, "fields": ()}) for f in DICTIONARY.facts)}
    )

    assert templates(WORDS, bare) == {}


def test_a_template_is_filled_from_the_context() -> None:
    assert filled(TEMPLATES["patient"], {"patientId": "p-1"}) == "Patient/p-1"
    assert filled("Encounter/{{context.encounterId}}", {"patientId": "p-1"}) is None


@pytest.mark.parametrize(
    ("find", "put", "code"),
    [
        ("topic: trdEligibility}", "topic: trdOther}", "cds/shape"),
        ("indicator: critical", "indicator: urgent", "cds/shape"),
        ("  - id: treatment-eligibility-sign", "  - id: treatment-eligibility-view", "cds/shape"),
        ("    [prefers-alternative,", "    [prefers-anything,", "cds/shape"),
        ("version: 1.0.0", "version: 1.0.0\nversion: 1.0.1", ""),
        ("count: 20", "limit: 20", "cds/shape"),
        ("codes: [RxNorm 6130]", "codes: [RxNrom 6130]", "cds/shape"),
        ("[ketamine, ketalar]", "[Ketamine, ketalar]", "cds/shape"),
    ],
)
def test_words_that_do_not_hold_together_are_refused(tmp_path: Path, find: str, put: str, code: str) -> None:
    text = (RULES / "cds-hooks.yaml").read_text()
    assert find in text
    (tmp_path / "cds-hooks.yaml").write_text(text.replace(find, put, 1))

    with pytest.raises(RulePackError) as refused:
        load_words(tmp_path)

    assert refused.value.diagnostics[0].file == "cds-hooks.yaml"
    assert not code or refused.value.diagnostics[0].code == code


def test_every_fact_that_the_words_name_exists() -> None:
    facts = DICTIONARY.by_name()
    named = {WORDS.audience.age.fact, WORDS.audience.diagnosis.fact}
    named |= {fact for query in WORDS.prefetch.values() for fact in query.facts}
    named |= {fact for suggestion in WORDS.suggestions for fact in suggestion.facts}

    assert named <= set(facts)
    assert WORDS.audience.diagnosis.values <= set(facts[WORDS.audience.diagnosis.fact].values)


def test_every_option_that_can_be_ordered_exists() -> None:
    file = RULES / "shared" / "options.yaml"
    options = Options.model_validate(read_source(file.name, file.read_text()).data).options

    assert {order.option for order in WORDS.orders} <= {option.id for option in options}


def test_words_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RulePackError, match="cannot be read"):
        load_words(tmp_path)
