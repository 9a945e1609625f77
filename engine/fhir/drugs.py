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
    from engine.trials import Drug

RXNORM = "RxNorm"
_DRUG_TABLES = ("antidepressants.csv", "augmentation_agents.csv")
_PER_DAY = "mg/day"
_JOINT = "+"


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
    drug; `trials` the drug of an ingredient; `effects` what else an ingredient says.
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
    builder = _Builder({rule.drug: rule for rule in rules.rows})
    try:
        texts = [files[name].decode() for name in _DRUG_TABLES]
        drugs = read_drugs(*texts)
        rows = [row for text in texts for row in csv.DictReader(io.StringIO(text))]
    except (KeyError, ValueError, ArithmeticError):
        return builder.made()
    for position, rule in enumerate(rules.rows):
        if rule.drug not in drugs:
            faults.append(rules.fault(position, "reference/unknown-drug", f"`{rule.drug}` is in no drug table"))
    for row in rows:
        builder.add_drug(drugs[row["drug"]], row)
    for each in medications.rows:
        builder.add_effect(each)
    for position, product in enumerate(products.rows):
        if not builder.add_product(product):
            message = f"`{product.ingredients}` names an ingredient that no table knows"
            faults.append(products.fault(position, "reference/unknown-ingredient", message))
    return builder.made()


class _Builder:
    """Joins rows in their order: the first that names a code, a name or a trial has it."""

    def __init__(self, rules: Mapping[str, tables.DrugRule]) -> None:
        self.rules = rules
        self.by_code: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {}
        self.by_name: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.trials: dict[str, TrialDrug] = {}
        self.effects: dict[str, tuple[tables.MedicationCode, ...]] = {}

    def add_drug(self, drug: Drug, row: Mapping[str, str]) -> None:
        """Add a row of a drug table: its code and names, and the trial that its ingredient is."""
        cui, rule = row.get("rxnorm_in_cui", ""), self.rules.get(drug.drug)
        if _JOINT in cui:
            self.parts[drug.ingredient] = cui
        else:
            self._add_code(cui, (drug.ingredient,), is_read=row.get("cui_status", "").startswith("read"))
            names = rule.names.split("|") if rule and rule.names else [drug.ingredient.replace("_", " ")]
            self.by_name |= dict.fromkeys(names, drug.ingredient)
        own = "suggests" if drug.is_augmentation_only else "sets"
        certainty, why = (rule.certainty, rule.why) if rule else (own, "")
        if certainty != "never":
            trial = TrialDrug(
                drug.drug,
                "" if _JOINT in cui else cui,
                certainty,
                why,
                drug.minimum_daily_dose_mg,
                is_daily=row.get("dose_unit", "") == _PER_DAY and _JOINT not in cui,
                counts_as_oral_ad=drug.counts_as_oral_ad,
                drug_class=drug.drug_class,
            )
            self.trials.setdefault(drug.ingredient, trial)

    def add_effect(self, row: tables.MedicationCode) -> None:
        """Add what an ingredient says; a row of a class of drugs has none."""
        if not row.ingredient:
            return
        self._add_code(row.code, (row.ingredient,), is_read=row.status == "read")
        self.by_name.setdefault(row.ingredient, row.ingredient)
        if row.fact:
            self.effects[row.ingredient] = (*self.effects.get(row.ingredient, ()), row)

    def add_product(self, product: tables.Product) -> bool:
        """Add a product; False if it names an ingredient that is not known."""
        ingredients = tuple(product.ingredients.split(_JOINT))
        self._add_code(product.code, ingredients, is_read=product.status == "read")
        return set(self.by_name.values()).issuperset(ingredients)

    def _add_code(self, code: str, ingredients: tuple[str, ...], *, is_read: bool) -> None:
        if code:
            self.by_code.setdefault((RXNORM, code), (ingredients, "code" if is_read else "unconfirmed code"))

    def made(self) -> Drugs:
        """Give what was joined."""
        combinations = {
            frozenset(
                name for part in cui.split(_JOINT) for name in self.by_code.get((RXNORM, part), ((), ""))[0]
            ): whole
            for whole, cui in self.parts.items()
        }
        longest_first = sorted(self.by_name, key=lambda name: (-len(name), name))
        names = "|".join(map(re.escape, longest_first)) or "(?!)"
        pattern = re.compile(rf"\b(?:{names})\b", re.IGNORECASE)
        return Drugs(self.by_code, self.by_name, pattern, combinations, self.trials, self.effects)
