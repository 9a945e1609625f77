"""The table in docs/cds-hooks.md names every requirement that binds a service, and tests that exist."""

from __future__ import annotations

import csv
import os
import re
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ELIGIBILITY_FHIR_DATA", ROOT.parent / "shared" / "fhir"))
ARCHIVE = DATA / "third-party-fhir.tar.xz"
LIST = "third-party-fhir/cds-hooks/cds-hooks-2.0-service-requirements.csv"

ROW = re.compile(r"^\| ([0-9, ]+) [^|]*\| (.*) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+)`")


def table() -> dict[int, str]:
    """Give what is said of each requirement, by number."""
    text = (ROOT / "docs" / "cds-hooks.md").read_text().partition("## What CDS Hooks 2.0 asks")[2]
    return {int(number): said for numbers, said in ROW.findall(text) for number in numbers.split(",")}


def conformance() -> dict[int, str]:
    """Give the verb of each requirement of the list, by number."""
    with tarfile.open(ARCHIVE) as archive:
        found = archive.extractfile(LIST)
        assert found is not None
        return {int(row["id"]): row["conformance"] for row in csv.DictReader(found.read().decode().splitlines())}


def test_every_test_that_is_named_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_cds_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = {name for said in table().values() for name in TEST.findall(said)}

    assert len(table()) > 80
    assert named <= there


def test_the_name_of_a_conformance_test_carries_the_numbers_of_its_row() -> None:
    names = re.findall(r"def (test_\w+)", (ROOT / "tests" / "contract" / "test_cds_conformance.py").read_text())
    rows: dict[str, set[int]] = {}
    for number, said in table().items():
        for name in TEST.findall(said):
            rows.setdefault(name, set()).add(number)
    carried = {name: {int(n) for n in re.findall(r"_(\d+)(?=_\d|$)", name)} for name in names}

    assert {name: numbers for name, numbers in carried.items() if numbers} == {n: rows[n] for n in rows if n in names}


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the third-party data is not at ../shared/fhir")
def test_every_requirement_that_binds_has_a_test_or_a_reason() -> None:
    verbs = conformance()
    said = table()
    binding = {number for number, verb in verbs.items() if verb in {"SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT"}}

    assert len(verbs) == 120
    assert binding <= set(said) <= set(verbs)
    assert not [n for n in binding if verbs[n].startswith("SHALL") and not TEST.findall(said[n])]
