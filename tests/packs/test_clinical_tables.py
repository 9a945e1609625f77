"""The packs beside the clinical tables that they carry: dates, sources, standing and place of every row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.repository import repository_rules

if TYPE_CHECKING:
    from engine.pack.model import Criterion

ROOT = Path(__file__).parents[2]
TABLES = ROOT.parent / "shared" / "clinical" / "criteria.md"
BOOK = repository_rules()
CRITERIA = {name: c for pack in BOOK.packs.values() for name, c in pack.criteria.items()}
ENGINE_SOURCES = {"SE": "engine-decision", "SK": "general-knowledge"}
EVERYWHERE = {"US", "VA", "EU", "UK", "CA"}
COLUMNS = 12

pytestmark = pytest.mark.skipif(
    not TABLES.exists(), reason="the clinical tables in ../shared are not beside this repository"
)


@dataclass(frozen=True)
class Row:
    """One row of the tables, as far as it can be compared by machine."""

    where: frozenset[str]
    start: date | None
    until: date | None
    sources: frozenset[str]
    confirmed: str


def read_rows() -> dict[str, Row]:
    """Read the rows of sections A to O."""
    found = {}
    for line in TABLES.read_text(encoding="utf-8").splitlines() if TABLES.exists() else ():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(cells) == COLUMNS and re.fullmatch(r"[A-Z]+(-[A-Z0-9]+)+", cells[0]):
            where = EVERYWHERE if cells[2] == "all" else set(cells[2].split(","))
            days = [date.fromisoformat(cell) if cell else None for cell in cells[6:8]]
            if before := re.fullmatch(r"`as_of < (\S+)`", cells[4]):
                days[1] = date.fromisoformat(before[1])
            sources = {ENGINE_SOURCES.get(key, key) for key in cells[9].split(",")}
            found[cells[0]] = Row(frozenset(where), days[0], days[1], frozenset(sources), cells[10])
    return found


ROWS = read_rows()


def test_every_row_was_read() -> None:
    assert len(ROWS) == 301
    assert CRITERIA.keys() == ROWS.keys()


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_criterion_says_what_its_row_says(name: str) -> None:
    criterion, row = CRITERIA[name], ROWS[name]
    assert (criterion.effective.from_, criterion.effective.until) == (row.start, row.until)
    assert criterion.confirmed == row.confirmed
    assert {c.source for c in criterion.references} >= row.sources
    if criterion.effect not in {"covers", "denies", "asks_approval"} and not name.startswith("PAY-"):
        assert served_by(criterion) == row.where


def served_by(criterion: Criterion) -> frozenset[str]:
    """Give the jurisdictions in whose answer a criterion can speak."""
    found = set()
    for jurisdiction in BOOK.jurisdictions:
        for payer in (None, *BOOK.payers):
            holds = any(criterion.id in pack.criteria for pack in BOOK.packs_for(jurisdiction, payer))
            if holds and (not criterion.jurisdictions or jurisdiction in criterion.jurisdictions):
                found.add(jurisdiction)
    return frozenset(found)
