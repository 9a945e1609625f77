"""What a payer's criteria rest on: every fact behind the rows in force, with the evidence that came and no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from engine import trials
from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from tests.repository import repository_rules
from tests.unit.fhir_record import concept, other, reading

if TYPE_CHECKING:
    from engine.evaluator.decision import CoverageAnswer, Decision, DocumentationItem

BOOK = repository_rules()
EVALUATOR = Evaluator(BOOK, "interpret")
AS_OF = "2025-06-02"
LABEL = "antidepressant and augmentation trials"
SERTRALINE: dict[str, object] = {
    "drug": "sertraline",
    "max_dose_mg": 150,
    "weeks_at_adequate_dose": 10,
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "ongoing": True,
}
VENLAFAXINE: dict[str, object] = {**SERTRALINE, "drug": "venlafaxine", "max_dose_mg": 225}


def decide(payer: str, as_of: str = AS_OF, jurisdiction: str = "US", **facts: Any) -> Decision:  # noqa: ANN401 - JSON
    day = date.fromisoformat(as_of)
    read = read_facts(BOOK.facts, BOOK.dictionary.constraints, facts, day)
    return EVALUATOR.evaluate(read, jurisdiction, payer, day).decision


def coverage(payer: str, as_of: str = AS_OF, jurisdiction: str = "US", **facts: Any) -> CoverageAnswer:  # noqa: ANN401 - JSON
    answer = decide(payer, as_of, jurisdiction, **facts).coverage
    assert answer is not None
    return answer


def lines(payer: str, fact: str, **facts: Any) -> list[DocumentationItem]:  # noqa: ANN401 - JSON
    return [item for item in coverage(payer, **facts).documentation if item.fact == fact]


# States


@pytest.mark.parametrize(
    ("beside", "state"),
    [
        ({"source": "PractitionerRole/7", "date": "2025-05-30"}, "documented"),
        ({"source": "letter of referral"}, "documented"),
        ({"date": "2025-05-30"}, "stated"),
        ({"source": ""}, "stated"),
        ({}, "stated"),
    ],
    ids=["source and date", "source", "date alone", "empty source", "nothing"],
)
def test_a_known_fact_is_documented_only_by_a_source(beside: dict[str, str], state: str) -> None:
    (line,) = lines("CIGNA", "prescriber_specialty", prescriber_specialty={"value": "psychiatrist", **beside})

    assert (line.state, line.date, line.source) == (state, beside.get("date", ""), beside.get("source", ""))
    assert (line.value, line.label) == ("psychiatrist", "prescriber's specialty")
    assert line.path == "facts.prescriber_specialty"
    assert (line.question, line.reason, line.lacking) == ("", "", ())


@pytest.mark.parametrize("source", [" ", "\u200b"])
def test_a_source_of_which_nothing_can_be_seen_documents_nothing(source: str) -> None:
    facts: dict[str, Any] = {
        "prescriber_specialty": {"value": "psychiatrist", "source": source},
        "trials": [{"value": SERTRALINE, "source": source}],
    }
    read = read_facts(BOOK.facts, BOOK.dictionary.constraints, facts, date.fromisoformat(AS_OF))
    unread = replace(
        read,
        known={name: replace(each, source=source) for name, each in read.known.items()},
        records={name: tuple(replace(each, source=source) for each in those) for name, those in read.records.items()},
    )
    for given in (read, unread):
        answer = EVALUATOR.evaluate(given, "US", "CIGNA", date.fromisoformat(AS_OF)).decision.coverage
        assert answer is not None
        assert {item.state for item in answer.documentation if item.fact in facts} == {"stated"}


@pytest.mark.parametrize("given", [None, "unknown", {"value": "unknown", "source": "PractitionerRole/7"}])
def test_what_is_not_known_is_missing_with_its_question_whatever_came_with_it(given: object) -> None:
    (line,) = lines("CIGNA", "prescriber_specialty", prescriber_specialty=given)

    assert (line.state, line.value, line.source) == ("missing", None, "")
    assert line.question == BOOK.facts["prescriber_specialty"].ask


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"value": 24, "date": "2025-05-04"}, "it was observed more than 28 days before `as_of`"),
        ({"value": 24, "date": "2025-06-03"}, "it was observed after `as_of`"),
        ({"value": 28}, "it is outside 0 to 27"),
    ],
    ids=["stale", "in the future", "out of range"],
)
def test_what_cannot_be_used_is_missing_with_the_reason(given: dict[str, object], reason: str) -> None:
    (line,) = lines("HCSC", "phq9_total", phq9_total={**given, "source": "Observation/1"})

    assert (line.state, line.value, line.reason) == ("missing", None, reason)
    assert line.question == BOOK.facts["phq9_total"].ask
    assert lines("HCSC", "phq9_total", phq9_total={"value": 24, "date": "2025-05-05"})[0].state == "stated"


def test_facts_that_contradict_each_other_are_no_evidence() -> None:
    facts: dict[str, Any] = {
        "dx_primary": "mdd_recurrent",
        "bipolar_history": {"value": "yes", "source": "Condition/9"},
    }
    (line,) = lines("CIGNA", "bipolar_history", **facts)

    assert (line.state, line.value, line.source) == ("missing", "yes", "Condition/9")
    assert line.reason in {u.reason for u in decide("CIGNA", **facts).unusable}
    assert line.question
    assert lines("CIGNA", "dx_primary", **facts)[0].state == "missing"
    assert lines("CIGNA", "bipolar_history", **{**facts, "dx_primary": "other"})[0].state == "documented"


# Trials


@pytest.mark.parametrize(("reporter", "state"), [("Patient/p1", "self_reported"), ("Practitioner/7", "documented")])
def test_a_trial_of_a_record_is_documented_by_those_who_treat(reporter: str, state: str) -> None:
    told = other(
        "MedicationStatement",
        "s",
        status="completed",
        medicationCodeableConcept=concept("rx 4493"),
        informationSource={"reference": reporter},
    )
    (line,) = lines("CIGNA", "trials", **reading(told).raw_facts())

    assert (line.state, line.source) == (state, "MedicationStatement/s")


def test_each_trial_has_a_line_with_its_own_evidence() -> None:
    given = [
        {**SERTRALINE, "documentation": "documented"},
        {**VENLAFAXINE, "documentation": "self_report"},
        {"value": SERTRALINE, "source": "MedicationRequest/3"},
        {"value": {**VENLAFAXINE, "documentation": "self_report"}, "source": "MedicationStatement/4"},
        {**SERTRALINE, "documentation": "unknown"},
        VENLAFAXINE,
    ]
    found = lines("CIGNA", "trials", trials=given)

    assert [line.state for line in found] == [
        "documented",
        "self_reported",
        "documented",
        "self_reported",
        "stated",
        "stated",
    ]
    assert [line.label for line in found] == [f"{LABEL}, {n} of 6" for n in range(1, 7)]
    assert [line.source for line in found] == ["", "", "MedicationRequest/3", "MedicationStatement/4", "", ""]
    assert [line.path for line in found] == [f"facts.trials[{n}]" for n in range(6)]
    assert found[1].value == (
        "venlafaxine; highest daily dose: 225 mg a day; weeks at an adequate dose: 10 weeks; still taken: yes; "
        "adherence: adherent; outcome: no response; best improvement: 10 %"
    )


def test_a_trial_says_what_it_lacks_for_the_rows_in_force() -> None:
    bare = {"drug": "sertraline", "ongoing": True}
    ended = {**SERTRALINE, "ongoing": False, "end_date": "2025-03-01"}
    (strict,) = lines("CIGNA", "trials", trials=[{**SERTRALINE, "improvement_pct": None}])
    (lenient,) = lines("TXMCD", "trials", trials=[{**SERTRALINE, "improvement_pct": None}])

    assert lines("CIGNA", "trials", trials=[bare])[0].lacking == (
        "highest daily dose",
        "weeks at an adequate dose",
        "adherence",
        "outcome",
        "best improvement",
    )
    assert strict.lacking == ("best improvement",)
    assert lenient.lacking == ()
    assert lines("CIGNA", "trials", trials=[ended])[0].lacking == ("start of the current episode",)
    assert lines("CIGNA", "trials", trials=[ended], episode_start_date="2024-10-01")[0].lacking == ()


def test_a_trial_that_contradicts_itself_is_missing_and_a_part_that_cannot_be_used_is_told() -> None:
    backwards = {**SERTRALINE, "ongoing": False, "start_date": "2025-03-01", "end_date": "2025-01-01"}
    given = [
        {"value": {**backwards, "documentation": "documented"}, "source": "MedicationRequest/3"},
        {**VENLAFAXINE, "max_dose_mg": 99999, "documentation": "documented"},
    ]
    contradictory, partial = lines("CIGNA", "trials", trials=given, episode_start_date="2024-10-01")

    assert (contradictory.state, contradictory.question) == ("missing", BOOK.facts["trials"].ask)
    assert contradictory.reason
    assert (partial.state, partial.question) == ("documented", "")
    assert partial.reason == "highest daily dose: it is outside 0.01 to 10000 mg/d"
    assert partial.lacking == ("highest daily dose",)


def test_a_list_that_is_not_there_is_missing_and_an_empty_one_is_stated() -> None:
    (absent,) = lines("CIGNA", "trials")
    (empty,) = lines("CIGNA", "trials", trials=[])

    assert (absent.state, absent.value, absent.question) == ("missing", None, BOOK.facts["trials"].ask)
    assert (empty.state, empty.value, empty.question) == ("stated", "none recorded", "")


@pytest.mark.parametrize(
    ("given", "state", "value"), [(None, "missing", None), (False, "stated", "no"), (True, "stated", "yes")]
)
def test_whether_the_list_is_complete_is_a_line_of_its_own(given: object, state: str, value: str | None) -> None:
    (line,) = lines("CIGNA", "trial_history_complete", trials=[SERTRALINE], trial_history_complete=given)

    assert (line.state, line.value) == (state, value)
    assert bool(line.question) is (state == "missing")


# Which facts


def test_a_row_that_no_longer_matters_has_its_facts_listed_too() -> None:
    ruled_out = {"sud_status": "none", "aud_status": "none"}
    (line,) = lines("CAREFIRST", "sud_in_treatment", **ruled_out)

    assert (line.criteria, line.state) == (("PAY-CF-02",), "missing")
    assert "sud_in_treatment" not in {q.fact for q in decide("CAREFIRST", **ruled_out).missing}


def test_a_row_that_is_not_in_force_asks_for_nothing() -> None:
    before = {i.fact: i.criteria for i in coverage("UHC", "2025-04-30").documentation}
    after = {i.fact: i.criteria for i in coverage("UHC", "2025-05-01").documentation}

    assert before["prescriber_specialty"] == ("PAY-UHC-02",)
    assert before["concomitant_oral_ad"] == ("PAY-UHC-01", "PAY-UHC-02")
    assert after["concomitant_oral_ad"] == ("PAY-UHC-01",)
    assert not after.keys() & {"prescriber_specialty", "trials", "trial_history_complete", "episode_start_date"}


def test_what_turns_cover_into_prior_approval_is_wanted_by_its_row() -> None:
    assert lines("CIGNA", "psychotic_disorder_history")[0].criteria == ("PAY-CIGNA-01",)
    assert lines("CIGNA", "mdd_psychotic_features_current")[0].criteria == ("PAY-CIGNA-01",)


def test_of_evidence_the_source_that_speaks_is_listed_or_all_that_could() -> None:
    scales = {"madrs_total", "hamd17_total", "qids_total", "phq9_total"}
    known = {i.fact for i in coverage("MEDMUTUAL", madrs_total=31).documentation}
    unknown = {i.fact for i in coverage("MEDMUTUAL").documentation}

    assert known & scales == {"madrs_total"}
    assert unknown & scales == scales


def test_lines_stand_in_the_order_of_the_data_dictionary() -> None:
    facts = [item.fact for item in coverage("CAREFIRST").documentation]

    assert facts == [fact for fact in BOOK.facts if fact in facts]


def test_a_comparison_with_a_fixed_day_rests_on_its_fact_and_asks_for_it() -> None:
    running = {"treatment_phase": "maintenance", "prior_esketamine": "ongoing"}
    decision = decide("NHS", jurisdiction="UK", **running)
    assert decision.coverage is not None
    wanted = {item.fact: item.state for item in decision.coverage.documentation}

    assert decision.coverage.status == "insufficient_data"
    assert wanted == {"prior_esketamine": "stated", "treatment_phase": "stated", "esketamine_start_date": "missing"}
    assert ("coverage",) in [q.purposes for q in decision.missing if q.fact == "esketamine_start_date"]
    assert "esketamine_start_date" in {fact.fact for c in decision.coverage.criteria for fact in c.facts}


# Standing


def test_the_answer_says_what_the_rules_are_a_copy_of_and_from_when() -> None:
    answer = coverage("UHC", "2025-04-30", madrs_total=31)

    assert answer.standing == "Third-party copies of 2020 to 2025, not the payer's present policy."
    assert [(d.criterion, d.effective_from, d.effective_until) for d in answer.dates] == [
        ("PAY-UHC-01", "", ""),
        ("PAY-UHC-02", "2020-01-01", "2025-05-01"),
    ]


def test_notes_have_dates_and_what_is_no_row_of_the_payer_has_none() -> None:
    cigna = coverage("CIGNA", age_years=12)

    assert [c.id for c in cigna.criteria] == ["PAY-GEN-02"]
    assert [(d.criterion, d.effective_from) for d in cigna.dates] == [("PAY-CIGNA-02", "2025-01-21")]


def test_where_no_pack_of_the_payer_speaks_the_answer_says_so() -> None:
    answer = coverage("CIGNA", jurisdiction="EU")

    assert (answer.status, answer.dates, answer.documentation) == ("insufficient_data", (), ())
    assert answer.standing == "No copy of this payer's policy speaks here."


@pytest.mark.parametrize("payer", sorted(p.header.payer for p in BOOK.packs.values() if p.header.payer))
def test_every_payer_has_a_standing_and_every_line_a_reason_to_be_there(payer: str) -> None:
    pack = next(p for p in BOOK.packs.values() if p.header.payer == payer)
    jurisdiction = next(iter(pack.header.jurisdictions), "US")
    answer = coverage(payer, jurisdiction=jurisdiction)

    assert answer.standing == pack.header.standing
    assert all(item.criteria and set(item.criteria) <= pack.criteria.keys() for item in answer.documentation)
    assert {item.state for item in answer.documentation} <= {"missing"}
    assert all(item.question for item in answer.documentation)


def test_the_enriched_fields_of_a_trial_are_those_that_say_what_they_need() -> None:
    enriched = {*trials.ENRICHED_TRUTHS, *trials.ENRICHED_NUMBERS, *trials.ENRICHED_TEXTS}
    fields = {field.id for field in BOOK.facts["trials"].fields}

    assert trials.GIVEN_BY.keys() == enriched
    assert {name for given in trials.GIVEN_BY.values() for name in given} <= fields
