"""What could make an answer better is refused in a local pack, by name."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from engine.pack.load import read_rules
from tests.property.local_packs import LocalPacks, write
from tests.property.loosenings import LOOSENINGS
from tests.property.patients import TODAY
from tests.property.strictness import refusals
from tests.repository import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

EACH_IN_FULL = 50
"""How many packs for each way to loosen and each jurisdiction; not in full, one pack for each way, here and there."""


def test_every_attempt_to_loosen_is_refused_by_name(
    book: RuleBook,
    patients_of: Mapping[str, Patients],
    tmp_path: Path,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    attempts = {}
    for place, (jurisdiction, patients) in enumerate(patients_of.items()):
        packs, rng = LocalPacks(book, patients), Random(f"loosenings {jurisdiction}")
        for way in LOOSENINGS if is_full else LOOSENINGS[place :: len(patients_of)]:
            for number in range(EACH_IN_FULL if is_full else 1):
                name = f"{jurisdiction.lower()}-{way.__name__.replace('_', '-')}-{number}"
                attempts[name] = jurisdiction, write(tmp_path / name, way(rng, packs, name))
    read, faults = read_rules(RULES, [folder for _, folder in attempts.values()])
    assert read is not None
    for name, (jurisdiction, folder) in attempts.items():
        codes = {fault.code for fault in faults if fault.file.startswith(f"{folder}/")}
        if not codes:
            local = replace(book, packs={**book.packs, name: read.packs[name]})
            codes = refusals(local, jurisdiction, None, TODAY)

        assert any(code.startswith("local/") for code in codes), f"{name} gave {codes}"
