"""Drugs by code and by name: which ingredients a medication has, and what each ingredient says.

RxNorm knows ingredients and products. A product leads to its ingredients, a combination to all of them; a name counts
only as a whole word, since `escitalopram` contains `citalopram`.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.trials import read_drugs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from engine.errors import Diagnostic
    from engine.fhir import tables

RXNORM = "RxNorm"
_ANTIDEPRESSANTS, _AUGMENTATION = "antidepressants.csv", "augmentation_agents.csv"
_PER_DAY = "mg/day"


@dataclass(frozen=True, slots=True)
class TrialDrug:
    """A drug whose record is a trial.

    Attributes:
        drug: its key in the drug tables.
        rxnorm: the ingredient's code, empty where none is known.
        certainty: `sets` a trial, or `suggests` one, as an agent does that only augments.
        why: why it only suggests one, where its own row says so.
        minimum_daily_dose_mg: the lowest adequate daily dose; None where none is known.
        is_daily: whether doses of it are in mg a day.
        counts_as_oral_ad: whether it can count as an oral antidepressant.
        drug_class: its class.

    """

    drug: str
    rxnorm: str
    certainty: str
    why: str
    minimum_daily_dose_mg: Decimal | None
    is_daily: bool
    counts_as_oral_ad: bool
    drug_class: str


@dataclass(frozen=True)
class Drugs:
    """What codes and names of medications lead to.

    `by_code` gives the ingredients of a code and how it was matched; `combinations` which ingredients together are one
    drug; `trials` the drug of an ingredient; `effects` what else an ingredient says; `classes` what a class code says.
    """

    by_code: Mapping[tuple[str, str], tuple[tuple[str, ...], str]]
    by_name: Mapping[str, str]
    name: re.Pattern[str]
    combinations: Mapping[frozenset[str], str]
    trials: Mapping[str, TrialDrug]
    effects: Mapping[str, tuple[tables.MedicationCode, ...]]

    def ingredients(self, codings: Iterable[tuple[str, str]], texts: Iterable[str]) -> tuple[frozenset[str], str]:
        """Give the ingredients that any code leads to, else those that are named; and how they were matched."""
        found = [self.by_code[coding] for coding in codings if coding in self.by_code]
        if found:
            ways = {way for _, way in found}
            return self._combined({name for names, _ in found for name in names}), min(ways)
        named = {self.by_name[match.lower()] for text in texts for match in self.name.findall(text)}
        return self._combined(named), "name"

    def _combined(self, ingredients: set[str]) -> frozenset[str]:
        for parts, whole in self.combinations.items():
            if parts <= ingredients:
                ingredients = ingredients - parts | {whole}
        return frozenset(ingredients)


def read_drug_tables(
    files: Mapping[str, bytes],
    medications: tables.Table[tables.MedicationCode],
    products: tables.Table[tables.Product],
    rules: tables.Table[tables.DrugRule],
    faults: list[Diagnostic],
) -> Drugs:
    """Join the drug tables with those for FHIR; drugs that no table knows are added to `faults`.

    The two drug tables themselves are checked where the rule book is loaded; while they cannot be read, nothing is.
    """
    try:
        antidepressants, augmentation = files[_ANTIDEPRESSANTS].decode(), files[_AUGMENTATION].decode()
        drugs = read_drugs(antidepressants, augmentation)
        listed = [*_cells(antidepressants), *_cells(augmentation)]
    except (KeyError, ValueError, ArithmeticError):
        return Drugs({}, {}, re.compile("(?!)"), {}, {}, {})
    by_drug = {rule.drug: rule for rule in rules.rows}
    for position, rule in enumerate(rules.rows):
        if rule.drug not in drugs:
            faults.append(rules.fault(position, "reference/unknown-drug", f"`{rule.drug}` is in no drug table"))
    by_code: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {}
    by_name: dict[str, str] = {}
    trials: dict[str, TrialDrug] = {}
    parts_of: dict[str, str] = {}
    for row in listed:
        drug = drugs[row["drug"]]
        cui, way = (
            row.get("rxnorm_in_cui", ""),
            "code" if row.get("cui_status", "").startswith("read") else "unconfirmed code",
        )
        ruling = by_drug.get(drug.drug)
        if "+" in cui:
            parts_of[drug.ingredient] = cui
        else:
            by_code.setdefault((RXNORM, cui), ((drug.ingredient,), way))
            names = ruling.names.split("|") if ruling and ruling.names else [drug.ingredient.replace("_", " ")]
            by_name |= dict.fromkeys(names, drug.ingredient)
        if ruling is None or ruling.certainty != "never":
            own = "suggests" if drug.is_augmentation_only else "sets"
            certainty, why = (ruling.certainty, ruling.why) if ruling else (own, "")
            trials.setdefault(
                drug.ingredient,
                TrialDrug(
                    drug.drug,
                    cui if "+" not in cui else "",
                    certainty,
                    why,
                    drug.minimum_daily_dose_mg,
                    row.get("dose_unit", "") == _PER_DAY and "+" not in cui,
                    drug.counts_as_oral_ad,
                    drug.drug_class,
                ),
            )
    effects: dict[str, tuple[tables.MedicationCode, ...]] = {}
    for each in medications.rows:
        if each.ingredient:
            if each.code:
                by_code.setdefault((each.system, each.code), ((each.ingredient,), each.matched_by))
            by_name.setdefault(each.ingredient, each.ingredient)
            if each.fact:
                effects[each.ingredient] = (*effects.get(each.ingredient, ()), each)
    by_code.pop((RXNORM, ""), None)
    known = {name for names, _ in by_code.values() for name in names} | set(by_name.values())
    for position, product in enumerate(products.rows):
        names = product.ingredients.split("+")
        if not known.issuperset(names):
            message = f"`{product.ingredients}` names an ingredient that no table knows"
            faults.append(products.fault(position, "reference/unknown-ingredient", message))
        way = "code" if product.status == "read" else "unconfirmed code"
        by_code.setdefault((RXNORM, product.code), (tuple(names), way))
    combinations = {
        frozenset(name for part in cui.split("+") for name in by_code.get((RXNORM, part), ((), ""))[0]): whole
        for whole, cui in parts_of.items()
    }
    longest_first = sorted(by_name, key=lambda name: (-len(name), name))
    name = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)
    return Drugs(by_code, by_name, name, combinations, trials, effects)


def _cells(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table)))
