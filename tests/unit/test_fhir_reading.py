"""The reading itself: its JSON, the facts it gives, and how they join with those that were given."""

from __future__ import annotations

import json

from engine.facts import read_facts
from engine.fhir.reading import merged
from tests.unit.fhir_record import AS_OF, BOOK, concept, condition, patient, pressure, reading, request


def test_the_json_is_what_callers_are_promised() -> None:
    told = condition("43074", concept(text="Depression"), category=[{"coding": [{"code": "health-concern"}]}])
    plain = reading(patient(), pressure("3f7d", 131.3, 84), told).to_plain()

    assert plain == {
        "patient": "p1",
        "as_of": "2025-06-02",
        "facts": {
            "age_years": {"value": 44, "unit": "a", "sources": ["Patient/p1"], "matched_by": "element"},
            "sbp_mmHg": {
                "value": 131, "raw": 131.3, "unit": "mm[Hg]", "date": "2025-06-02", "sources": ["Observation/3f7d"],
                "matched_by": "unconfirmed code",
            },
            "dbp_mmHg": {
                "value": 84, "unit": "mm[Hg]", "date": "2025-06-02", "sources": ["Observation/3f7d"],
                "matched_by": "unconfirmed code",
            },
        },
        "candidates": [
            {"fact": "dx_primary", "suggests": "mdd_single", "why": "text only", "sources": ["Condition/43074"]}
        ],
        "issues": [
            {"code": "fhir/text-only", "path": "Condition/43074.code", "fact": "dx_primary",
             "effect": "unconfirmed", "count": 1}
        ],
    }  # fmt: skip
    assert json.loads(json.dumps(plain)) == plain


def test_issues_of_one_kind_fold_into_one() -> None:
    told = [condition(f"c{n}", concept(text="Depression")) for n in range(5)]
    (issue,) = reading(*told).issues

    assert (issue.count, issue.path) == (5, "Condition/c0.code")
    assert issue.paths == ("Condition/c0.code", "Condition/c1.code", "Condition/c2.code")


def test_what_is_read_can_be_given() -> None:
    told = reading(patient(), pressure("b", 131.3, 84), request("r", concept("rx 312938")))
    facts = read_facts(BOOK.facts, BOOK.dictionary.constraints, told.raw_facts(), AS_OF)

    assert facts.known["sbp_mmHg"].value == 131
    assert facts.known["sbp_mmHg"].source == "Observation/b"
    assert facts.records["trials"][0].values["drug"] == "sertraline"
    assert facts.records["trials"][0].source == "MedicationRequest/r"
    assert not facts.unusable


def test_facts_that_were_given_win_one_by_one() -> None:
    told = reading(patient(), pressure("b", 131, 84))
    joined = merged({"sbp_mmHg": 120, "age_years": None, "care_setting": "unknown", "phq9_total": {"value": 9}}, told)

    assert joined["sbp_mmHg"] == 120
    assert joined["dbp_mmHg"] == {"value": 84, "date": "2025-06-02", "source": "Observation/b"}
    assert joined["age_years"] == {"value": 44, "source": "Patient/p1"}
    assert (joined["care_setting"], joined["phq9_total"]) == ("unknown", {"value": 9})


def test_names_hold_nothing_but_ids() -> None:
    told = reading({**pressure("b", 131, 84), "id": "John Smith <b>\n" + "x" * 300})

    assert told.facts["sbp_mmHg"].sources == ("Observation/JohnSmithb" + "x" * 54,)
