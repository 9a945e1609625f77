"""Made-up patients for the measurements, drawn from the data dictionary and the compiled rules alone.

A fully known patient has a value for every fact; it starts from one for whom as much as possible is open and differs from
it in a few facts, so that statuses of every kind occur. A partly known one lacks some of these facts, as patients do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.stages import LEVELS, PackSet, comparisons, level_of
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.facts import PatientFacts, read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.facts import FactDefinition
    from engine.pack.load import RuleBook

AS_OF = date(2025, 6, 2)
MOST_CHANGED = 4
MOST_MISSING = 8
_STEPS = 5000
_OLDEST = 900
_MOST_TRIALS = 3
_WORST = len(LEVELS)


@dataclass(frozen=True)
class Patient:
    """One patient: facts as a caller writes them, as they are read, and as the engines get them."""

    raw: Mapping[str, object]
    facts: PatientFacts
    inputs: form.Inputs


class Clinic:
    """Draws patients for one compiled pack set; the same seed gives the same patients."""

    def __init__(self, book: RuleBook, packs: PackSet, seed: int = 1) -> None:
        """Find the patient to start from."""
        self._book = book
        self._packs = packs
        self._random = random.Random(seed)  # noqa: S311 - patients, not secrets
        self._interpreter = Interpreter(packs.compiled)
        self._cuts = _cuts(packs)
        self._base = self._find_base()

    def known(self, count: int) -> list[Patient]:
        """Draw fully known patients: nothing is missing, unusable or contradictory."""
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

    def _find_base(self) -> dict[str, object]:
        """Walk to a patient to whom every option is as open as it can be: one or two facts at a time, never down."""
        raw = {name: self._draw(definition) for name, definition in self._book.facts.items()}
        best = self._openness(raw)
        for _ in range(_STEPS):
            names = self._random.sample(sorted(raw), self._random.randint(1, 2))
            tried = {**raw, **{name: self._redraw(name, raw[name]) for name in names}}
            openness = self._openness(tried)
            if openness >= best:
                raw, best = tried, openness
        return raw

    def _openness(self, raw: Mapping[str, object]) -> int:
        """Count what stands against the options, the worse the more; what is unknown or unusable counts too."""
        patient = self._read(raw)
        values = self._interpreter.evaluate(patient.inputs).values
        cost = len(patient.facts.unusable) * _WORST
        for name, criterion in self._packs.criteria.items():
            level = level_of(criterion)
            if criterion.effect in {"indicates", "requires"}:
                cost += 0 if values[name] is True else _WORST
            elif level is not None and values[name] is not False:
                cost += len(LEVELS) - LEVELS.index(level)
        return -cost

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
        """Draw a fact again; of a list of records, one record or one field of it."""
        definition = self._book.facts[name]
        if not isinstance(value, list) or definition.type != "records" or not value:
            return self._draw(definition)
        records = [dict(record) for record in value]
        position = self._random.randrange(len(records) + 1)
        if position == len(records):
            return [*records, self._trial(definition)][-_MOST_TRIALS:]
        field = self._random.choice([f for f in definition.fields if f.type in {"int", "decimal", "enum", "code"}])
        records[position][field.id] = self._draw(field)
        return records

    def _draw(self, definition: FactDefinition) -> object:
        pick = self._random
        match definition.type:
            case "bool":
                return pick.choice((False, True))
            case "enum":
                return pick.choice([v for v in definition.values if v not in definition.missing_values])
            case "int" | "decimal":
                return self._number(definition)
            case "date":
                days = pick.choice([c for c in self._cuts.get(definition.id, ()) if c >= 0] or [pick.randint(0, _OLDEST)])
                return (AS_OF - timedelta(days=days)).isoformat()
            case "set":
                return pick.sample(list(definition.values), pick.randint(0, min(2, len(definition.values))))
            case "records":
                return [self._trial(definition) for _ in range(pick.randint(1, _MOST_TRIALS))]
            case _:
                return pick.choice(sorted(self._book.drugs)) if definition.table else "1"

    def _number(self, definition: FactDefinition) -> object:
        low, high = (int(n * 10**definition.scale) for n in definition.range or (Decimal(0), Decimal(1)))
        near = [c for c in self._cuts.get(definition.id, ()) if low <= c <= high]
        scaled = self._random.choice([*near, self._random.randint(low, high)])
        return float(Decimal(scaled).scaleb(-definition.scale)) if definition.type == "decimal" else scaled

    def _trial(self, definition: FactDefinition) -> dict[str, object]:
        """Draw one trial that ran until now."""
        trial = {f.id: self._draw(f) for f in definition.fields if f.type != "records"}
        return trial | {"start_date": (AS_OF - timedelta(days=_OLDEST)).isoformat(), "end_date": AS_OF.isoformat()}


def _cuts(packs: PackSet) -> dict[str, list[int]]:
    """The numbers around those with which a condition compares, by fact."""
    found: dict[str, set[int]] = {}
    record_nodes = (n for graph in packs.compiled.records.values() for n in graph.nodes)
    for node in (*packs.nodes.values(), *record_nodes):
        expressions: list[form.Expression] = []
        if isinstance(node, form.ConditionNode):
            expressions.append(node.expression)
        elif isinstance(node, form.EvidenceNode):
            expressions += [guard for source in node.sources for guard, _ in source.mapping or ()]
        for leaf in (c for e in expressions for c in comparisons(e)):
            found.setdefault(leaf.node, set()).update((leaf.constant - 1, leaf.constant, leaf.constant + 1))
    return {name: sorted(numbers) for name, numbers in found.items()}
