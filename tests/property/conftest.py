"""The rule book of this repository, and how many patients to draw: ELIGIBILITY_PROPERTY=full draws all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.pack.load import load_rules
from tests.property.patients import Patients

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

RULES = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="session")
def book() -> RuleBook:
    return load_rules(RULES, is_locked=False)


@pytest.fixture(scope="session")
def patients(book: RuleBook) -> Patients:
    return Patients(book)


@pytest.fixture(scope="session")
def is_full() -> bool:
    return os.environ.get("ELIGIBILITY_PROPERTY") == "full"
