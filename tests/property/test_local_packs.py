"""A local pack makes no answer better, whatever it holds; what could make one better is refused."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler.packset import status_node
from engine.errors import RulePackError
from engine.evaluator.agree import Evaluator, encode_values
from engine.evaluator.chain import Chain
from engine.pack.load import load_rules
from tests.property.local_packs import LocalPacks, names_in, write
from tests.property.patients import Count
from tests.property.strictness import Side, better, better_said, untouched
from tests.repository import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

PACKS = Count(us=(5, 500), elsewhere=(2, 500))
EACH, EACH_IN_FULL = 20, 40
"""How many patients for each pack."""


@pytest.fixture(scope="module")
def loaded(
    book: RuleBook,
    patients_of: Mapping[str, Patients],
    tmp_path_factory: pytest.TempPathFactory,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> RuleBook:
    """Load the local packs of all jurisdictions at once, to be taken one by one."""
    folder = tmp_path_factory.mktemp("local")
    folders: list[Path] = []
    for jurisdiction, patients in patients_of.items():
        drawn, rng = LocalPacks(book, patients), Random(f"local packs {jurisdiction}")
        names = names_in(jurisdiction, PACKS.of(jurisdiction, is_full=is_full))
        folders += [write(folder / name, drawn.draw(rng, name)) for name in names]
    return load_rules(RULES, folders, is_locked=False)


def compiled(book: RuleBook, jurisdiction: str, payer: str | None) -> tuple[Side | None, set[str]]:
    """Compile what answers; None, with the codes of the faults, where it is refused."""
    try:
        return Side(book, jurisdiction, payer), set()
    except RulePackError as error:
        return None, {fault.code for fault in error.diagnostics}


@pytest.mark.timeout(3600)
def test_a_local_pack_makes_no_answer_better(
    book: RuleBook,
    loaded: RuleBook,
    patients: Patients,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    jurisdiction = patients.jurisdiction
    rng = Random(f"patients of local packs {jurisdiction}")
    worsened = 0
    names = names_in(jurisdiction, PACKS.of(jurisdiction, is_full=is_full))
    for place, name in enumerate(names):
        payer = rng.choice(patients.payers)
        # Every other one comes beside the one before it, as a second pack of the same hospital.
        present = replace(book, packs={**book.packs, **{n: loaded.packs[n] for n in names[place - place % 2 : place]}})
        local = replace(present, packs={**present.packs, name: loaded.packs[name]})
        before = Side(present, jurisdiction, payer)
        after, refusals = compiled(local, jurisdiction, payer)
        if after is None:
            assert place % 2, "a pack alone was refused"
            assert refusals <= {"local/conflict", "local/loosens"}
            continue
        with closing(Evaluator(present, "interpret")) as national:
            same = untouched(before.packs, loaded.packs[name].parameters)
            with closing(Chain(after.packs.compiled, 1, name)) as chain:
                for _ in range(EACH_IN_FULL if is_full else EACH):
                    facts = patients.read(patients.draw(rng, payer=payer))
                    was, now = before.values(facts), after.values(facts)
                    found = [*better(before.packs, was, now), *(n for n in same if was.values[n] is not now.values[n])]

                    assert not found, f"{loaded.packs[name].folder} and {facts}"
                    assert encode_values(chain.evaluate(after.inputs(facts))) == encode_values(now)
                    worsened += any(was.values[n] != now.values[n] for n in map(status_node, before.options))
            with closing(Evaluator(local, "interpret")) as stricter:
                decisions = [
                    evaluator.evaluate(facts, jurisdiction, payer, facts.as_of).decision
                    for evaluator in (national, stricter)
                ]

                assert not list(better_said(*decisions)), f"{loaded.packs[name].folder} and {facts}"
    assert worsened, "no local pack changed any status"
