"""What is taken now, where records of one drug agree, and what is to be confirmed where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fhir_record import Json, candidates, concept, daily, issues, other, quantity, reading, request, value

SERTRALINE, LORAZEPAM, PHENELZINE = concept("rx 36437"), concept("rx 6470"), concept("rx 8123")
ZOLPIDEM, STIMULANT = concept("atc N05CF02"), concept("rx 6901")
SEDATED, MAOI = "med_cns_depressants", "med_maoi"


def statement(medication: Json, taken: str, asserted: str = "", **more: object) -> Json:
    dated = {"dateAsserted": asserted} if asserted else {}
    return other("MedicationStatement", "s", status=taken, medicationCodeableConcept=medication, **dated, **more)


def dispense(medication: Json, handed: str = "", days: object = None, unit: str = "d") -> Json:
    dated = {"whenHandedOver": handed} if handed else {}
    supply = {} if days is None else {"daysSupply": {"value": days, "code": unit}}
    told: Json = {"status": "completed", "medicationCodeableConcept": medication}
    return other("MedicationDispense", "d", **told, **dated, **supply)


def ongoing(*resources: Json) -> object:
    found: Any = value(reading(*resources), "trials")
    return found[0].get("ongoing")


STOPS: list[tuple[dict[str, Any], bool]] = [
    ({"taken": "not-taken", "asserted": "2025-05-25"}, True),
    ({"taken": "completed", "asserted": "2025-05-01"}, True),
    ({"taken": "completed", "effectivePeriod": {"start": "2024-01-01", "end": "2025-03-01"}}, True),
    ({"taken": "active", "effectivePeriod": {"start": "2024-01-01", "end": "2025-03-01"}}, True),
    ({"taken": "stopped", "asserted": "2025-01-01"}, True),
    ({"taken": "stopped", "asserted": "2024-12-31"}, False),
    ({"taken": "not-taken", "asserted": "2024-12-31"}, False),
    ({"taken": "entered-in-error", "asserted": "2025-05-25"}, False),
    ({"taken": "stopped"}, False),
]


@pytest.mark.parametrize(("later", "is_stopped"), STOPS)
@pytest.mark.parametrize(
    ("medication", "fact", "found"),
    [
        (LORAZEPAM, SEDATED, ["benzodiazepine"]),
        (ZOLPIDEM, SEDATED, ["z_drug"]),
        (STIMULANT, "med_psychostimulant", True),
    ],
)
def test_a_record_that_it_is_taken_and_a_later_one_that_it_is_not_are_to_be_confirmed(
    later: dict[str, Any], medication: Json, fact: str, found: object, *, is_stopped: bool
) -> None:
    read = reading(request("r", medication, "2025-01-01"), statement(medication, **later))
    suggested = [found[0] if isinstance(found, list) else "true"]

    assert value(read, fact) == (None if is_stopped else found)
    assert candidates(read, fact) == (suggested if is_stopped or (later["taken"] == "active") else [])
    if is_stopped:
        assert ("needs-confirmation", "unconfirmed") in issues(read, fact)


@pytest.mark.parametrize(("later", "is_stopped"), STOPS)
def test_a_trial_does_not_go_on_where_a_later_record_says_otherwise(later: dict[str, Any], *, is_stopped: bool) -> None:
    assert ongoing(request("r", SERTRALINE, "2025-01-01"), statement(SERTRALINE, **later)) is (
        None if is_stopped else True
    )


def test_another_drug_stops_nothing_and_a_newer_order_stands() -> None:
    stop = statement(LORAZEPAM, "stopped", "2025-05-01")

    assert value(reading(request("r", concept("rx 596"), "2025-01-01"), stop), SEDATED) == ["benzodiazepine"]
    assert value(reading(request("r", LORAZEPAM, "2025-05-02"), stop), SEDATED) == ["benzodiazepine"]


def test_a_dispense_supports_that_a_drug_is_taken() -> None:
    assert value(reading(request("r", LORAZEPAM), dispense(LORAZEPAM, "2025-06-01")), SEDATED) == ["benzodiazepine"]
    assert ongoing(request("r", SERTRALINE), dispense(SERTRALINE, "2025-06-01")) is True


@pytest.mark.parametrize(
    ("handed", "days", "expected"),
    [
        ("2025-04-03", 60, True),
        ("2025-04-02", 60, None),
        ("2025-04-02", None, True),
        ("2025-02-28", 60, True),
    ],
)
def test_a_supply_that_has_run_out_leaves_open_whether_a_trial_goes_on(
    handed: str, days: object, expected: object
) -> None:
    told = [request("r", SERTRALINE, "2025-03-01"), dispense(SERTRALINE, handed, days)]

    assert ongoing(*told) is expected
    assert candidates(reading(*told), "trials") == ([] if expected else ["sertraline"])


def test_what_was_not_taken_is_no_trial() -> None:
    assert "trials" not in reading(statement(SERTRALINE, "not-taken", "2025-05-01")).facts
    assert value(reading(statement(PHENELZINE, "not-taken", "2025-06-01")), MAOI) is None


def bounded(*bounds: Json) -> list[Json]:
    return [{"timing": {"repeat": bound}} for bound in bounds]


@pytest.mark.parametrize(
    ("told", "is_over"),
    [
        (statement(LORAZEPAM, "active", effectivePeriod={"start": "2025-01-10", "end": "2025-03"}), True),
        (statement(LORAZEPAM, "active", effectivePeriod={"start": "2025-01-10", "end": "2025"}), True),
        (statement(LORAZEPAM, "active", effectivePeriod={"start": "2025-01-10", "end": "soon"}), True),
        (statement(LORAZEPAM, "active", effectivePeriod={"start": "2025-01-10", "end": "2025-06-03"}), False),
        (request("r", LORAZEPAM, dosageInstruction=bounded({"boundsPeriod": {"end": "2025-04-01"}})), True),
        (
            request(
                "r",
                LORAZEPAM,
                dosageInstruction=bounded(
                    {"boundsPeriod": {"end": "2025-04-01"}}, {"boundsPeriod": {"end": "2025-05"}}
                ),
            ),
            True,
        ),
        (request("r", LORAZEPAM, dosageInstruction=bounded({"boundsPeriod": {"end": "2025-04-01"}}, {})), False),
        (request("r", LORAZEPAM, dosageInstruction=bounded({"boundsDuration": {"value": 5, "code": "d"}})), True),
        (request("r", LORAZEPAM, dosageInstruction=bounded({"boundsDuration": {"value": 52, "code": "wk"}})), False),
        (request("r", LORAZEPAM, dosageInstruction=bounded({"boundsDuration": {"value": 5, "code": "?"}})), True),
        (request("r", LORAZEPAM, statusReason={"text": "patient stopped"}), True),
    ],
)
def test_what_may_have_ended_is_not_known_to_be_taken(told: Json, *, is_over: bool) -> None:
    read = reading(told)

    assert value(read, SEDATED) == (None if is_over else ["benzodiazepine"])
    assert candidates(read, SEDATED) == (["benzodiazepine"] if is_over else [])


def test_an_end_of_all_instructions_is_the_end_of_a_trial() -> None:
    told = request(
        "r",
        SERTRALINE,
        "2024-10-01",
        "completed",
        dosageInstruction=bounded({"boundsPeriod": {"end": "2024-10-14"}}, {"boundsPeriod": {"end": "2024-12-01"}}),
    )
    found: Any = value(reading(told), "trials")

    assert (found[0]["end_date"], found[0]["ongoing"]) == ("2024-12-01", False)


@pytest.mark.parametrize(
    ("told", "fact", "suggests"),
    [
        (dispense(PHENELZINE, "2025-05-10", 90), MAOI, ["true"]),
        (dispense(PHENELZINE, "2025-04-19", 30), MAOI, ["true"]),
        (dispense(PHENELZINE, "2025-04-18", 30), MAOI, []),
        (dispense(PHENELZINE, "2025-02-18"), MAOI, ["true"]),
        (dispense(PHENELZINE, "2025-02-17"), MAOI, []),
        (dispense(PHENELZINE), MAOI, ["true"]),
        (dispense(PHENELZINE, "2025-04-01", 4, "wk"), MAOI, []),
        (dispense(PHENELZINE, "2025-04-01", 10**14), MAOI, ["true"]),
        (dispense(LORAZEPAM, "2025-06-01", 30), SEDATED, ["benzodiazepine"]),
        (dispense(LORAZEPAM, "2025-05-02", 30), SEDATED, []),
        (request("r", PHENELZINE, "2025-03-01", "stopped"), MAOI, ["true"]),
        (request("r", PHENELZINE, "", "stopped"), MAOI, ["true"]),
        (statement(PHENELZINE, "completed", effectivePeriod={"end": "2025-05"}), MAOI, ["true"]),
        (statement(PHENELZINE, "completed", effectivePeriod={"end": "2025-04"}), MAOI, []),
        (request("r", LORAZEPAM, "2025-03-01", "stopped"), SEDATED, []),
    ],
)
def test_what_may_still_act_is_to_be_confirmed(told: Json, fact: str, suggests: list[str]) -> None:
    read = reading(told)

    assert value(read, fact) is None
    assert candidates(read, fact) == suggests


def test_an_inhibitor_that_ended_within_fourteen_days_counts() -> None:
    for end, expected in (("2025-05-19", True), ("2025-05-18", None)):
        told = statement(PHENELZINE, "completed", effectivePeriod={"start": "2024-01-01", "end": end})
        assert value(reading(told), MAOI) is expected


@pytest.mark.parametrize(
    ("dosage", "dose"),
    [
        (daily(50, frequency=1, period=1, periodUnit="d", dayOfWeek=["mon"]), None),
        (daily(50, frequency=1, period=1, periodUnit="d", count=1), None),
        (daily(50, frequency=1, period=1, periodUnit="d", timeOfDay=["08:00:00"]), 50),
        (daily(50, frequency=1, period=1, periodUnit="d", timeOfDay=["08:00:00", "20:00:00"]), None),
        (daily(50, frequency=2, period=1, periodUnit="d", when=["MORN", "EVE"]), 100),
        (daily(50) | {"doseAndRate": [*daily(50)["doseAndRate"], {"doseRange": {"high": quantity(200, "mg")}}]}, None),
        (daily(50) | {"doseRange": {"low": quantity(50, "mg"), "high": quantity(200, "mg")}}, None),
        (daily(50) | {"doseAndRate": [{"doseQuantity": {"value": 50, "code": "mg", "unit": "milligram"}}]}, 50),
        (daily(50) | {"doseAndRate": [{"doseQuantity": {"value": 50, "code": "mg", "unit": "mL"}}]}, None),
    ],
)
def test_a_dose_is_read_only_where_all_that_limits_it_is(dosage: Json, dose: object) -> None:
    found: Any = value(reading(request("r", SERTRALINE, dosageInstruction=[dosage])), "trials")

    assert found[0].get("max_dose_mg") == dose
