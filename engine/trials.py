"""Antidepressant trials, enriched before the logic reads them.

Each function answers one question about one trial and holds no clinical number: minimum doses come from the drug
tables, limits as parameters. What they answer becomes a field of the trial beside those that the caller gave; None is
unknown.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.dictionary import FactDefinition
    from engine.facts import PatientFacts, TrialRecord

EPISODE_START = "episode_start_date"
"""The fact by which ended trials are placed in the episode."""
PLACED = "in_episode"

ENRICHED_TRUTHS = ("augmentation_only", "counts_as_oral_ad", "dose_reaches_minimum", PLACED, "consistent")
ENRICHED_NUMBERS = ("improvement_for_threshold",)
ENRICHED_TEXTS = ("ingredient", "class")
GIVEN_BY: Mapping[str, tuple[str, ...]] = {
    "augmentation_only": ("drug",),
    "counts_as_oral_ad": ("drug",),
    "dose_reaches_minimum": ("max_dose_mg",),
    PLACED: ("end_date",),
    "consistent": (),
    "improvement_for_threshold": ("improvement_pct",),
    "ingredient": ("drug",),
    "class": ("drug",),
}
"""The fields of a trial that have to be recorded so that each enriched field is known."""
PARAMETERS = ("trial_response_improvement", "trial_exposure_tolerance")

_INEFFECTIVE = frozenset({"nonresponse", "partial_response"})


@dataclass(frozen=True, slots=True)
class Drug:
    """A row of the drug tables. `minimum_daily_dose_mg` is None where no adequate dose is known."""

    drug: str
    display: str
    ingredient: str
    drug_class: str
    counts_as_oral_ad: bool
    is_augmentation_only: bool
    minimum_daily_dose_mg: Decimal | None


def read_drugs(antidepressants: str, augmentation_agents: str) -> dict[str, Drug]:
    """Read the two tables (CSV texts) into drugs by key."""
    drugs = {}
    for row in csv.DictReader(io.StringIO(antidepressants)):
        dose = row["min_adequate_daily_dose_mg"]
        drugs[row["drug"]] = Drug(
            row["drug"],
            row["display"],
            row["ingredient"],
            row["class"],
            row["counts_as_oral_ad"] == "yes",
            is_augmentation_only=False,
            minimum_daily_dose_mg=Decimal(dose) if dose else None,
        )
    for row in csv.DictReader(io.StringIO(augmentation_agents)):
        key = row["drug"]
        if key not in drugs:
            drugs[key] = Drug(
                key,
                row["display"],
                key,
                row["class"],
                counts_as_oral_ad=False,
                is_augmentation_only=True,
                minimum_daily_dose_mg=None,
            )
    return drugs


def enrich(
    trial: TrialRecord,
    facts: PatientFacts,
    fields: Mapping[str, FactDefinition],
    drugs: Mapping[str, Drug],
    parameters: Mapping[str, int],
) -> dict[str, bool | int | str | None]:
    """Give the trial's own fields as the logic reads them, and those of `ENRICHED_*`.

    Dates become days before `as_of`; `parameters` holds those that `PARAMETERS` names, in the units of the fields
    they limit.
    """
    values: dict[str, bool | int | str | None] = {}
    for name, value in trial.values.items():
        values[name] = (facts.as_of - value).days if isinstance(value, date) else value  # type: ignore[assignment]
    key = values.get("drug")
    drug = drugs.get(key) if isinstance(key, str) else None
    began = facts.known.get(EPISODE_START)
    episode_days = (facts.as_of - began.value).days if began and isinstance(began.value, date) else None
    values["ingredient"] = drug.ingredient if drug else key
    values["class"] = drug.drug_class if drug else None
    values["augmentation_only"] = drug.is_augmentation_only if drug else None
    values["counts_as_oral_ad"] = drug.counts_as_oral_ad if drug else None
    values["dose_reaches_minimum"] = _dose_reaches_minimum(values, fields["max_dose_mg"], drug)
    values[PLACED] = _in_episode(values, episode_days)
    consistent = not trial.has_future_date and _is_consistent(values, episode_days, parameters)
    values["consistent"] = True if consistent else None
    values["improvement_for_threshold"] = values.get("improvement_pct") if consistent else None
    return values


def _dose_reaches_minimum(values: Mapping[str, object], dose_field: FactDefinition, drug: Drug | None) -> bool | None:
    dose = values.get("max_dose_mg")
    if drug is None or drug.minimum_daily_dose_mg is None or not isinstance(dose, int):
        return None
    return Decimal(dose).scaleb(-dose_field.scale) >= drug.minimum_daily_dose_mg


def _in_episode(values: Mapping[str, object], episode_days: int | None) -> bool | None:
    """Source: facts.yaml `trials`; days count back from `as_of`, so the later day is the smaller number."""
    if values.get("ongoing") is True:
        return True
    end = values.get("end_date")
    if episode_days is None or not isinstance(end, int):
        return None
    return end <= episode_days


def _is_consistent(values: Mapping[str, object], episode_days: int | None, parameters: Mapping[str, int]) -> bool:
    """Say whether nothing in the trial contradicts itself, as far as it is known (criterion US-TRX-22)."""
    start, end = values.get("start_date"), values.get("end_date")
    if isinstance(start, int) and isinstance(end, int) and end > start:
        return False
    improvement = values.get("improvement_pct")
    if (
        values.get("outcome") in _INEFFECTIVE
        and isinstance(improvement, int)
        and improvement >= parameters["trial_response_improvement"]
    ):
        return False
    weeks = values.get("weeks_at_adequate_dose")
    last = 0 if values.get("ongoing") is True else end
    first = min((d for d in (start, episode_days) if isinstance(d, int)), default=None)
    if isinstance(weeks, int) and isinstance(last, int) and first is not None:
        return weeks * 7 <= first - last + parameters["trial_exposure_tolerance"]
    return True
