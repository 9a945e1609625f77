"""Random national rules that compare numbers in every way that the rule language knows, through concepts and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

Json: TypeAlias = Any

PATIENT_NUMBERS = {"age_years": (40, " a"), "phq9_total": (20, ""), "madrs_total": (34, ""), "weight_kg": (70, " kg")}
TRIAL_NUMBERS = {"weeks_at_adequate_dose": (6, " wk"), "improvement_pct": (30, " %")}
"""For each fact a number in the midst of what patients have, and the unit."""
PATIENT_TRUTHS = ("dialysis", "breastfeeding", "catatonia is no", "sex_at_birth is female")
TRIAL_TRUTHS = ("adherence is adherent", "ongoing", "counts_as_oral_ad")
EFFECTS = ("contraindicates", "excludes", "advises_against", "defers", "cautions", "indicates", "requires")
CRITERION: Mapping[str, Json] = {
    "title": "A random criterion",
    "explain": "It is so.",
    "references": [{"source": "engine-decision"}],
    "strength": "test",
    "confirmed": "engine",
}
PREPARED: Mapping[str, Json] = {"options": ["ketamine_iv"], "effect": "indicates", **CRITERION}
INDICATION_AND_STEP: Sequence[Json] = (
    {"id": "RANDOM-FULL", "when": {"all": ["hamd17_total >= 20", "dialysis"]}, **PREPARED},
    {"id": "RANDOM-STEP", "when": "sex_at_birth is female", "gives": "deferred", **PREPARED},
)
"""An indication, and a step before it."""
TRIAL_CONCEPTS, CONCEPTS, CRITERIA = 6, 18, 63


class RandomRules:
    """Draws concepts and criteria for one pack.

    Attributes:
        files: what each file of the pack holds, by name.

    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known = [f"random_count_{n} >= {rng.randint(1, 2)}" for n in range(TRIAL_CONCEPTS)]
        derived = [self._of_trial(n) for n in range(TRIAL_CONCEPTS)] + [self._count(n) for n in range(TRIAL_CONCEPTS)]
        for number in range(CONCEPTS):
            derived.append(self._concept(number))
            self._known.append(derived[-1]["id"])
        criteria = [self._criterion(n) for n in range(CRITERIA)]
        self.files: dict[str, Json] = {"derived_random.yaml": derived, "random.yaml": [*criteria, *INDICATION_AND_STEP]}

    def _of_trial(self, number: int) -> Json:
        condition = self._condition(TRIAL_NUMBERS, TRIAL_TRUTHS)
        return {"id": f"random_trial_{number}", "of": "trials", "label": "a random trial", "when": condition}

    def _count(self, number: int) -> Json:
        name = f"random_trial_{number}"
        where = self._rng.choice((name, {"not": name}, {"all": [name, "consistent"]}))
        distinct = self._rng.choice(({}, {"distinct": "ingredient"}))
        return {
            "id": f"random_count_{number}",
            "label": "a random count",
            "count": "trials",
            "where": where,
            **distinct,
        }

    def _concept(self, number: int) -> Json:
        concept = {"id": f"random_{number}", "label": "a random concept"}
        if number % 6 < 5:
            return concept | self._excepted()
        sources = self._rng.sample([name for name in self._known if ">=" not in name], 2)
        return concept | {"first_known": sources} | self._rng.choice(({}, {"otherwise": False}))

    def _criterion(self, number: int) -> Json:
        effect = EFFECTS[number % len(EFFECTS)]
        options = [self._rng.choice(("esketamine", "ketamine_iv"))]
        criterion = {"id": f"RANDOM-{number:02}", "options": options, "effect": effect, **CRITERION}
        if effect == "requires":
            return criterion | {"needs": ["phq9_total"], "given": self._condition()}
        step = {"gives": "deferred"} if effect == "indicates" and self._rng.random() < 0.5 else {}
        return criterion | self._excepted() | step

    def _excepted(self) -> dict[str, Json]:
        unless = {"unless": self._condition()} if self._rng.random() < 0.4 else {}
        return {"when": self._condition(), **unless}

    def _condition(
        self,
        numbers: Mapping[str, tuple[int, str]] = PATIENT_NUMBERS,
        truths: Sequence[str] = PATIENT_TRUTHS,
        depth: int = 2,
    ) -> Json:
        rng = self._rng
        if depth and rng.random() < 0.6:
            kind = rng.choice(("all", "any", "not", "at_least"))
            parts = [self._condition(numbers, truths, depth - 1) for _ in range(rng.randint(2, 3))]
            if kind == "not":
                return {"not": parts[0]}
            return {kind: {"n": rng.randint(1, len(parts)), "of": parts} if kind == "at_least" else parts}
        if numbers is PATIENT_NUMBERS and rng.random() < 0.25:
            return rng.choice(self._known)
        if rng.random() < 0.3:
            return rng.choice(truths)
        fact = rng.choice(sorted(numbers))
        middle, unit = numbers[fact]
        return f"{fact} {rng.choice(('<', '<=', '>', '>='))} {middle + rng.randint(-2, 2)}{unit}"
