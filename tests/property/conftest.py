"""The rule book of this repository, its jurisdictions, and whether all patients are drawn: ELIGIBILITY_PROPERTY=full.

A test that takes `patients` is run for every jurisdiction of the book.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.property.patients import JURISDICTIONS, Patients
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.pack.book import RuleBook


@pytest.fixture(scope="session")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture(scope="session")
def patients_of(book: RuleBook) -> Mapping[str, Patients]:
    return {jurisdiction: Patients(book, jurisdiction) for jurisdiction in JURISDICTIONS}


@pytest.fixture(params=JURISDICTIONS)
def patients(request: pytest.FixtureRequest, patients_of: Mapping[str, Patients]) -> Patients:
    return patients_of[request.param]


@pytest.fixture(scope="session")
def is_full() -> bool:
    return os.environ.get("ELIGIBILITY_PROPERTY") == "full"
