"""A number of a local pack is refused, or makes no answer better; tried on rules in which every number may be set."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.pack.load import load_rules
from tests.property.local_packs import LONG_AGO, LocalPacks, names_in, since, write
from tests.property.numbered_rules import write_numbered
from tests.property.patients import TODAY, Count, unscaled
from tests.property.strictness import Side, better, looser, refusals
from tests.property.thresholds import thresholds_of
from tests.repository import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engine.compiler.packset import PackSet
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

TRIED = Count(us=(8, 500), elsewhere=(2, 500))
"""How many packs with numbers of their own."""
EACH = 40
"""How many patients for each that is taken."""
DAYS = (date(2020, 2, 1), date(2023, 6, 1), TODAY)


class Nearby:
    """Draws patients between the numbers in which two compiled packs differ."""

    def __init__(self, patients: Patients, before: PackSet, after: PackSet) -> None:
        self._patients = patients
        old, new = (numbers_of(packs) for packs in (before, after))
        self._moved = {name: sorted(new[name] ^ old[name]) for name in new if new[name] != old[name]}

    def draw(self, rng: Random, payer: str | None) -> PatientFacts:
        """Draw a patient, and draw anew what the moved numbers are compared with."""
        patient = self._patients.draw(rng, payer=payer)
        trials = patient.facts.get("trials")
        for name, moved in self._moved.items():
            number = rng.randint(max(moved[0] - 1, 0), moved[-1] + 1)
            if name in self._patients.book.facts:
                patient.facts[name] = unscaled(self._patients.book.facts[name], number)
            elif isinstance(trials, list):
                for trial in trials:
                    trial[name] = unscaled(self._patients.trial_fields[name], number)
        return self._patients.read(patient)


def numbers_of(packs: PackSet) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for graph in (packs.compiled.graph, *packs.compiled.records.values()):
        for name, constants in thresholds_of(graph).items():
            found.setdefault(name, set()).update(constants)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numbered")


@pytest.fixture(scope="module")
def numbered(book: RuleBook, folder: Path) -> RuleBook:
    return load_rules(write_numbered(RULES, folder / "rules", book, Random("random rules")), is_locked=False)


@pytest.fixture(scope="module")
def loaded(
    numbered: RuleBook,
    patients_of: Mapping[str, Patients],
    folder: Path,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> RuleBook:
    """Load the local packs of all jurisdictions at once, to be taken one by one."""
    folders = []
    for jurisdiction, patients in patients_of.items():
        drawn, rng = LocalPacks(numbered, patients), Random(f"local numbers {jurisdiction}")
        for place, name in enumerate(names_in(jurisdiction, TRIED.of(jurisdiction, is_full=is_full))):
            numbers = drawn.any_numbers(rng) if place else since(LONG_AGO, drawn.limits(rng, -1))
            folders.append(write(folder / name, {**drawn.frame(name), **drawn.numbers(numbers)}))
    return load_rules(folder / "rules", folders, is_locked=False)


@pytest.mark.timeout(3600)
def test_a_number_that_could_make_an_answer_better_is_refused(
    numbered: RuleBook,
    loaded: RuleBook,
    patients: Patients,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    jurisdiction = patients.jurisdiction
    rng = Random(f"patients of local numbers {jurisdiction}")
    seen: Counter[str] = Counter()
    for name in names_in(jurisdiction, TRIED.of(jurisdiction, is_full=is_full)):
        payer, day = rng.choice(patients.payers), rng.choice(DAYS)
        local = replace(numbered, packs={**numbered.packs, name: loaded.packs[name]})
        codes = refusals(local, jurisdiction, payer, day)
        seen["refused" if codes else "taken"] += 1
        assert codes <= {"local/loosens", "pack/type"}
        if codes:
            continue
        before, after = (Side(each, jurisdiction, payer, day) for each in (numbered, local))
        nearby = Nearby(patients, before.packs, after.packs)
        for _ in range(EACH):
            facts = nearby.draw(rng, payer)
            was, now = before.values(facts), after.values(facts)
            found = [*better(before.packs, was, now), *looser(before.packs, was, now)]

            assert not found, f"{loaded.packs[name].folder} and {facts}"
    assert seen["taken"], "every number was refused"


def test_an_indication_before_which_there_is_a_step_takes_no_stricter_number(
    numbered: RuleBook, patients_of: Mapping[str, Patients], folder: Path, tmp_path: Path
) -> None:
    """Where the stricter indication is out of the question, a step that is met would defer what was open before."""
    drawn = LocalPacks(numbered, patients_of["US"])
    (name,) = (each for each in drawn.national.parameters if each.endswith("hamd17_total"))
    files = {**drawn.frame("house"), **drawn.numbers({name: {LONG_AGO: 25}})}
    loaded = load_rules(folder / "rules", [write(tmp_path / "house", files)], is_locked=False)

    assert refusals(loaded, "US", None) == {"local/loosens"}
