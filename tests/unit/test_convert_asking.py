"""Facts as a message come back as the facts that they were."""

from __future__ import annotations

from datetime import date
from random import Random

import pytest

from engine.evaluator.encoding import encode_facts
from engine.facts import read_facts
from server.convert.asking import write_history
from server.convert.requests import path_of, read_request
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from tests.property.patients import Patients
from tests.repository import repository_rules

BOOK = repository_rules()


@pytest.mark.parametrize("seed", range(6))
def test_facts_come_back_from_the_wire(seed: int) -> None:
    rng, patients = Random(seed), Patients(BOOK)
    for _ in range(20):
        patient = patients.draw(rng)
        message = service_pb2.EvaluateRequest(patient_history=write_history(patient.facts))
        raw = read_request(message.SerializeToString(), 200, is_streamed=False).raw
        came, was = (
            encode_facts(read_facts(BOOK.facts, BOOK.dictionary.constraints, facts, patient.as_of, path_of), BOOK.facts)
            for facts in (raw, patient.facts)
        )
        assert came == was


def test_what_is_not_known_stays_out_and_a_date_is_written_as_one() -> None:
    history = write_history({"phq9_total": None, "episode_start_date": date(2025, 1, 2), "no_such_fact": 1})
    assert not history.diagnosis.HasField("phq9_total")
    assert history.diagnosis.episode_start_date == "2025-01-02"


def test_an_empty_list_is_a_known_none() -> None:
    history = write_history({"trials": []})
    assert history.treatment_history.HasField("trials")


def test_a_value_that_its_enum_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        write_history({"si_level": "sometimes"})
