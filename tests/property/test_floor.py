"""The floor guarantee: what becomes known later can surprise only where the rules say so.

Facts are erased from a random patient, then random facts become known again, at boundaries, keeping what evidence
already says and creating no contradiction. Then an open answer is never blocked, except by a criterion that nothing
covers on that day; a blocked answer stays blocked, except by an `unless`; and what comes out was among `could_be`.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler import form
from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import PackSet, status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluator
from engine.evaluator.audit import blocking
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from tests.property.cover import BLOCKED, Cover, facts_behind
from tests.property.patients import REGIMES, TODAY, Count, Patient, Patients, Regime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from engine.pack.book import RuleBook

CHUNKS = 2
EACH = Count(us=(500, 10_000), elsewhere=(24, 10_000))
COMPLETIONS = 5
"""How many completions of each erased patient are tried."""

OPEN = frozenset(LEVELS[LEVELS.index("insufficient_data") + 1 :])
MOST_ADDED_TRIALS = 4


class Sameness:
    """Says whether a completed patient keeps what evidence said, and creates no contradiction."""

    def __init__(self, packs: PackSet) -> None:
        self.packs = packs
        self.patient = self._watched(packs.compiled.graph, _closure(packs))
        self.record = {name: self._watched(graph, None) for name, graph in packs.compiled.records.items()}

    @staticmethod
    def _watched(graph: form.Graph, names: set[str] | None) -> list[tuple[str, bool]]:
        nodes = [n for n in graph.nodes if names is None or n.name in names]
        return [(n.name, True) for n in nodes if isinstance(n, form.EvidenceNode)] + [
            (n.name, False) for n in nodes if n.name.endswith("?contradiction")
        ]

    def broken(self, before: form.Values, after: form.Values) -> list[str]:
        """The evidence that changed its mind and the contradictions that came up."""
        found = self._broken(self.patient, before.values, after.values)
        for name, watched in self.record.items():
            for one, other in zip(before.records[name], after.records[name], strict=False):
                found += ["trials"] * bool(self._broken(watched, one, other))
        return found

    @staticmethod
    def _broken(
        watched: list[tuple[str, bool]], before: Mapping[str, form.Value], after: Mapping[str, form.Value]
    ) -> list[str]:
        return [
            name
            for name, is_evidence in watched
            if (
                before[name] is not None and before[name] != after[name]
                if is_evidence
                else after[name] is True is not before[name]
            )
        ]


def _closure(packs: PackSet) -> set[str]:
    reached: set[str] = set()
    queue = [status_node(o.id) for o in packs.options]
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            queue += packs.reads[name]
    return reached


class Completer:
    """Completes erased patients at random."""

    def __init__(self, patients: Patients, packs: PackSet) -> None:
        self.patients = patients
        self.packs = packs
        self.interpreter = Interpreter(packs.compiled)
        self.sameness = Sameness(packs)
        self.upstream = {
            name: facts_behind(packs, [name])
            for name in _closure(packs)
            if isinstance(packs.nodes[name], form.EvidenceNode) or name.endswith("?contradiction")
        }

    def values(self, patient: Patient) -> tuple[form.Inputs, form.Values]:
        inputs = prepare(self.patients.book, self.packs, self.patients.read(patient))
        return inputs, self.interpreter.evaluate(inputs)

    def completed(self, rng: Random, erased: Patient, before: form.Values) -> tuple[Patient, form.Values] | None:
        """Give one completion of an erased patient; None where random choices would not fit."""
        read = self.patients.read(erased)
        kept = {n: v for n, v in erased.facts.items() if n in read.known or n == "trials"}
        missing = [n for n, d in self.patients.book.facts.items() if n not in read.known and d.type != "records"]
        share = rng.choice((0.1, 0.3, 0.6, 1.0))
        added: dict[str, object] = {
            n: self.patients.value(rng, self.patients.book.facts[n], erased.as_of)
            for n in missing
            if rng.random() < share
        }
        if ("sbp_mmHg" in added) != ("dbp_mmHg" in added):
            added.pop("sbp_mmHg", None)
            added.pop("dbp_mmHg", None)
        trials = self._trials(rng, erased) if rng.random() < share else None
        for _ in range(12):
            facts = {**kept, **added} | ({} if trials is None else {"trials": trials})
            completion = Patient(facts, None, erased.as_of)
            try_read = self.patients.read(completion)
            lost = [n for n in read.known if n not in try_read.known]
            _, after = self.values(completion)
            broken = self.sameness.broken(before, after)
            if not broken and not lost:
                return completion, after
            for name in broken:
                if name == "trials":
                    trials = None
                else:
                    for fact in self.upstream[name]:
                        added.pop(fact, None)
            if lost:
                added = {}
            if "sbp_mmHg" not in added or "dbp_mmHg" not in added:
                added.pop("sbp_mmHg", None)
                added.pop("dbp_mmHg", None)
        return None

    def _trials(self, rng: Random, erased: Patient) -> object:
        given = erased.facts.get("trials")
        regime = REGIMES[0]
        if not isinstance(given, list):
            return self.patients.trials(rng, regime, erased.as_of)
        trials = [self._trial(rng, regime, erased.as_of, trial) for trial in given]
        complete = self.patients.read(erased).known.get("trial_history_complete")
        if complete is None or complete.value is not True:
            trials += [self.patients.trial(rng, regime, erased.as_of) for _ in range(rng.randint(0, MOST_ADDED_TRIALS))]
        return trials

    def _trial(self, rng: Random, regime: Regime, as_of: date, given: Mapping[str, object]) -> dict[str, object]:
        """Complete one trial; where its end is on record, that settles whether it is still running."""
        drawn = self.patients.trial(rng, regime, as_of)
        if "end_date" in given:
            drawn.pop("ongoing", None)
        return {**drawn, **given}


def erased_patient(rng: Random, patients: Patients) -> Patient:
    patient = patients.draw(rng)
    share = rng.choice((0.02, 0.1, 0.4))
    facts = {n: v for n, v in patient.facts.items() if rng.random() >= share}
    return Patient(facts, None, patient.as_of)


def faults(packs: PackSet, before: form.Values, after: form.Values, may_block: Mapping[str, set[str]]) -> list[str]:
    """List what the floor guarantee forbids."""
    found = []
    for option in packs.options:
        was, is_now = str(before.values[status_node(option.id)]), str(after.values[status_node(option.id)])
        mine = {n: level_of(c) for n, c in packs.criteria.items() if option.id in c.options and level_of(c) in BLOCKED}
        if was in OPEN and is_now in BLOCKED:
            guilty = {n for n, level in mine.items() if level == is_now and after.values[n] is True}
            if not guilty or guilty - may_block[option.id]:
                found.append(f"{option.id} went from {was} to {is_now} by {sorted(guilty) or 'its indications'}")
        if was in BLOCKED and is_now not in BLOCKED:
            held = {n for n in mine if before.values[n] is True}
            if not held or held - lifted(packs):
                found.append(f"{option.id} went from {was} to {is_now} although {sorted(held)} held")
    return found


def lifted(packs: PackSet) -> set[str]:
    """The blocking criteria that an exception can lift: only through them does a blocked answer come open."""
    return {n for n, c in packs.criteria.items() if level_of(c) in BLOCKED and c.unless is not None}


@pytest.fixture(scope="session")
def covers() -> dict[str, Cover]:
    return {}


@pytest.fixture
def cover(book: RuleBook, patients: Patients, covers: dict[str, Cover]) -> Cover:
    jurisdiction = patients.jurisdiction
    if jurisdiction not in covers:
        covers[jurisdiction] = Cover(book, compile_packs(book, jurisdiction, None, TODAY))
    return covers[jurisdiction]


def test_what_may_block_later_is_what_rules_check_lists(book: RuleBook, patients: Patients, cover: Cover) -> None:
    packs = compile_packs(book, patients.jurisdiction, None, TODAY)
    replaced_on = {c.effective.from_ for c in packs.criteria.values() if c.replaces and c.effective.from_}
    for day in (TODAY, *(d - timedelta(days=1) for d in replaced_on)):
        listed: dict[str, set[str]] = {option.id: set() for option in packs.options}
        for row in blocking(book, packs, day):
            listed[row.option].update([] if row.covered_by else [row.criterion])

        assert cover.uncovered(day) == listed, f"on {day}"


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_completions_keep_to_the_floor(
    chunk: int,
    book: RuleBook,
    patients: Patients,
    cover: Cover,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    jurisdiction = patients.jurisdiction
    rng = Random(f"floor {jurisdiction} {chunk}")
    packs = compile_packs(book, jurisdiction, None, TODAY)
    completer = Completer(patients, packs)
    with closing(Evaluator(book, "interpret")) as evaluator:
        for _ in range(EACH.of(jurisdiction, is_full=is_full)):
            erased = erased_patient(rng, patients)
            decision = evaluator.evaluate(patients.read(erased), jurisdiction, None, erased.as_of).decision
            could_be = {o.option: o.could_be for o in decision.options}
            may_block = cover.uncovered(erased.as_of)
            _, before = completer.values(erased)
            for _ in range(COMPLETIONS):
                completion = completer.completed(rng, erased, before)
                if completion is None:
                    continue
                patient, after = completion
                found = faults(packs, before, after, may_block)
                found += [
                    f"{o.id} came to {word}, which could_be lacks"
                    for o in packs.options
                    if (word := STATUS_OF_LEVEL[str(after.values[status_node(o.id)])]) not in could_be[o.id]
                ]
                assert not found, f"{erased} completed to {patient}"
