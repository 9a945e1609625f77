"""Made-up patients for the measurements.

A fully known patient differs in a few facts from the one in `patient.json`, so that statuses of every kind occur; the
changes are drawn from the data dictionary and from the numbers with which the rules compare. A partly known patient
lacks some facts, as patients do. No patient here ever lived.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.leaves import leaves
from engine.compiler.levels import level_of
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.facts import PatientFacts, read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler.packset import PackSet
    from engine.dictionary import FactDefinition
    from engine.pack.book import RuleBook

AS_OF = date(2025, 6, 2)
BASE = Path(__file__).with_name("patient.json")
MOST_CHANGED = 6
MOST_MISSING = 8
_OLDEST_DAYS = 900


@dataclass(frozen=True)
class Patient:
    """One patient: facts as a caller writes them, as they are read, and as the engines get them."""

    raw: Mapping[str, object]
    facts: PatientFacts
    inputs: form.Inputs


class Clinic:
    """Draws patients for one compiled pack set; the same seed gives the same patients."""

    def __init__(self, book: RuleBook, packs: PackSet, seed: int = 1) -> None:
        """Read the patient from whom the others differ."""
        self._book = book
        self._packs = packs
        self._random = random.Random(seed)  # noqa: S311 - patients, not secrets
        self._interpreter = Interpreter(packs.compiled)
        self._cuts = _cuts(packs)
        self._base: dict[str, object] = json.loads(BASE.read_text())

    def base(self) -> Patient:
        """Give the patient from whom the others differ."""
        return self._read(self._base)

    def known(self, count: int) -> list[Patient]:
        """Draw fully known patients: no criterion is undecided, nothing is unusable or contradictory."""
        found: list[Patient] = []
        while len(found) < count:
            raw = dict(self._base)
            for name in self._random.sample(sorted(raw), self._random.randint(0, MOST_CHANGED)):
                raw[name] = self._redraw(name, raw[name])
            patient = self._read(raw)
            if self._is_whole(patient):
                found.append(patient)
        return found

    def partly_known(self, count: int) -> list[Patient]:
        """Draw patients of whom a few facts are missing."""
        found = []
        for patient in self.known(count):
            raw = dict(patient.raw)
            for name in self._random.sample(sorted(raw), self._random.randint(0, MOST_MISSING)):
                del raw[name]
            found.append(self._read(raw))
        return found

    def _read(self, raw: Mapping[str, object]) -> Patient:
        facts = read_facts(self._book.facts, self._book.dictionary.constraints, raw, AS_OF)
        return Patient(raw, facts, prepare(self._book, self._packs, facts))

    def _is_whole(self, patient: Patient) -> bool:
        if patient.facts.unusable:
            return False
        values = self._interpreter.evaluate(patient.inputs).values
        return all(
            values[n] is True if c.effect == "requires" else values[n] is not None
            for n, c in self._packs.criteria.items()
            if c.effect == "indicates" or level_of(c) is not None
        )

    def _redraw(self, name: str, value: object) -> object:
        """Draw a fact again; of a list of records, one field of one."""
        definition = self._book.facts[name]
        if definition.type != "records" or not isinstance(value, list) or not value:
            return self._draw(definition)
        records = [dict(record) for record in value]
        field = self._random.choice([f for f in definition.fields if f.type in {"int", "decimal", "enum"}])
        self._random.choice(records)[field.id] = self._draw(field)
        return records

    def _draw(self, definition: FactDefinition) -> object:
        pick = self._random
        near = self._cuts.get(definition.id, [])
        match definition.type:
            case "bool":
                return pick.choice((False, True))
            case "enum":
                return pick.choice([v for v in definition.values if v not in definition.missing_values])
            case "date":
                days = pick.choice([c for c in near if c >= 0] or [pick.randint(0, _OLDEST_DAYS)])
                return (AS_OF - timedelta(days=days)).isoformat()
            case "set":
                return pick.sample(list(definition.values), pick.randint(0, 1))
            case "int" | "decimal":
                low, high = (int(n * 10**definition.scale) for n in definition.range or (Decimal(0), Decimal(1)))
                scaled = pick.choice([*(c for c in near if low <= c <= high), pick.randint(low, high)])
                return float(Decimal(scaled).scaleb(-definition.scale)) if definition.scale else scaled
            case _:
                message = f"`{definition.id}` is not drawn"
                raise ValueError(message)


def _cuts(packs: PackSet) -> dict[str, list[int]]:
    """The numbers around those with which a condition compares, by fact."""
    found: dict[str, set[int]] = {}
    record_nodes = (n for graph in packs.compiled.records.values() for n in graph.nodes)
    for node in (*packs.nodes.values(), *record_nodes):
        for leaf in leaves(node):
            if isinstance(leaf, form.Compare):
                found.setdefault(leaf.node, set()).update((leaf.constant - 1, leaf.constant, leaf.constant + 1))
    return {name: sorted(numbers) for name, numbers in found.items()}
