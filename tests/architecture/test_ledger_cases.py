"""Every fault and attack that the decision log must stand has a test, and docs/ledger-cases.md says which."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| C(\d+b?) \| [^|]+ \| (.+) \|$", (ROOT / "docs" / "ledger-cases.md").read_text(), flags=re.MULTILINE
)
CASES = {*map(str, range(1, 101)), "9b"}
WITH_WITNESSES = {"32", "80"}
"""Cases of a part of the design that is not built."""


def named_in(cell: str) -> list[tuple[str, str]]:
    """List the tests that a row names, each with its file."""
    named = []
    for line in cell.split("<br>"):
        file, _, listed = line.partition("`: ")
        named += [(file.strip("`"), name) for name in re.findall(r"`(test_\w+)`", listed)]
    return named


def test_every_case_has_one_row() -> None:
    assert sorted(case for case, _ in ROWS) == sorted(CASES)


def test_every_case_has_a_test_or_belongs_to_what_is_not_built() -> None:
    without = {case for case, cell in ROWS if not named_in(cell)}

    assert without == WITH_WITNESSES


def test_every_test_that_is_named_exists() -> None:
    gone = [
        (case, file, name)
        for case, cell in ROWS
        for file, name in named_in(cell)
        if f"def {name}(" not in (ROOT / "tests" / file).read_text()
    ]

    assert not gone
