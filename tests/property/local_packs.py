"""Random local packs, as the files that a hospital would write: criteria, referrals and numbers of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from engine import trials
from engine.compiler.stages import compile_packs
from engine.pack.mentions import mentions
from tests.property.patients import TODAY, unscaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path
    from random import Random

    from engine.compiler.check import Symbol
    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

Files: TypeAlias = dict[str, Any]
"""What each file of a pack holds; JSON is YAML too."""
Json: TypeAlias = Any
Dated: TypeAlias = "dict[str, dict[str, int]]"
"""For each parameter its first days of effect and its values."""

REFERENCES = [{"source": "house-rules", "section": "1"}]
HOLDING_BACK = ("contraindicates", "excludes", "advises_against", "requires", "defers")
INFORMING = ("cautions", "shows")
DRUGS = ("esketamine", "ketamine_iv")
EVERY_OPTION = (*DRUGS, "conventional")
LONG_AGO, LATER = "2015-01-01", "2024-06-01"


class LocalPacks:
    """Draws local packs for one jurisdiction, whose conditions read its facts, concepts and criteria."""

    def __init__(self, book: RuleBook, patients: Patients) -> None:
        self.jurisdiction = patients.jurisdiction
        self.national = compile_packs(book, self.jurisdiction, None, TODAY)
        self._patients = patients
        criteria = self.national.criteria
        self._symbols = [
            symbol
            for name, symbol in self.national.symbols.items()
            if symbol.kind != "text" and (name not in criteria or name in self.national.nodes)
        ]
        self._truths = [symbol for symbol in self._symbols if symbol.kind == "truth"]
        self._base = next(p.id for p in self.national.packs if p.header.serves == self.jurisdiction)
        self._kinds = sorted({rule.kind for rule in self.national.referrals})

    def draw(self, rng: Random, name: str) -> Files:
        """Draw a pack of one to four criteria, of referrals and of stricter numbers."""
        ids = [f"{name.upper()}-{number:02}" for number in range(1, rng.randint(2, 5))]
        return {
            **self.frame(name),
            "rules.yaml": [self.criterion(rng, each) for each in ids],
            "referrals.yaml": self._referrals(rng, ids),
            **(self.numbers(since(LONG_AGO, self.limits(rng, -1))) if rng.random() < 0.5 else {}),
        }

    def frame(self, name: str, extends: Sequence[str] | None = None) -> Files:
        """Give the files of a pack without content; it extends that of the jurisdiction, or others."""
        header = {
            "id": name,
            "title": "A hospital that is stricter",
            "version": "1.0.0",
            "status": "active",
            "tightens": [self.jurisdiction],
            "extends": [self._base] if extends is None else list(extends),
            "effective_period": {"start": LONG_AGO},
            "last_review_date": TODAY.isoformat(),
            "authors": ["nobody"],
        }
        return {"pack.yaml": header, "references.yaml": {"house-rules": {"title": "House rules"}}}

    def criterion(self, rng: Random, name: str, effect: str | None = None, options: Sequence[str] = ()) -> Json:
        """Draw one criterion that a local pack may hold, or one of a given effect for given options."""
        effect = effect or rng.choice((*HOLDING_BACK, *INFORMING))
        among = EVERY_OPTION if effect in INFORMING else DRUGS
        criterion = {
            "id": name,
            "title": "What this hospital asks for",
            "options": list(options) or rng.sample(among, rng.randint(1, len(among))),
            "effect": effect,
            "explain": "This hospital asks for it.",
            "references": REFERENCES,
            "effective": self._period(rng),
            "strength": "hospital",
            "confirmed": "engine",
        }
        if effect == "requires":
            criterion["needs"] = [rng.choice(self._symbols).name for _ in range(rng.randint(1, 3))]
            criterion |= {"given": self.condition(rng)} if rng.random() < 0.5 else {}
        else:
            criterion["when"] = self.condition(rng)
            criterion |= {"unless": self.condition(rng)} if rng.random() < 0.3 else {}
        if effect == "excludes" and rng.random() < 0.5:
            criterion["level"] = rng.choice(("population", "indication"))
        if effect == "shows":
            criterion["as"] = rng.choice(("monitoring", "dosing", "warning", "note"))
        return criterion

    def numbers(self, values: Dated) -> Files:
        """Give the file of numbers of its own: for each parameter, first day of effect to value."""
        return {
            "parameters.yaml": {
                name: {
                    "label": "a number of this hospital",
                    "unit": self.national.parameters[name][0].unit,
                    "values": dict(dated),
                    "still_valid_on": TODAY.isoformat(),
                    "references": REFERENCES,
                }
                for name, dated in values.items()
            }
        }

    def any_numbers(self, rng: Random) -> Dated:
        """Draw numbers of one to three parameters, stricter or looser, from one day or from two on."""
        free = [name for name in self.national.parameters if name not in trials.PARAMETERS]
        drawn: Dated = {}
        for name in rng.sample(free, rng.choice((1, 1, 1, 2, 3))):
            days = rng.choice(((LONG_AGO,), (LATER,), (LONG_AGO, LATER)))
            given = int(self.national.parameters[name][1])
            drawn[name] = {day: max(given + rng.choice((-20, -5, -2, -1, 1, 2, 5, 20)), 0) for day in days}
        return drawn

    def limits(self, rng: Random, sign: int) -> dict[str, int]:
        """Draw one or two limits of blood pressure, lower (-1) or higher (1) than the national ones.

        Each is read where more care is called for above it, so that the lower one is the stricter.
        """
        read = frozenset().union(*map(mentions, self.national.criteria.values()))
        named = [name for name in self.national.parameters if "bp_" in name and f"${name}" in read]
        drawn = rng.sample(named, rng.choice((1, 2)))
        return {name: int(self.national.parameters[name][1]) + sign * rng.randint(1, 20) for name in drawn}

    def condition(self, rng: Random, depth: int = 2) -> Json:
        """Draw a condition."""
        if depth == 0 or rng.random() < 0.35:
            return self._atom(rng)
        kind = rng.choice(("all", "any", "not", "at_least"))
        if kind == "not":
            return {"not": self.condition(rng, depth - 1)}
        parts = [self.condition(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        return {kind: {"n": rng.randint(1, len(parts)), "of": parts} if kind == "at_least" else parts}

    def _atom(self, rng: Random) -> Json:
        symbol = rng.choice(self._truths if rng.random() < 0.4 else self._symbols)
        match symbol.kind:
            case "number":
                return f"{symbol.name} {rng.choice(('<', '<=', '>', '>=', '=='))} {self._number(rng, symbol)}".strip()
            case "count":
                return f"{symbol.name} {rng.choice(('<', '>='))} {rng.randint(1, 5)}"
            case "enum":
                return f"{symbol.name} in [{', '.join(rng.sample(symbol.values, rng.randint(1, len(symbol.values))))}]"
            case "date" if rng.random() < 0.5:
                return f"{symbol.name} before {self._day(rng).isoformat()}"
            case "date":
                return f"{symbol.name} within {rng.choice((7, 28, 100))} d"
            case "set":
                return {"any": symbol.name}
            case _:
                return symbol.name

    def _number(self, rng: Random, symbol: Symbol) -> str:
        """Draw a number that a fact can have, with its unit, or a dated number of the national packs in that unit."""
        definition = symbol.definition
        assert definition is not None
        low, high = (definition.scaled(end) or 0 for end in definition.range or ())
        numbers = self.national.parameters.items()
        fitting = [
            name
            for name, (parameter, value) in numbers
            if parameter.unit == definition.unit and low <= (definition.scaled(value) or 0) <= high
        ]
        if definition.unit and fitting and rng.random() < 0.3:
            return f"${rng.choice(fitting)}"
        near = [n for n in self._patients.thresholds.get(symbol.name, ()) if low <= n <= high]
        return f"{unscaled(definition, rng.choice([*near, rng.randint(low, high)]))} {definition.unit}"

    def _referrals(self, rng: Random, ids: Sequence[str]) -> Json:
        kinds = [*rng.sample(self._kinds, 2), "house_doctor"]
        drawn = rng.sample([(kind, each) for kind in kinds for each in ids], rng.randint(0, 2))
        referrals = [
            {
                "kind": kind,
                "urgency": rng.choice(("emergency", "same_day", "routine")),
                "criteria": [each],
                "when": rng.choice((each, self.condition(rng))),
                "explain": "This hospital asks for it.",
            }
            | ({"unless": self.condition(rng)} if rng.random() < 0.3 else {})
            for kind, each in drawn
        ]
        return {"kinds": {"house_doctor": "the doctor of the house"}, "referrals": referrals}

    def _period(self, rng: Random) -> Json:
        if rng.random() < 0.6:
            return {}
        first = self._day(rng)
        return rng.choice(
            (
                {"from": first.isoformat()},
                {"until": first.isoformat()},
                {"from": first.isoformat(), "until": (first + timedelta(days=rng.randint(1, 900))).isoformat()},
            )
        )

    def _day(self, rng: Random) -> date:
        return rng.choice((TODAY, rng.choice(self._patients.days))) + timedelta(days=rng.choice((-1, 0, 1)))


def since(day: str, values: Mapping[str, int]) -> Dated:
    """Date numbers from a day on."""
    return {name: {day: value} for name, value in values.items()}


def names_in(jurisdiction: str, count: int) -> list[str]:
    """Name so many packs."""
    return [f"{jurisdiction.lower()}-house-{number}" for number in range(count)]


def write(folder: Path, files: Files) -> Path:
    """Write the files of a pack."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
