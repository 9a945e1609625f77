"""Situations that change several facts of a patient at once, and that facts drawn one by one hardly ever make up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SITUATIONS: tuple[Mapping[str, tuple[object, ...]], ...] = (
    {
        "treatment_phase": ("induction", "maintenance"),
        "prior_esketamine": ("ongoing", "responded"),
        "esketamine_start_date": (),
        "benefit_at_week4": (),
    },
    {
        "si_level": ("active_intent_no_plan", "active_plan_and_intent"),
        "psychiatric_emergency_judgement": (True, True, False),
        "concomitant_oral_ad": ("yes", "no", "no"),
        "oral_ad_class": ("none", "ssri"),
    },
    {
        "age_years": (64, 65, 80),
        "psychiatric_emergency_judgement": (True, False),
    },
    {
        "phq9_total": (14, 15, 16, 27),
        "madrs_total": (),
        "hamd17_total": (),
        "qids_total": (),
        "severity_date": (),
        "prescriber_specialty": ("psychiatrist",),
    },
)
"""A running course, a suicidal crisis, old age, a measured severity: for each fact what it may be, () for anything."""
